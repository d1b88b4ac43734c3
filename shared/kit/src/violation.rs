//! Errors that gRPC clients see: a code, what to do, and google.rpc details.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// INVALID_ARGUMENT that names a field.
#[must_use]
pub fn invalid(field: &str, description: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation(field, description);
    Status::with_error_details(
        Code::InvalidArgument,
        format!("{field}: {description}"),
        details,
    )
}

/// RESOURCE_EXHAUSTED with a hint when to come again.
#[must_use]
pub fn overloaded(message: &str, retry_after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// RESOURCE_EXHAUSTED of a rate: names the limit, and says when to come again.
#[must_use]
pub fn limited(limit: &str, message: &str, retry_after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(retry_after));
    details.add_quota_failure_violation(limit, message);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// RESOURCE_EXHAUSTED that coming again does not mend: nothing says when.
#[must_use]
pub fn full(message: &str) -> Status {
    Status::resource_exhausted(message)
}

/// UNAVAILABLE with a hint when to come again.
#[must_use]
pub fn unavailable(message: &str, retry_after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(retry_after));
    Status::with_error_details(Code::Unavailable, message, details)
}
