//! How a partition is, for status pages.

use std::sync::Arc;

use balefire_wire::status::v1::PartitionStatus;
use tokio::sync::watch;

use crate::stage::StageStatus;

/// What a partition is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Reads its checkpoint and claims its targets.
    #[default]
    Starting,
    /// Goes through recorded steps again.
    Rebuilding,
    /// Live.
    Running,
    /// Waits for something; resumes by itself.
    Blocked(String),
    /// Does nothing until somebody acts, or (fenced) until it claims again.
    Stopped(String),
    /// Not ours: another instance has it, or nobody yet.
    Standby(String),
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Rebuilding => f.write_str("rebuilding"),
            Self::Running => f.write_str("running"),
            Self::Blocked(why) => write!(f, "blocked:{why}"),
            Self::Stopped(why) => write!(f, "stopped:{why}"),
            Self::Standby(owner) => write!(f, "standby:{owner}"),
        }
    }
}

/// How a partition is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Partition.
    pub partition: u32,
    /// What it is doing.
    pub phase: Phase,
    /// Last acknowledged step.
    pub step: u64,
    /// Step of the newest checkpoint, 0 for none.
    pub checkpoint_step: u64,
    /// Input messages not yet consumed, as of the last look.
    pub lag: u64,
    /// Input messages consumed by this session.
    pub consumed: u64,
    /// The stage's own numbers.
    pub stage: StageStatus,
    /// What it held when that was asked last.
    pub inspection: Option<Arc<Inspection>>,
}

/// What a partition held at some positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Which asking this answers.
    pub(crate) asked: u64,
    /// Stage, as its dead letters are filed.
    pub stage: &'static str,
    /// Version of the stage.
    pub stage_version: u32,
    /// Partition.
    pub partition: u32,
    /// Last acknowledged step.
    pub step: u64,
    /// Streams it reads, with the last sequence consumed of each.
    pub positions: Vec<(String, u64)>,
    /// What the stage says; see [`crate::Stage::inspect`].
    pub held: Vec<u8>,
}

impl Report {
    /// Before anything is known.
    #[must_use]
    pub fn of(partition: u32) -> Self {
        Self {
            partition,
            ..Self::default()
        }
    }

    /// As the status service tells it.
    #[must_use]
    pub fn to_wire(&self) -> PartitionStatus {
        PartitionStatus {
            partition: self.partition,
            lag: self.lag,
            step: self.step,
            low_watermark_ns: self.stage.low_watermark.map_or(0, |at| at.0),
            state_len: self.stage.state_len,
            state: self.phase.to_string(),
            checkpoint_step: self.checkpoint_step,
        }
    }
}

/// Where reports go; alarms with them.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) stage: &'static str,
    pub(crate) partition: u32,
    pub(crate) sender: watch::Sender<Report>,
}

impl Reporter {
    pub(crate) fn phase(&self, phase: Phase) {
        let impaired = matches!(phase, Phase::Blocked(_) | Phase::Stopped(_));
        self.impaired(impaired);
        self.sender.send_if_modified(|report| {
            let changed = report.phase != phase;
            report.phase = phase;
            changed
        });
    }

    /// Blocked by `why`, or no longer: leaves other phases than these two alone.
    pub(crate) fn block(&self, why: &str, blocked: bool) {
        let phase = self.sender.borrow().phase.clone();
        let this = Phase::Blocked(why.to_owned());
        if blocked && phase == Phase::Running {
            self.phase(this);
        } else if !blocked && phase == this {
            self.phase(Phase::Running);
        }
    }

    /// The alarm that a partition does not move.
    pub(crate) fn impaired(&self, impaired: bool) {
        metrics::gauge!(
            "balefire_partition_impaired",
            "stage" => self.stage,
            "partition" => self.partition.to_string()
        )
        .set(f64::from(u8::from(impaired)));
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        self.sender.send_modify(change);
    }
}
