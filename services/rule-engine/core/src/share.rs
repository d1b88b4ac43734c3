//! [`Share`]: the candidate of a what-if over a share of the log, with an engine of its own.
//!
//! An EVENTS partition has every event of its keys, so partitions are evaluated apart, as they are
//! live. What groups by something else is sent on, to the one share that counts it for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use balefire_event::{Category, Escalation, EscalationKind, Event, Field, Lane, RuleId, Timestamp};

use crate::effect::{BatchHeader, Effect};
use crate::engine::Engine;
use crate::rekey::Rekeyed;

/// Entries are counted every so many events of a share.
pub const COUNT_EVERY: u64 = 262_144;

/// What was found since it was asked last.
#[derive(Debug, Default)]
pub struct Found {
    /// Events taken.
    pub events: u64,
    /// What the candidate raises, of the rules compared, without triggers.
    pub raised: Vec<Escalation>,
    /// What was raised, of the rules compared, without triggers.
    pub was: Vec<Escalation>,
    /// What [`crate::WhatIf`] has to count.
    pub matches: Vec<Rekeyed>,
    /// Entries in windows, where they were counted.
    pub entries: Option<usize>,
}

/// An engine of the candidate that is fed a share of the log, in any order.
#[derive(Debug)]
pub struct Share {
    engine: Engine,
    /// Only these rules are compared; `None`: all.
    rules: Option<Arc<BTreeSet<RuleId>>>,
    effects: Vec<Effect>,
    /// Events and matches.
    taken: u64,
    found: Found,
}

impl Share {
    /// Over an engine that has seen nothing.
    #[must_use]
    pub fn new(engine: Engine, rules: Option<Arc<BTreeSet<RuleId>>>) -> Self {
        Self {
            engine,
            rules,
            effects: Vec::new(),
            taken: 0,
            found: Found::default(),
        }
    }

    /// Whether an event of the category can concern any rule.
    #[must_use]
    pub fn heeds(&self, category: Category) -> bool {
        self.engine.heeds(category)
    }

    /// Whether a rule looks at the field, or an escalation shows it.
    #[must_use]
    pub fn looks_at(&self, field: &Field) -> bool {
        self.engine.looks_at(field)
    }

    /// The same of any field that Balefire has no name for.
    #[must_use]
    pub fn looks_at_extensions(&self) -> bool {
        self.engine.looks_at_extensions()
    }

    /// What comes next is of this tenant.
    pub fn batch(&mut self, tenant: &str) {
        // One lane only: the watermark never moves, so nothing is dropped.
        self.engine.batch_start(
            Lane::Normal,
            &BatchHeader {
                tenant,
                lateness_max: 0,
                received_at_max: Timestamp::MIN,
            },
        );
    }

    /// An event passed that no rule asks for.
    pub const fn passed(&mut self) {
        self.found.events += 1;
    }

    /// Takes an event of the tenant.
    pub fn event(&mut self, event: &Event<'_>) {
        self.passed();
        self.engine.event(0, event, &mut self.effects);
        self.settle();
    }

    /// Takes a match that another share sends on.
    pub fn matched(&mut self, tenant: &str, sent: &Rekeyed) {
        self.batch(tenant);
        let (rule, generation) = (sent.rule, sent.generation);
        // Every share has the same rules.
        let _known = self
            .engine
            .matched(rule, generation, &sent.event, &mut self.effects);
        self.settle();
    }

    /// Takes an escalation that the log has.
    pub fn escalated(&mut self, escalation: Escalation) {
        if self.compares(&escalation) {
            self.found.was.push(Escalation {
                trigger: None,
                ..escalation
            });
        }
    }

    /// What was found since this was asked last; `None`: nothing, and no event was taken.
    pub fn found(&mut self) -> Option<Found> {
        let Found {
            events,
            raised,
            was,
            matches,
            entries,
        } = &self.found;
        let lists = raised.is_empty() && was.is_empty() && matches.is_empty();
        let nothing = *events == 0 && lists && entries.is_none();
        (!nothing).then(|| std::mem::take(&mut self.found))
    }

    fn compares(&self, escalation: &Escalation) -> bool {
        let names_an_id = match escalation.kind {
            EscalationKind::Raised | EscalationKind::Continued => true,
            EscalationKind::Closed | EscalationKind::Amended => false,
        };
        let rules = self.rules.as_ref();
        names_an_id && rules.is_none_or(|rules| rules.contains(&escalation.rule_id))
    }

    fn settle(&mut self) {
        self.taken += 1;
        if self.taken.is_multiple_of(COUNT_EVERY) {
            self.found.entries = Some(self.engine.entry_count());
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Escalate(escalation) if self.compares(&escalation) => {
                    self.found.raised.push(Escalation {
                        trigger: None,
                        ..*escalation
                    });
                }
                Effect::Rekey(sent) => self.found.matches.push(*sent),
                Effect::Escalate(_)
                | Effect::Promise { .. }
                | Effect::BarrierOut { .. }
                | Effect::DeadLetter { .. }
                | Effect::Repair(_) => {}
            }
        }
        self.effects = effects;
    }
}
