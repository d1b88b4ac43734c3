//! Disposable checkpoints: versioned, checksummed, on disk. The only crate that knows sled and
//! bincode.
//!
//! A checkpoint saves time at a start and nothing else: whatever is in doubt is set aside and
//! the caller builds its state from the log. So nothing here is ever fatal, a panic inside the
//! database is an [`Error::Doubt`], and bytes that come out are exactly the bytes that went in.
//!
//! A state is records by key: a base of pages, and behind it the changes of each checkpoint since,
//! which are merged into the base when they have grown enough. A change is a record's new value,
//! or what lies behind the one it has.
//!
//! Layout of one tree: `<name>/m` holds the manifest (envelope, [`Meta`], digest of each page and
//! of each delta), `<name>/p<digest>` a page, `<name>/d<number>…` a piece of a delta; `~<name>/…` is what was
//! set aside last.

mod aside;
mod checkpoint;
mod copy;
mod database;
mod encoding;
mod envelope;
mod error;
mod fold;
mod key;
mod page;
mod records;
mod worker;

pub use checkpoint::{Checkpoint, LaneRun, Meta, SourceMark, TargetMark};
pub use copy::Copy;
pub use encoding::{decode, decode_next, encode};
pub use error::Error;
pub use records::{Changes, KEY_BYTES_MAX, Records};
pub use worker::{Options, Store};
