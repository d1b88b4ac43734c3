//! Publishes a step: all targets side by side, the parts of each one after the other.

use balefire_bus::{Error as BusError, Fence};
use bytes::Bytes;

use crate::error::Error;
use crate::limit::{RETRY_FIRST, RETRY_MAX};
use crate::part::Parts;
use crate::report::Reporter;

/// Why a partition whose outputs find no room is blocked.
const FULL: &str = "output log is full";

/// Last sequence of each target that got a part.
pub(crate) type Sent = Vec<Option<u64>>;

/// Publishes the parts of each target; gives the fences back. What passes (no answer, no
/// space) is tried again without end: nothing is skipped.
pub(crate) async fn publish_all(
    mut fences: Vec<Fence>,
    parts: Parts,
    reporter: &Reporter,
) -> (Vec<Fence>, Result<Sent, Error>) {
    let publishes = fences
        .iter_mut()
        .zip(parts)
        .map(|(fence, parts)| publish_target(fence, parts, reporter));
    let sent = futures::future::try_join_all(publishes).await;
    (fences, sent.map_err(Error::from))
}

async fn publish_target(
    fence: &mut Fence,
    parts: Vec<Bytes>,
    reporter: &Reporter,
) -> Result<Option<u64>, BusError> {
    let mut last = None;
    for part in parts {
        last = Some(publish_part(fence, part, reporter).await?);
    }
    Ok(last)
}

async fn publish_part(
    fence: &mut Fence,
    part: Bytes,
    reporter: &Reporter,
) -> Result<u64, BusError> {
    let mut delay = RETRY_FIRST;
    let stage = reporter.stage;
    loop {
        let error = match fence.publish(part.clone()).await {
            Err(error) if error.is_transient() => error,
            done => {
                reporter.block(FULL, false);
                return done;
            }
        };
        if matches!(error, BusError::Full { .. }) {
            reporter.block(FULL, true);
            tracing::error!(stage, subject = fence.subject(), %error, "output log is full");
        } else {
            tracing::warn!(stage, subject = fence.subject(), %error, "step waits for the log");
        }
        metrics::counter!("balefire_step_retries_total", "stage" => stage).increment(1);
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(RETRY_MAX);
    }
}
