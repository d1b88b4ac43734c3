//! When a failed delivery is tried again: exponential, capped, with full jitter.

use balefire_event::time::{MINUTE, SECOND};

/// How long and how often a delivery is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Attempts after which a delivery is given up.
    pub attempts_max: u32,
    /// Longest wait after the first failure, nanoseconds; doubles with each further one.
    pub first: i64,
    /// Longest wait after any failure, nanoseconds.
    pub cap: i64,
    /// A receiver's Retry-After counts up to this, nanoseconds.
    pub retry_after_max: i64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            first: SECOND,
            cap: MINUTE,
            retry_after_max: 10 * MINUTE,
        }
    }
}

impl Backoff {
    /// Wait after failed attempt `number` (from 1), nanoseconds. `roll` is uniform over all of
    /// u64; `retry_after` is what the receiver asked for, nanoseconds.
    #[must_use]
    pub fn wait(&self, number: u32, roll: u64, retry_after: Option<i64>) -> i64 {
        let doublings = number.saturating_sub(1).min(62);
        let longest = self
            .first
            .max(0)
            .saturating_mul(1_i64 << doublings)
            .min(self.cap.max(0));
        let jittered = (i128::from(longest) * i128::from(roll)) >> 64;
        let jittered = i64::try_from(jittered).unwrap_or(longest);
        match retry_after {
            Some(asked) => jittered.max(asked.clamp(0, self.retry_after_max)),
            None => jittered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let backoff = Backoff::default();
        let longest = |number| (backoff.wait(number, u64::MAX, None) + SECOND / 2) / SECOND;
        let seen: Vec<_> = (1..=8).map(longest).collect();
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(longest(u32::MAX), 60);
    }

    #[test]
    fn jitter_reaches_down_to_nothing() {
        assert_eq!(Backoff::default().wait(5, 0, None), 0);
    }

    #[test]
    fn the_receivers_wish_is_obeyed_up_to_its_cap() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(1, 0, Some(30 * SECOND)), 30 * SECOND);
        assert_eq!(backoff.wait(1, 0, Some(i64::MAX)), 10 * MINUTE);
        assert!(backoff.wait(8, u64::MAX, Some(SECOND)) > 59 * SECOND);
        assert_eq!(backoff.wait(1, 0, Some(-SECOND)), 0);
    }
}
