//! [`Barriers`]: those on their way through the three lanes.

use std::collections::BTreeMap;

use balefire_event::{BarrierId, Lane, Timestamp};

use crate::limits::{BARRIER_AGE_MAX, BARRIERS_MAX};

#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Open {
    at: Timestamp,
    seen: [bool; 3],
}

/// A barrier comes out once every lane has shown it.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(from = "Vec<(BarrierId, Open)>", into = "Vec<(BarrierId, Open)>")]
pub(crate) struct Barriers {
    open: BTreeMap<BarrierId, Open>,
}

impl From<Vec<(BarrierId, Open)>> for Barriers {
    fn from(open: Vec<(BarrierId, Open)>) -> Self {
        Self {
            open: open.into_iter().collect(),
        }
    }
}

impl From<Barriers> for Vec<(BarrierId, Open)> {
    fn from(barriers: Barriers) -> Self {
        barriers.open.into_iter().collect()
    }
}

impl Barriers {
    /// A barrier was met in a lane. True: that was the last lane.
    pub(crate) fn meet(&mut self, id: BarrierId, at: Timestamp, lane: Lane) -> bool {
        if self.open.len() >= BARRIERS_MAX && !self.open.contains_key(&id) {
            self.forget_oldest();
        }
        let open = self.open.entry(id).or_insert(Open {
            at,
            seen: [false; 3],
        });
        if let Some(seen) = open.seen.get_mut(lane.index()) {
            *seen = true;
        }
        if open.seen != [true; 3] {
            return false;
        }
        self.open.remove(&id);
        true
    }

    /// Forgets what is older than [`BARRIER_AGE_MAX`].
    pub(crate) fn trim(&mut self, low_watermark: Timestamp) {
        self.open
            .retain(|_, open| open.at.plus(BARRIER_AGE_MAX) >= low_watermark);
    }

    fn forget_oldest(&mut self) {
        let oldest = self.open.iter().min_by_key(|(id, open)| (open.at, **id));
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.open.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_needs_every_lane_and_a_lane_counts_once() {
        let mut barriers = Barriers::default();
        let id = BarrierId([1; 16]);
        assert!(!barriers.meet(id, Timestamp(5), Lane::Bulk));
        assert!(!barriers.meet(id, Timestamp(5), Lane::Bulk));
        assert!(!barriers.meet(id, Timestamp(5), Lane::Urgent));
        assert!(barriers.meet(id, Timestamp(5), Lane::Normal));
        assert!(barriers.open.is_empty());
    }

    #[test]
    fn open_barriers_are_bounded_and_forgotten_after_an_hour() {
        let mut barriers = Barriers::default();
        for i in 0..100u8 {
            barriers.meet(BarrierId([i; 16]), Timestamp(i64::from(i)), Lane::Bulk);
        }
        assert_eq!(barriers.open.len(), BARRIERS_MAX);
        assert!(barriers.open.contains_key(&BarrierId([99; 16])));
        barriers.trim(Timestamp(99).plus(BARRIER_AGE_MAX));
        assert_eq!(barriers.open.len(), 1);
        barriers.trim(Timestamp(100).plus(BARRIER_AGE_MAX));
        assert!(barriers.open.is_empty());
    }
}
