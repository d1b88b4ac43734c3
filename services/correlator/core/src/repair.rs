//! [`Repair`]: what a straggler missed, found by reading the log again (SEMANTICS §7).
//!
//! The records read again are only indexed, nothing is trimmed; at the end each straggler is
//! settled against them. Everything it says counts as an amendment; repeated facts are harmless.

use std::collections::BTreeSet;

use balefire_event::{DedupId, IdentityKind, Lane, Timestamp};

use crate::claim::Claims;
use crate::correlator::Correlator;
use crate::entry::Entries;
use crate::fact::FactId;
use crate::key::{KeyHash, typed_keys};
use crate::limits::STRAGGLERS_MAX;
use crate::record::{Effect, Record};
use crate::settle::settle;
use crate::stretch::Range;
use crate::stub::{Stubs, answer};

/// A record that came after what it may belong to was dropped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Straggler {
    /// An event without a user.
    Event(DedupId),
    /// A hint: its keys and the moments it reaches.
    Hint(Vec<KeyHash>, Range),
    /// A stub: its key and its moment.
    Stub(KeyHash, Timestamp),
}

/// Stragglers, and where the log must be read from for all of them.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stragglers {
    waiting: Vec<Straggler>,
    from: Option<Timestamp>,
}

impl Stragglers {
    /// Adds one. Returns whether there was room.
    pub(crate) fn add(&mut self, straggler: Straggler, from: Timestamp) -> bool {
        if self.waiting.len() >= STRAGGLERS_MAX {
            return false;
        }
        self.waiting.push(straggler);
        self.from = Some(self.from.map_or(from, |before| before.min(from)));
        true
    }

    /// Where to read from, while some wait.
    pub(crate) fn from(&self) -> Option<Timestamp> {
        self.from
    }

    pub(crate) fn take(&mut self) -> Vec<Straggler> {
        self.from = None;
        std::mem::take(&mut self.waiting)
    }
}

/// The part of the log that is read again.
#[derive(Debug)]
pub(crate) struct Repair {
    pub(crate) claims: Claims,
    pub(crate) entries: Entries,
    pub(crate) stubs: Stubs,
}

impl Repair {
    pub(crate) fn new() -> Self {
        Self {
            claims: Claims::new(),
            entries: Entries::new(),
            stubs: Stubs::new(),
        }
    }

    /// Events that the stragglers concern.
    pub(crate) fn concerned(&self, stragglers: &[Straggler]) -> BTreeSet<DedupId> {
        let mut ids = BTreeSet::new();
        for straggler in stragglers {
            match straggler {
                Straggler::Event(id) => {
                    ids.insert(*id);
                }
                Straggler::Hint(keys, range) => {
                    for key in keys {
                        ids.extend(self.entries.within(*key, *range));
                    }
                }
                Straggler::Stub(..) => {}
            }
        }
        ids
    }

    /// Moments of keys for which stubs must be answered.
    pub(crate) fn answers(&self, stragglers: &[Straggler]) -> Vec<(KeyHash, Range)> {
        let mut answers = Vec::new();
        for straggler in stragglers {
            match straggler {
                Straggler::Event(_) => {}
                Straggler::Hint(keys, range) => {
                    answers.extend(keys.iter().map(|key| (*key, *range)));
                }
                Straggler::Stub(key, at) => answers.push((*key, (*at, *at))),
            }
        }
        answers
    }
}

impl Correlator {
    pub(crate) fn straggle(
        &mut self,
        straggler: Straggler,
        reach: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let from = reach.minus(self.config.skew);
        if self.state.stragglers.add(straggler, from) {
            effects.push(Effect::Repair { from });
        } else {
            self.alarms += 1;
        }
    }

    /// Where the log must be read again from; `None`: no straggler waits. After a restore the
    /// owner asks.
    #[must_use]
    pub fn repair_wanted(&self) -> Option<Timestamp> {
        self.state.stragglers.from()
    }

    /// A repair starts: every record from [`Effect::Repair`]'s time on follows through
    /// [`Correlator::repair_record`].
    pub fn repair_begin(&mut self) {
        self.repair = Some(Repair::new());
    }

    /// A record read again.
    pub fn repair_record(&mut self, lane: Lane, tenant: &str, record: Record<'_>) {
        let Some(repair) = &mut self.repair else {
            return;
        };
        match record {
            Record::Event(event) => {
                if event.user.is_none() {
                    repair.entries.learn(tenant, lane, event);
                }
            }
            Record::Hint(hint) => {
                if hint.identity.kind == IdentityKind::User {
                    let fact = FactId::of(hint);
                    for key in typed_keys(tenant, &hint.keys) {
                        repair.claims.learn(key.hash, fact, hint);
                    }
                }
            }
            Record::Stub(stub) => {
                if stub.partition != self.config.partition {
                    let key = KeyHash::of(tenant, &stub.key);
                    repair.stubs.learn(tenant, key, stub);
                }
            }
            Record::Tick(_) | Record::Barrier(..) => {}
        }
    }

    /// The repair is complete: the stragglers' joins are emitted, as amendments.
    pub fn repair_end(&mut self, effects: &mut Vec<Effect>) {
        let Some(mut repair) = self.repair.take() else {
            return;
        };
        let stragglers = self.state.stragglers.take();
        for straggler in &stragglers {
            if let Straggler::Event(id) = straggler
                && let Some(entry) = repair.entries.by_id().get(id)
            {
                self.state.entries.remember(*id, &entry.copies);
            }
        }
        for id in repair.concerned(&stragglers) {
            let Some(entry) = repair.entries.get_mut(&id) else {
                continue;
            };
            for copy in &mut entry.copies {
                copy.passed = true;
            }
            let (_, _, mut desk) = self.desk(effects);
            settle(entry, &mut repair.claims, &mut desk);
        }
        for (key, range) in repair.answers(&stragglers) {
            answer(&mut repair.claims, &repair.stubs, key, range, effects);
        }
    }
}
