//! Where an event goes: straight to EVENTS, or through INTAKE to be joined.

use balefire_event::{DedupId, Event, partition};

use crate::door::Door;

/// A key beside the first, whose partition is told where the event lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StubTarget {
    /// INTAKE partition of the key.
    pub partition: u32,
    /// Place of the key in the event's keys.
    pub key: usize,
}

/// The way of an event. A function of the record's own bytes, and of the aliases that were declared
/// when it was admitted: what counts for a user lies where the user's other events lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// To EVENTS: it names its user, or nothing that it could be joined by.
    Straight {
        /// EVENTS partition.
        partition: u32,
    },
    /// To INTAKE: it names no user, but keys.
    Detour {
        /// INTAKE partition of its first key.
        partition: u32,
        /// Further keys, where they lie in other partitions.
        stubs: Vec<StubTarget>,
    },
}

impl Path {
    /// Of an event. `dedup` spreads the events that nobody is known for.
    #[must_use]
    pub fn of(event: &Event<'_>, dedup: &DedupId, door: &Door) -> Self {
        if let Some(user) = &event.user {
            let partition = partition::of_subject(&door.tenant, &user.subject_ref, door.partitions);
            return Self::Straight { partition };
        }
        let of_key = |key: &balefire_event::CorrelationKey<'_>| {
            partition::of_key(&door.tenant, key.kind, &key.value, door.partitions)
        };
        let Some(first) = event.keys.first() else {
            let partition = partition::of_event(&door.tenant, dedup, door.partitions);
            return Self::Straight { partition };
        };
        let partition = of_key(first);
        let mut stubs: Vec<StubTarget> = Vec::new();
        for (index, key) in event.keys.iter().enumerate().skip(1) {
            let target = of_key(key);
            if target != partition {
                stubs.push(StubTarget {
                    partition: target,
                    key: index,
                });
            }
        }
        Self::Detour { partition, stubs }
    }

    /// Partition of the event itself.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        match self {
            Self::Straight { partition } | Self::Detour { partition, .. } => *partition,
        }
    }
}
