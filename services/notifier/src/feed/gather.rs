//! Reads a lane and makes batches of it, in the form its receiver wants, while the batch before is
//! being given.

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, Error as BusError, Log, Message, Tail};
use balefire_notifier_core::contained::contained;
use balefire_notifier_core::feed::{Item, ItemId};
use balefire_notifier_core::route::Receiver;
use balefire_wire::{BatchView, RecordView};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::caller::Caller;
use crate::desk::Desk;

/// Behind the first event of a batch others are awaited for so long.
const LINGER: Duration = Duration::from_millis(100);
/// A receiver that is not there is looked for again.
const ABSENT: Duration = Duration::from_secs(1);

/// What was read and not given yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What the receiver gets of each.
    pub(super) buffer: Vec<u8>,
    pub(super) items: Vec<Item>,
    /// Events that this program panicked over: what was said, and the record.
    pub(super) broken: Vec<(Item, String, Bytes)>,
    /// Last message that it holds all of.
    pub(super) sequence: u64,
}

/// Reads for one receiver.
pub(super) struct Gatherer {
    pub(super) bus: Bus,
    pub(super) desk: Arc<Desk>,
    pub(super) receiver: Receiver,
    pub(super) stream: String,
}

/// The receiver's caller, as soon as there is one.
pub(super) async fn caller(desk: &Desk, receiver: &str) -> Caller {
    loop {
        if let Some(caller) = desk.caller(receiver) {
            return caller;
        }
        tokio::time::sleep(ABSENT).await;
    }
}

/// A message of which only what stands before this index is in a batch.
type Rest = Option<(Message, u32)>;

impl Gatherer {
    /// Gives batches of what lies behind `had`, until the log does not read on. One batch is made
    /// while others are given: no more is held.
    pub(super) async fn run(self, had: u64, batches: mpsc::Sender<Batch>) -> BusError {
        let mut tail = Log::new(&self.bus).tail(&self.stream, had + 1);
        // What the last batch took: a buffer that grows is copied.
        let (mut usual, mut done, mut rest) = (0, had, None);
        loop {
            let Ok(room) = batches.reserve().await else {
                return BusError::Ended {
                    stream: self.stream.clone(),
                };
            };
            let (message, from) = match rest.take() {
                Some(rest) => rest,
                None => match tail.next().await {
                    Ok(Some(message)) => (message, 0),
                    Ok(None) => continue,
                    Err(error) => return error,
                },
            };
            let caller = caller(&self.desk, &self.receiver.name).await;
            let mut batch = Batch {
                buffer: Vec::with_capacity(usual),
                sequence: done,
                ..Batch::default()
            };
            rest = self.add(&caller, message, from, &mut batch);
            let ended = match rest {
                Some(_) => Ok(()),
                None => self.gather(&caller, &mut tail, &mut batch, &mut rest).await,
            };
            (usual, done) = (batch.buffer.len(), batch.sequence);
            room.send(batch);
            if let Err(error) = ended {
                return error;
            }
        }
    }

    /// Adds what comes soon, until it does not fit.
    async fn gather(
        &self,
        caller: &Caller,
        tail: &mut Tail,
        batch: &mut Batch,
        rest: &mut Rest,
    ) -> Result<(), BusError> {
        let until = tokio::time::Instant::now() + LINGER;
        while rest.is_none() {
            match tokio::time::timeout_at(until, tail.next()).await {
                Ok(Ok(Some(message))) => *rest = self.add(caller, message, 0, batch),
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds the events of a message from an index on, as far as they fit. What cannot be read is a
    /// dead letter of the rule engine's.
    fn add(&self, caller: &Caller, message: Message, from: u32, batch: &mut Batch) -> Rest {
        let limits = caller.feed_limits();
        let sequence = message.sequence;
        let Ok(view) = BatchView::parse(&message.payload) else {
            batch.sequence = sequence;
            return None;
        };
        let tenant: Arc<str> = view.header.tenant.as_str().into();
        if self.receiver.is_of(&tenant) {
            let raw = view.raw_records().filter_map(Result::ok);
            for record in raw.skip_while(|record| record.index < from) {
                let Ok(RecordView::Event(event)) = record.view() else {
                    continue;
                };
                if event.severity < self.receiver.severity_min {
                    continue;
                }
                let (id, start) = (ItemId::of(&event), batch.buffer.len());
                let mut full = batch.items.len() >= limits.items_max;
                let mut done = Ok(());
                if !full {
                    let buffer = &mut batch.buffer;
                    done = contained(|| {
                        #[cfg(feature = "sabotage")]
                        balefire_kit::sabotage::panics(&event.event_id);
                        caller.feed_item(buffer, event, &tenant);
                    });
                    full = batch.buffer.len() > limits.bytes_max && !batch.items.is_empty();
                }
                if let Err(said) = done {
                    batch.buffer.truncate(start);
                    let item = Item {
                        id,
                        tenant: Arc::clone(&tenant),
                        sequence,
                        index: record.index,
                        place: start..start,
                    };
                    let bytes = Bytes::copy_from_slice(record.bytes);
                    batch.broken.push((item, said, bytes));
                    continue;
                }
                if full {
                    batch.buffer.truncate(start);
                    let index = record.index;
                    return Some((message, index));
                }
                batch.items.push(Item {
                    id,
                    tenant: Arc::clone(&tenant),
                    sequence,
                    index: record.index,
                    place: start..batch.buffer.len(),
                });
            }
        }
        batch.sequence = sequence;
        None
    }
}
