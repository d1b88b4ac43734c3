//! [`Slots`]: which slots of one key were escalated, and to which episode each belongs
//! (SEMANTICS §5). A fold over the ESCALATIONS partition in its log order.

use balefire_event::{EscalationId, EscalationKind, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// What the fold says of a new slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Episode {
    /// Raised or Continued.
    pub kind: EscalationKind,
    /// Id of the escalation that raised it.
    pub episode_id: EscalationId,
}

/// One emitted slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// floor(t / R).
    pub slot: i64,
    /// Its episode.
    pub episode_id: EscalationId,
    /// That no more comes of it was told.
    pub closed: bool,
}

/// The emitted slots of one (tenant, rule, key, R), ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    emitted: SmallVec<[Emitted; 1]>,
}

impl Slots {
    /// From emitted slots in any order, as a snapshot holds them.
    #[must_use]
    pub fn from_emitted(emitted: impl IntoIterator<Item = Emitted>) -> Self {
        let mut slots = Self::default();
        for Emitted {
            slot,
            episode_id,
            closed,
        } in emitted
        {
            slots.load(slot, episode_id);
            slots.set_closed(slot, closed);
        }
        slots
    }

    fn find(&self, slot: i64) -> Result<usize, usize> {
        self.emitted.binary_search_by_key(&slot, |known| known.slot)
    }

    fn episode_of(&self, slot: i64) -> Option<EscalationId> {
        let index = self.find(slot).ok()?;
        self.emitted.get(index).map(|known| known.episode_id)
    }

    /// Whether the slot is known as emitted.
    #[must_use]
    pub fn contains(&self, slot: i64) -> bool {
        self.find(slot).is_ok()
    }

    /// Takes in a slot with its escalation id: Raised if neither neighbour is there, else
    /// Continued with the neighbour's episode, the earlier slot's if both are. `None`: it is
    /// known already.
    pub fn emit(&mut self, slot: i64, id: EscalationId) -> Option<Episode> {
        let Err(at) = self.find(slot) else {
            return None;
        };
        let before = slot.checked_sub(1).and_then(|slot| self.episode_of(slot));
        let after = slot.checked_add(1).and_then(|slot| self.episode_of(slot));
        let episode = match before.or(after) {
            Some(episode_id) => Episode {
                kind: EscalationKind::Continued,
                episode_id,
            },
            None => Episode {
                kind: EscalationKind::Raised,
                episode_id: id,
            },
        };
        self.insert(at, slot, episode.episode_id);
        Some(episode)
    }

    fn insert(&mut self, at: usize, slot: i64, episode_id: EscalationId) {
        let emitted = Emitted {
            slot,
            episode_id,
            closed: false,
        };
        self.emitted.insert(at, emitted);
    }

    /// Takes in a slot as the log has it. The first record of a slot counts, repeats do not.
    pub fn load(&mut self, slot: i64, episode_id: EscalationId) {
        if let Err(at) = self.find(slot) {
            self.insert(at, slot, episode_id);
        }
    }

    /// Whether it was told that the slot gets no more breaches.
    pub fn set_closed(&mut self, slot: i64, closed: bool) {
        if let Ok(at) = self.find(slot)
            && let Some(emitted) = self.emitted.get_mut(at)
        {
            emitted.closed = closed;
        }
    }

    /// The slots not closed yet, ascending.
    pub fn open(&self) -> impl Iterator<Item = Emitted> + '_ {
        self.emitted.iter().filter(|slot| !slot.closed).copied()
    }

    /// Forgets the slots with (slot + 1) · R ≤ `cut`. Returns the end of the latest of them.
    pub fn drop_until(&mut self, cut: Timestamp, rearm: i64) -> Option<Timestamp> {
        let end = |known: &Emitted| Timestamp(known.slot.saturating_add(1).saturating_mul(rearm));
        let gone = self.emitted.partition_point(|known| end(known) <= cut);
        self.emitted.drain(..gone).next_back().as_ref().map(end)
    }

    /// Every known slot, ascending.
    #[must_use]
    pub fn emitted(&self) -> &[Emitted] {
        &self.emitted
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.emitted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EscalationId {
        EscalationId([n; 16])
    }

    #[test]
    fn a_neighbour_continues_and_a_gap_raises() {
        let mut slots = Slots::default();
        let kind = |episode: Option<Episode>| episode.map(|e| (e.kind, e.episode_id));
        assert_eq!(
            kind(slots.emit(-1, id(1))),
            Some((EscalationKind::Raised, id(1)))
        );
        assert_eq!(
            kind(slots.emit(0, id(2))),
            Some((EscalationKind::Continued, id(1)))
        );
        assert_eq!(
            kind(slots.emit(2, id(3))),
            Some((EscalationKind::Raised, id(3)))
        );
        assert_eq!(slots.emit(2, id(3)), None);
    }

    #[test]
    fn a_late_slot_that_bridges_two_episodes_takes_the_earlier_and_leaves_them_two() {
        let mut slots = Slots::default();
        slots.emit(0, id(1));
        slots.emit(2, id(2));
        let bridge = slots.emit(1, id(3)).map(|e| e.episode_id);
        assert_eq!(bridge, Some(id(1)));
        assert_eq!(slots.emit(3, id(4)).map(|e| e.episode_id), Some(id(2)));
    }

    #[test]
    fn a_closed_slot_stays_closed_and_known() {
        let mut slots = Slots::default();
        slots.emit(3, id(1));
        slots.emit(4, id(2));
        slots.set_closed(3, true);
        let open = |slots: &Slots| slots.open().map(|slot| slot.slot).collect::<Vec<_>>();
        assert_eq!(open(&slots), [4]);
        slots.load(3, id(1));
        let copy = Slots::from_emitted(slots.emitted().to_vec());
        assert_eq!(open(&copy), [4]);
        assert_eq!(copy, slots);
    }

    #[test]
    fn only_whole_slots_before_the_cut_are_forgotten() {
        let mut slots = Slots::default();
        for slot in [-2, -1, 0, 1] {
            slots.load(slot, id(9));
        }
        assert_eq!(slots.drop_until(Timestamp(0), 10), Some(Timestamp(0)));
        assert_eq!(slots.drop_until(Timestamp(0), 10), None);
        let left: Vec<i64> = slots.emitted().iter().map(|known| known.slot).collect();
        assert_eq!(left, [0, 1]);
    }
}
