//! Re-keying (SEMANTICS §9): a grouping without the user is counted elsewhere than its events lie.
//!
//! The engine of an EVENTS partition sends each match of such a rule on, the engine of a REKEYED
//! partition counts it. Both are [`Engine`], told by a [`Part`] which share of the work is theirs.
//! A match carries its event with the event's own stamps, so windows, slots and ids come out as if
//! one engine had seen everything. Matches are facts: a repeated one is a copy of its event.

use balefire_event::time::SECOND;
use balefire_event::{Event, Field, IdentityKind, RuleId, Timestamp};

use crate::effect::Effect;
use crate::engine::Engine;
use crate::generation::Generation;
use crate::key::{Key, write_key};

/// Which share of the work an engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// All of it: one engine over everything, as offline.
    #[default]
    Whole,
    /// That of an EVENTS partition: what has no window, or groups by the user. The rest is sent on.
    Events,
    /// That of a REKEYED partition: what groups by something else.
    Rekeyed {
        /// EVENTS partitions whose engines send here. The watermark waits for a promise of each.
        sources: u32,
    },
}

/// A match that another partition counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rekeyed {
    /// The rule.
    pub rule: RuleId,
    /// First control revision of the generation that matched: with the rule, its name.
    pub generation: u64,
    /// Canonical key. With tenant and rule it says which partition.
    pub key: Box<[u8]>,
    /// The event, with its own stamps.
    pub event: Event<'static>,
}

impl Generation {
    /// Whether its keys lie elsewhere than its events do.
    pub(crate) fn is_rekeyed(&self) -> bool {
        const USER: Field = Field::Identity(IdentityKind::User);
        let counting = self.counting.as_ref();
        counting.is_some_and(|counting| !counting.group_by.contains(&USER))
    }
}

impl Engine {
    /// The same engine for a share of the work; [`Part::Whole`] unless told.
    #[must_use]
    pub fn of_part(mut self, part: Part) -> Self {
        self.part = part;
        self
    }

    /// A match of the batch: [`Part::Rekeyed`]'s event. `false`: there is no such generation here.
    pub fn matched(
        &mut self,
        rule: RuleId,
        generation: u64,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(place) = self.place_of(rule, generation) else {
            return false;
        };
        let counting = self
            .generations
            .get(place)
            .and_then(|g| g.counting.as_ref());
        let fields = counting.map(|counting| counting.group_by.as_slice());
        if let Some(key) = fields.and_then(|fields| Key::of(&mut self.key, fields, event)) {
            self.count(place, key, event, effects);
        }
        true
    }

    /// A match read again, as [`Engine::repair_event`].
    pub fn repair_matched(
        &mut self,
        tenant: &str,
        rule: RuleId,
        generation: u64,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(place) = self.place_of(rule, generation) else {
            return;
        };
        let lane = self.current.lane;
        self.enter(lane, tenant);
        self.repair_match(place, event, effects);
    }

    fn place_of(&self, rule: RuleId, first: u64) -> Option<usize> {
        let mut generations = self.generations.iter();
        generations.position(|one| one.spec().id == rule && one.first == first)
    }

    /// Whether a match of the generation is sent on.
    pub(crate) fn sends(&self, place: usize) -> bool {
        let generation = self.generations.get(place);
        self.part == Part::Events && generation.is_some_and(Generation::is_rekeyed)
    }

    pub(crate) fn send(&self, place: usize, event: &Event<'_>, effects: &mut Vec<Effect>) {
        let Some(generation) = self.generations.get(place) else {
            return;
        };
        let fields = generation.counting.as_ref().map(|c| c.group_by.as_slice());
        let mut key = Vec::new();
        if write_key(&mut key, fields.unwrap_or_default(), event) {
            effects.push(Effect::Rekey(Box::new(Rekeyed {
                rule: generation.spec().id,
                generation: generation.first,
                key: key.into(),
                event: event.clone().into_owned(),
            })));
        }
    }

    /// Moves the low watermark as its inputs allow. A REKEYED partition has no lanes: all it knows
    /// of time is what the engines that send to it promise.
    pub(crate) fn advance(&mut self) {
        match self.part {
            Part::Whole | Part::Events => self.watermark.advance(),
            Part::Rekeyed { sources } => self.watermark.advance_over(sources),
        }
    }

    /// The promise that goes behind the matches of a batch: where the watermark passed a second,
    /// and somebody may have to do with it. None while older matches of a new rule are to come.
    pub(crate) fn promise(&self, before: Option<Timestamp>) -> Option<Timestamp> {
        let every = self.config.sweep_every.clamp(1, SECOND);
        let count = |low: Timestamp| low.0.div_euclid(every);
        let low = self.owed_promise()?;
        (before.map(count) < Some(count(low))).then_some(low)
    }

    /// The promise that can be given now.
    pub(crate) fn owed_promise(&self) -> Option<Timestamp> {
        let mut rekeyed = self.generations.iter().filter(|one| one.is_rekeyed());
        let sends = self.part == Part::Events && rekeyed.clone().next().is_some();
        let owes = rekeyed.any(|one| one.warming);
        self.watermark.low().filter(|_| sends && !owes)
    }
}
