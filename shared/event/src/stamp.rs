//! Stamps: decided once, at the door (SEMANTICS §1).

use crate::category::Timing;
use crate::time::{HOUR, MINUTE, SECOND, Timestamp};

/// Version of SEMANTICS that this code follows; in every batch header.
pub const SEMANTICS_VERSION: u32 = 1;
/// Default lateness bound L, nanoseconds.
pub const LATENESS: i64 = HOUR;
/// How far ahead of arrival a time may lie: F, nanoseconds.
pub const AHEAD: i64 = 5 * SECOND;
/// How far received_at may run backwards within a stream: S, nanoseconds.
pub const SKEW: i64 = 10 * SECOND;
/// How long ids of an untrusted clock are kept: D, nanoseconds.
pub const UNTRUSTED_MEMORY: i64 = HOUR;
/// Default join horizon J, nanoseconds.
pub const JOIN_HORIZON: i64 = 15 * MINUTE;
/// Default hold H, nanoseconds.
pub const HOLD: i64 = 2 * SECOND;
/// Hold H of the urgent lane, nanoseconds.
pub const HOLD_URGENT: i64 = SECOND / 4;
/// A breach point older than this at arrival makes its escalation LATE, nanoseconds.
pub const LATE_ESCALATION: i64 = 5 * MINUTE;

/// What a source's clock and lateness are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockPolicy {
    /// L, nanoseconds.
    pub lateness: i64,
    /// False: t is the time of arrival, whatever the producer says.
    pub trusted: bool,
}

impl Default for ClockPolicy {
    fn default() -> Self {
        Self {
            lateness: LATENESS,
            trusted: true,
        }
    }
}

impl ClockPolicy {
    /// Stamps a record that arrives at `received_at`.
    #[must_use]
    pub fn stamp(&self, occurred_at: Timestamp, received_at: Timestamp) -> (Timestamp, Timing) {
        if !self.trusted {
            return (received_at, Timing::OnTime);
        }
        let timing = if occurred_at > received_at.plus(AHEAD) {
            Timing::Future
        } else if occurred_at < received_at.minus(self.lateness) {
            Timing::Late
        } else {
            Timing::OnTime
        };
        (occurred_at, timing)
    }
}
