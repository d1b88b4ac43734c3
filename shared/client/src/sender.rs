//! The pipeline for many events: a queue, a batch that is being filled, batches in flight, and the
//! outcomes in order.
//!
//! No timer: a batch leaves at once while little is in flight, and otherwise when it is full or
//! something was answered. So it is quick when idle and dense under load.

use std::sync::Arc;

use balefire_wire::ingest::v1::{AppendOptions, AppendResult, NativeEvent};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::{Semaphore, mpsc};

use crate::batch::{Batch, Item, Record, Sent};
use crate::connection::{Client, stamp_id};
use crate::occurrence::Occurrences;
use crate::{Error, Options};

/// A batch that is not full leaves only while fewer than this many are in flight.
const PARTIAL_IN_FLIGHT_MAX: usize = 2;

/// Takes events. Dropping it sends what is left.
pub struct Sender {
    queue: mpsc::Sender<Item>,
    memory: Arc<Semaphore>,
    occurrences: Occurrences,
    options: Arc<Options>,
    next: u64,
}

/// What became of one record.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its number, as the sender told it: from 0, in the order of sending.
    pub number: u64,
    /// The server's word; an error where its whole batch was refused for good.
    pub result: Result<AppendResult, Arc<Error>>,
}

/// Tells what became of the records, in the order of sending. Read it while sending, from another
/// task: the sender waits when too much is unread.
pub struct Outcomes(mpsc::Receiver<Outcome>);

impl Outcomes {
    /// The next outcome; `None` when the sender is dropped and everything is told.
    pub async fn next(&mut self) -> Option<Outcome> {
        self.0.recv().await
    }
}

impl Sender {
    /// Sends a JSON record. Waits while too much is in flight. Returns the record's number.
    ///
    /// # Errors
    /// [`Error::TooManyWithoutId`], [`Error::Closed`]. The record has no number then.
    pub async fn send_raw(&mut self, json: Bytes) -> Result<u64, Error> {
        let occurrence = self.occurrences.count(&json)?;
        self.put(Record::Raw { json, occurrence }).await
    }

    /// Sends a typed event; one without an id gets a UUIDv7. Waits while too much is in flight.
    /// Returns the record's number.
    ///
    /// # Errors
    /// [`Error::Closed`]. The record has no number then.
    pub async fn send(&mut self, mut event: NativeEvent) -> Result<u64, Error> {
        stamp_id(&mut event);
        self.put(Record::Typed(Box::new(event))).await
    }

    async fn put(&mut self, record: Record) -> Result<u64, Error> {
        let record = record.within(&self.options);
        // A record is never larger than the memory: `within` saw to that.
        let bytes = u32::try_from(record.bytes()).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory);
        let permit = memory.acquire_many_owned(bytes).await;
        let permit = permit.map_err(|_| Error::Closed)?;
        let item = Item { record, permit };
        self.queue.send(item).await.map_err(|_| Error::Closed)?;
        let number = self.next;
        self.next += 1;
        Ok(number)
    }
}

/// Starts the task between the two halves.
pub(crate) fn start(client: Client, options: AppendOptions) -> (Sender, Outcomes) {
    let limits = Arc::new(client.options().clone());
    let (queue, items) = mpsc::channel(limits.batch_max);
    let (outcomes, told) = mpsc::channel(limits.batch_max);
    let memory = Arc::new(Semaphore::new(limits.pending_bytes_max));
    let sender = Sender {
        queue,
        memory: Arc::clone(&memory),
        occurrences: Occurrences::new(limits.without_id_max),
        options: Arc::clone(&limits),
        next: 0,
    };
    let pipeline = Pipeline {
        client,
        options,
        limits,
        items,
        open: Batch::default(),
        waiting: None,
        ended: false,
        in_flight: FuturesOrdered::new(),
        outcomes,
        told: 0,
    };
    tokio::spawn(async move {
        // An error says that nobody reads the outcomes any more: then nobody may send either.
        let _unread = pipeline.run().await;
        memory.close();
    });
    (sender, Outcomes(told))
}

/// Nobody reads the outcomes any more.
struct Unread;

struct Pipeline {
    client: Client,
    options: AppendOptions,
    limits: Arc<Options>,
    items: mpsc::Receiver<Item>,
    open: Batch,
    /// The record that did not fit into `open`: it starts the next batch.
    waiting: Option<Item>,
    ended: bool,
    in_flight: FuturesOrdered<BoxFuture<'static, Sent>>,
    outcomes: mpsc::Sender<Outcome>,
    told: u64,
}

impl Pipeline {
    async fn run(mut self) -> Result<(), Unread> {
        loop {
            self.fill();
            if self.may_launch() {
                self.launch();
                continue;
            }
            if self.ended && self.open.is_empty() && self.in_flight.is_empty() {
                return Ok(());
            }
            let room = !self.ended && !self.is_full();
            tokio::select! {
                biased;
                Some(sent) = self.in_flight.next() => self.tell(sent).await?,
                item = self.items.recv(), if room => match item {
                    Some(item) => self.add(item),
                    None => self.ended = true,
                },
                () = self.outcomes.closed() => return Err(Unread),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.is_some() || self.open.len() >= self.limits.batch_max
    }

    /// Takes what is in the queue already.
    fn fill(&mut self) {
        while !self.is_full() {
            match self.items.try_recv() {
                Ok(item) => self.add(item),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.ended = true;
                    return;
                }
            }
        }
    }

    fn add(&mut self, item: Item) {
        if self.open.takes(&item.record, &self.limits) {
            self.open.push(item);
        } else {
            self.waiting = Some(item);
        }
    }

    fn may_launch(&self) -> bool {
        let most = if self.is_full() || self.ended {
            self.limits.in_flight_max
        } else {
            self.limits.in_flight_max.min(PARTIAL_IN_FLIGHT_MAX)
        };
        !self.open.is_empty() && self.in_flight.len() < most
    }

    fn launch(&mut self) {
        let batch = std::mem::take(&mut self.open);
        let sent = batch.send(self.client.clone(), self.options.clone());
        self.in_flight.push_back(Box::pin(sent));
        if let Some(item) = self.waiting.take() {
            self.open.push(item);
        }
    }

    async fn tell(&mut self, sent: Sent) -> Result<(), Unread> {
        let results: Vec<_> = match sent.results {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(error) => {
                let error = Arc::new(error);
                (0..sent.count).map(|_| Err(Arc::clone(&error))).collect()
            }
        };
        for result in results {
            let number = self.told;
            self.told += 1;
            let outcome = Outcome { number, result };
            self.outcomes.send(outcome).await.map_err(|_| Unread)?;
        }
        Ok(())
    }
}
