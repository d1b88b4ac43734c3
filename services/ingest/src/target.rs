//! The streams that ingest commits to, and their places in the group commit.

use balefire_bus::{Target, Topology};
use balefire_event::Lane;

/// Which of the two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Records that wait to be joined.
    Intake,
    /// Events.
    Events,
}

/// Every stream with lanes, in a fixed order.
#[derive(Debug, Clone)]
pub struct Targets {
    topology: Topology,
}

impl Targets {
    /// Of a log's shape.
    pub const fn new(topology: &Topology) -> Self {
        Self {
            topology: *topology,
        }
    }

    /// How many partitions.
    pub const fn partitions(&self) -> u32 {
        self.topology.partitions
    }

    /// Place of a stream among [`Targets::all`].
    pub fn index(&self, log: LogKind, lane: Lane, partition: u32) -> usize {
        let log = match log {
            LogKind::Intake => 0,
            LogKind::Events => Lane::ALL.len(),
        };
        let partitions = usize::try_from(self.partitions()).unwrap_or(usize::MAX);
        (log + lane.index()) * partitions + usize::try_from(partition).unwrap_or(usize::MAX)
    }

    /// What stream stands at a place: the reverse of [`Targets::index`].
    pub fn at(&self, place: usize) -> Option<(LogKind, Lane, usize)> {
        let partitions = usize::try_from(self.partitions()).ok()?;
        let (row, partition) = (place.checked_div(partitions)?, place % partitions);
        let lanes = Lane::ALL.len();
        let log = match row.checked_div(lanes)? {
            0 => LogKind::Intake,
            1 => LogKind::Events,
            _ => return None,
        };
        let lane = Lane::ALL.iter().find(|lane| lane.index() == row % lanes)?;
        Some((log, *lane, partition))
    }

    /// Every stream.
    pub fn all(&self) -> Vec<Target> {
        let topology = &self.topology;
        let mut all = Vec::new();
        for log in [LogKind::Intake, LogKind::Events] {
            for &lane in Lane::ALL {
                for partition in 0..self.partitions() {
                    let (stream, subject) = match log {
                        LogKind::Intake => (
                            topology.intake_stream(lane, partition),
                            topology.intake_door(lane, partition),
                        ),
                        LogKind::Events => (
                            topology.events_stream(lane, partition),
                            topology.events_door(lane, partition),
                        ),
                    };
                    all.push(Target {
                        stream,
                        subject,
                        lane,
                    });
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_found_at_its_place() {
        let topology = Topology::new(4).unwrap();
        let targets = Targets::new(&topology);
        let all = targets.all();
        assert_eq!(all.len(), 2 * 3 * 4);
        for &lane in Lane::ALL {
            for partition in 0..4 {
                let intake = targets.index(LogKind::Intake, lane, partition);
                assert_eq!(all[intake].stream, topology.intake_stream(lane, partition));
                let events = targets.index(LogKind::Events, lane, partition);
                assert_eq!(all[events].subject, topology.events_door(lane, partition));
                let number = usize::try_from(partition).unwrap();
                assert_eq!(targets.at(intake), Some((LogKind::Intake, lane, number)));
                assert_eq!(targets.at(events), Some((LogKind::Events, lane, number)));
            }
        }
    }
}
