//! What ingest decides about a record: admit or refuse it, whose it is, how bad, which lane, path
//! and partition, what is masked and what is sealed away.
//!
//! Pure: bytes and a [`Door`] in, an [`Admitted`] or a [`Violation`] out. It never reads a clock:
//! the time of arrival is stamped later, when a batch is formed
//! ([`balefire_event::stamp::ClockPolicy::stamp`]). It never holds a connection, and a violation
//! never repeats what the record said.

pub mod adapt;
pub mod admit;
pub mod alias;
pub mod classify;
pub mod door;
pub mod evidence;
pub mod flatten;
mod hint;
pub mod json;
pub mod native;
pub mod owner;
pub mod path;
pub mod recent;
pub mod redact;
pub mod schema;
pub mod severity;
mod size;
pub mod violation;

pub use admit::{Admitted, Looked, admit_json, admit_json_of, admit_native};
pub use alias::{Alias, Aliases};
pub use door::{Door, Provenance, Source};
pub use evidence::Evidence;
pub use native::NativeInput;
pub use owner::Owned;
pub use path::{Path, StubTarget};
pub use recent::Recent;
pub use violation::{Reason, Violation};
