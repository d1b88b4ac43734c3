//! The embedded stream processor's parts that decide: keyed windows, emitted slots, watermarks
//! and barriers (SEMANTICS §3 to §7).
//!
//! Pure: time, order and identity come inside the input. Nothing here knows rules, the log or
//! an encoding.

pub mod barrier;
pub mod slots;
pub mod watermark;
pub mod window;

pub use barrier::{Barriers, Source};
pub use slots::{Episode, Slots};
pub use watermark::{Lateness, Watermark};
pub use window::{Breach, Entry, Payload, Window, WindowSpec};

/// What is wrong with the numbers of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// W must be above zero.
    #[error("window of {0} ns; it must be above zero")]
    Window(i64),
    /// R must be above zero.
    #[error("re-arm period of {0} ns; it must be above zero")]
    Rearm(i64),
}
