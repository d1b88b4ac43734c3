//! Group commit, the hot path of ingest.
//!
//! JetStream costs per message, and one sync a message. So what waits for a stream while its
//! previous publish is being acknowledged goes out as one batch, at once when nothing is in
//! flight: no linger, no latency when idle, hundreds of thousands of items a second under load.

mod batch;
mod queue;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use balefire_event::Lane;
use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::Bus;
use crate::error::Error;
use crate::message::Place;
use queue::Queue;
use worker::Worker;

/// Most items of a batch.
pub const BATCH_ITEMS_MAX: usize = 512;
/// Largest batch, bytes of its items.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Largest batch of the bulk lane: it must not sit long in front of an urgent sync.
pub const BULK_BATCH_BYTES_MAX: usize = 32 * 1024;
/// Bulk publishes in flight, all streams together.
pub const BULK_IN_FLIGHT_MAX: usize = 1;
/// Overloaded callers come back after this time.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How large an item is in its batch.
pub trait Weight {
    /// Bytes, about.
    fn weight(&self) -> usize;
}

/// Builds the record of a batch. Called when the batch goes out, and again at each retry, so
/// that stamps are those of the attempt that is stored.
pub trait Former<I>: Send {
    /// The record's bytes. `writer_seq` counts the batches of this [`GroupCommit`] from 1 and
    /// stays the same in retries of a batch.
    fn form(&mut self, tenant: &str, items: &[I], writer_seq: u64) -> Bytes;
}

/// A stream to commit to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, for messages and metrics.
    pub stream: String,
    /// The subject to publish on.
    pub subject: String,
    /// Its lane: bulk has smaller batches and one publish in flight over all streams.
    pub lane: Lane,
}

/// Bounds of one stream's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Items that wait.
    pub queue_items_max: usize,
    /// Bytes that wait.
    pub queue_bytes_max: usize,
    /// A batch without acknowledgement is given up after this time.
    pub give_up: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_items_max: 65_536,
            queue_bytes_max: 16 * 1024 * 1024,
            give_up: Duration::from_secs(10),
        }
    }
}

/// Why a submission was not taken; nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The queue is full.
    #[error("too much waits for {stream}")]
    Overloaded {
        /// The stream.
        stream: String,
        /// Come back after this time.
        retry_after: Duration,
    },
    /// The stream takes nothing at the moment.
    #[error("{stream} takes nothing at the moment: {reason}")]
    Unavailable {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
        /// Come back after this time.
        retry_after: Duration,
    },
    /// One item alone is more than a batch.
    #[error("item {index} has {bytes} bytes, more than a batch may have")]
    TooLarge {
        /// Which item, from 0.
        index: usize,
        /// Its weight.
        bytes: usize,
    },
    /// No such target.
    #[error("there is no target {index}")]
    NoTarget {
        /// The index asked for.
        index: usize,
    },
}

/// Some items of a submission that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    sequence: u64,
    index: u32,
    count: u32,
}

/// Where the items of a submission lie, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    runs: Vec<Run>,
}

impl Places {
    /// The place of each item.
    pub fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.runs.iter().flat_map(|run| {
            (0..run.count).map(|i| Place {
                sequence: run.sequence,
                index: run.index + i,
            })
        })
    }

    /// The place of item `item`, from 0.
    #[must_use]
    pub fn get(&self, item: usize) -> Option<Place> {
        self.iter().nth(item)
    }

    /// How many items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True for an empty submission.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// A submission on its way.
#[derive(Debug)]
pub struct Ticket {
    stream: String,
    answer: oneshot::Receiver<Result<Places, Error>>,
}

impl Ticket {
    /// Waits until every item is stored and acknowledged. Dropping the ticket recalls nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] after the give-up time (whether it is stored is unknown),
    /// [`Error::Full`] (it is not), [`Error::TooLarge`] and [`Error::Refused`] (it never will).
    /// Of a submission over several batches some may be stored: submit all of it again.
    pub async fn places(self) -> Result<Places, Error> {
        self.answer.await.unwrap_or_else(|_| {
            Err(Error::unavailable(
                format!("committing to {}", self.stream),
                "the writer has ended",
            ))
        })
    }
}

/// Writers of several streams, one batch in flight in each.
pub struct GroupCommit<I> {
    queues: Arc<[Arc<Queue<I>>]>,
    bus: Bus,
    _workers: Vec<AbortOnDropHandle<()>>,
}

impl<I: Weight + Send + 'static> GroupCommit<I> {
    /// Starts a writer for each of `targets`; each gets a clone of `former`. Must be called
    /// within a tokio runtime. Dropping it drops what waits: [`GroupCommit::drained`] first.
    #[must_use]
    pub fn start<F>(bus: &Bus, targets: Vec<Target>, limits: Limits, former: &F) -> Self
    where
        F: Former<I> + Clone + 'static,
    {
        let bulk = Arc::new(Semaphore::new(BULK_IN_FLIGHT_MAX));
        let writer_seq = Arc::new(AtomicU64::new(0));
        let queues: Arc<[Arc<Queue<I>>]> = targets
            .into_iter()
            .map(|target| Arc::new(Queue::new(target, limits)))
            .collect();
        let workers = queues
            .iter()
            .map(|queue| {
                let gate = (queue.target.lane == Lane::Bulk).then(|| Arc::clone(&bulk));
                let worker = Worker {
                    bus: bus.clone(),
                    queue: Arc::clone(queue),
                    former: former.clone(),
                    gate,
                    writer_seq: Arc::clone(&writer_seq),
                };
                AbortOnDropHandle::new(tokio::spawn(worker.run()))
            })
            .collect();
        Self {
            queues,
            bus: bus.clone(),
            _workers: workers,
        }
    }

    /// Takes `items` of `tenant` for the stream at index `target` of those given to
    /// [`GroupCommit::start`], all or none, at once. Their order is kept within a tenant.
    ///
    /// # Errors
    /// [`Refused`], at once: nothing waits for space.
    pub fn submit(
        &self,
        target: usize,
        tenant: Arc<str>,
        items: Vec<I>,
    ) -> Result<Ticket, Refused> {
        let queue = self
            .queues
            .get(target)
            .ok_or(Refused::NoTarget { index: target })?;
        let answer = queue.submit(tenant, items, self.bus.is_connected())?;
        Ok(Ticket {
            stream: queue.target.stream.clone(),
            answer,
        })
    }

    /// Items and bytes that wait for the stream at index `target`.
    #[must_use]
    pub fn waiting(&self, target: usize) -> (usize, usize) {
        self.queues
            .get(target)
            .map_or((0, 0), |queue| queue.waiting())
    }

    /// Waits until nothing waits and nothing is in flight. Give it a deadline.
    pub async fn drained(&self) {
        for queue in self.queues.iter() {
            queue.drained().await;
        }
    }
}
