//! Trying again what may succeed later.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{Error, Options, Retry};

/// Whether the same call may succeed later. Calls may be repeated, as an event sent twice counts
/// once; so a connection that broke in the middle is tried again too.
fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
    ) || status.source().is_some()
}

/// How long to wait before attempt `attempts` + 1.
fn pause(retry: &Retry, attempts: u32, status: &Status) -> Duration {
    let doubled = 2u32.checked_pow(attempts.saturating_sub(1));
    let ceiling = doubled
        .and_then(|factor| retry.first.checked_mul(factor))
        .map_or(retry.longest, |wait| wait.min(retry.longest));
    let jitter = rand::rng().random_range(Duration::ZERO..=ceiling);
    let asked = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    asked.unwrap_or_default() + jitter
}

/// Calls until it succeeds, is refused for good, or it is time to give up.
pub(crate) async fn persist<T, F>(
    options: &Options,
    mut call: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let started = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let status = match timeout(options.deadline, call()).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer within the deadline"),
        };
        let wait = pause(&options.retry, attempts, &status);
        let late = options
            .retry
            .give_up_after
            .is_some_and(|most| started.elapsed().saturating_add(wait) > most);
        if late || !is_transient(&status) {
            return Err(Error::Refused {
                attempts,
                status: Box::new(status),
            });
        }
        sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let retry = Retry {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(100),
            give_up_after: None,
        };
        let busy = Status::unavailable("busy");
        for (attempts, ceiling) in [(1, 10), (2, 20), (4, 80), (5, 100), (99, 100)] {
            let waits: Vec<_> = (0..200).map(|_| pause(&retry, attempts, &busy)).collect();
            let ceiling = Duration::from_millis(ceiling);
            assert!(waits.iter().all(|wait| *wait <= ceiling));
            assert!(
                waits.iter().any(|wait| *wait > ceiling / 2),
                "no jitter at {attempts}"
            );
            assert!(
                waits.iter().any(|wait| *wait < ceiling / 2),
                "no jitter at {attempts}"
            );
        }
    }

    #[test]
    fn the_wait_is_never_below_what_the_server_asks_for() {
        let asked = Duration::from_secs(7);
        let details = ErrorDetails::with_retry_info(Some(asked));
        let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        let wait = pause(&Retry::default(), 1, &busy);
        assert!(wait >= asked && wait <= asked + Retry::default().first);
    }

    #[test]
    fn a_mistake_of_the_caller_is_not_tried_again() {
        assert!(is_transient(&Status::unavailable("")));
        assert!(is_transient(&Status::resource_exhausted("")));
        assert!(is_transient(&Status::from_error("broken pipe".into())));
        assert!(!is_transient(&Status::invalid_argument("")));
        assert!(!is_transient(&Status::unauthenticated("")));
        assert!(!is_transient(&Status::unknown("")));
    }
}
