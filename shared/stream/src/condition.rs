//! [`Condition`]: what must hold of the entries in [t − W, t] for an entry at t to be a breach
//! point (SEMANTICS §3). Each is monotone: a further entry never makes it false.

use std::collections::BTreeMap;

use balefire_event::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Most steps of a sequence.
pub const STEPS_MAX: u8 = 16;

/// Of a rule generation. What a value is, the caller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// More than this many entries.
    Count(u64),
    /// More than this many different values.
    Distinct(u64),
    /// Values whose sum is more than this. It is taken in 128 bits: no sum of entries overflows.
    Sum(u64),
    /// Every value from 0 to below this.
    Unordered(u8),
    /// The same, in ascending order of time; those of one time follow each other either way.
    Ordered(u8),
}

impl Condition {
    /// N of "more than N"; of a sequence the number of its steps less one.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        match self {
            Self::Count(n) | Self::Distinct(n) | Self::Sum(n) => *n,
            Self::Unordered(steps) | Self::Ordered(steps) => u64::from(*steps).saturating_sub(1),
        }
    }

    /// Which of the entries of an escalated slot, given by value in ascending order of time, still
    /// decide about later slots: their windows hold a tail of it, or all.
    pub(crate) fn tail(&self, values: &[u64]) -> Vec<bool> {
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        let mut sum = 0u128;
        let mut kept: Vec<bool> = values
            .iter()
            .rev()
            .map(|value| match self {
                Self::Count(n) => {
                    sum += 1;
                    sum <= u128::from(*n)
                }
                Self::Distinct(n) => {
                    let fewer = seen.len() as u64 <= *n;
                    seen.insert(*value, 1).is_none() && fewer
                }
                Self::Sum(n) => {
                    let before = sum;
                    sum += u128::from(*value);
                    before <= u128::from(*n) && *value > 0
                }
                Self::Unordered(_) => seen.insert(*value, 1).is_none(),
                Self::Ordered(_) => true,
            })
            .collect();
        kept.reverse();
        kept
    }
}

/// A condition over entries that come and leave in ascending order of time.
#[derive(Debug)]
pub(crate) enum Tally {
    Distinct {
        more_than: u64,
        counts: BTreeMap<u64, u32>,
    },
    Sum {
        more_than: u64,
        sum: u128,
    },
    Unordered {
        missing: u32,
        counts: SmallVec<[u32; 4]>,
    },
    /// Of each step the latest start of a chain that ends with it.
    Ordered {
        starts: SmallVec<[Option<Timestamp>; 4]>,
    },
}

impl Tally {
    /// Over nothing; `None`: a mere count of entries, which needs no tally.
    pub(crate) fn of(condition: Condition) -> Option<Self> {
        Some(match condition {
            Condition::Count(_) => return None,
            Condition::Distinct(more_than) => Self::Distinct {
                more_than,
                counts: BTreeMap::new(),
            },
            Condition::Sum(more_than) => Self::Sum { more_than, sum: 0 },
            Condition::Unordered(steps) => Self::Unordered {
                missing: u32::from(steps),
                counts: smallvec::smallvec![0; usize::from(steps)],
            },
            Condition::Ordered(steps) => Self::Ordered {
                starts: smallvec::smallvec![None; usize::from(steps)],
            },
        })
    }

    /// Entries of one time, by value ascending.
    pub(crate) fn add(&mut self, t: Timestamp, value: u64) {
        match self {
            Self::Distinct { counts, .. } => *counts.entry(value).or_default() += 1,
            Self::Sum { sum, .. } => *sum += u128::from(value),
            Self::Unordered { missing, counts } => {
                if let Some(count) = place(counts, value) {
                    *missing -= u32::from(*count == 0);
                    *count += 1;
                }
            }
            Self::Ordered { starts } => {
                let before = match value.checked_sub(1) {
                    Some(step) => place(starts, step).copied().flatten(),
                    None => Some(t),
                };
                if let Some(start) = place(starts, value) {
                    *start = (*start).max(before);
                }
            }
        }
    }

    /// The oldest entry leaves.
    pub(crate) fn remove(&mut self, value: u64) {
        match self {
            Self::Distinct { counts, .. } => {
                if let Some(count) = counts.get_mut(&value) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&value);
                    }
                }
            }
            Self::Sum { sum, .. } => *sum -= u128::from(value),
            Self::Unordered { missing, counts } => {
                if let Some(count) = place(counts, value) {
                    *count -= 1;
                    *missing += u32::from(*count == 0);
                }
            }
            // A chain that starts before the window is told by its start.
            Self::Ordered { .. } => {}
        }
    }

    /// Whether the condition holds of the entries from `from` on.
    pub(crate) fn holds(&self, from: Timestamp) -> bool {
        match self {
            Self::Distinct { more_than, counts } => counts.len() as u64 > *more_than,
            Self::Sum { more_than, sum } => *sum > u128::from(*more_than),
            Self::Unordered { missing, .. } => *missing == 0,
            Self::Ordered { starts } => starts
                .last()
                .copied()
                .flatten()
                .is_some_and(|start| start >= from),
        }
    }
}

fn place<T>(steps: &mut [T], value: u64) -> Option<&mut T> {
    steps.get_mut(usize::try_from(value).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: Condition, entries: &[(i64, u64)], from: i64) -> bool {
        let mut tally = Tally::of(condition).unwrap();
        for (t, value) in entries {
            tally.add(Timestamp(*t), *value);
        }
        tally.holds(Timestamp(from))
    }

    #[test]
    fn a_chain_counts_from_its_latest_start() {
        let chain = [(1, 0), (2, 1), (5, 0), (6, 1), (7, 2)];
        assert!(holds(Condition::Ordered(3), &chain, 5));
        assert!(!holds(Condition::Ordered(3), &chain, 6));
        assert!(!holds(Condition::Ordered(2), &[(1, 1), (2, 0)], 0));
        assert!(holds(Condition::Ordered(2), &[(2, 0), (2, 1)], 0));
    }

    #[test]
    fn the_largest_values_do_not_overflow_a_sum() {
        let most = [(1, u64::MAX), (2, u64::MAX)];
        assert!(holds(Condition::Sum(u64::MAX), &most, 0));
        assert!(!holds(Condition::Sum(u64::MAX), &most[..1], 0));
    }

    #[test]
    fn a_tail_holds_the_last_of_each_value_and_no_more_than_needed() {
        let values = [1, 2, 1, 3, 3];
        let tail = |condition: Condition| condition.tail(&values);
        assert_eq!(
            tail(Condition::Distinct(5)),
            [false, true, true, false, true]
        );
        assert_eq!(
            tail(Condition::Distinct(1)),
            [false, false, true, false, true]
        );
        assert_eq!(tail(Condition::Sum(3)), [false, false, false, true, true]);
        assert_eq!(tail(Condition::Count(2)), [false, false, false, true, true]);
    }
}
