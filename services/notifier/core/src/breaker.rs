//! Holds deliveries back from a receiver that does not answer, and counts calls against its rate.
//! Pure: every question comes with the time.

use balefire_event::Timestamp;
use balefire_event::time::{MINUTE, SECOND};

/// So many calls in a row without an answer open the breaker.
pub const FAILURES_MAX: u32 = 8;
/// How long it is open at first, nanoseconds; twice as long each time a try failed.
pub const OPEN_FIRST: i64 = SECOND;
/// Longest it is open without a try, nanoseconds.
pub const OPEN_MAX: i64 = 30 * SECOND;

/// How a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Calls go through.
    Closed,
    /// None goes through before that time; then one does, to see.
    Open(Timestamp),
    /// One is under way, to see.
    Trying,
}

impl Mood {
    /// The word people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::Trying => "trying",
        }
    }
}

/// One receiver's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    wait: i64,
    mood: Mood,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 0,
            wait: OPEN_FIRST,
            mood: Mood::Closed,
        }
    }
}

impl Breaker {
    /// How it is.
    #[must_use]
    pub const fn mood(&self) -> Mood {
        self.mood
    }

    /// From when a call may go through; `None`: not before one that is under way has ended.
    #[must_use]
    pub const fn opens_at(&self) -> Option<Timestamp> {
        match self.mood {
            Mood::Closed => Some(Timestamp::MIN),
            Mood::Open(until) => Some(until),
            Mood::Trying => None,
        }
    }

    /// A call goes through.
    pub fn taken(&mut self) {
        if let Mood::Open(_) = self.mood {
            self.mood = Mood::Trying;
        }
    }

    /// The receiver answered, whatever it said.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// It did not answer, or only that it cannot.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        match self.mood {
            Mood::Closed if self.failures < FAILURES_MAX => {}
            Mood::Closed => self.mood = Mood::Open(now.plus(self.wait)),
            Mood::Trying => {
                self.wait = self.wait.saturating_mul(2).min(OPEN_MAX);
                self.mood = Mood::Open(now.plus(self.wait));
            }
            // Of a call that was under way when it opened.
            Mood::Open(_) => {}
        }
    }

    /// The clock was set back: it stays open for as long as before.
    pub fn set_back(&mut self, by: i64) {
        if let Mood::Open(until) = self.mood {
            self.mood = Mood::Open(until.minus(by));
        }
    }

    /// A call that was let through ended without having reached the receiver.
    pub fn given_back(&mut self, now: Timestamp) {
        if self.mood == Mood::Trying {
            self.mood = Mood::Open(now.plus(self.wait));
        }
    }
}

/// At most so many calls in a minute, with a sixth of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_minute: u32,
    /// When the calls so far would have ended, one after the other.
    busy_until: Timestamp,
}

impl Rate {
    /// Nothing was called yet.
    #[must_use]
    pub const fn of(per_minute: u32) -> Self {
        Self {
            per_minute,
            busy_until: Timestamp::MIN,
        }
    }

    fn each(&self) -> i64 {
        MINUTE / i64::from(self.per_minute.max(1))
    }

    fn burst(&self) -> i64 {
        self.each() * (i64::from(self.per_minute) / 6 - 1).max(0)
    }

    /// From when one more may go.
    #[must_use]
    pub fn free_at(&self) -> Timestamp {
        self.busy_until.minus(self.burst())
    }

    /// The clock was set back.
    pub fn set_back(&mut self, by: i64) {
        self.busy_until = self.busy_until.minus(by);
    }

    /// One goes.
    pub fn taken(&mut self, now: Timestamp) {
        self.busy_until = self.busy_until.max(now).plus(self.each());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_one_at_a_time() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(Timestamp(0));
        }
        breaker.answered();
        for _ in 1..FAILURES_MAX {
            breaker.failed(Timestamp(0));
        }
        assert_eq!(breaker.mood(), Mood::Closed);
        breaker.failed(Timestamp(0));
        assert_eq!(breaker.opens_at(), Some(Timestamp(OPEN_FIRST)));
        breaker.taken();
        assert_eq!(breaker.opens_at(), None);
        breaker.failed(Timestamp(OPEN_FIRST));
        assert_eq!(breaker.opens_at(), Some(Timestamp(3 * OPEN_FIRST)));
        for _ in 0..20 {
            breaker.taken();
            breaker.failed(Timestamp(0));
        }
        assert_eq!(breaker.opens_at(), Some(Timestamp(OPEN_MAX)));
        breaker.taken();
        breaker.answered();
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_rate_lets_a_sixth_through_at_once_and_the_rest_in_time() {
        let mut rate = Rate::of(60);
        let mut now = Timestamp(0);
        let mut times = Vec::new();
        for _ in 0..70 {
            now = now.max(rate.free_at());
            rate.taken(now);
            times.push(now.0 / SECOND);
        }
        assert_eq!(times.iter().filter(|second| **second == 0).count(), 10);
        assert_eq!(times.last(), Some(&60));
        let mut slow = Rate::of(1);
        slow.taken(Timestamp(0));
        assert_eq!(slow.free_at(), Timestamp(MINUTE));
    }
}
