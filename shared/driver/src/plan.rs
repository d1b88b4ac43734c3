//! [`Plan`]: what a partition of a stage is wired to.

use std::time::Duration;

use balefire_event::Lane;

/// One input stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its lane; `None` for a log without lanes. No two sources of a plan share a lane.
    pub lane: Option<Lane>,
    /// Its stream.
    pub stream: String,
    /// Where a dead letter of this source is published on replay.
    pub replay_subject: String,
    /// Where the owner's ticks go; `None`: this source gets none.
    pub tick_subject: Option<String>,
}

/// One output: a subject that only this partition's owner writes, fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The stream that takes the subject.
    pub stream: String,
    /// The subject of this (source partition, target) pair.
    pub subject: String,
}

/// What a partition of a stage reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name of the stage, as its dead letters are filed (`rule-engine`, `correlator`).
    pub stage: &'static str,
    /// Source partition.
    pub partition: u32,
    /// Inputs, highest priority first; at least one.
    pub sources: Vec<Source>,
    /// Outputs; at least one. The first also carries lists without output.
    pub targets: Vec<Target>,
    /// Further subjects its ticks go to: inputs of the stages that tell it of time, where its own
    /// sources take none.
    pub further_ticks: Vec<String>,
    /// This process: 16 random bytes, in claims and batch headers.
    pub owner_id: [u8; 16],
}

impl Plan {
    /// Name of its checkpoint.
    #[must_use]
    pub fn checkpoint_name(&self) -> String {
        format!("{}.{}", self.stage, self.partition)
    }
}

/// What an operator may tune.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A checkpoint is taken this long after the last one, where something changed.
    pub checkpoint_interval: Duration,
    /// First wait before a fenced partition is claimed again; doubles up to 16 times that.
    pub reclaim_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            checkpoint_interval: Duration::from_secs(5),
            reclaim_delay: Duration::from_secs(2),
        }
    }
}
