//! How much may be under way: bytes of requests, and calls. Who comes on top is told at once to
//! come again; nobody waits.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use balefire_kit::violation::overloaded;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::outcome::{OVERLOAD_RETRY, Refusal};

/// Bytes of one permit.
const UNIT_BYTES: usize = 1024;

/// Bytes of requests between their admission and the log's acknowledgement.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    units_max: usize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let units_max = (bytes_max / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(units_max)),
            units_max,
        }
    }

    /// Takes a request's share.
    ///
    /// # Errors
    /// Where there is not enough left.
    pub fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        Arc::clone(&self.units)
            .try_acquire_many_owned(units)
            .map_err(|_| Refusal::overloaded("too many bytes are on their way into the log"))
    }

    /// Bytes under way.
    pub fn used_bytes(&self) -> usize {
        let free = self.units.available_permits();
        self.units_max.saturating_sub(free) * UNIT_BYTES
    }
}

/// A gRPC service with a limit of calls at once, counted before a message is read, and of the time
/// until a call's answer begins.
#[derive(Debug, Clone)]
pub struct Calls<S> {
    inner: S,
    calls: Arc<Semaphore>,
    time_max: Duration,
}

impl<S> Calls<S> {
    /// At most so many, each for so long.
    pub fn new(inner: S, calls_max: usize, time_max: Duration) -> Self {
        let calls = Arc::new(Semaphore::new(calls_max.min(Semaphore::MAX_PERMITS)));
        Self {
            inner,
            calls,
            time_max,
        }
    }
}

impl<S: NamedService> NamedService for Calls<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Calls<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            metrics::counter!("balefire_ingest_refused_total", "reason" => "calls").increment(1);
            let status = overloaded("too many calls at once", OVERLOAD_RETRY);
            return Box::pin(async move { Ok(status.into_http()) });
        };
        let answer = tokio::time::timeout(self.time_max, self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await;
            drop(permit);
            answer.unwrap_or_else(|_late| {
                metrics::counter!("balefire_ingest_refused_total", "reason" => "slow").increment(1);
                let status = Status::deadline_exceeded("the request did not arrive in time");
                Ok(status.into_http())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_budget_a_request_is_refused_at_once() {
        let budget = Budget::new(8 * 1024);
        let first = budget.take(6 * 1024).unwrap();
        assert!(budget.used_bytes() >= 6 * 1024);
        assert!(matches!(
            budget.take(4 * 1024),
            Err(Refusal::Overloaded { .. })
        ));
        drop(first);
        assert!(budget.take(4 * 1024).is_ok());
    }
}
