//! The vocabulary of Balefire: what an event, an identity, a stamp and an id are.
//!
//! Pure: no clock, no IO, no encoding. Every other crate speaks in these types.

pub mod application;
pub mod category;
pub mod digest;
pub mod escalation;
pub mod event;
pub mod field;
pub mod identity;
pub mod ids;
pub mod intake;
mod key;
pub mod limits;
pub mod mark;
pub mod naming;
pub mod native;
pub mod partition;
mod sealed;
pub mod stamp;
pub mod time;

pub use application::Applications;
pub use category::{Assurance, Category, IdentityKind, KeyKind, Lane, Severity, Timing};
pub use escalation::{
    Approval, Escalation, EscalationKind, EvidenceItem, KeyPart, RecommendedAction,
};
pub use event::{CorrelationKey, Event, EvidenceRef, Extension, Identity, Join, Sealed};
pub use field::{Field, Value};
pub use ids::{BarrierId, DedupId, Digest, EscalationId, RuleId, SubjectRef};
pub use intake::{Hint, Stub};
pub use naming::{Group, Groups, Naming, Shares};
pub use time::Timestamp;
