//! The driver loop, once for every stateful stage (SEMANTICS §10).
//!
//! A stage is a pure state machine behind [`Stage`]; the driver owns everything around it, one
//! loop for each (stage, partition): reading the lanes, claims, numbered steps with their lists
//! of inputs, fenced publishing, redo after a take-over, checkpoints, repairs, ticks and dead
//! letters. A stage never sees the log, the store or a clock, and the driver never looks into
//! a record's meaning.
//!
//! The order of things at start: checkpoint compared with the log → claim on every target →
//! lists of the steps behind the checkpoint → redo in exactly that order with its outputs kept
//! back, except what a target lacks, and what the log has of them shown to the stage → what was
//! never told → live.

mod backfill;
mod driver;
mod error;
mod fleet;
pub mod ledger;
mod letter;
pub mod limit;
mod live;
mod mark;
mod outlog;
mod part;
mod plan;
mod redo;
mod report;
mod session;
mod shown;
mod stage;
mod start;
mod step;
mod tick;

pub use driver::Driver;
pub use error::Error;
pub use fleet::{Fleet, Inspector};
pub use letter::{MALFORMED_RECORD, RULE_PANICKED, UNKNOWN_SCHEMA};
pub use mark::compare_with_log;
pub use plan::{Plan, Settings, Source, Target};
pub use report::{Inspection, Phase, Report};
pub use stage::{
    Backfill, BadState, Counter, DeadLetter, Effects, Input, Output, PastOutput, Readiness,
    Recorded, Stage, StageStatus,
};
