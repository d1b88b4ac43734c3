//! [`Barriers`]: a barrier comes out once it came in on every expected input.

use std::collections::BTreeSet;

use balefire_event::{BarrierId, Lane, Timestamp, time::HOUR};
use serde::{Deserialize, Serialize};

/// Most barriers open at once; the oldest is forgotten for a new one.
pub const BARRIERS_MAX: usize = 64;
/// How long after it was placed an open barrier is forgotten, nanoseconds of watermark.
pub const BARRIER_AGE_MAX: i64 = HOUR;

/// Where a barrier came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    /// A lane, straight from ingest.
    Door(Lane),
    /// A lane, from the correlator's owner of an INTAKE partition.
    Joined {
        /// INTAKE partition.
        partition: u32,
        /// Lane.
        lane: Lane,
    },
}

impl Source {
    /// Every lane of the door and every lane of each INTAKE partition's correlator.
    #[must_use]
    pub fn all(intake_partitions: u32) -> BTreeSet<Self> {
        let joined = (0..intake_partitions).flat_map(|partition| {
            Lane::ALL
                .iter()
                .map(move |&lane| Self::Joined { partition, lane })
        });
        Lane::ALL
            .iter()
            .map(|&lane| Self::Door(lane))
            .chain(joined)
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    id: BarrierId,
    at: Timestamp,
    seen: BTreeSet<Source>,
}

/// The barriers that have not come in everywhere yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barriers {
    open: Vec<Open>,
}

impl Barriers {
    /// A barrier placed at `at` came in. True: it has now come in on all of `expected`.
    pub fn observe(
        &mut self,
        id: BarrierId,
        at: Timestamp,
        from: Source,
        expected: &BTreeSet<Source>,
    ) -> bool {
        let index = match self.open.iter().position(|open| open.id == id) {
            Some(index) => index,
            None => {
                if self.open.len() >= BARRIERS_MAX {
                    self.open.remove(0);
                }
                let seen = BTreeSet::new();
                self.open.push(Open { id, at, seen });
                self.open.len() - 1
            }
        };
        let Some(open) = self.open.get_mut(index) else {
            return false;
        };
        open.seen.insert(from);
        let complete = expected.is_subset(&open.seen);
        if complete {
            self.open.remove(index);
        }
        complete
    }

    /// Forgets what was placed an hour before the watermark.
    pub fn forget(&mut self, low: Timestamp) {
        self.open.retain(|open| open.at.plus(BARRIER_AGE_MAX) > low);
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_comes_out_once_and_only_when_every_input_had_it() {
        let expected = Source::all(2);
        assert_eq!(expected.len(), 9);
        let mut barriers = Barriers::default();
        let id = BarrierId([7; 16]);
        let last = expected.len() - 1;
        for (index, source) in expected.iter().enumerate() {
            assert!(!barriers.observe(BarrierId([8; 16]), Timestamp(0), *source, &Source::all(3)));
            assert_eq!(
                barriers.observe(id, Timestamp(0), *source, &expected),
                index == last
            );
        }
        assert_eq!(barriers.len(), 1);
        barriers.forget(Timestamp(BARRIER_AGE_MAX));
        assert!(barriers.is_empty());
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let expected = Source::all(0);
        let mut barriers = Barriers::default();
        for n in 0..=u8::try_from(BARRIERS_MAX).unwrap() {
            barriers.observe(
                BarrierId([n; 16]),
                Timestamp(0),
                Source::Door(Lane::Bulk),
                &expected,
            );
        }
        assert_eq!(barriers.len(), BARRIERS_MAX);
    }
}
