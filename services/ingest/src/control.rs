//! The newest control revision: stamped into every event, and confirmed once a second.
//!
//! An ingest that has not seen the end of the control log for S could stamp an old revision, and
//! is not ready until it has again. Neither is one whose clock is more than S/2 from the server's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use balefire_bus::topology::CONTROL;
use balefire_bus::{Bus, Log};
use balefire_event::Timestamp;
use balefire_event::stamp::SKEW;
use balefire_kit::clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the end of the control log is looked up.
const CONFIRM_EVERY: Duration = Duration::from_millis(1000);
/// How soon again while it is not caught up.
const CATCH_UP_EVERY: Duration = Duration::from_millis(20);

/// What is known of the control log.
#[derive(Debug)]
pub struct Applied {
    revision: AtomicU64,
    /// When it was last seen that `revision` is the newest.
    confirmed_at: AtomicI64,
    /// This machine's clock less the server's, nanoseconds.
    skew: AtomicI64,
}

impl Default for Applied {
    fn default() -> Self {
        Self {
            revision: AtomicU64::new(0),
            confirmed_at: AtomicI64::new(i64::MIN),
            skew: AtomicI64::new(0),
        }
    }
}

impl Applied {
    /// The newest revision applied; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Why nothing may be stamped now.
    pub fn unready(&self, now: Timestamp) -> Option<&'static str> {
        let confirmed_at = Timestamp(self.confirmed_at.load(Ordering::Acquire));
        if confirmed_at == Timestamp::MIN {
            return Some("catching up with the control log");
        }
        if now.since(confirmed_at) > SKEW {
            return Some("the control log has not been seen for 10 seconds");
        }
        if self.skew.load(Ordering::Relaxed).saturating_abs() > SKEW / 2 {
            return Some("this clock is more than 5 seconds from the log's; set the clock");
        }
        None
    }
}

/// A follower of the control log.
pub struct Control {
    /// What it knows.
    pub applied: Arc<Applied>,
    /// Ends with an error where the control log is not what it was.
    pub task: JoinHandle<Result<(), balefire_bus::Error>>,
}

impl Control {
    /// Starts following.
    pub fn start(bus: &Bus, shutdown: &CancellationToken) -> Self {
        let applied = Arc::new(Applied::default());
        let followed = follow(bus.clone(), Arc::clone(&applied));
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                ended = followed => ended,
                () = stop.cancelled() => Ok(()),
            }
        });
        Self { applied, task }
    }
}

async fn follow(bus: Bus, applied: Arc<Applied>) -> Result<(), balefire_bus::Error> {
    let mut tail = Log::new(&bus).tail(CONTROL, 1);
    let mut confirm = std::pin::pin!(confirm(bus, Arc::clone(&applied)));
    loop {
        tokio::select! {
            () = &mut confirm => {}
            message = tail.next() => {
                let Some(message) = message? else { continue };
                // Aliases and sources come with later control records; a rule set changes
                // nothing here but the revision.
                applied.revision.store(message.sequence, Ordering::Release);
                ::metrics::gauge!("balefire_ingest_control_revision").set(gauge(message.sequence));
            }
        }
    }
}

/// Confirms for ever.
async fn confirm(bus: Bus, applied: Arc<Applied>) {
    loop {
        let asked_at = clock::now();
        let seen = bus.stream_info(CONTROL).await;
        let caught_up =
            seen.is_ok_and(|info| info.last_sequence <= applied.revision.load(Ordering::Acquire));
        if caught_up {
            applied.confirmed_at.store(asked_at.0, Ordering::Release);
            measure(&bus, &applied).await;
        }
        let pause = if caught_up {
            CONFIRM_EVERY
        } else {
            CATCH_UP_EVERY
        };
        tokio::time::sleep(pause).await;
    }
}

async fn measure(bus: &Bus, applied: &Applied) {
    let before = clock::now();
    if let Ok(Some(server)) = bus.server_time(CONTROL).await {
        let middle = before.plus(clock::now().since(before) / 2);
        applied.skew.store(middle.since(server), Ordering::Relaxed);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; revisions stay small"
)]
fn gauge(revision: u64) -> f64 {
    revision as f64
}
