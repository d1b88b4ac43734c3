//! [`Joining`]: whether joining still works, seen from counts that only grow. Pure: it is asked now
//! and then with the time.

use std::collections::VecDeque;

use balefire_event::Timestamp;
use balefire_event::time::MINUTE;

use crate::coverage::Counts;

/// The stretch that is looked at, nanoseconds.
pub const WITHIN: i64 = 10 * MINUTE;
/// Fewer events that came for joining say nothing.
pub const EVENTS_MIN: u64 = 100;
/// Of a hundred events so many must find their user.
pub const JOINED_MIN: u64 = 50;
/// What goes on is told again so often, nanoseconds.
pub const AGAIN: i64 = 60 * MINUTE;
/// Looks remembered.
const LOOKS_MAX: usize = 64;

/// Counts of the last minutes.
#[derive(Debug, Clone, Default)]
pub struct Joining {
    looks: VecDeque<(Timestamp, Counts)>,
    told: Option<Timestamp>,
}

impl Joining {
    /// Takes what is counted by now. What people shall be told: events of the last minutes that came
    /// for joining, and how many of them found their user.
    pub fn look(&mut self, counts: Counts, now: Timestamp) -> Option<(u64, u64)> {
        let fewer = |(_, last): &(Timestamp, Counts)| last.events > counts.events;
        if self.looks.back().is_some_and(fewer) {
            // A partition went to another instance: its counts with it.
            self.looks.clear();
        }
        self.looks.push_back((now, counts));
        while self.looks.len() > LOOKS_MAX
            || self
                .looks
                .front()
                .is_some_and(|(at, _)| now.since(*at) > WITHIN)
        {
            self.looks.pop_front();
        }
        let (_, first) = self.looks.front()?;
        let events = counts.events.saturating_sub(first.events);
        let found = |counts: &Counts| counts.joined.saturating_add(counts.amended);
        let found = found(&counts).saturating_sub(found(first)).min(events);
        let low =
            events >= EVENTS_MIN && found.saturating_mul(100) < events.saturating_mul(JOINED_MIN);
        if !low {
            self.told = None;
            return None;
        }
        if self
            .told
            .is_some_and(|at| (0..AGAIN).contains(&now.since(at)))
        {
            return None;
        }
        self.told = Some(now);
        Some((events, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: u64, joined: u64, amended: u64) -> Counts {
        Counts {
            events,
            joined,
            amended,
            ..Counts::default()
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp(minutes * MINUTE)
    }

    #[test]
    fn a_low_share_of_enough_events_is_told_once_an_hour() {
        let mut joining = Joining::default();
        assert_eq!(joining.look(counts(1_000, 900, 0), at(0)), None);
        assert_eq!(joining.look(counts(1_099, 900, 0), at(1)), None, "too few");
        assert_eq!(joining.look(counts(1_100, 930, 10), at(2)), Some((100, 40)));
        assert_eq!(joining.look(counts(1_200, 930, 10), at(3)), None, "told");
        assert_eq!(
            joining.look(counts(1_500, 1_300, 10), at(4)),
            None,
            "mended"
        );
        assert_eq!(
            joining.look(counts(9_000, 1_300, 10), at(5)),
            Some((8_000, 410))
        );
    }

    #[test]
    fn what_a_partition_takes_with_it_is_no_loss() {
        let mut joining = Joining::default();
        joining.look(counts(10_000, 9_000, 0), at(0));
        assert_eq!(joining.look(counts(500, 0, 0), at(1)), None);
        assert_eq!(joining.look(counts(700, 0, 0), at(2)), Some((200, 0)));
    }
}
