//! Control objects: what there can be, what may be changed by whom, and what is in force.
//!
//! Pure: [`decide`] turns a request into a [`Change`] or a [`Refusal`]; [`Book`] is the projection
//! of every change so far. Replaying the log gives the same book. Knows no rule language, no
//! encoding, no clock: the time comes with the request.

mod book;
mod check;
mod decide;
mod digest;
mod field;
mod hours;
mod kind;
mod object;
mod schema;
mod value;

pub use book::{Book, Done, Listing, RULES_DIR, RULES_TENANT, object_names};
pub use check::{
    Fault, LABELS_MAX, NAME_BYTES_MAX, SPEC_BYTES_MAX, check_each, check_name, check_spec, span,
};
pub use decide::{Ask, Caller, Decision, Guard, OBJECTS_MAX, Refusal, Request, decide};
pub use field::{Check, Field, Form};
pub use hours::Hours;
pub use kind::Kind;
pub use object::{Change, Entry, Key, Object};
pub use value::{Spec, Value};
