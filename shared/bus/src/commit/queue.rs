//! What waits for one stream: a line a tenant, served in turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;

use balefire_event::Lane;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::batch::{Batch, Completion, Failed, Part};
use super::{
    BATCH_BYTES_MAX, BATCH_ITEMS_MAX, BULK_BATCH_BYTES_MAX, Limits, Places, RETRY_AFTER, Refused,
    Target, Weight,
};
use crate::error::Error;

#[derive(Debug)]
struct Submission<I> {
    items: vec::IntoIter<I>,
    completion: Arc<Completion>,
}

#[derive(Debug)]
struct Waiting<I> {
    /// Tenants in the order of their turns; each is there once.
    turns: VecDeque<Arc<str>>,
    lines: HashMap<Arc<str>, VecDeque<Submission<I>>>,
    items: usize,
    bytes: usize,
    in_flight: bool,
    /// The stream gave up: refuse until then, and while there is no connection.
    refuse_until: Option<(Instant, String)>,
}

/// The queue of one stream.
#[derive(Debug)]
pub(super) struct Queue<I> {
    pub(super) target: Target,
    pub(super) limits: Limits,
    waiting: Mutex<Waiting<I>>,
    arrived: Notify,
    emptied: Notify,
    refused: Meter,
}

/// A counter's handle: looked up once, not at each use.
struct Meter(metrics::Counter);

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter")
    }
}

impl<I: Weight> Queue<I> {
    pub(super) fn new(target: Target, limits: Limits) -> Self {
        let refused =
            metrics::counter!("balefire_commit_refused_total", "stream" => target.stream.clone());
        Self {
            target,
            limits,
            waiting: Mutex::new(Waiting {
                turns: VecDeque::new(),
                lines: HashMap::new(),
                items: 0,
                bytes: 0,
                in_flight: false,
                refuse_until: None,
            }),
            arrived: Notify::new(),
            emptied: Notify::new(),
            refused: Meter(refused),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<I>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn submit(
        &self,
        tenant: Arc<str>,
        items: Vec<I>,
        connected: bool,
    ) -> Result<oneshot::Receiver<Result<Places, Error>>, Refused> {
        let bytes = weigh(&items)?;
        let (completion, answer) = Completion::new(items.len());
        if items.is_empty() {
            completion.stored_nothing();
            return Ok(answer);
        }
        let mut waiting = self.lock();
        if let Some(refused) = self.refusal(&mut waiting, items.len(), bytes, connected) {
            self.refused.0.increment(1);
            return Err(refused);
        }
        waiting.items += items.len();
        waiting.bytes += bytes;
        let submission = Submission {
            items: items.into_iter(),
            completion,
        };
        if let Some(line) = waiting.lines.get_mut(&tenant) {
            line.push_back(submission);
        } else {
            waiting.turns.push_back(Arc::clone(&tenant));
            waiting.lines.insert(tenant, VecDeque::from([submission]));
        }
        drop(waiting);
        self.arrived.notify_one();
        Ok(answer)
    }

    fn refusal(
        &self,
        waiting: &mut Waiting<I>,
        items: usize,
        bytes: usize,
        connected: bool,
    ) -> Option<Refused> {
        let stream = || self.target.stream.clone();
        if let Some((until, reason)) = &waiting.refuse_until {
            if !connected || Instant::now() < *until {
                return Some(Refused::Unavailable {
                    stream: stream(),
                    reason: reason.clone(),
                    retry_after: RETRY_AFTER,
                });
            }
            waiting.refuse_until = None;
        }
        // An empty queue takes a submission of any size: it would never fit otherwise.
        let full = waiting.items > 0
            && (waiting.items + items > self.limits.queue_items_max
                || waiting.bytes + bytes > self.limits.queue_bytes_max);
        full.then(|| Refused::Overloaded {
            stream: stream(),
            retry_after: RETRY_AFTER,
        })
    }

    /// Waits until something waits. Cancel-safe.
    pub(super) async fn ready(&self) {
        while self.lock().items == 0 {
            self.arrived.notified().await;
        }
    }

    /// Takes the next batch: of the tenant whose turn it is, as much as fits.
    pub(super) fn take(&self) -> Option<Batch<I>> {
        let bytes_max = match self.target.lane {
            Lane::Bulk => BULK_BATCH_BYTES_MAX,
            Lane::Urgent | Lane::Normal => BATCH_BYTES_MAX,
        };
        let mut guard = self.lock();
        let waiting = &mut *guard;
        let tenant = waiting.turns.pop_front()?;
        let mut batch = Batch {
            tenant: Arc::clone(&tenant),
            items: Vec::new(),
            bytes: 0,
            parts: Vec::new(),
        };
        if let Some(line) = waiting.lines.get_mut(&tenant) {
            while let Some(submission) = line.front_mut() {
                fill(&mut batch, submission, bytes_max);
                if !submission.items.as_slice().is_empty() {
                    break;
                }
                line.pop_front();
            }
            if line.is_empty() {
                waiting.lines.remove(&tenant);
            } else {
                waiting.turns.push_back(tenant);
            }
        }
        waiting.items = waiting.items.saturating_sub(batch.items.len());
        waiting.bytes = waiting.bytes.saturating_sub(batch.bytes);
        waiting.in_flight = true;
        Some(batch)
    }

    /// The batch taken last is acknowledged or given up.
    pub(super) fn settled(&self, stored: bool) {
        let mut waiting = self.lock();
        waiting.in_flight = false;
        if stored {
            waiting.refuse_until = None;
        }
        let empty = waiting.items == 0;
        drop(waiting);
        if empty {
            self.emptied.notify_waiters();
        }
    }

    /// Fails all that waits, and refuses more until `until` and while there is no connection.
    pub(super) fn give_up(&self, failed: &Failed, until: Instant) {
        let mut waiting = self.lock();
        waiting.refuse_until = Some((until, failed.reason()));
        waiting.items = 0;
        waiting.bytes = 0;
        let turns = std::mem::take(&mut waiting.turns);
        let mut lines = std::mem::take(&mut waiting.lines);
        drop(waiting);
        for tenant in turns {
            for submission in lines.remove(&tenant).unwrap_or_default() {
                submission.completion.fail(failed, &self.target.stream);
            }
        }
    }

    pub(super) fn waiting(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.items, waiting.bytes)
    }

    pub(super) async fn drained(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let waiting = self.lock();
                if waiting.items == 0 && !waiting.in_flight {
                    return;
                }
            }
            emptied.await;
        }
    }
}

fn weigh<I: Weight>(items: &[I]) -> Result<usize, Refused> {
    let mut sum = 0;
    for (index, item) in items.iter().enumerate() {
        let bytes = item.weight();
        if bytes > BATCH_BYTES_MAX {
            return Err(Refused::TooLarge { index, bytes });
        }
        sum += bytes;
    }
    Ok(sum)
}

/// Moves items over while they fit; the first one always does.
fn fill<I: Weight>(batch: &mut Batch<I>, submission: &mut Submission<I>, bytes_max: usize) {
    let mut count = 0;
    while let Some(item) = submission.items.as_slice().first() {
        let bytes = item.weight();
        let fits = batch.items.len() < BATCH_ITEMS_MAX && batch.bytes + bytes <= bytes_max;
        if !fits && !batch.items.is_empty() {
            break;
        }
        batch.bytes += bytes;
        batch.items.extend(submission.items.next());
        count += 1;
    }
    if count > 0 {
        batch.parts.push(Part {
            completion: Arc::clone(&submission.completion),
            count,
        });
    }
}
