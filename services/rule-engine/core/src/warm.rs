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
use crate::generation::Generation;
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
        let specs: Vec<_> = rule_sets
            .iter()
            .map(|(first, set)| (*first, RuleSpec::of_set(set)))
            .collect();
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
        self.by_category = fresh.by_category;
        self.known_revision = self.known_revision.max(fresh.known_revision);
        self.warm(&new);
        Ok(())
    }

    /// The generations at these places lack what came before.
    pub(crate) fn warm(&mut self, places: &[usize]) {
        // An engine that has seen nothing has missed nothing.
        if self.watermark.is_fresh() && self.counters.events == 0 {
            return;
        }
        let is_new = |place: usize| places.contains(&place);
        let here = |part: Part, generation: &Generation| {
            generation.counting.is_some() && !matches!(part, Part::Rekeyed { .. })
        };
        let part = self.part;
        let all = self.generations.iter().enumerate();
        let new = all.filter(|(place, generation)| is_new(*place) && here(part, generation));
        let windows = new.filter_map(|(_, one)| one.counting.as_ref());
        let Some(window) = windows
            .map(|counting| {
                counting
                    .window
                    .window()
                    .saturating_add(counting.kept_longer())
            })
            .max()
        else {
            return;
        };
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
        let reach = self.lateness_now().saturating_add(window);
        let start = self.watermark.low().map(|low| low.minus(reach).minus(back));
        let horizon = start.map(|start| start.plus(back));
        for place in places {
            let generation = self.generations.get_mut(*place);
            let Some(generation) = generation.filter(|generation| here(part, generation)) else {
                continue;
            };
            generation.warming = true;
            if let (Some(counting), Some(horizon)) = (&mut generation.counting, horizon) {
                counting.raise_horizon(horizon);
                counting.skip_until(horizon);
            }
        }
        self.read_again(start.unwrap_or(Timestamp::MIN));
    }

    /// A reading from `from` on begins, or begins anew.
    pub(crate) fn read_again(&mut self, from: Timestamp) {
        let before = self.warming.as_ref().map(|warming| warming.backfill);
        self.warmings += 1;
        self.warming = Some(Warming {
            backfill: Backfill {
                id: self.warmings,
                from: before.map_or(from, |before| before.from.min(from)),
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
                Some(_) if self.sends(place) => self.send(place, event, effects),
                Some(key) => self.count(place, key, event, effects),
            }
        }
        self.current.again = false;
    }

    /// Everything was read again: the rules are warm.
    pub fn backfill_end(&mut self) {
        self.warming = None;
        for generation in &mut self.generations {
            generation.warming = false;
        }
    }
}
