//! Repair: a record whose window reaches into what is not in memory is decided from the log,
//! read again (SEMANTICS §7). Slots only ever add.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::{Event, Lane, Timestamp, Timing};
use balefire_stream::{Entry, Window};

use crate::copies::Copies;
use crate::decide::filled_fields;
use crate::effect::{Effect, RepairRequest};
use crate::engine::Engine;
use crate::escalate::Found;
use crate::generation::Contribution;
use crate::key::Key;

/// Generation, tenant and key.
pub(crate) type Place = (usize, Arc<str>, Key);

/// Stragglers of one key that wait for the end of their batch.
#[derive(Debug)]
pub(crate) struct Pending {
    first: Timestamp,
    last: Timestamp,
    /// The first of them: completes what the repair finds.
    straggler: Box<Event<'static>>,
}

/// A key being read again.
#[derive(Debug)]
pub(crate) struct Open {
    pending: Pending,
    window: Window<Contribution>,
}

impl Engine {
    pub(crate) fn ask_for_repair(&mut self, place: usize, key: Key, event: &Event<'_>) {
        let place = (place, Arc::clone(&self.current.tenant), key);
        let pending = self.pending.entry(place).or_insert_with(|| Pending {
            first: event.t,
            last: event.t,
            straggler: Box::new(event.clone().into_owned()),
        });
        pending.first = pending.first.min(event.t);
        pending.last = pending.last.max(event.t);
    }

    /// From where the log must be read again for all stragglers of the batch.
    pub(crate) fn repair_request(&self) -> Option<RepairRequest> {
        let config = &self.config;
        let mut events: Option<Timestamp> = None;
        let mut slots: Option<Timestamp> = None;
        for ((place, _, _), pending) in &self.pending {
            let generation = self.generations.get(*place);
            let Some(counting) = generation.and_then(|g| g.counting.as_ref()) else {
                continue;
            };
            let spec = &counting.window;
            let from = pending.first.minus(spec.window());
            let slot = spec.slot_of(pending.first).saturating_sub(1);
            let slot_from = spec.slot_start(slot).min(from);
            events = Some(events.map_or(from, |other| other.min(from)));
            slots = Some(slots.map_or(slot_from, |other| other.min(slot_from)));
        }
        let back = config.ahead + config.skew;
        let memory = if self.untrusted {
            config.untrusted_memory
        } else {
            0
        };
        Some(RepairRequest {
            events_from: events?.minus(back).minus(memory),
            slots_from: slots?.minus(back).minus(memory),
        })
    }

    /// The repair asked for begins. ESCALATIONS from its `slots_from` on goes through
    /// [`Engine::load_escalation`] first, then the events.
    pub fn repair_begin(&mut self) {
        self.repairing = true;
        self.repair_copies = Copies::default();
        self.open = std::mem::take(&mut self.pending)
            .into_iter()
            .map(|(place, pending)| {
                let window = Window::default();
                (place, Open { pending, window })
            })
            .collect();
    }

    /// An event read again: each lane in its order. Events of other keys cost a look.
    pub fn repair_event(
        &mut self,
        lane: Lane,
        tenant: &str,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if self.open.is_empty() || event.timing != Timing::OnTime {
            return;
        }
        let memory = self.config.untrusted_memory;
        if !self.repair_copies.admit(lane, event, memory) {
            return;
        }
        self.enter(lane, tenant);
        let filled = filled_fields(event);
        for index in 0..self.candidates(event.category).len() {
            let Some(place) = self.candidates(event.category).get(index).copied() else {
                continue;
            };
            let Some(generation) = self.generations.get(place) else {
                continue;
            };
            if let Some(filled) = &filled
                && !generation.reads_any(filled)
            {
                continue;
            }
            self.repair_match(place, event, effects);
        }
    }

    pub(crate) fn repair_match(
        &mut self,
        place: usize,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(generation) = self.generations.get(place) else {
            return;
        };
        let Some(counting) = &generation.counting else {
            return;
        };
        let Some(key) = Key::of(&mut self.key, &counting.group_by, event) else {
            return;
        };
        let open_key = (place, Arc::clone(&self.current.tenant), key);
        let Some(open) = self.open.get_mut(&open_key) else {
            return;
        };
        let spec = counting.window;
        let reach = spec.window();
        let in_reach =
            open.pending.first.minus(reach) <= event.t && event.t <= open.pending.last.plus(reach);
        // Such an event was matched before; one that panicked then is a dead letter.
        let matcher = &generation.spec().matcher;
        let matches = std::panic::AssertUnwindSafe(|| matcher.matches(event));
        if !in_reach || !std::panic::catch_unwind(matches).unwrap_or(false) {
            return;
        }
        let may_breach = generation.covers(event.control_revision);
        let contribution = generation.contribution(event);
        let measured = generation.spec().measured(event);
        let entry = Entry::new(event.t, event.dedup_id, may_breach, contribution);
        let book = self.books.get(counting.book);
        let emitted = |slot| book.is_some_and(|book| book.contains(&open_key.1, key, slot));
        // A straggler changes nothing before itself, and slots that ended before it are not loaded.
        let first_slot = spec.slot_of(open.pending.first);
        let slot = spec.slot_of(event.t);
        let (mut found, mut now_emitted) = (Vec::new(), false);
        for value in measured.values() {
            let entry = entry.clone().with_value(value);
            let mut breaches = open.window.insert(&spec, entry, emitted);
            breaches.retain(|breach| breach.slot >= first_slot);
            found.extend(Found::all(&open.window, &spec, &breaches));
            for breach in &breaches {
                open.window.trim(&spec, breach.at, true);
                now_emitted |= breach.slot == slot;
            }
            open.window
                .trim(&spec, event.t, now_emitted || emitted(slot));
        }
        found.sort_by_key(|found| found.breach.slot);
        if !found.is_empty() {
            let straggler = open.pending.straggler.clone();
            self.emit(place, key, &straggler, &found, effects);
        }
    }

    /// Everything was read again.
    pub fn repair_end(&mut self) {
        self.repairing = false;
        self.open = BTreeMap::new();
        self.repair_copies = Copies::default();
    }
}
