//! The newest control revision: stamped into every event, and confirmed once a second.
//!
//! An ingest that has not seen the end of the control log for S could stamp an old revision, and
//! is not ready until it has again. Neither is one whose clock is more than S/2 from the server's.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use balefire_bus::topology::CONTROL;
use balefire_bus::{Bus, Log};
use balefire_control::Change;
use balefire_event::Timestamp;
use balefire_event::stamp::SKEW;
use balefire_kit::clock;
use balefire_wire::log::v1::control;
use balefire_wire::log::v1::record::Kind;
use balefire_wire::{BatchView, RecordView};
use tokio::task::JoinHandle;

use crate::declared::Declared;
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
    /// Sources and aliases as of `revision`, or newer ones.
    declared: RwLock<Arc<Declared>>,
    /// A record could not be read: what it says is not known.
    unread: AtomicBool,
}

impl Default for Applied {
    fn default() -> Self {
        Self {
            revision: AtomicU64::new(0),
            confirmed_at: AtomicI64::new(i64::MIN),
            skew: AtomicI64::new(0),
            declared: RwLock::default(),
            unread: AtomicBool::new(false),
        }
    }
}

impl Applied {
    /// The newest revision applied; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// What is declared of sources and identities, at least as of the revision that is applied.
    pub fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.declared.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in one message of the control log.
    ///
    /// # Errors
    /// Where it is none: what comes behind it must not be stamped as if it were known.
    fn take(&self, revision: u64, payload: &[u8]) -> Result<(), balefire_wire::Error> {
        let mut changes = Vec::new();
        for record in BatchView::parse(payload)?.records() {
            let RecordView::Other(Kind::Control(control)) = record? else {
                continue;
            };
            if let Some(control::Change::ObjectChange(change)) = control.change {
                changes.push(Change::try_from(change)?);
            }
        }
        if changes
            .iter()
            .any(|change| Declared::heeds(change.key.kind))
        {
            let mut declared = self
                .declared
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let declared = Arc::make_mut(&mut declared);
            changes
                .into_iter()
                .for_each(|change| declared.apply(change));
        }
        self.revision.store(revision, Ordering::Release);
        Ok(())
    }

    /// Why nothing may be stamped now.
    pub fn unready(&self, now: Timestamp) -> Option<&'static str> {
        if self.unread.load(Ordering::Acquire) {
            return Some("the control log holds a record that this version cannot read");
        }
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
                if let Err(error) = applied.take(message.sequence, &message.payload) {
                    let sequence = message.sequence;
                    applied.unread.store(true, Ordering::Release);
                    tracing::error!(sequence, %error, "a record of the control log cannot be read; is this version older than the log?");
                    continue;
                }
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
