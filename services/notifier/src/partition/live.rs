//! Reads ESCALATIONS and DELIVERIES, folds them, writes what the fold decides.

mod answers;
mod deciding;
mod digests;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balefire_bus::{Fence, Log, Message, Tail};
use balefire_event::{EscalationId, Timestamp};
use balefire_kit::clock;
use balefire_notifier_core::order::Order;
use balefire_notifier_core::{Attempt, Effect, FeedPosition, Input};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::feeding::Feeding;
use super::{Parts, Stopped};
use crate::codec::{self, DeliveryBatch, Logged};
use crate::dispatch::{Answered, Slot};
use crate::journal::Journal;
use crate::letter::{MALFORMED, Malformed};
use answers::{Burials, count};
use digests::Digests;

/// Deliveries pending in a partition before it stops reading ESCALATIONS for a while.
pub const PENDING_MAX: usize = 200_000;
/// Records on their way into the log, likewise.
pub const WRITING_MAX: usize = 4096;
/// How often it is looked whether a storm is over, and positions of feeds are written that nothing
/// else took along.
const TICK: Duration = Duration::from_secs(1);

/// A partition while it is owned.
struct Live<'a> {
    parts: &'a mut Parts,
    journal: Journal,
    order: Order<(Bytes, Timestamp)>,
    slots: BTreeMap<(EscalationId, Arc<str>), Slot>,
    deliveries: Tail,
    escalations: Tail,
    /// Sequence of our claim in DELIVERIES.
    claimed: u64,
    /// Dead letters that are being written.
    burials: Burials,
    /// What goes on beside it.
    feeding: Feeding,
    /// The weekly digests.
    digests: Digests,
    /// False while the state is being rebuilt: nothing is sent.
    sending: bool,
}

/// Claims the partition, rebuilds it from the log and runs it until `stop`.
///
/// # Errors
/// Another owner; a log that does not read on; a panic over a message.
pub(crate) async fn live(parts: &mut Parts, stop: &CancellationToken) -> Result<(), Stopped> {
    let partition = parts.writer.partition;
    let topology = parts.topology;
    parts.view.stand("rebuilding");
    parts.board.queue().forget(partition);
    *parts.view.state() = parts.empty.clone();
    let stream = topology.deliveries_stream(partition);
    let subject = topology.deliveries_step(partition);
    let mut fence = Fence::new(&parts.bus, &stream, &subject);
    let claimed = fence.claim(Journal::claim(&parts.writer)).await?;
    let log = Log::new(&parts.bus);
    let escalations = topology.escalations_stream(partition);
    let first = beginning(parts, &stream).await?;
    let read_from = beginning(parts, &escalations).await?;
    let mut live = Live {
        journal: Journal::new(parts.writer.clone(), fence),
        order: Order::after(first - 1),
        slots: BTreeMap::new(),
        deliveries: log.tail(&stream, first),
        escalations: log.tail(&escalations, read_from),
        claimed,
        burials: Burials::default(),
        feeding: Feeding::new(),
        digests: Digests::default(),
        sending: false,
        parts,
    };
    while live.order.last() < claimed {
        if let Some(message) = live.deliveries.next().await? {
            live.read(message).await?;
        }
    }
    live.begin();
    live.go_on(stop).await
}

/// Where a stream begins: at 1, or later where a full disk refused its first records. The state is
/// folded from there.
async fn beginning(parts: &Parts, stream: &str) -> Result<u64, balefire_bus::Error> {
    let first = parts.bus.stream_info(stream).await?.first_sequence.max(1);
    if first > 1 {
        tracing::warn!(
            stream,
            first,
            "the stream begins later; it is read from there"
        );
    }
    Ok(first)
}

/// What came next.
enum Came {
    Stop,
    Published(u64, Bytes),
    Delivery(Message),
    Answer(Answered),
    Buried(Arc<str>, Attempt),
    Escalations(Message),
    Fed(FeedPosition),
    Plan,
    Tick,
}

impl Live<'_> {
    /// From here on deliveries start.
    fn begin(&mut self) {
        self.sending = true;
        let tickets: Vec<_> = self.parts.view.state().tickets().collect();
        tracing::info!(
            partition = self.parts.writer.partition,
            pending = tickets.len(),
            "deliveries rebuilt"
        );
        for ticket in tickets {
            self.parts.board.push(self.parts.writer.partition, ticket);
        }
        self.feeding.keep(self.parts);
        self.parts.view.stand("running");
    }

    async fn go_on(&mut self, stop: &CancellationToken) -> Result<(), Stopped> {
        let mut moved = self.parts.desk.moved();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = self.journal.waiting_len() < WRITING_MAX;
            let open = room && self.parts.view.state().pending_len() < PENDING_MAX;
            let came = tokio::select! {
                biased;
                published = self.journal.published() => {
                    let (sequence, bytes) = published?;
                    Came::Published(sequence, bytes)
                }
                Some(answered) = self.parts.answers.recv() => Came::Answer(answered),
                buried = self.burials.next() => {
                    let (tenant, attempt) = buried?;
                    Came::Buried(tenant, attempt)
                }
                message = self.deliveries.next() => match message? {
                    Some(message) => Came::Delivery(message),
                    None => continue,
                },
                () = stop.cancelled() => Came::Stop,
                Ok(()) = moved.changed() => Came::Plan,
                _ = ticks.tick() => Came::Tick,
                position = self.feeding.next(), if room => Came::Fed(position),
                message = self.escalations.next(), if open => match message? {
                    Some(message) => Came::Escalations(message),
                    None => continue,
                },
            };
            match came {
                Came::Stop => return Ok(self.drain().await?),
                Came::Published(sequence, bytes) => {
                    self.logged(sequence, bytes, clock::now()).await?;
                }
                Came::Delivery(message) => self.read(message).await?,
                Came::Answer(answered) => self.answered(answered),
                Came::Buried(tenant, attempt) => self.journal.attempt(tenant, attempt),
                Came::Escalations(message) => self.escalated(&message).await?,
                Came::Fed(position) => self.fed(position),
                Came::Plan => self.feeding.keep(self.parts),
                Came::Tick => {
                    self.journal.flush();
                    self.ticked();
                    self.digest().await;
                }
            }
        }
    }

    /// Positions go along with what is written next; where a feed begins is written at once.
    fn fed(&mut self, position: FeedPosition) {
        let known = self.parts.view.state();
        let begins = known.fed(&position.receiver, position.lane).is_none();
        drop(known);
        self.journal.fed(position);
        if begins {
            self.journal.flush();
        }
    }

    /// Takes the answers of what is under way and writes them. Ends when no place is held.
    async fn drain(&mut self) -> Result<(), balefire_bus::Error> {
        for position in self.feeding.stop().await {
            self.journal.fed(position);
        }
        self.journal.flush();
        self.parts.view.stand("draining");
        let partition = self.parts.writer.partition;
        loop {
            let busy = {
                let mut queue = self.parts.board.queue();
                queue.forget(partition);
                queue.is_busy(partition)
            };
            if self.journal.is_idle() && self.burials.is_idle() && !busy {
                return Ok(());
            }
            tokio::select! {
                published = self.journal.published() => {
                    let (sequence, bytes) = published?;
                    self.logged(sequence, bytes, clock::now()).await?;
                }
                Some(answered) = self.parts.answers.recv() => self.answered(answered),
                buried = self.burials.next() => {
                    let (tenant, attempt) = buried?;
                    self.journal.attempt(tenant, attempt);
                }
                message = self.deliveries.next() => if let Some(message) = message? {
                    self.read(message).await?;
                },
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    async fn read(&mut self, message: Message) -> Result<(), balefire_bus::Error> {
        self.logged(message.sequence, message.payload, message.stored_at)
            .await
    }

    /// A message lies in DELIVERIES. Applied in the order of the log, once.
    async fn logged(
        &mut self,
        sequence: u64,
        bytes: Bytes,
        at: Timestamp,
    ) -> Result<(), balefire_bus::Error> {
        self.order.insert(sequence, (bytes, at));
        while let Some((sequence, (bytes, at))) = self.order.pop() {
            let batch = match codec::delivery_batch(&bytes) {
                Ok(batch) => batch,
                Err(detail) => {
                    let partition = self.parts.writer.partition;
                    let stream = self.parts.topology.deliveries_stream(partition);
                    let found = Malformed {
                        stream: &stream,
                        sequence,
                        index: None,
                        detail: &detail,
                        payload: &bytes,
                        at,
                    };
                    self.parts.letterbox.set_aside(MALFORMED, found).await;
                    continue;
                }
            };
            self.check_owner(sequence, &batch)?;
            self.journal.stand(batch.step, batch.covered);
            let step = self.journal.step();
            self.parts.view.step.store(step, Ordering::Relaxed);
            for record in batch.records {
                self.fold(&batch.tenant, record);
            }
            if batch.covered > 0 {
                let sequence = batch.covered;
                self.parts.view.state().apply(Input::Covered { sequence });
            }
        }
        Ok(())
    }

    /// A step of another owner behind our claim: the next publish would be refused, and what it
    /// decided is its own to deliver.
    fn check_owner(&self, sequence: u64, batch: &DeliveryBatch) -> Result<(), balefire_bus::Error> {
        let foreign = !batch.owner.is_empty() && batch.owner != self.parts.writer.id[..];
        if sequence > self.claimed && foreign {
            return Err(balefire_bus::Error::Fenced {
                subject: self
                    .parts
                    .topology
                    .deliveries_step(self.parts.writer.partition),
                expected: self.claimed,
            });
        }
        Ok(())
    }

    fn fold(&mut self, tenant: &str, record: Logged) {
        let input = match record {
            Logged::Intent(intent) => {
                self.page(tenant, &intent);
                Input::IntentLogged { tenant, intent }
            }
            Logged::Attempt(attempt) => {
                if self.sending {
                    count(attempt.outcome);
                }
                Input::AttemptLogged(attempt)
            }
            Logged::Requeue(requeue) => Input::Requeued(requeue),
            Logged::Fed(position) => Input::Fed(position),
            Logged::Acknowledged(said) => Input::Acknowledged(said),
        };
        let effects = self.parts.view.state().apply(input);
        for effect in effects {
            match effect {
                Effect::Release {
                    escalation_id,
                    receiver,
                } => {
                    self.slots.remove(&(escalation_id, receiver));
                }
                Effect::Deliver(ticket) if self.sending => {
                    self.parts.board.push(self.parts.writer.partition, ticket);
                }
                // Rebuilding: what is pending at its end is pushed then. The others do not follow
                // from records.
                Effect::Deliver(_)
                | Effect::RecordIntents { .. }
                | Effect::DeadLetter(_)
                | Effect::RecordAttempt { .. } => {}
            }
        }
    }
}
