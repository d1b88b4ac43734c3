//! What goes into the engine beside events, and what it wants done.

use std::collections::BTreeSet;

use balefire_event::time::MINUTE;
use balefire_event::{BarrierId, Escalation, Lane, Timestamp, stamp};
use balefire_stream::Source;

use crate::rekey::Rekeyed;

/// Most windowless escalation ids remembered so that copies repeat nothing.
pub const RECENT_LEN_MAX: usize = 16_384;

/// What a batch's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader<'a> {
    /// Tenant of its events; empty in batches of ticks, barriers and watermarks.
    pub tenant: &'a str,
    /// Largest L in force at the writer, nanoseconds.
    pub lateness_max: i64,
    /// Highest received_at of the batch.
    pub received_at_max: Timestamp,
}

/// Settings of an engine. All periods in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// S: how far received_at may run backwards within a stream.
    pub skew: i64,
    /// F: how far ahead of arrival a time may lie.
    pub ahead: i64,
    /// J: the join horizon, for the start of a rebuild.
    pub join_horizon: i64,
    /// D: how long ids of an untrusted clock are kept.
    pub untrusted_memory: i64,
    /// Memory is swept when the watermark passes a multiple of this.
    pub sweep_every: i64,
    /// Nothing leaves memory by time: for reading a log once, in any order of its lanes.
    pub keeps_all: bool,
    /// Inputs that a barrier must come in on.
    pub barrier_sources: BTreeSet<Source>,
}

impl EngineConfig {
    /// The defaults of SEMANTICS, with barriers from the door and from every correlator.
    #[must_use]
    pub fn new(intake_partitions: u32) -> Self {
        Self {
            skew: stamp::SKEW,
            ahead: stamp::AHEAD,
            join_horizon: stamp::JOIN_HORIZON,
            untrusted_memory: stamp::UNTRUSTED_MEMORY,
            sweep_every: MINUTE,
            keeps_all: false,
            barrier_sources: Source::all(intake_partitions),
        }
    }

    /// The same for a REKEYED partition: barriers from the engine of every EVENTS partition.
    #[must_use]
    pub fn rekeyed(partitions: u32) -> Self {
        Self {
            barrier_sources: (0..partitions).map(Self::rekeyed_source).collect(),
            ..Self::new(partitions)
        }
    }

    /// What the engine of an EVENTS partition is to a REKEYED one.
    #[must_use]
    pub const fn rekeyed_source(partition: u32) -> Source {
        Source::Joined {
            partition,
            lane: Lane::Normal,
        }
    }
}

/// The part of the log that must be read again, all open repairs together (SEMANTICS §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairRequest {
    /// Server time from which the partition's lanes are read again, to the current positions.
    pub events_from: Timestamp,
    /// Server time from which ESCALATIONS is read before that, through
    /// [`crate::Engine::load_escalation`]. Not after `events_from`.
    pub slots_from: Timestamp,
}

/// What the engine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Log this escalation.
    Escalate(Box<Escalation>),
    /// Log this match in REKEYED. Only of [`crate::Part::Events`].
    Rekey(Box<Rekeyed>),
    /// Promise every REKEYED partition, behind all matches before, that none with a lower
    /// received_at will come, but for stragglers. Only of [`crate::Part::Events`].
    Promise {
        /// That received_at.
        at: Timestamp,
    },
    /// Pass the barrier on, behind every escalation before it.
    BarrierOut {
        /// The barrier.
        id: BarrierId,
        /// When it was placed.
        at: Timestamp,
    },
    /// Lay a record aside. The rules not named have taken it in all the same.
    DeadLetter {
        /// Index of the record in its batch.
        index: u32,
        /// Stable code.
        reason: &'static str,
        /// Name of the rule, and what it said.
        detail: String,
    },
    /// Read again, see [`crate::Engine::repair_begin`]. At most one a batch, at its end.
    Repair(RepairRequest),
}

/// Reason of a dead letter whose rule panicked.
pub const RULE_PANICKED: &str = "rule_panicked";
