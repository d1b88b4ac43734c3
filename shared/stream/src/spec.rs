//! [`WindowSpec`]: condition, W and R of a rule generation, and the slots and cells they make.

use balefire_event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::condition::{Condition, STEPS_MAX};

/// Condition, W and R of a rule generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowSpec {
    condition: Condition,
    /// N of a count.
    threshold: usize,
    window: i64,
    rearm: i64,
}

impl WindowSpec {
    /// "More than `threshold` within `window`, slots of `rearm`"; both in nanoseconds.
    ///
    /// # Errors
    /// A period of zero or less.
    pub fn new(threshold: u64, window: i64, rearm: i64) -> Result<Self, Error> {
        Self::with(Condition::Count(threshold), window, rearm)
    }

    /// A condition within `window`, slots of `rearm`; both in nanoseconds.
    ///
    /// # Errors
    /// A period of zero or less; a sequence of no step, or of more than [`STEPS_MAX`].
    pub fn with(condition: Condition, window: i64, rearm: i64) -> Result<Self, Error> {
        if let Condition::Unordered(steps) | Condition::Ordered(steps) = condition
            && !(1..=STEPS_MAX).contains(&steps)
        {
            return Err(Error::Steps(steps));
        }
        if window <= 0 {
            return Err(Error::Window(window));
        }
        if rearm <= 0 {
            return Err(Error::Rearm(rearm));
        }
        let threshold = usize::try_from(condition.threshold()).unwrap_or(usize::MAX);
        Ok(Self {
            condition,
            threshold,
            window,
            rearm,
        })
    }

    /// W, nanoseconds.
    #[must_use]
    pub const fn window(&self) -> i64 {
        self.window
    }

    /// R, nanoseconds.
    #[must_use]
    pub const fn rearm(&self) -> i64 {
        self.rearm
    }

    /// N of a count, as a length.
    pub(crate) const fn threshold(&self) -> usize {
        self.threshold
    }

    /// What must hold within W.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// floor(t / R), right for times before 1970 too.
    #[must_use]
    pub const fn slot_of(&self, t: Timestamp) -> i64 {
        t.0.div_euclid(self.rearm)
    }

    /// slot · R.
    #[must_use]
    pub const fn slot_start(&self, slot: i64) -> Timestamp {
        Timestamp(slot.saturating_mul(self.rearm))
    }

    /// First and last time of the slot of `t`.
    pub(crate) const fn slot_bounds(&self, t: Timestamp) -> (Timestamp, Timestamp) {
        bounds(t, self.rearm)
    }

    /// First and last time of the part of the slot of `t` that lies in the same cell of W.
    pub(crate) fn cell_bounds(&self, t: Timestamp) -> (Timestamp, Timestamp) {
        let (slot_first, slot_last) = self.slot_bounds(t);
        let (cell_first, cell_last) = bounds(t, self.window);
        (slot_first.max(cell_first), slot_last.min(cell_last))
    }
}

const fn bounds(t: Timestamp, period: i64) -> (Timestamp, Timestamp) {
    let first = t.minus(t.0.rem_euclid(period));
    // From t, not from `first`: that saturates below the earliest time.
    (first, t.plus(period - 1 - t.0.rem_euclid(period)))
}
