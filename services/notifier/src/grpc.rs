//! The gRPC services of the notifier.

pub mod deadletter;
pub mod delivery;
mod known;
mod mend;
pub mod receiver;

use std::time::Duration;

use tonic::Status;

/// Entries of a page where the request says 0.
pub const PAGE_DEFAULT: usize = 500;
/// Most entries of a page.
pub const PAGE_MAX: usize = 5000;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The page size in force.
///
/// # Errors
/// INVALID_ARGUMENT beyond the largest.
pub fn page_size(asked: u32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(size) if size <= PAGE_MAX => Ok(size),
        Ok(_) | Err(_) => Err(balefire_kit::violation::invalid(
            "page_size",
            "at most 5,000",
        )),
    }
}

/// What a client sees where the log does not answer.
#[must_use]
pub fn unavailable(error: &balefire_bus::Error) -> Status {
    tracing::warn!(%error, "a call failed");
    balefire_kit::violation::unavailable("the log is out of reach", RETRY_AFTER)
}
