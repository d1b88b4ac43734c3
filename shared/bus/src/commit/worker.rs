//! The writer of one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::batch::{Batch, Failed};
use super::queue::Queue;
use super::{Former, Weight};
use crate::connection::Bus;
use crate::publish::{Failure, publish};

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// After it gave up a stream refuses for so long; the next submission then tries it.
const REFUSE_FOR: Duration = Duration::from_millis(500);

pub(super) struct Worker<I, F> {
    pub(super) bus: Bus,
    pub(super) queue: Arc<Queue<I>>,
    pub(super) former: F,
    /// Shared by queues that together may have only so many in flight.
    pub(super) gate: Option<Arc<Semaphore>>,
    pub(super) writer_seq: Arc<AtomicU64>,
}

struct Meters {
    batches: metrics::Counter,
    items: metrics::Counter,
    bytes: metrics::Counter,
    retries: metrics::Counter,
    given_up: metrics::Counter,
    waiting_bytes: metrics::Gauge,
}

impl Meters {
    fn of(stream: &str) -> Self {
        let stream = stream.to_owned();
        Self {
            batches: metrics::counter!("balefire_commit_batches_total", "stream" => stream.clone()),
            items: metrics::counter!("balefire_commit_items_total", "stream" => stream.clone()),
            bytes: metrics::counter!("balefire_commit_bytes_total", "stream" => stream.clone()),
            retries: metrics::counter!("balefire_commit_retries_total", "stream" => stream.clone()),
            given_up: metrics::counter!("balefire_commit_given_up_total", "stream" => stream.clone()),
            waiting_bytes: metrics::gauge!("balefire_commit_waiting_bytes", "stream" => stream),
        }
    }
}

impl<I: Weight + Send, F: Former<I>> Worker<I, F> {
    pub(super) async fn run(mut self) {
        let meters = Meters::of(&self.queue.target.stream);
        loop {
            self.queue.ready().await;
            let gate = match &self.gate {
                Some(gate) => Arc::clone(gate).acquire_owned().await.ok(),
                None => None,
            };
            // Taken only now: what came while the gate was shut goes along.
            let Some(batch) = self.queue.take() else {
                continue;
            };
            meters.waiting_bytes.set(gauge(self.queue.waiting().1));
            let (batch, outcome) = self.store(batch, &meters).await;
            drop(gate);
            match outcome {
                Ok(sequence) => {
                    meters.batches.increment(1);
                    meters.items.increment(counted(batch.items.len()));
                    meters.bytes.increment(counted(batch.bytes));
                    batch.stored(sequence);
                    self.queue.settled(true);
                }
                Err(failed) => {
                    meters.given_up.increment(1);
                    self.give_up(batch, &failed);
                }
            }
        }
    }

    fn give_up(&self, batch: Batch<I>, failed: &Failed) {
        let stream = &self.queue.target.stream;
        tracing::warn!(stream, reason = failed.reason(), "batch given up");
        // Before the tickets fail: who comes back at once is refused at once.
        if matches!(failed, Failed::Unavailable(_) | Failed::Full(_)) {
            self.queue.give_up(failed, Instant::now() + REFUSE_FOR);
        }
        batch.fail(failed, stream);
        self.queue.settled(false);
    }

    /// Publishes until it is acknowledged, surely not stored, or given up.
    async fn store(&mut self, batch: Batch<I>, meters: &Meters) -> (Batch<I>, Result<u64, Failed>) {
        let writer_seq = self.writer_seq.fetch_add(1, Ordering::Relaxed) + 1;
        let give_up = Instant::now() + self.queue.limits.give_up;
        let mut delay = RETRY_FIRST;
        let mut reason = String::from("nats is not connected");
        loop {
            // Publishing into a lost connection would only pile up copies in the client.
            if !self.bus.connected_by(give_up).await {
                return (batch, Err(Failed::Unavailable(reason)));
            }
            let payload = self.former.form(&batch.tenant, &batch.items, writer_seq);
            let size = payload.len();
            match publish(&self.bus, &self.queue.target.subject, None, payload).await {
                Ok(stored) => return (batch, Ok(stored.sequence)),
                Err(Failure::Unknown(unknown)) => reason = unknown,
                Err(Failure::Full(full)) => return (batch, Err(Failed::Full(full))),
                Err(Failure::TooLarge) => return (batch, Err(Failed::TooLarge(size))),
                Err(Failure::Refused(refused)) => return (batch, Err(Failed::Refused(refused))),
                Err(Failure::WrongLastSequence) => {
                    return (batch, Err(Failed::Refused("unexpected fence".into())));
                }
            }
            if Instant::now() + delay >= give_up {
                return (batch, Err(Failed::Unavailable(reason)));
            }
            meters.retries.increment(1);
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }
}

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn gauge(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}
