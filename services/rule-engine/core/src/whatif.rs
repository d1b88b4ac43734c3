//! [`WhatIf`]: what other rules would have escalated, against what was.
//!
//! The same engine over the same events; the set of ids is a function of both (SEMANTICS), so a
//! difference is one of the rules and of nothing else. Events that came while it was looked are
//! told apart: what they add may only be not decided yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, Event, RuleId, Timestamp};

use crate::engine::Engine;
use crate::share::{Found, Share};

/// Differences kept in full; more are only counted.
pub const DIFFERENCES_MAX: usize = 10_000;
/// Escalation ids of one side.
pub const IDS_MAX: usize = 1_000_000;
/// Entries kept in windows, all rules together.
pub const ENTRIES_MAX: usize = 4_000_000;

/// What became of an escalation under the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Only the candidate raises it.
    Added,
    /// It was raised, and the candidate does not.
    Removed,
    /// Both raise it.
    Unchanged,
}

/// Counts of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Only the candidate raises these.
    pub added: u64,
    /// The candidate does not raise these.
    pub removed: u64,
    /// Both raise these.
    pub unchanged: u64,
}

/// Why a comparison was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Windows hold too much.
    #[error("over {ENTRIES_MAX} events are in windows; ask for a shorter time, or narrower rules")]
    Entries,
    /// One side raises too much.
    #[error("over {IDS_MAX} escalations; ask for a shorter time, or narrower rules")]
    Ids,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Slots that start before it are not compared: their windows were not read whole.
    pub since: Timestamp,
    /// Events that came after it may not have been decided on yet.
    pub settled: Timestamp,
    /// Only these rules; `None`: all.
    pub rules: Option<Arc<BTreeSet<RuleId>>>,
}

/// One escalation id of one side.
#[derive(Debug)]
struct Side {
    rule: Arc<str>,
    compared: bool,
    /// The event that completed it had come long enough ago.
    settled: bool,
    full: Option<Box<Escalation>>,
}

/// One escalation with what became of it. Its trigger is left out.
pub type Difference = (Outcome, Box<Escalation>);

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// By outcome, then id.
    pub differences: Vec<Difference>,
    /// By rule.
    pub rules: BTreeMap<Arc<str>, Counts>,
    /// Of those added: so many rest on events that may not have been decided on yet.
    pub unsettled: u64,
    /// Differences that were only counted.
    pub untold: u64,
}

/// A candidate set of rules over recorded events: where the findings of every share meet.
#[derive(Debug)]
pub struct WhatIf {
    scope: Scope,
    /// Counts for all shares what they send on.
    own: Share,
    events: u64,
    /// Entries of the shares, where they were last counted.
    entries: BTreeMap<u32, usize>,
    would: BTreeMap<EscalationId, Side>,
    was: BTreeMap<EscalationId, Side>,
    /// Raised while the events were looked at.
    meanwhile: BTreeSet<EscalationId>,
    names: BTreeSet<Arc<str>>,
    kept: [usize; 2],
}

impl WhatIf {
    /// Over an engine of the candidate that has seen nothing: the one that counts what shares send
    /// on ([`crate::Part::Rekeyed`]), or the only one.
    #[must_use]
    pub fn new(engine: Engine, scope: Scope) -> Self {
        Self {
            own: Share::new(engine, scope.rules.clone()),
            scope,
            events: 0,
            entries: BTreeMap::new(),
            would: BTreeMap::new(),
            was: BTreeMap::new(),
            meanwhile: BTreeSet::new(),
            names: BTreeSet::new(),
            kept: [0; 2],
        }
    }

    fn side(&mut self, place: usize, escalation: Escalation) -> Side {
        let settled = escalation.received_at <= self.scope.settled;
        let name = self.names.get(escalation.rule_name.as_str()).cloned();
        let rule = name.unwrap_or_else(|| {
            let name: Arc<str> = Arc::from(escalation.rule_name.as_str());
            self.names.insert(Arc::clone(&name));
            name
        });
        let compared = escalation.slot_start >= self.scope.since;
        let kept = self.kept.get_mut(place);
        let full = kept.filter(|kept| compared && **kept < DIFFERENCES_MAX);
        Side {
            rule,
            compared,
            settled,
            full: full.map(|kept| {
                *kept += 1;
                Box::new(Escalation {
                    trigger: None,
                    ..escalation
                })
            }),
        }
    }

    /// Takes an event of a tenant, in any order, where there are no shares.
    ///
    /// # Errors
    /// Where more would have to be kept than there may be.
    pub fn event(&mut self, tenant: &str, event: &Event<'_>) -> Result<(), TooMuch> {
        self.own.batch(tenant);
        self.own.event(event);
        self.take_own()
    }

    /// Takes an escalation that the log had before the first event was looked at: so all that it
    /// rests on was looked at.
    ///
    /// # Errors
    /// Where more would have to be kept than there may be.
    pub fn escalated(&mut self, escalation: Escalation) -> Result<(), TooMuch> {
        self.own.escalated(escalation);
        self.take_own()
    }

    /// Takes what a share found, in any order. What it had [`Share::escalated`] the log had before
    /// the first event was looked at.
    ///
    /// # Errors
    /// Where more would have to be kept than there may be.
    pub fn found(&mut self, share: u32, tenant: &str, found: Found) -> Result<(), TooMuch> {
        for sent in &found.matches {
            self.own.matched(tenant, sent);
        }
        self.take(share, found)?;
        self.take_own()
    }

    /// A share is done, and keeps nothing any more.
    pub fn ended(&mut self, share: u32) {
        self.entries.remove(&share);
    }

    fn take_own(&mut self) -> Result<(), TooMuch> {
        match self.own.found() {
            // Shares have numbers of partitions, of which there are fewer.
            Some(found) => self.take(u32::MAX, found),
            None => Ok(()),
        }
    }

    fn take(&mut self, share: u32, found: Found) -> Result<(), TooMuch> {
        self.events += found.events;
        for escalation in found.raised {
            let id = escalation.escalation_id;
            if !self.would.contains_key(&id) {
                let side = self.side(0, escalation);
                self.would.insert(id, side);
            }
        }
        for escalation in found.was {
            let id = escalation.escalation_id;
            if !self.was.contains_key(&id) {
                let side = self.side(1, escalation);
                self.was.insert(id, side);
            }
        }
        if self.would.len().max(self.was.len()) > IDS_MAX {
            return Err(TooMuch::Ids);
        }
        if let Some(entries) = found.entries {
            self.entries.insert(share, entries);
            if self.entries.values().sum::<usize>() > ENTRIES_MAX {
                return Err(TooMuch::Entries);
            }
        }
        Ok(())
    }

    /// Takes the id of an escalation that the log got since.
    pub fn escalated_since(&mut self, id: EscalationId) {
        self.meanwhile.insert(id);
    }

    /// Events taken.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// What would be added as things stand: the id, and whether the engine must have decided on
    /// it by now.
    pub fn added(&self) -> impl Iterator<Item = (EscalationId, bool)> {
        let compared = self.would.iter().filter(|(_, side)| side.compared);
        compared
            .filter(|(id, _)| !self.was.contains_key(*id) && !self.meanwhile.contains(*id))
            .map(|(id, side)| (*id, side.settled))
    }

    /// What became of every escalation; those that are unchanged only where `unchanged` says so.
    #[must_use]
    pub fn finish(self, unchanged: bool) -> Findings {
        let Self {
            would,
            was,
            meanwhile,
            ..
        } = self;
        let gone: BTreeSet<EscalationId> = was
            .keys()
            .filter(|id| !would.contains_key(*id))
            .copied()
            .collect();
        let mut findings = Findings::default();
        for (id, side) in would.into_iter().filter(|(_, side)| side.compared) {
            if was.contains_key(&id) || meanwhile.contains(&id) {
                findings.note(Outcome::Unchanged, side, unchanged);
            } else {
                findings.unsettled += u64::from(!side.settled);
                findings.note(Outcome::Added, side, true);
            }
        }
        for (id, side) in was.into_iter().filter(|(_, side)| side.compared) {
            if gone.contains(&id) {
                findings.note(Outcome::Removed, side, true);
            }
        }
        findings.differences.sort_by_key(|(outcome, _)| *outcome);
        findings
    }
}

impl Findings {
    fn note(&mut self, outcome: Outcome, side: Side, told: bool) {
        let counts = self.rules.entry(side.rule).or_default();
        *match outcome {
            Outcome::Added => &mut counts.added,
            Outcome::Removed => &mut counts.removed,
            Outcome::Unchanged => &mut counts.unchanged,
        } += 1;
        match side.full.filter(|_| told) {
            Some(full) => self.differences.push((outcome, full)),
            None => self.untold += u64::from(told),
        }
    }
}
