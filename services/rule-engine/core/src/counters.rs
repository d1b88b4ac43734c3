//! Numbers for people: how much the engine saw and why some of it counted nowhere.

use std::collections::BTreeMap;

use balefire_event::RuleId;
use serde::{Deserialize, Serialize};

/// Counts since the state was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Events taken in.
    pub events: u64,
    /// Of those, LATE.
    pub late: u64,
    /// Of those, FUTURE.
    pub future: u64,
    /// Records left out of windows as copies under an untrusted clock.
    pub copies: u64,
    /// Escalations emitted.
    pub escalations: u64,
    /// Records that needed a repair.
    pub stragglers: u64,
    /// Matchers that panicked.
    pub panics: u64,
    /// Entries that a limit of their window cost: what is not escalated for it is not exact.
    pub over_limit: u64,
    /// Records that came when the slot of a rule that is decided at close was decided.
    pub after_close: u64,
    /// By rule.
    pub rules: BTreeMap<RuleId, RuleCounters>,
}

/// Counts of one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounters {
    /// Records it matched (once for each of its generations).
    pub matched: u64,
    /// Of those, without a field of its grouping, or without what it measures.
    pub ungrouped: u64,
    /// Of those, without a value that the rule could measure.
    pub unmeasured: u64,
}

impl Counters {
    pub(crate) fn rule(&mut self, rule: RuleId) -> &mut RuleCounters {
        self.rules.entry(rule).or_default()
    }
}
