//! Going through recorded steps again, as a new owner does (SEMANTICS §10): what is told is what
//! ESCALATIONS has, and nothing else.
//!
//! Nothing is told then. A slot that is found breached is *owed*, until the log shows it. A step
//! says below which revision every rule was whole when it was formed: what rules from below give
//! there was told with it. What a rule gives that was still warming up, or was not known yet to
//! who formed the step, may never have been told: that is owed to the end and told then, and so is
//! what the last step may lack. So what is kept is what differs, as a rule nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::{BarrierId, Escalation, EscalationId, Timestamp};

use crate::book::Book;
use crate::effect::Effect;
use crate::engine::Engine;
use crate::key::Key;
use crate::rekey::Part;

/// A recorded step, before its inputs are put in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Every rule that began at a control revision below was whole when the step was formed;
    /// `None`: every rule there is.
    pub whole_below: Option<u64>,
    /// Some of its outputs may lack: the last step.
    pub partial: bool,
}

impl Recorded {
    fn trusts(self, first: u64) -> bool {
        self.whole_below.is_none_or(|below| first < below)
    }

    /// Whether every rule known up to `below` was whole.
    const fn trusts_all(self, below: u64) -> bool {
        match self.whole_below {
            None => true,
            Some(whole) => whole >= below,
        }
    }

    /// Whether everything that rules known up to `below` give in it was told with it.
    const fn is_whole(self, below: u64) -> bool {
        !self.partial && self.trusts_all(below)
    }
}

/// Found, and not shown by the log so far.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    /// In the order in which they were found.
    nth: u64,
    /// Found in the step at hand.
    fresh: bool,
    /// First revision of the generation that found it.
    first: u64,
    canonical: Box<[u8]>,
    escalation: Box<Escalation>,
}

impl Owed {
    /// The step at hand ends: whether it told of this.
    fn settles(&mut self, recorded: Recorded) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        fresh && !recorded.partial && recorded.trusts(self.first)
    }
}

/// A breached slot.
#[derive(Debug)]
pub(crate) struct Breached<'a> {
    pub(crate) tenant: &'a Arc<str>,
    pub(crate) key: Key,
    pub(crate) canonical: &'a [u8],
    pub(crate) slot: i64,
    /// First revision of the generation that found it.
    pub(crate) first: u64,
}

/// A barrier that waits for rules to be whole, or for the log to show it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) id: BarrierId,
    pub(crate) at: Timestamp,
    /// It came in the step at hand.
    fresh: bool,
    /// The step it came in, or came out with, is there in part: it belongs to that step.
    due: bool,
}

impl Held {
    pub(crate) const fn new(id: BarrierId, at: Timestamp) -> Self {
        Self {
            id,
            at,
            fresh: true,
            due: false,
        }
    }
}

/// Recorded steps are gone through.
#[derive(Debug)]
pub(crate) struct Redo {
    recorded: Recorded,
    /// Windowless ids, and those of amendments.
    singles: BTreeMap<EscalationId, Owed>,
    found: u64,
}

impl Redo {
    fn owed(&mut self, first: u64, canonical: &[u8], escalation: Escalation) -> Owed {
        self.found += 1;
        Owed {
            nth: self.found,
            fresh: true,
            first,
            canonical: canonical.into(),
            escalation: Box::new(escalation),
        }
    }
}

impl Book {
    /// Tells of a slot found breached. `None`: it was told before, or is owed until the log shows it.
    pub(crate) fn tell(
        &mut self,
        at: &Breached<'_>,
        mut escalation: Escalation,
        redo: Option<&mut Redo>,
    ) -> Option<Box<Escalation>> {
        if let Some(redo) = redo {
            if !self.contains(at.tenant, at.key, at.slot) {
                let owed = redo.owed(at.first, at.canonical, escalation);
                let place = (at.key, at.slot, Arc::clone(at.tenant));
                self.owed.insert(place, owed);
            }
            return None;
        }
        let id = escalation.escalation_id;
        let episode = self.emit(at.tenant, (at.key, at.canonical), at.slot, id)?;
        escalation.kind = episode.kind;
        escalation.episode_id = episode.episode_id;
        Some(Box::new(escalation))
    }

    /// What was found in a step that told it is told.
    fn settle(&mut self, recorded: Recorded) {
        for (place, mut owed) in std::mem::take(&mut self.owed) {
            if owed.settles(recorded) {
                let (key, slot, tenant) = place;
                let id = owed.escalation.escalation_id;
                self.emit(&tenant, (key, &owed.canonical), slot, id);
            } else {
                self.owed.insert(place, owed);
            }
        }
    }
}

impl Engine {
    /// Recorded steps are gone through from here on, until [`Engine::redo_end`]. Each:
    /// [`Engine::redo_step`], its inputs, what the log has of its outputs through
    /// [`Engine::load_escalation`] and [`Engine::load_barrier`], [`Engine::redo_step_end`]. No
    /// escalation and no barrier comes out meanwhile.
    pub fn redo_begin(&mut self) {
        self.redo = Some(Redo {
            recorded: Recorded {
                whole_below: None,
                partial: false,
            },
            singles: BTreeMap::new(),
            found: 0,
        });
        if self.is_new() {
            self.owe_matches(|_| true);
        }
    }

    /// A step begins.
    pub fn redo_step(&mut self, recorded: Recorded) {
        if let Some(redo) = &mut self.redo {
            redo.recorded = recorded;
        }
        self.owe_matches(|first| !recorded.trusts(first));
        if self.part == Part::Events {
            let whole = |first| recorded.trusts(first);
            let rekeyed = self.generations.iter_mut().filter(|one| one.is_rekeyed());
            for generation in rekeyed.filter(|one| whole(one.first)) {
                // Whoever formed it had sent every older match.
                (generation.warming, generation.read_from) = (false, None);
            }
        }
    }

    /// Older matches of re-keyed rules may lack in REKEYED: they are read again.
    fn owe_matches(&mut self, owed: impl Fn(u64) -> bool) {
        if self.part != Part::Events {
            return;
        }
        let rekeyed = self.generations.iter_mut().filter(|one| one.is_rekeyed());
        for generation in rekeyed.filter(|one| one.first > 0 && owed(one.first)) {
            generation.warming = true;
        }
    }

    /// Its inputs were put in, and its outputs shown as far as the log has them.
    pub fn redo_step_end(&mut self) {
        let Some(redo) = &mut self.redo else { return };
        let recorded = redo.recorded;
        for book in &mut self.books {
            book.settle(recorded);
        }
        let recent = &mut self.recent;
        redo.singles.retain(|id, owed| {
            let told = owed.settles(recorded);
            if told {
                recent.insert(*id);
            }
            !told
        });
        let all = recorded.trusts_all(self.rules_below);
        self.held.retain_mut(|held| {
            let fresh = std::mem::take(&mut held.fresh);
            held.due |= fresh && all;
            !held.due || recorded.partial
        });
    }

    /// Every recorded step was gone through. What is owed is told, as the fold over the log says, and
    /// which slots closed; what must be read again for rules that are not whole is asked for.
    ///
    /// It belongs to the last step, as far as that is not there, so that every step but the last
    /// always is whole.
    pub fn redo_end(&mut self, effects: &mut Vec<Effect>) {
        let Some(redo) = self.redo.take() else { return };
        let singles = redo.singles.into_iter().map(|(id, owed)| {
            self.recent.insert(id);
            (owed.nth, owed.escalation)
        });
        let mut told: Vec<(u64, Box<Escalation>)> = singles.collect();
        for book in &mut self.books {
            let mut owed: Vec<_> = std::mem::take(&mut book.owed).into_iter().collect();
            owed.sort_by_key(|(_, owed)| owed.nth);
            for ((key, slot, tenant), owed) in owed {
                let at = Breached {
                    tenant: &tenant,
                    key,
                    canonical: &owed.canonical,
                    slot,
                    first: owed.first,
                };
                let escalation = book.tell(&at, *owed.escalation, None);
                told.extend(escalation.map(|one| (owed.nth, one)));
            }
        }
        told.sort_by_key(|(nth, _)| *nth);
        self.counters.escalations += told.len() as u64;
        effects.extend(told.into_iter().map(|(_, one)| Effect::Escalate(one)));
        if let Some(low) = self.watermark.low() {
            self.close_known(low, effects);
        }
        self.begin_reading();
        let due = self.held.iter().filter(|held| held.due);
        effects.extend(due.map(|held| Effect::BarrierOut {
            id: held.id,
            at: held.at,
        }));
        self.held.retain(|held| !held.due);
        self.release(effects);
    }

    /// A barrier that the log has.
    pub fn load_barrier(&mut self, id: BarrierId) {
        let Some(redo) = &self.redo else { return };
        if redo.recorded.partial {
            // Other targets may lack what one has of the last step: it comes out for all of them.
            let held = self.held.iter_mut().find(|held| held.id == id);
            held.into_iter().for_each(|held| held.due = true);
        } else {
            self.held.retain(|held| held.id != id);
        }
    }

    /// Barriers that waited come out, where nothing keeps them any more.
    pub(crate) fn release(&mut self, effects: &mut Vec<Effect>) {
        if self.redo.is_some() || self.warming.is_some() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        effects.extend(held.into_iter().map(|held| Effect::BarrierOut {
            id: held.id,
            at: held.at,
        }));
    }

    /// Whether a windowless id, or that of an amendment, was told, or will be.
    pub(crate) fn is_single_told(&self, id: EscalationId) -> bool {
        let owed = self.redo.as_ref();
        self.recent.contains(id) || owed.is_some_and(|redo| redo.singles.contains_key(&id))
    }

    /// Tells of an event of a windowless rule, by what is told as an id.
    pub(crate) fn tell_single(
        &mut self,
        id: EscalationId,
        first: u64,
        escalation: Escalation,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(redo) = &mut self.redo {
            let owed = redo.owed(first, &[], escalation);
            redo.singles.insert(id, owed);
        } else {
            self.recent.insert(id);
            effects.push(Effect::Escalate(Box::new(escalation)));
        }
    }

    /// The log has a windowless id, or an amendment.
    pub(crate) fn load_single(&mut self, id: EscalationId) {
        self.recent.insert(id);
        if let Some(redo) = &mut self.redo {
            redo.singles.remove(&id);
        }
    }

    /// `None`: slots that close are told. Else whether those that end in the step at hand were told
    /// with it; where they may not have been, only the log says that one is closed.
    pub(crate) fn closed_with_step(&self) -> Option<bool> {
        let redo = self.redo.as_ref()?;
        Some(redo.recorded.is_whole(self.rules_below))
    }
}
