//! Reads a lane and makes batches of it, in the form its receiver wants, while the batch before is
//! being given.

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, Error as BusError, Log, Message, Tail};
use balefire_notifier_core::feed::{Item, ItemId};
use balefire_notifier_core::route::Receiver;
use balefire_wire::{BatchView, RecordView};
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

impl Gatherer {
    /// Gives batches of what lies behind `had`, until the log does not read on. One batch is made
    /// while others are given: no more is held.
    pub(super) async fn run(self, had: u64, batches: mpsc::Sender<Batch>) -> BusError {
        let mut tail = Log::new(&self.bus).tail(&self.stream, had + 1);
        // What the last batch took: a buffer that grows is copied.
        let mut usual = 0;
        loop {
            let Ok(room) = batches.reserve().await else {
                return BusError::Ended {
                    stream: self.stream.clone(),
                };
            };
            let message = match tail.next().await {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => return error,
            };
            let caller = caller(&self.desk, &self.receiver.name).await;
            let mut batch = Batch {
                buffer: Vec::with_capacity(usual),
                ..Batch::default()
            };
            self.add(&caller, &message, &mut batch);
            let ended = self.gather(&caller, &mut tail, &mut batch).await;
            usual = batch.buffer.len();
            room.send(batch);
            if let Err(error) = ended {
                return error;
            }
        }
    }

    /// Adds what comes soon, as far as it fits.
    async fn gather(
        &self,
        caller: &Caller,
        tail: &mut Tail,
        batch: &mut Batch,
    ) -> Result<(), BusError> {
        let limits = caller.feed_limits();
        let until = tokio::time::Instant::now() + LINGER;
        while batch.items.len() < limits.items_max && batch.buffer.len() < limits.bytes_max {
            match tokio::time::timeout_at(until, tail.next()).await {
                Ok(Ok(Some(message))) => self.add(caller, &message, batch),
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Adds the events of a message. What cannot be read is a dead letter of the rule engine's.
    fn add(&self, caller: &Caller, message: &Message, batch: &mut Batch) {
        batch.sequence = message.sequence;
        let Ok(view) = BatchView::parse(&message.payload) else {
            return;
        };
        let tenant: Arc<str> = view.header.tenant.as_str().into();
        if !self.receiver.is_of(&tenant) {
            return;
        }
        for (index, record) in (0_u32..).zip(view.records()) {
            let Ok(RecordView::Event(event)) = record else {
                continue;
            };
            if event.severity < self.receiver.severity_min {
                continue;
            }
            let (id, start) = (ItemId::of(&event), batch.buffer.len());
            caller.feed_item(&mut batch.buffer, event, &tenant);
            batch.items.push(Item {
                id,
                tenant: Arc::clone(&tenant),
                sequence: message.sequence,
                index,
                place: start..batch.buffer.len(),
            });
        }
    }
}
