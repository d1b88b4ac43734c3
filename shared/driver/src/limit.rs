//! Every limit of the loop, in one place.

use std::time::Duration;

/// Pending outputs beyond this stop the reading until a step is acknowledged, bytes.
pub const PENDING_BYTES_MAX: usize = balefire_event::limits::STEP_PART_BYTES_MAX;
/// Inputs consumed behind an unacknowledged step beyond this stop the reading.
pub const PENDING_INPUTS_MAX: usize = 4096;
/// A list of more runs is published in a step of its own, even without outputs.
pub const LIST_RUNS_MAX: usize = 4096;
/// Largest part of a step, bytes of its records.
pub const PART_BYTES_MAX: usize = balefire_event::limits::STEP_PART_BYTES_MAX;
/// Most records of one part.
pub const PART_RECORDS_MAX: usize = 4096;
/// Least time between two ticks of a partition: ten a second.
pub const TICK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A tick that was not read back is repeated after this time.
pub const TICK_REPEAT: Duration = Duration::from_secs(1);
/// How often the stage's deadline is compared with the clock.
pub const TICK_POLL: Duration = Duration::from_millis(25);
/// How often a stage that waits for the control log is asked again.
pub const READINESS_POLL: Duration = Duration::from_millis(20);
/// How often status is reported and lag is looked up.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// First and longest wait before something that failed for the moment is tried again.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// A graceful stop waits this long for its last step and checkpoint.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Batches skipped because the stage panicked on them, of one process and partition; beyond it
/// the partition stops: the fault is then not in the batches.
pub const SKIPPED_MAX: usize = 1024;
/// Servers whose clocks differ by more write steps that a rebuild by time may miss, nanoseconds.
pub const SERVER_SKEW: i64 = balefire_event::stamp::SKEW;
/// A checkpoint that is due is given in so many parts at most, with inputs between them; the rest
/// is given at once.
pub const CHECKPOINT_PARTS_MAX: u32 = 256;
