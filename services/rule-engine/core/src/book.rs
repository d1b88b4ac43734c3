//! [`Book`]: the emitted slots of one rule and re-arm period, by tenant and key. All generations
//! of the rule with that period share it, as they share ids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::{EscalationId, RuleId, Timestamp};
use balefire_stream::slots::Emitted;
use balefire_stream::{Episode, Slots};

use crate::key::Key;
use crate::keyed::{Fate, Keyed};
use crate::redo::Owed;

/// The emitted slots of one key, with its canonical form: people see the key when a slot closes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    pub(crate) slots: Slots,
    pub(crate) canonical: Box<[u8]>,
}

/// A slot that gets no more breaches.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) tenant: Arc<str>,
    pub(crate) key: Key,
    pub(crate) canonical: Box<[u8]>,
    pub(crate) emitted: Emitted,
}

#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) rule: RuleId,
    /// R, nanoseconds.
    pub(crate) rearm: i64,
    pub(crate) keys: Keyed<Track>,
    /// No slot ends before it that is not closed.
    pub(crate) open_from: Option<Timestamp>,
    /// Slots that ended by then were closed when they were known.
    pub(crate) closed_until: Option<Timestamp>,
    /// Its slots are escalated when they close: what was raised ends a slot later.
    pub(crate) at_close: bool,
    /// Found breached in a recorded step that is gone through, and not shown by the log so far.
    pub(crate) owed: BTreeMap<(Key, i64, Arc<str>), Owed>,
}

impl Book {
    pub(crate) fn new(rule: RuleId, rearm: i64) -> Self {
        Self {
            rule,
            rearm,
            keys: Keyed::default(),
            open_from: None,
            closed_until: None,
            at_close: false,
            owed: BTreeMap::new(),
        }
    }

    /// How long behind its slot's end a slot is closed at the earliest, nanoseconds.
    pub(crate) const fn closes_after(&self) -> i64 {
        if self.at_close { self.rearm } else { 0 }
    }

    /// Whether a slot was told, or is owed.
    pub(crate) fn contains(&self, tenant: &str, key: Key, slot: i64) -> bool {
        let track = self.keys.get(tenant, key);
        track.is_some_and(|track| track.slots.contains(slot)) || self.owes(tenant, key, slot)
    }

    fn owes(&self, tenant: &str, key: Key, slot: i64) -> bool {
        !self.owed.is_empty() && self.owed.contains_key(&(key, slot, Arc::from(tenant)))
    }

    /// End of a slot: the first moment behind it.
    pub(crate) fn end_of(&self, slot: i64) -> Timestamp {
        Timestamp(slot.saturating_add(1).saturating_mul(self.rearm.max(1)))
    }

    fn note_open(&mut self, slot: i64) {
        let end = self.end_of(slot);
        self.open_from = Some(self.open_from.map_or(end, |from| from.min(end)));
    }

    /// Takes a breached slot in; `None`: it was emitted before.
    pub(crate) fn emit(
        &mut self,
        tenant: &Arc<str>,
        (key, canonical): (Key, &[u8]),
        slot: i64,
        id: EscalationId,
    ) -> Option<Episode> {
        let track = self.keys.entry(tenant, key);
        let episode = track.slots.emit(slot, id)?;
        track.canonical = canonical.into();
        self.note_open(slot);
        Some(episode)
    }

    /// Takes in what the log has. At a start it says all that was told, and a slot is open until
    /// its end was told, too. In a repair the newest records may still be on their way into the
    /// log: what is known stays, and what has left memory was closed before.
    pub(crate) fn load(
        &mut self,
        tenant: &Arc<str>,
        (key, canonical): (Key, &[u8]),
        slot_start: Timestamp,
        episode_id: EscalationId,
        repairs: bool,
    ) {
        let slot = slot_start.0.div_euclid(self.rearm.max(1));
        self.owed.remove(&(key, slot, Arc::clone(tenant)));
        if repairs && self.contains(tenant, key, slot) {
            return;
        }
        let closed = repairs && self.closed_until >= Some(self.end_of(slot));
        let track = self.keys.entry(tenant, key);
        track.canonical = canonical.into();
        track.slots.load(slot, episode_id);
        track.slots.set_closed(slot, closed);
        if !closed {
            self.note_open(slot);
        }
    }

    /// Takes in that the log has a slot's end.
    pub(crate) fn load_closed(&mut self, tenant: &Arc<str>, key: Key, slot_start: Timestamp) {
        let slot = slot_start.0.div_euclid(self.rearm.max(1));
        self.keys.entry(tenant, key).slots.set_closed(slot, true);
    }

    /// Closes the slots that ended by `cut`: by tenant, key and slot.
    pub(crate) fn close_until(&mut self, cut: Timestamp) -> Vec<Closing> {
        self.closed_until = self.closed_until.max(Some(cut));
        if self.open_from.is_none_or(|from| from > cut) {
            return Vec::new();
        }
        let (mut closings, mut left) = (Vec::new(), None::<Timestamp>);
        let rearm = self.rearm.max(1);
        self.keys.each(|tenant, key, track| {
            let open: Vec<Emitted> = track.slots.open().collect();
            let mut fate = Fate::Same;
            for emitted in open {
                let end = Timestamp(emitted.slot.saturating_add(1).saturating_mul(rearm));
                if end > cut {
                    left = Some(left.map_or(end, |other| other.min(end)));
                    continue;
                }
                track.slots.set_closed(emitted.slot, true);
                fate = Fate::Changed;
                closings.push(Closing {
                    tenant: Arc::clone(tenant),
                    key,
                    canonical: track.canonical.clone(),
                    emitted,
                });
            }
            fate
        });
        self.open_from = left;
        closings.sort_unstable_by(|a, b| {
            (&a.tenant, &a.canonical, a.emitted.slot).cmp(&(
                &b.tenant,
                &b.canonical,
                b.emitted.slot,
            ))
        });
        closings
    }

    /// Forgets slots that ended by `cut`; the end of the latest of them. Those that are not closed
    /// stay, and those of a key that something is owed of: the fold needs the neighbours.
    pub(crate) fn drop_until(&mut self, cut: Timestamp) -> Option<Timestamp> {
        let mut latest = None;
        let rearm = self.rearm.max(1);
        let owed = self.owed.keys();
        let owed: BTreeSet<(Key, &Arc<str>)> =
            owed.map(|(key, _, tenant)| (*key, tenant)).collect();
        self.keys.each(|tenant, key, track| {
            let open = track.slots.open().next();
            let open = open.map(|open| Timestamp(open.slot.saturating_mul(rearm)));
            let mut dropped = None;
            if !owed.contains(&(key, tenant)) {
                let cut = open.map_or(cut, |start| start.min(cut));
                dropped = track.slots.drop_until(cut, rearm);
                latest = latest.max(dropped);
            }
            match dropped {
                _ if track.slots.is_empty() => Fate::Gone,
                Some(_) => Fate::Changed,
                None => Fate::Same,
            }
        });
        latest
    }
}
