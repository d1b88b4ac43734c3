//! The embedded stream processor's parts that decide: keyed windows, emitted slots, watermarks
//! and barriers (SEMANTICS §3 to §7).
//!
//! Pure: time, order and identity come inside the input. Nothing here knows rules, the log or
//! an encoding.

mod at_close;
pub mod barrier;
pub mod condition;
pub mod journal;
mod measured;
pub mod slots;
pub mod sorted;
mod spec;
mod tree;
pub mod watermark;
pub mod window;

pub use barrier::{Barriers, Source};
pub use condition::{Bound, Condition, Relation};
pub use journal::Patch;
pub use measured::CELL_LEN_MAX;
pub use slots::{Episode, Slots};
pub use sorted::Sorted;
pub use spec::WindowSpec;
pub use watermark::{Lateness, Watermark};
pub use window::{Breach, Entry, Payload, Window};

/// What is wrong with the numbers of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// W must be above zero.
    #[error("window of {0} ns; it must be above zero")]
    Window(i64),
    /// R must be above zero.
    #[error("re-arm period of {0} ns; it must be above zero")]
    Rearm(i64),
    /// A sequence has 1 to 16 steps.
    #[error("sequence of {0} steps; it must have 1 to 16")]
    Steps(u8),
}
