//! One partition: owned, run, and started again from the log when something goes wrong.

mod feeding;
mod live;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, Error as BusError, Leases, Tenure, Topology};
use balefire_event::Severity;
use balefire_kit::self_alert::{self, Notice};
use balefire_notifier_core::State;
use balefire_notifier_core::contained::{Contained, said};
use balefire_notifier_core::digest::Calendar;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bodies::Bodies;
use crate::desk::Desk;
use crate::dispatch::{Answered, Board};
use crate::feed::Feeds;
use crate::journal::Writer;
use crate::letter::Letterbox;
use crate::view::View;

/// At a shutdown answers of what is under way are awaited for so long.
const DRAIN_MAX: Duration = Duration::from_secs(8);
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// First and longest wait before a partition that another took is claimed again.
const RECLAIM_DELAY: Duration = Duration::from_secs(2);
const RECLAIM_DELAY_MAX: Duration = Duration::from_secs(32);
/// How often it is looked who has a partition, and told how far behind it is.
const STANDBY_LOOK: Duration = Duration::from_secs(1);

/// Why a partition stopped: it starts again from the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error(transparent)]
    Log(#[from] BusError),
    /// What is in memory may be half changed. Other partitions go on.
    #[error("{0}")]
    Panicked(String),
}

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
    /// What is in force.
    pub desk: Arc<Desk>,
    /// What waits to be delivered.
    pub board: Arc<Board>,
    /// Bodies of its escalations.
    pub bodies: Arc<Bodies>,
    /// Answers of receivers.
    pub answers: mpsc::Receiver<Answered>,
    /// Where dead letters go.
    pub letterbox: Letterbox,
    /// How time is cut for digests.
    pub calendar: Calendar,
    /// How the feeds are, for others to read.
    pub feeds: Arc<Feeds>,
    /// Messages that this process panicked over.
    pub contained: Contained,
}

/// Runs a partition whenever this instance owns it, until `stop`.
pub async fn run(mut parts: Parts, leases: Leases, stop: CancellationToken) {
    let partition = parts.writer.partition;
    loop {
        let tenure = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            tenure = leases.owned(partition) => tenure,
            never = stand_by(&mut parts, &leases) => match never {},
        };
        tend(&mut parts, &tenure).await;
        parts.board.queue().forget(partition);
        *parts.view.state() = parts.empty.clone();
    }
}

/// Another has the partition. Answers that come late are its own to get again: the receiver knows
/// the escalation by its id.
async fn stand_by(parts: &mut Parts, leases: &Leases) -> Infallible {
    loop {
        if let Some(holder) = leases.holder(parts.writer.partition) {
            parts.view.stand(format!("standby:{holder}"));
        }
        tokio::select! {
            Some(late) = parts.answers.recv() => drop(late),
            () = tokio::time::sleep(STANDBY_LOOK) => {}
        }
    }
}

/// Runs a partition while it is ours. An error of the log starts it again from the log; so does
/// another owner, after waits that grow: if it is one, its lease soon ends our tenure.
async fn tend(parts: &mut Parts, tenure: &Tenure) {
    let stop = tenure.ended();
    let partition = parts.writer.partition;
    let mut reclaim = RECLAIM_DELAY;
    while !stop.is_cancelled() {
        let view = Arc::clone(&parts.view);
        let lived = AssertUnwindSafe(live::live(parts, &stop)).catch_unwind();
        let ended = tokio::select! {
            ended = lived => {
                ended.unwrap_or_else(|panic| Err(Stopped::Panicked(said(panic.as_ref()))))
            }
            () = cut_off(&stop) => return,
            never = publish_lag(&view, tenure) => match never {},
        };
        let Err(error) = ended else {
            return;
        };
        let delay = if let Stopped::Log(BusError::Fenced { .. }) = error {
            parts.board.queue().forget(partition);
            parts.view.stand("stopped:another notifier owns it");
            tracing::error!(partition, %error, "partition stopped");
            let delay = reclaim;
            reclaim = (reclaim * 2).min(RECLAIM_DELAY_MAX);
            delay
        } else {
            tell_of_regression(partition, &error);
            parts.view.stand(format!("rebuilding:{error}"));
            match &error {
                Stopped::Log(error) => {
                    tracing::warn!(partition, %error, "deliveries start again from the log");
                }
                Stopped::Panicked(_) => {
                    tracing::error!(partition, %error, "deliveries start again from the log");
                }
            }
            RESTART_DELAY
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
}

async fn publish_lag(view: &View, tenure: &Tenure) -> Infallible {
    loop {
        tenure.set_lag(view.lag());
        tokio::time::sleep(STANDBY_LOOK).await;
    }
}

/// A log that lost what was read of it: people must hear of it at once, and not through that log.
fn tell_of_regression(partition: u32, error: &Stopped) {
    let Stopped::Log(error @ (BusError::LogRegression { .. } | BusError::Gap { .. })) = error
    else {
        return;
    };
    if error.begins_at().is_some() {
        return;
    }
    self_alert::raise(&Notice {
        reason: "log_regression",
        severity: Severity::Critical,
        service: "notifier",
        partition: Some(partition),
        title: format!(
            "The log lost records that notifier partition {partition} had read; it starts again from what is there"
        ),
        detail: error.to_string(),
    });
}

/// The end of a drain that takes too long.
async fn cut_off(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_MAX).await;
}
