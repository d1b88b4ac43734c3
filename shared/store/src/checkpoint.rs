//! [`Checkpoint`]: a state and where in the log it stands.

use serde::{Deserialize, Serialize};

use crate::records::Records;

/// Where one input stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// Its name.
    pub stream: String,
    /// When it was created, nanoseconds UTC.
    pub created_ns: i64,
    /// Last sequence consumed, 0 before the first.
    pub sequence: u64,
    /// BLAKE3 of the record there; `None` where `sequence` is 0.
    pub digest: Option<[u8; 32]>,
}

/// Where one target stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetMark {
    /// Its stream.
    pub stream: String,
    /// When that was created, nanoseconds UTC.
    pub created_ns: i64,
    /// Its subject.
    pub subject: String,
    /// Last sequence of that subject known, 0 before the first.
    pub sequence: u64,
}

/// Inputs of one source consumed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRun {
    /// Index of the source.
    pub source: u32,
    /// First sequence.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// What a state is a state of (SEMANTICS §10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the stage and of its snapshot.
    pub stage_version: u32,
    /// Partition.
    pub partition: u32,
    /// Step it stands after.
    pub step: u64,
    /// Where the inputs stand, in the order of the plan.
    pub sources: Vec<SourceMark>,
    /// Where the outputs stand, in the order of the plan.
    pub targets: Vec<TargetMark>,
    /// Inputs consumed since `step`, in order: the beginning of the next step's list.
    pub tail: Vec<LaneRun>,
    /// When it was taken, nanoseconds UTC.
    pub taken_at_ns: i64,
}

/// A state and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where.
    pub meta: Meta,
    /// The stage's own records.
    pub state: Records,
}
