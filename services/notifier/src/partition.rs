//! One partition: owned, run, and started again from the log when something goes wrong.

mod live;

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, Topology};
use balefire_notifier_core::State;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bodies::Bodies;
use crate::dispatch::{Answered, Board};
use crate::error::Error;
use crate::journal::Writer;
use crate::letter::Letterbox;
use crate::view::View;

/// At a shutdown answers of what is under way are awaited for so long.
const DRAIN_MAX: Duration = Duration::from_secs(8);
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// What a partition works with.
pub struct Parts {
    /// The log.
    pub bus: Bus,
    /// Its shape.
    pub topology: Topology,
    /// Who writes.
    pub writer: Writer,
    /// What others see.
    pub view: Arc<View>,
    /// The state before the first record.
    pub empty: State,
    /// What waits to be delivered.
    pub board: Arc<Board>,
    /// Bodies of its escalations.
    pub bodies: Arc<Bodies>,
    /// Answers of receivers.
    pub answers: mpsc::Receiver<Answered>,
    /// Where dead letters go.
    pub letterbox: Letterbox,
}

/// Runs a partition until `stop`. An error of the log starts it again from the log; another owner
/// stops it.
///
/// # Errors
/// [`Error::Fenced`].
pub async fn run(mut parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    let partition = parts.writer.partition;
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            ended = live::live(&mut parts, &stop) => ended,
            () = cut_off(&stop) => return Ok(()),
        };
        let error = match ended {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if let balefire_bus::Error::Fenced { .. } = error {
            parts.board.queue().forget(partition);
            parts.view.stand("stopped:another notifier owns it");
            let source = error;
            return Err(Error::Fenced { partition, source });
        }
        parts.view.stand(format!("rebuilding:{error}"));
        tracing::warn!(partition, %error, "deliveries start again from the log");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RESTART_DELAY) => {}
        }
    }
    Ok(())
}

/// The end of a drain that takes too long.
async fn cut_off(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_MAX).await;
}
