//! [`Condition`]: what must hold of the entries in [t − W, t] for an entry at t to be a breach
//! point (SEMANTICS §3).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use balefire_event::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Most steps of a sequence.
pub const STEPS_MAX: u8 = 16;

/// How an average or a percentile lies to its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// Below it.
    Less,
    /// Below it, or the same.
    LessOrEqual,
    /// The same.
    Equal,
    /// Above it, or the same.
    GreaterOrEqual,
    /// Above it.
    Greater,
}

/// What an average or a percentile is compared with, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bound {
    /// How it must lie.
    pub relation: Relation,
    /// To what.
    pub than: i64,
}

/// Of a rule generation. What a value is, the caller says.
///
/// The first five are monotone: a further entry never makes them false, so a slot is escalated the
/// moment one holds. The others are not, and are decided once, when the slot closes.
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
    /// The mean of the values, exactly.
    Average(Bound),
    /// The smallest value that at least so many percent, 1 to 100, do not exceed (nearest rank).
    Percentile(u8, Bound),
    /// An entry of value 0 and none of value 1 within W behind it, both ends included. The breach
    /// point is the end of that silence.
    Absence,
}

impl Condition {
    /// Whether it can fall as well as rise when more entries come: decided when the slot closes.
    #[must_use]
    pub const fn is_at_close(&self) -> bool {
        match self {
            Self::Count(_)
            | Self::Distinct(_)
            | Self::Sum(_)
            | Self::Unordered(_)
            | Self::Ordered(_) => false,
            Self::Average(_) | Self::Percentile(..) | Self::Absence => true,
        }
    }

    /// N of "more than N"; of a sequence the number of its steps less one; 0 where nothing is
    /// counted.
    #[must_use]
    pub fn threshold(&self) -> u64 {
        match self {
            Self::Average(_) | Self::Percentile(..) | Self::Absence => 0,
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
                Self::Ordered(_) | Self::Average(_) | Self::Percentile(..) | Self::Absence => true,
            })
            .collect();
        kept.reverse();
        kept
    }
}

/// A condition over entries that come and leave in ascending order of time.
#[derive(Debug, Clone)]
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
    Average {
        bound: Bound,
        sum: u128,
        count: u64,
    },
    /// Where a rank lies to the bound is told by how many values lie below it and at it.
    Percentile {
        percent: u8,
        bound: Bound,
        below: u64,
        at: u64,
        count: u64,
    },
}

impl Tally {
    /// Over nothing; `None`: a mere count of entries or their absence, which need no tally.
    pub(crate) fn of(condition: Condition) -> Option<Self> {
        Some(match condition {
            Condition::Count(_) | Condition::Absence => return None,
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
            Condition::Average(bound) => Self::Average {
                bound,
                sum: 0,
                count: 0,
            },
            Condition::Percentile(percent, bound) => Self::Percentile {
                percent,
                bound,
                below: 0,
                at: 0,
                count: 0,
            },
        })
    }

    /// Whether it must see its entries in ascending order of time.
    pub(crate) const fn is_ordered(&self) -> bool {
        matches!(self, Self::Ordered { .. })
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
            Self::Average { sum, count, .. } => {
                *sum += u128::from(value);
                *count += 1;
            }
            Self::Percentile {
                bound,
                below,
                at,
                count,
                ..
            } => {
                *count += 1;
                match bound.of(i128::from(value), 1) {
                    Ordering::Less => *below += 1,
                    Ordering::Equal => *at += 1,
                    Ordering::Greater => {}
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
            Self::Average { sum, count, .. } => {
                *sum -= u128::from(value);
                *count -= 1;
            }
            Self::Percentile {
                bound,
                below,
                at,
                count,
                ..
            } => {
                *count -= 1;
                match bound.of(i128::from(value), 1) {
                    Ordering::Less => *below -= 1,
                    Ordering::Equal => *at -= 1,
                    Ordering::Greater => {}
                }
            }
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
            Self::Average { bound, sum, count } => {
                let sum = i128::try_from(*sum).unwrap_or(i128::MAX);
                *count > 0 && bound.relation.holds(bound.of(sum, *count))
            }
            Self::Percentile {
                percent,
                bound,
                below,
                at,
                count,
            } => {
                let rank = (u128::from(*percent) * u128::from(*count)).div_ceil(100);
                let (below, at) = (u128::from(*below), u128::from(*at));
                let lies = if rank <= below {
                    Ordering::Less
                } else if rank <= below + at {
                    Ordering::Equal
                } else {
                    Ordering::Greater
                };
                *count > 0 && bound.relation.holds(lies)
            }
        }
    }
}

impl Relation {
    const fn holds(self, lies: Ordering) -> bool {
        match self {
            Self::Less => lies.is_lt(),
            Self::LessOrEqual => lies.is_le(),
            Self::Equal => lies.is_eq(),
            Self::GreaterOrEqual => lies.is_ge(),
            Self::Greater => lies.is_gt(),
        }
    }
}

impl Bound {
    /// How the mean of `count` values that come to `sum` lies to it.
    fn of(&self, sum: i128, count: u64) -> Ordering {
        sum.cmp(&(i128::from(self.than) * i128::from(count)))
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
