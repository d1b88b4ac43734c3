//! [`Place`]: which partition of which stage, and what it is wired to, as the services wire it.

use balefire_event::Lane;

use crate::log::StreamId;

/// A stateful stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The correlator: an INTAKE partition.
    Joins,
    /// The rule engine of an EVENTS partition.
    Events,
    /// The rule engine of a REKEYED partition.
    Rekeyed,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Joins, Self::Events, Self::Rekeyed];
}

/// Which partition of which stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) partition: u32,
}

/// Index of ESCALATIONS in the targets of both engines.
pub(crate) const ESCALATIONS: usize = 0;

/// Index of a REKEYED partition in the targets of [`Kind::Events`].
pub(crate) const fn rekeyed(to: u32) -> usize {
    to as usize + 1
}

impl Place {
    pub(crate) const fn joins(self) -> bool {
        matches!(self.kind, Kind::Joins)
    }

    pub(crate) fn sources(self) -> Vec<StreamId> {
        let partition = self.partition;
        match self.kind {
            Kind::Joins => (0..3).map(|l| StreamId::Intake(l, partition)).collect(),
            Kind::Events => (0..3).map(|l| StreamId::Events(l, partition)).collect(),
            Kind::Rekeyed => vec![StreamId::Rekeyed(partition)],
        }
    }

    /// What its owner ticks.
    pub(crate) fn ticks(self, partitions: u32) -> Vec<StreamId> {
        match self.kind {
            Kind::Joins | Kind::Events => self.sources(),
            // Its time is what the engines of the EVENTS partitions promise.
            Kind::Rekeyed => (0..partitions).flat_map(events).collect(),
        }
    }

    pub(crate) fn targets(self, partitions: u32) -> Vec<StreamId> {
        let escalations = StreamId::Escalations(self.partition);
        match self.kind {
            Kind::Joins => {
                // The own INTAKE stands for nothing; it keeps the index simple.
                let intake = (0..partitions).map(|to| StreamId::intake(Lane::Bulk, to));
                (0..partitions).flat_map(events).chain(intake).collect()
            }
            Kind::Events => std::iter::once(escalations)
                .chain((0..partitions).map(StreamId::Rekeyed))
                .collect(),
            Kind::Rekeyed => vec![escalations],
        }
    }
}

/// The lanes of an EVENTS partition.
fn events(partition: u32) -> impl Iterator<Item = StreamId> {
    (0..3).map(move |lane| StreamId::Events(lane, partition))
}
