//! [`Config`] and [`Usage`]: what a partition works with, and how full it is.

use balefire_event::{Lane, stamp};

/// What holds for every partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// This INTAKE partition.
    pub partition: u32,
    /// How many partitions EVENTS has, a power of two.
    pub partitions: u32,
    /// H of the normal and the bulk lane, nanoseconds.
    pub hold: i64,
    /// H of the urgent lane, nanoseconds.
    pub hold_urgent: i64,
    /// J for which events are kept before any hint was seen, nanoseconds.
    pub join_horizon: i64,
    /// S, nanoseconds.
    pub skew: i64,
}

impl Config {
    /// The defaults of SEMANTICS for a partition.
    #[must_use]
    pub const fn new(partition: u32, partitions: u32) -> Self {
        Self {
            partition,
            partitions,
            hold: stamp::HOLD,
            hold_urgent: stamp::HOLD_URGENT,
            join_horizon: stamp::JOIN_HORIZON,
            skew: stamp::SKEW,
        }
    }

    /// How long an event of a lane is held. What its source declares (0: nothing) is not more than J:
    /// the promise counts on it.
    pub(crate) fn hold_of(&self, lane: Lane, declared: i64) -> i64 {
        let own = match lane {
            Lane::Urgent => self.hold_urgent,
            Lane::Normal | Lane::Bulk => self.hold,
        };
        match lane {
            _ if declared <= 0 => own,
            Lane::Urgent => declared.min(own),
            Lane::Normal | Lane::Bulk => declared.min(self.join_horizon.max(own)),
        }
    }
}

/// How full the state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Events held now.
    pub held: usize,
    /// Events kept, the held ones included.
    pub events: usize,
    /// Bytes of their packed forms.
    pub event_bytes: usize,
    /// Claims kept.
    pub claims: usize,
    /// Stubs kept.
    pub stubs: usize,
    /// What was dropped or left out because a named limit was reached, since the start.
    pub alarms: u64,
    /// Hints of something else than a user, left alone.
    pub hints_ignored: u64,
}
