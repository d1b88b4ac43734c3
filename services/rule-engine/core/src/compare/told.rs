//! Published escalations against those that the log gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use balefire_event::{Escalation, EscalationId, RuleId, Timestamp};

use super::hex;
use crate::key::Key;

/// What an escalation's id is made of, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Tenant.
    pub tenant: String,
    /// The rule.
    pub rule: RuleId,
    /// Its name.
    pub rule_name: String,
    /// The key in words.
    pub key: String,
    /// The key as the id hashes it; empty for a windowless rule, whose key is only shown.
    canonical: Vec<u8>,
    /// Slot start; t of the event for a windowless rule.
    pub slot_start: Timestamp,
    /// R, nanoseconds; 0 windowless.
    rearm: i64,
    /// Decided once, from what had come by then: the log alone does not give it.
    at_close: bool,
    /// W of the generation that was first, nanoseconds; 0 windowless. Order decides it.
    window: i64,
}

impl Facts {
    /// Of an escalation.
    #[must_use]
    pub fn of(escalation: &Escalation) -> Self {
        let parts = escalation.key.iter();
        let words = parts.map(|part| {
            let readable = if part.readable.is_empty() {
                hex(&part.canonical)
            } else {
                part.readable.clone()
            };
            format!("{}={readable}", part.field)
        });
        Self {
            tenant: escalation.tenant.clone(),
            rule: escalation.rule_id,
            rule_name: escalation.rule_name.clone(),
            key: words.collect::<Vec<_>>().join(" "),
            canonical: if escalation.rearm > 0 {
                Key::canonical(&escalation.key)
            } else {
                Vec::new()
            },
            slot_start: escalation.slot_start,
            rearm: escalation.rearm,
            at_close: escalation.at_close,
            window: escalation.window,
        }
    }

    /// The first field in which a published one is not the derived one.
    fn altered(&self, published: &Self) -> Option<(&'static str, String, String)> {
        let fields = [
            ("tenant", self.tenant.clone(), published.tenant.clone()),
            ("rule_id", self.rule.to_uuid(), published.rule.to_uuid()),
            ("key", hex(&self.canonical), hex(&published.canonical)),
            (
                "slot_start",
                self.slot_start.to_string(),
                published.slot_start.to_string(),
            ),
            ("rearm", self.rearm.to_string(), published.rearm.to_string()),
        ];
        fields
            .into_iter()
            .find(|(_, derived, published)| derived != published)
    }

    /// Whether the log alone gives it, and all that can have breached it lies behind `since`.
    fn judged(&self, since: Timestamp) -> bool {
        if self.at_close {
            return false;
        }
        self.slot_start.minus(self.window) > since || since == Timestamp::MIN
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tenant,
            rule_name,
            key,
            slot_start,
            ..
        } = self;
        write!(
            f,
            "rule {rule_name}, tenant {tenant}, key {key}, slot from {slot_start} on"
        )
    }
}

/// An escalation that is not as the log gives it. `P` says where in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault<P> {
    /// The log gives it, and nobody published it.
    Missing {
        /// Its id.
        id: EscalationId,
        /// What it is.
        facts: Facts,
    },
    /// It was published, and the log does not give it.
    Unexpected {
        /// Where.
        at: P,
        /// Its id.
        id: EscalationId,
        /// What it says it is.
        facts: Facts,
    },
    /// It was published, but says something else.
    Altered {
        /// Where.
        at: P,
        /// Its id.
        id: EscalationId,
        /// Which field.
        field: &'static str,
        /// What stands there.
        published: String,
        /// What the log gives.
        derived: String,
    },
}

/// Published escalations against derived ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison<P> {
    /// Ids that are right.
    pub same: u64,
    /// Ids published more than once: readers drop them.
    pub repeated: u64,
    /// Ids that the log's beginning is too late for, or that were decided at close.
    pub not_judged: u64,
    /// Ids that nobody published.
    pub missing: u64,
    /// Published records that the log does not give, or gives otherwise.
    pub wrong: u64,
    /// The first of what is wrong, by its place; then the first of what is missing, by its slot.
    pub first: Vec<Fault<P>>,
}

impl<P> Comparison<P> {
    /// Whether nothing is wrong or missing.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        self.missing == 0 && self.wrong == 0
    }
}

/// Compares `published` (in the order of the log) with `derived`. `since`: as in
/// [`Engine::first_difference`].
#[must_use]
pub fn compare<P: Clone>(
    derived: &BTreeMap<EscalationId, Facts>,
    published: &[(P, EscalationId, Facts)],
    since: Timestamp,
) -> Comparison<P> {
    let mut seen = BTreeSet::new();
    let mut comparison = Comparison {
        same: 0,
        repeated: 0,
        not_judged: 0,
        missing: 0,
        wrong: 0,
        first: Vec::new(),
    };
    for (at, id, facts) in published {
        if !seen.insert(*id) {
            comparison.repeated += 1;
        }
        let fault = match derived.get(id) {
            None if !facts.judged(since) => {
                comparison.not_judged += 1;
                continue;
            }
            None => Fault::Unexpected {
                at: at.clone(),
                id: *id,
                facts: facts.clone(),
            },
            Some(wanted) => match wanted.altered(facts) {
                None => continue,
                Some((field, derived, published)) => Fault::Altered {
                    at: at.clone(),
                    id: *id,
                    field,
                    published,
                    derived,
                },
            },
        };
        comparison.wrong += 1;
        if comparison.first.is_empty() {
            comparison.first.push(fault);
        }
    }
    let missing = derived.iter().filter(|(id, _)| !seen.contains(id));
    comparison.missing = missing.clone().count() as u64;
    comparison.same = derived.len() as u64 - comparison.missing;
    let first = missing.min_by_key(|(id, facts)| (facts.slot_start, **id));
    comparison
        .first
        .extend(first.map(|(id, facts)| Fault::Missing {
            id: *id,
            facts: facts.clone(),
        }));
    comparison
}
