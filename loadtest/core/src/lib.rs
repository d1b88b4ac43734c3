//! What a load test decides: what is sent when, what must come of it, what the figures mean.
//!
//! Shares no code with the engine it judges. Never reads a clock, a file or a socket.

pub mod account;
pub mod chance;
pub mod file;
pub mod frame;
pub mod oracle;
pub mod page;
pub mod plan;
pub mod planned;
pub mod plot;
pub mod promise;
pub mod report;
pub mod schedule;
pub mod search;
pub mod standstill;
pub mod statistics;
pub mod timeline;
pub mod verdict;

/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;
