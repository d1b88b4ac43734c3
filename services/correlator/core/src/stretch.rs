//! [`Stretch`]: a stretch of received_at that hints of one fact cover.

use balefire_event::Timestamp;

/// A closed range of received_at.
pub(crate) type Range = (Timestamp, Timestamp);

/// A stretch of time [first, last] with a hint at least every 2·J.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stretch {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Stretch {
    pub(crate) fn at(time: Timestamp) -> Self {
        Self {
            first: time,
            last: time,
        }
    }

    /// Nanoseconds from the stretch; 0 within.
    pub(crate) fn distance(self, time: Timestamp) -> i64 {
        if time < self.first {
            self.first.since(time)
        } else {
            time.since(self.last).max(0)
        }
    }

    /// Every moment within `j` of it.
    pub(crate) fn reach(self, j: i64) -> Range {
        (self.first.minus(j), self.last.plus(j))
    }

    pub(crate) fn extend(&mut self, time: Timestamp) {
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}
