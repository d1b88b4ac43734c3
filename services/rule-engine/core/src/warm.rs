//! New rules beside the live path (SEMANTICS §6): an engine adopts a rule set without losing what it
//! holds. What is new warms up: it counts what comes from now on, and the shell reads the log again
//! for it, from far enough back that every window of a new event is whole.
//!
//! While it warms nothing of it is dropped by time, and no slot of it is decided at close.

use std::sync::Arc;

use balefire_event::{Event, Lane, Timestamp, Timing};
use balefire_rule::RuleSet;

use crate::book::Book;
use crate::copies::Copies;
use crate::decide::filled_fields;
use crate::effect::Effect;
use crate::engine::{Engine, Error};
use crate::key::Key;
use crate::rekey::Part;
use crate::spec::RuleSpec;

/// What is read again for new rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// Another number, another reading: what was read before does not count.
    pub id: u64,
    /// Server time to read from, up to the positions where the reading begins.
    pub from: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Warming {
    pub(crate) backfill: Backfill,
    copies: Copies,
}

impl Engine {
    /// Takes over the rule sets known now, each with the first control revision it is in force for.
    /// What the engine holds of the rules that decide as before stays.
    ///
    /// # Errors
    /// As [`Engine::new`]; nothing has changed then.
    pub fn adopt(&mut self, rule_sets: &[(u64, Arc<RuleSet>)]) -> Result<(), Error> {
        let specs = RuleSpec::of_sets(rule_sets);
        self.adopt_specs(&specs)
    }

    /// The same from rules as the engine sees them.
    ///
    /// # Errors
    /// As [`Engine::new`]; nothing has changed then.
    pub fn adopt_specs(&mut self, rule_sets: &[(u64, Vec<RuleSpec>)]) -> Result<(), Error> {
        let mut fresh = Self::with_specs(self.partition, rule_sets, self.config.clone())?;
        for book in &mut fresh.books {
            let mut known = self.books.iter_mut();
            if let Some(old) = known.find(|old| old.rule == book.rule && old.rearm == book.rearm) {
                let at_close = book.at_close || old.at_close;
                *book = std::mem::replace(old, Book::new(old.rule, old.rearm));
                book.at_close = at_close;
            }
        }
        let mut new = Vec::new();
        for (place, generation) in fresh.generations.iter_mut().enumerate() {
            let mut known = self.generations.iter_mut();
            match known.find(|old| old.is_same(generation)) {
                Some(old) => generation.take_over(old),
                None => new.push(place),
            }
        }
        self.generations = fresh.generations;
        self.books = fresh.books;
        self.shelves = fresh.shelves;
        self.known_revision = self.known_revision.max(fresh.known_revision);
        self.rules_below = fresh.rules_below;
        if self.warm(&new) && self.redo.is_none() {
            self.begin_reading();
        }
        Ok(())
    }

    /// When the log had the rule set that is in force from a revision on: whoever stamps under it
    /// does so later, but for S. Where it is not said, or lies ahead, new rules start from the low
    /// watermark.
    pub fn activated(&mut self, revision: u64, at: Timestamp) {
        self.activations.insert(revision, at);
    }

    /// Every rule that began at a control revision below is whole: it lacks nothing of what came
    /// before it was known.
    #[must_use]
    pub fn whole_below(&self) -> u64 {
        let warming = self.generations.iter().filter(|one| one.warming);
        let first = warming.map(|one| one.first).min();
        first.unwrap_or(u64::MAX).min(self.rules_below)
    }

    /// An engine that has seen nothing has missed nothing.
    pub(crate) fn is_new(&self) -> bool {
        self.watermark.is_fresh() && self.counters.events == 0
    }

    /// The generations at these places lack what came before. False: none of them needs it.
    pub(crate) fn warm(&mut self, places: &[usize]) -> bool {
        let mut warms = false;
        if self.is_new() || matches!(self.part, Part::Rekeyed { .. }) {
            return warms;
        }
        for place in places {
            if let Some(generation) = self.generations.get_mut(*place)
                && generation.counting.is_some()
            {
                (generation.warming, generation.read_from) = (true, None);
                warms = true;
            }
        }
        self.start_all();
        warms
    }

    /// Says from where on the log is read again for each rule that warms up.
    fn start_all(&mut self) {
        let config = &self.config;
        let memory = if self.untrusted {
            config.untrusted_memory
        } else {
            0
        };
        let back = config
            .ahead
            .saturating_add(config.skew)
            .saturating_add(memory);
        let (lateness, low, skew) = (self.lateness_now(), self.watermark.low(), config.skew);
        let activations = &self.activations;
        let warming = self.generations.iter_mut().filter(|one| one.warming);
        for generation in warming.filter(|one| one.read_from.is_none()) {
            let at = activations.get(&generation.first);
            let at = at.map_or(Timestamp::MAX, |at| at.minus(skew));
            let since = low.map(|low| low.min(at));
            let Some(counting) = &mut generation.counting else {
                continue;
            };
            let window = counting.window.window();
            let reach = lateness
                .saturating_add(window)
                .saturating_add(counting.kept_longer());
            // What was received exactly then has a window that begins exactly there.
            let horizon = since.map(|since| since.minus(reach).minus(1));
            let from = horizon.map(|horizon| horizon.minus(back));
            generation.read_from = Some(from.unwrap_or(Timestamp::MIN));
            if let Some(horizon) = horizon {
                counting.raise_horizon(horizon);
                counting.skip_until(horizon);
            }
        }
    }

    /// A reading for all rules that warm up begins, or begins anew.
    pub(crate) fn begin_reading(&mut self) {
        self.start_all();
        let warming = self.generations.iter().filter(|one| one.warming);
        let from = warming.filter_map(|one| one.read_from).min();
        self.warmings += u64::from(from.is_some());
        self.warming = from.map(|from| Warming {
            backfill: Backfill {
                id: self.warmings,
                from,
            },
            copies: Copies::default(),
        });
    }

    /// What must be read again beside the live path for new rules; `None`: nothing. Through
    /// [`Engine::backfill_event`], each lane in its order, then [`Engine::backfill_end`].
    #[must_use]
    pub fn backfill(&self) -> Option<Backfill> {
        self.warming.as_ref().map(|warming| warming.backfill)
    }

    /// How many rules are warming up: their escalations are right, and may not be all.
    #[must_use]
    pub fn warming_count(&self) -> usize {
        self.generations.iter().filter(|one| one.warming).count()
    }

    /// An event read again for new rules.
    pub fn backfill_event(
        &mut self,
        lane: Lane,
        tenant: &str,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let memory = self.config.untrusted_memory;
        let Some(warming) = &mut self.warming else {
            return;
        };
        if event.timing != Timing::OnTime || !warming.copies.admit(lane, event, memory) {
            return;
        }
        self.enter(lane, tenant);
        self.current.again = true;
        let filled = filled_fields(event);
        for index in 0..self.candidates(event.category).len() {
            let Some(place) = self.candidates(event.category).get(index).copied() else {
                continue;
            };
            let Some(generation) = self.generations.get(place).filter(|one| one.warming) else {
                continue;
            };
            let unread = filled
                .as_ref()
                .is_some_and(|filled| !generation.reads_any(filled));
            // One that panicked is a dead letter of the live path.
            let matcher = &generation.spec().matcher;
            let matches = std::panic::AssertUnwindSafe(|| matcher.matches(event));
            if unread || !std::panic::catch_unwind(matches).unwrap_or(false) {
                continue;
            }
            let fields = generation.counting.as_ref().map(|c| c.group_by.as_slice());
            match Key::of(&mut self.key, fields.unwrap_or_default(), event) {
                None => {}
                Some(_) if self.sends(place) => self.send_older(place, event, effects),
                Some(key) => self.count(place, key, event, effects),
            }
        }
        self.current.again = false;
    }

    /// Sends a match on, unless it lies before what any window needs: there it may be a copy of what
    /// was not read.
    fn send_older(&self, place: usize, event: &Event<'_>, effects: &mut Vec<Effect>) {
        let generation = self.generations.get(place);
        let counting = generation.and_then(|generation| generation.counting.as_ref());
        if counting.is_some_and(|counting| counting.horizon.is_none_or(|from| event.t > from)) {
            self.send(place, event, effects);
        }
    }

    /// Everything was read again: the rules are whole, and what waited for that comes out.
    pub fn backfill_end(&mut self, effects: &mut Vec<Effect>) {
        self.warming = None;
        for generation in &mut self.generations {
            (generation.warming, generation.read_from) = (false, None);
        }
        if let Some(at) = self.owed_promise() {
            effects.push(Effect::Promise { at });
        }
        self.release(effects);
    }
}
