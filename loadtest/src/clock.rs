//! Time of a run: nanoseconds after its start, by the monotonic clock.

use std::time::Duration;

use tokio::time::Instant;

/// The last stretch before a time is spun, not slept: waking up takes about so long.
const SPIN: Duration = Duration::from_micros(80);

/// Counts from a start that may lie ahead.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// Wall time of the start, nanoseconds since 1970.
    start_wall_ns: i64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock {
    /// Starts so much from now.
    #[must_use]
    pub fn starting_in(lead: Duration) -> Self {
        let wall = balefire_kit::clock::now().0;
        let lead_ns = i64::try_from(lead.as_nanos()).unwrap_or_default();
        Self {
            start: Instant::now() + lead,
            start_wall_ns: wall.saturating_add(lead_ns),
        }
    }

    /// Nanoseconds after the start; 0 before it.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.since(Instant::now())
    }

    /// Nanoseconds from the start to a time; 0 before it.
    #[must_use]
    pub fn since(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.start))
    }

    /// The time so many nanoseconds after the start.
    #[must_use]
    pub fn at(&self, after_ns: u64) -> Instant {
        self.start + Duration::from_nanos(after_ns)
    }

    /// A wall time, nanoseconds since 1970, in nanoseconds after the start; 0 before it.
    #[must_use]
    pub fn of_wall(&self, wall_ns: i64) -> u64 {
        u64::try_from(wall_ns.saturating_sub(self.start_wall_ns)).unwrap_or_default()
    }

    /// Blocks this thread until a time after the start, to within some microseconds.
    pub fn block_until(&self, at_ns: u64) {
        let until = self.start + Duration::from_nanos(at_ns);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if left > SPIN {
                std::thread::park_timeout(left - SPIN);
            } else {
                std::hint::spin_loop();
            }
        }
    }
}
