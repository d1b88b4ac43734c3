//! Whose an event is: the pure core of the correlator, for one INTAKE partition.
//!
//! An event that does not name its user counts for every user that an identity hint names under
//! a typed key that both carry, when they arrived at most J apart: a function of stamps, never
//! of the order of arrival (SEMANTICS §8). Each such pair is one record to that user's
//! partition. Until a hint is there an event is held for H, then it goes on as partial, and a
//! later hint amends it.
//!
//! An event with several keys lies where its first key lies. A *stub* lies at each further key;
//! where a hint meets a stub, a hint under the stub's key goes on to the partition of the event,
//! which carries that key too, stamped with the stub's time and a J within what the first one
//! reaches. So no key is ever
//! taken for another, and every association is found by the one rule.
//!
//! No clock, no IO, no encoding of the log. Time is what received_at of records and ticks say.

mod barrier;
mod bytes;
mod chain;
mod changed;
mod claim;
mod config;
mod correlator;
mod coverage;
mod entry;
mod expiry;
mod fact;
mod joining;
mod key;
pub mod limits;
mod packed;
mod promise;
mod record;
mod repair;
mod settle;
mod stored;
mod stretch;
mod stub;

pub use chain::{Chain, Link, Missing};
pub use config::{Config, Usage};
pub use correlator::{Correlator, Damaged, State};
pub use coverage::{Counts, Coverage};
pub use joining::Joining;
pub use record::{Effect, Record};
pub use stored::{Decode, Stored};
