//! What can be held against the log, once the log was read again: a state that was stored, and
//! escalations that were published. Says the first thing that differs.
//!
//! Only what is the same under every order of arrival is compared (SEMANTICS §3, §4): entries
//! that are kept whatever the order was, emitted slots, the low watermark; of an escalation its
//! id and what the id is made of.

mod digest;
mod state;
mod told;

use std::fmt::Write as _;

pub use digest::{PartDigest, StatePart};
pub use state::Mismatch;
pub use told::{Comparison, Facts, Fault, compare};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
