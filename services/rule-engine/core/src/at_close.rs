//! Rules that are decided once, when a slot ends: averages, percentiles, absence (SEMANTICS §3).
//!
//! A slot ends when the watermark has passed its end + L + F: every event that is on time is there.
//! What comes later (an amendment, a dead letter replayed) is kept for the slots behind it and
//! changes nothing that was decided.

use std::sync::Arc;

use balefire_event::Timestamp;

use crate::effect::Effect;
use crate::engine::Engine;
use crate::escalate::{Found, decided};
use crate::key::Key;
use crate::redo::Breached;

/// A slot found breached when it ended.
struct Ended {
    tenant: Arc<str>,
    key: Key,
    canonical: Box<[u8]>,
    found: Found,
}

impl Engine {
    /// Decides every slot that ended by `cut` and was not decided before, as of the low watermark
    /// `low`.
    pub(crate) fn decide_until(
        &mut self,
        cut: Timestamp,
        low: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        for place in 0..self.generations.len() {
            for ended in self.ended(place, cut) {
                self.decide(place, ended, low, effects);
            }
        }
    }

    /// Breached slots of a generation, by tenant, key and slot.
    fn ended(&mut self, place: usize, cut: Timestamp) -> Vec<Ended> {
        let generation = self.generations.get_mut(place);
        let counting = generation
            .filter(|generation| !generation.warming)
            .and_then(|generation| generation.counting.as_mut());
        let Some(counting) = counting.filter(|counting| counting.is_at_close()) else {
            return Vec::new();
        };
        let after = counting.decided_until;
        if after >= Some(cut) {
            return Vec::new();
        }
        counting.decided_until = Some(cut);
        let book = self.books.get(counting.book);
        let spec = &counting.window;
        let mut all = Vec::new();
        for (tenant, key, window) in counting.keys.sorted() {
            let emitted = |slot| book.is_some_and(|book| book.contains(tenant, key, slot));
            let breaches = window.at_close(spec, after, cut, emitted);
            for found in Found::all(window, spec, &breaches) {
                let canonical = counting.canonicals.get(tenant, key);
                all.push(Ended {
                    tenant: Arc::clone(tenant),
                    key,
                    canonical: canonical.cloned().unwrap_or_default(),
                    found,
                });
            }
        }
        all
    }

    fn decide(&mut self, place: usize, ended: Ended, low: Timestamp, effects: &mut Vec<Effect>) {
        let Some(generation) = self.generations.get(place) else {
            return;
        };
        let Some(counting) = &generation.counting else {
            return;
        };
        let (tenant, canonical, slot) = (&ended.tenant, &ended.canonical, ended.found.breach.slot);
        let of = (tenant, canonical.as_ref());
        let escalation = decided(generation.spec(), counting, of, ended.found, low);
        let at = Breached {
            tenant,
            key: ended.key,
            canonical,
            slot,
            first: generation.first,
        };
        let book = self.books.get_mut(counting.book);
        let told = book.and_then(|book| book.tell(&at, escalation, self.redo.as_mut()));
        self.counters.escalations += u64::from(told.is_some());
        effects.extend(told.map(Effect::Escalate));
    }
}
