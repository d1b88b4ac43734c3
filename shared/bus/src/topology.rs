//! Names: which streams there are and on which subjects records travel.
//!
//! Subjects carry bounded tokens only, never a user. One physical stream a log, lane and
//! partition: contiguous sequences, unfiltered consumers, parallel syncs.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use balefire_event::Lane;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The generation of a log that was never moved.
pub const FIRST_GENERATION: u32 = 1;
/// Partitions where nothing else is said: one small machine.
pub const PARTITIONS_DEFAULT: u32 = 2;
/// Most partitions of a generation.
pub const PARTITIONS_MAX: u32 = 256;
/// The rule engine's stage over REKEYED, as its dead letters are filed.
pub const REKEYED_STAGE: &str = "rule-engine-rekeyed";
/// Rule sets, routes and other control objects, every revision.
pub const CONTROL: &str = "CONTROL";
/// What could not go on.
pub const DEADLETTERS: &str = "DEADLETTERS";
/// Sealed requests and responses.
pub const EVIDENCE: &str = "EVIDENCE";
/// Who did what.
pub const AUDIT: &str = "AUDIT";
/// Records of rule sets.
pub const CONTROL_RULES: &str = "control.rules";
/// Changes of control objects.
pub const CONTROL_OBJECTS: &str = "control.objects";
/// What became of dead letters.
pub const DEADLETTERS_RESOLUTION: &str = "deadletters.resolution";

const RECORD_FILE: &str = "topology.json";

/// How long and how much the logs keep. Nothing is dropped by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Oldest record kept; `None` keeps all.
    pub max_age: Option<Duration>,
    /// Largest stream, bytes; a full stream refuses, it never drops. `None` is the disk.
    pub max_bytes: Option<u64>,
}

/// The shape of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Counts moves to another partition count, from 1.
    pub generation: u32,
    /// Partitions of every partitioned log, a power of two.
    pub partitions: u32,
    /// Copies of every stream: 1, 3 or 5.
    pub replicas: u32,
    /// What is kept.
    pub retention: Retention,
}

/// One stream: its name and the subjects it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// The name.
    pub name: String,
    /// The subjects' filter, `<prefix>.>`.
    pub filter: String,
}

impl Topology {
    /// One copy, first generation, everything kept.
    ///
    /// # Errors
    /// [`Error::Topology`] for a count that is no power of two up to [`PARTITIONS_MAX`].
    pub fn new(partitions: u32) -> Result<Self, Error> {
        let topology = Self {
            generation: FIRST_GENERATION,
            partitions,
            replicas: 1,
            retention: Retention::default(),
        };
        topology.check()?;
        Ok(topology)
    }

    /// The same with `replicas` copies of every stream.
    ///
    /// # Errors
    /// [`Error::Topology`] for other counts than 1, 3 and 5.
    pub fn with_replicas(mut self, replicas: u32) -> Result<Self, Error> {
        self.replicas = replicas;
        self.check()?;
        Ok(self)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.partitions.is_power_of_two() || self.partitions > PARTITIONS_MAX {
            return Err(Error::Topology {
                reason: format!(
                    "{} partitions; a power of two up to {PARTITIONS_MAX} is needed",
                    self.partitions
                ),
            });
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err(Error::Topology {
                reason: format!("{} replicas; 1, 3 or 5 are possible", self.replicas),
            });
        }
        Ok(())
    }

    /// The topology of a data directory with a child server: the recorded one, or on the first
    /// start `asked` (else [`PARTITIONS_DEFAULT`]), which is then recorded. The child's
    /// permissions name every stream, so this is known before the server runs.
    ///
    /// # Errors
    /// [`Error::Partitions`] where `asked` disagrees with the record, and file errors.
    pub fn of_data_dir(dir: &Path, asked: Option<u32>) -> Result<Self, Error> {
        let path = dir.join(RECORD_FILE);
        let io = |doing, source| Error::Io {
            doing,
            path: path.clone(),
            source,
        };
        if path.exists() {
            let text = std::fs::read(&path).map_err(|e| io("read", e))?;
            let recorded: Self =
                serde_json::from_slice(&text).map_err(|e| io("parse", std::io::Error::other(e)))?;
            recorded.agrees_with(asked, &path.display().to_string())?;
            recorded.check()?;
            return Ok(recorded);
        }
        let topology = Self::new(asked.unwrap_or(PARTITIONS_DEFAULT))?;
        std::fs::create_dir_all(dir).map_err(|e| io("create the folder of", e))?;
        let text = serde_json::to_vec_pretty(&topology)
            .map_err(|e| io("write", std::io::Error::other(e)))?;
        let fresh = path.with_extension("json.new");
        let mut file = std::fs::File::create(&fresh).map_err(|e| io("write", e))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(|e| io("write", e))?;
        Ok(topology)
    }

    /// # Errors
    /// [`Error::Partitions`] where another count was asked for than is there.
    pub fn agrees_with(&self, asked: Option<u32>, recorded_in: &str) -> Result<(), Error> {
        match asked {
            Some(asked) if asked != self.partitions => Err(Error::Partitions {
                asked,
                existing: self.partitions,
                recorded_in: recorded_in.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Stream of the records that wait to be joined.
    #[must_use]
    pub fn intake_stream(&self, lane: Lane, partition: u32) -> String {
        format!("INTAKE_g{}_{lane}_{partition}", self.generation)
    }
    /// Stream of the events.
    #[must_use]
    pub fn events_stream(&self, lane: Lane, partition: u32) -> String {
        format!("EVENTS_g{}_{lane}_{partition}", self.generation)
    }
    /// Stream of the escalations.
    #[must_use]
    pub fn escalations_stream(&self, partition: u32) -> String {
        format!("ESCALATIONS_g{}_{partition}", self.generation)
    }
    /// Stream of the matches grouped by something else than the user.
    #[must_use]
    pub fn rekeyed_stream(&self, partition: u32) -> String {
        format!("REKEYED_g{}_{partition}", self.generation)
    }
    /// Stream of what was delivered to whom.
    #[must_use]
    pub fn deliveries_stream(&self, partition: u32) -> String {
        format!("DELIVERIES_g{}_{partition}", self.generation)
    }

    /// From ingest.
    #[must_use]
    pub fn intake_door(&self, lane: Lane, partition: u32) -> String {
        self.laned("intake", lane, partition, "door")
    }
    /// From the correlator's partition `source`, for events that lie here; fenced.
    #[must_use]
    pub fn intake_forwarded(&self, lane: Lane, partition: u32, source: u32) -> String {
        self.laned("intake", lane, partition, &format!("c.{source}"))
    }
    /// Time passing, from the correlator's timers.
    #[must_use]
    pub fn intake_tick(&self, lane: Lane, partition: u32) -> String {
        self.laned("intake", lane, partition, "tick")
    }
    /// Dead letters given back.
    #[must_use]
    pub fn intake_replay(&self, lane: Lane, partition: u32) -> String {
        self.laned("intake", lane, partition, "replay")
    }
    /// From ingest.
    #[must_use]
    pub fn events_door(&self, lane: Lane, partition: u32) -> String {
        self.laned("events", lane, partition, "door")
    }
    /// From the correlator's partition `source`; fenced.
    #[must_use]
    pub fn events_joined(&self, lane: Lane, partition: u32, source: u32) -> String {
        self.laned("events", lane, partition, &format!("c.{source}"))
    }
    /// Time passing, from the rule engine's timers.
    #[must_use]
    pub fn events_tick(&self, lane: Lane, partition: u32) -> String {
        self.laned("events", lane, partition, "tick")
    }
    /// Dead letters given back.
    #[must_use]
    pub fn events_replay(&self, lane: Lane, partition: u32) -> String {
        self.laned("events", lane, partition, "replay")
    }
    /// From the rule engine's partition `source`; fenced.
    #[must_use]
    pub fn escalations_step(&self, partition: u32, source: u32) -> String {
        format!("escalations.g{}.{partition}.e.{source}", self.generation)
    }
    /// From the rule engine's owner of a REKEYED partition; fenced.
    #[must_use]
    pub fn escalations_rekeyed_step(&self, partition: u32, source: u32) -> String {
        format!("escalations.g{}.{partition}.e.r{source}", self.generation)
    }
    /// Dead letters given back.
    #[must_use]
    pub fn rekeyed_replay(&self, partition: u32) -> String {
        format!("rekeyed.g{}.{partition}.replay", self.generation)
    }
    /// From the rule engine's partition `source`; fenced.
    #[must_use]
    pub fn rekeyed_step(&self, partition: u32, source: u32) -> String {
        format!("rekeyed.g{}.{partition}.e.{source}", self.generation)
    }
    /// The notifier's steps; fenced.
    #[must_use]
    pub fn deliveries_step(&self, partition: u32) -> String {
        format!("deliveries.g{}.{partition}.n", self.generation)
    }
    /// Deliveries asked for again.
    #[must_use]
    pub fn deliveries_requeue(&self, partition: u32) -> String {
        format!("deliveries.g{}.{partition}.requeue", self.generation)
    }

    fn laned(&self, log: &str, lane: Lane, partition: u32, from: &str) -> String {
        format!("{log}.g{}.{lane}.{partition}.{from}", self.generation)
    }

    /// Every stream of this generation and those without one; CONTROL, which records the
    /// shape, first.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamSpec> {
        let whole = [
            (CONTROL, "control.>"),
            (DEADLETTERS, "deadletters.>"),
            (EVIDENCE, "evidence.>"),
            (AUDIT, "audit.>"),
        ];
        let mut streams: Vec<StreamSpec> = whole
            .iter()
            .map(|(name, filter)| StreamSpec::new((*name).to_owned(), (*filter).to_owned()))
            .collect();
        let generation = self.generation;
        for partition in 0..self.partitions {
            for &lane in Lane::ALL {
                streams.push(StreamSpec::new(
                    self.intake_stream(lane, partition),
                    self.laned("intake", lane, partition, ">"),
                ));
                streams.push(StreamSpec::new(
                    self.events_stream(lane, partition),
                    self.laned("events", lane, partition, ">"),
                ));
            }
            for (name, prefix) in [
                (self.escalations_stream(partition), "escalations"),
                (self.rekeyed_stream(partition), "rekeyed"),
                (self.deliveries_stream(partition), "deliveries"),
            ] {
                let filter = format!("{prefix}.g{generation}.{partition}.>");
                streams.push(StreamSpec::new(name, filter));
            }
        }
        streams
    }
}

impl StreamSpec {
    fn new(name: String, filter: String) -> Self {
        Self { name, filter }
    }
}

/// Subject of the dead letters of a stage, such as `rule-engine`.
#[must_use]
pub fn deadletters(stage: &str) -> String {
    format!("deadletters.{stage}")
}

/// Subject of the evidence of a partition.
#[must_use]
pub fn evidence(partition: u32) -> String {
    format!("evidence.{partition}")
}

/// Subject of the audit records of a service.
#[must_use]
pub fn audit(service: &str) -> String {
    format!("audit.{service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_designed() {
        let topology = Topology::new(4).unwrap();
        assert_eq!(
            topology.intake_stream(Lane::Urgent, 0),
            "INTAKE_g1_urgent_0"
        );
        assert_eq!(
            topology.events_stream(Lane::Normal, 3),
            "EVENTS_g1_normal_3"
        );
        assert_eq!(
            topology.events_joined(Lane::Bulk, 2, 1),
            "events.g1.bulk.2.c.1"
        );
        assert_eq!(topology.escalations_step(1, 1), "escalations.g1.1.e.1");
        assert_eq!(
            topology.escalations_rekeyed_step(1, 1),
            "escalations.g1.1.e.r1"
        );
        assert_eq!(topology.rekeyed_step(1, 0), "rekeyed.g1.1.e.0");
        assert_eq!(topology.deliveries_requeue(0), "deliveries.g1.0.requeue");
        // 4 whole streams, and for each partition 2 × 3 lanes and 3 more.
        assert_eq!(topology.streams().len(), 4 + 4 * 9);
    }

    #[test]
    fn only_powers_of_two_are_partition_counts() {
        for partitions in [0, 3, 6, 512] {
            assert!(matches!(
                Topology::new(partitions),
                Err(Error::Topology { .. })
            ));
        }
    }

    #[test]
    fn a_data_directory_keeps_its_partition_count() {
        let dir = tempfile::tempdir().unwrap();
        let first = Topology::of_data_dir(dir.path(), Some(4)).unwrap();
        assert_eq!(first.partitions, 4);
        assert_eq!(Topology::of_data_dir(dir.path(), None).unwrap(), first);
        let refused = Topology::of_data_dir(dir.path(), Some(8)).unwrap_err();
        assert!(refused.to_string().contains("--partitions 4"), "{refused}");
    }
}
