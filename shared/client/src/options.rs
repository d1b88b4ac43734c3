//! How a client behaves.

use std::time::Duration;

use balefire_event::limits::{BATCH_EVENTS_MAX, REQUEST_BYTES_MAX};

/// What a request's frame may add to its records, bytes.
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bearer token. `None`: sent without.
    pub token: Option<String>,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest time of one attempt; the server gets it as the deadline.
    pub deadline: Duration,
    /// Most records of a batch, 1 to 512.
    pub batch_max: usize,
    /// Most bytes of a batch's records. A larger record is answered as REJECTED, too_large.
    pub batch_bytes_max: usize,
    /// Most batches in flight.
    pub in_flight_max: usize,
    /// Most bytes of records that wait or are in flight; [`crate::Sender`] waits at this.
    pub pending_bytes_max: usize,
    /// Most different records without an id that are counted (about 40 bytes of memory each).
    pub without_id_max: usize,
    /// How to try again.
    pub retry: Retry,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            batch_max: BATCH_EVENTS_MAX,
            batch_bytes_max: REQUEST_BYTES_MAX - FRAME_BYTES_MAX,
            in_flight_max: 8,
            pending_bytes_max: 64 * 1024 * 1024,
            without_id_max: 4 * 1024 * 1024,
            retry: Retry::default(),
        }
    }
}

impl Options {
    /// The same with every limit where it can work.
    pub(crate) fn within_limits(mut self) -> Self {
        self.batch_max = self.batch_max.clamp(1, BATCH_EVENTS_MAX);
        self.batch_bytes_max = self
            .batch_bytes_max
            .clamp(1, REQUEST_BYTES_MAX - FRAME_BYTES_MAX);
        self.in_flight_max = self.in_flight_max.max(1);
        self.pending_bytes_max = self
            .pending_bytes_max
            .clamp(REQUEST_BYTES_MAX, u32::MAX as usize);
        self
    }
}

/// How to try again: after a random part of a time that doubles (full jitter), and never sooner
/// than the server asked for.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Longest wait before the second attempt.
    pub first: Duration,
    /// Longest wait before any attempt, but for what the server asks for.
    pub longest: Duration,
    /// No further attempt after this time. `None`: for ever.
    pub give_up_after: Option<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            give_up_after: Some(Duration::from_secs(120)),
        }
    }
}
