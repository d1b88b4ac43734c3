//! What callers of the ControlService are told when they get a no.

use std::time::Duration;

use balefire_control::{Fault, Kind, Refusal};
use balefire_kit::violation::{full, invalid, unavailable};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::Error;

/// When to come again.
pub const RETRY_AFTER: Duration = Duration::from_millis(250);

/// UNAVAILABLE: what is behind it is logged.
pub fn out_of_reach(error: &impl std::error::Error) -> Status {
    tracing::warn!(%error, "the control log is out of reach");
    unavailable("the control log is out of reach", RETRY_AFTER)
}

/// INTERNAL: what is behind it is logged.
pub fn broken(error: &Error) -> Status {
    tracing::error!(%error, "the control objects cannot be read");
    Status::internal("the control objects cannot be read")
}

/// INVALID_ARGUMENT with every fault.
pub fn faults(faults: &[Fault]) -> Status {
    let mut details = ErrorDetails::new();
    let mut message = String::new();
    for fault in faults {
        details.add_bad_request_violation(&fault.path, &fault.message);
        if message.is_empty() {
            message = format!("{}: {}", fault.path, fault.message);
        }
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// What a caller is told of a refusal.
pub fn told(kind: Kind, name: &str, refusal: Refusal) -> Status {
    let what = format!("{kind} {name:?}");
    match refusal {
        Refusal::Invalid(found) => faults(&found),
        Refusal::Exists(other) => {
            let owner = match other.managed_by.as_str() {
                "" => "nobody's".to_owned(),
                owner => format!("managed by {owner:?}"),
            };
            Status::already_exists(format!(
                "{what} is there already, and differs (revision {}, {owner}); import it, or take another name",
                other.revision
            ))
        }
        Refusal::Missing => Status::not_found(format!("there is no {what}")),
        Refusal::Conflict { expected, current } => {
            let facts = [
                ("kind", kind.to_string()),
                ("name", name.to_owned()),
                ("expected", expected.to_string()),
                ("current", current.to_string()),
            ];
            let facts = facts.map(|(name, text)| (name.to_owned(), text));
            let details = ErrorDetails::with_error_info("REVISION_CONFLICT", "balefire", facts);
            let message = format!(
                "{what} is at revision {current}, not {expected}: it was changed meanwhile; read it again"
            );
            Status::with_error_details(Code::Aborted, message, details)
        }
        Refusal::Managed(owner) => {
            let facts = [("managed_by".to_owned(), owner.clone())];
            let details = ErrorDetails::with_error_info("MANAGED", "balefire", facts);
            let message = format!(
                "{what} is managed by {owner:?}; change it there, or override, which is kept in the audit"
            );
            Status::with_error_details(Code::FailedPrecondition, message, details)
        }
        Refusal::Reused => invalid("request_id", "stands for another request already"),
        Refusal::Protected => {
            Status::failed_precondition(format!("{what} is protected; set deletion_allowed first"))
        }
        Refusal::Full => full("there are 10000 of this kind already"),
        Refusal::OfPlatform => Status::permission_denied(format!(
            "a {kind} is of the whole platform; only callers of the tenant \"default\" change it"
        )),
    }
}
