//! One partition: reads ESCALATIONS and DELIVERIES, folds them, writes what the fold decides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balefire_bus::{Bus, Fence, Log, Message, Tail, Topology};
use balefire_event::{Escalation, EscalationId, Timestamp};
use balefire_kit::clock;
use balefire_notifier_core::body::message_type;
use balefire_notifier_core::order::Order;
use balefire_notifier_core::{Effect, Input, Intent, Outcome, State};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bodies::Bodies;
use crate::codec::{self, EscalationBatch, Logged};
use crate::dispatch::{Answered, Board, Slot};
use crate::error::Error;
use crate::journal::{Journal, Writer};
use crate::letter::{Letterbox, Malformed};

/// Deliveries pending in a partition before it stops reading ESCALATIONS for a while.
pub const PENDING_MAX: usize = 200_000;
/// Records on their way into the log, likewise.
pub const WRITING_MAX: usize = 4096;
/// At a shutdown answers of what is under way are awaited for so long.
const DRAIN_MAX: Duration = Duration::from_secs(8);
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How a partition is, for others to read.
#[derive(Debug)]
pub struct View {
    /// The partition.
    pub partition: u32,
    state: Mutex<State>,
    standing: Mutex<String>,
    /// Last sequence of ESCALATIONS read.
    pub read: AtomicU64,
    /// Last sequence of ESCALATIONS there is.
    pub last: AtomicU64,
    /// Last step.
    pub step: AtomicU64,
}

impl View {
    /// Before the start.
    #[must_use]
    pub fn new(partition: u32, state: State) -> Arc<Self> {
        Arc::new(Self {
            partition,
            state: Mutex::new(state),
            standing: Mutex::new("starting".into()),
            read: AtomicU64::new(0),
            last: AtomicU64::new(0),
            step: AtomicU64::new(0),
        })
    }

    /// The fold; held for moments only.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// running, rebuilding, stopped:<why>.
    #[must_use]
    pub fn standing(&self) -> String {
        self.standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn stand(&self, standing: impl Into<String>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing.into();
    }
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
    /// What waits to be delivered.
    pub board: Arc<Board>,
    /// Bodies of its escalations.
    pub bodies: Arc<Bodies>,
    /// Answers of receivers.
    pub answers: mpsc::Receiver<Answered>,
    /// Where dead letters go.
    pub letterbox: Letterbox,
}

/// Runs a partition until `stop`. An error of the log starts it again from the log; another owner
/// stops it.
///
/// # Errors
/// [`Error::Fenced`].
pub async fn run(mut parts: Parts, stop: CancellationToken) -> Result<(), Error> {
    let partition = parts.writer.partition;
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            ended = live(&mut parts, &stop) => ended,
            () = cut_off(&stop) => return Ok(()),
        };
        let error = match ended {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if let balefire_bus::Error::Fenced { .. } = error {
            parts.view.stand("stopped:another notifier owns it");
            let source = error;
            return Err(Error::Fenced { partition, source });
        }
        parts.view.stand(format!("rebuilding:{error}"));
        tracing::warn!(partition, %error, "deliveries start again from the log");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(RESTART_DELAY) => {}
        }
    }
    Ok(())
}

/// The end of a drain that takes too long.
async fn cut_off(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN_MAX).await;
}

struct Live<'a> {
    parts: &'a mut Parts,
    journal: Journal,
    order: Order<(Bytes, Timestamp)>,
    slots: BTreeMap<(EscalationId, Arc<str>), Slot>,
    deliveries: Tail,
    escalations: Tail,
    /// False while the state is being rebuilt: nothing is sent.
    sending: bool,
}

async fn live(parts: &mut Parts, stop: &CancellationToken) -> Result<(), balefire_bus::Error> {
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
    let mut live = Live {
        journal: Journal::new(parts.writer.clone(), fence),
        order: Order::after(0),
        slots: BTreeMap::new(),
        deliveries: log.tail(&stream, 1),
        escalations: log.tail(&topology.escalations_stream(partition), 1),
        sending: false,
        parts,
    };
    while live.order.last() < claimed {
        if let Some(message) = live.deliveries.next().await? {
            live.read(message).await;
        }
    }
    live.begin();
    live.go_on(stop).await
}

/// What came next.
enum Came {
    Stop,
    Published(u64, Bytes),
    Delivery(Message),
    Answer(Answered),
    Escalations(Message),
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
        self.parts.view.stand("running");
    }

    async fn go_on(&mut self, stop: &CancellationToken) -> Result<(), balefire_bus::Error> {
        loop {
            let open = self.journal.waiting_len() < WRITING_MAX
                && self.parts.view.state().pending_len() < PENDING_MAX;
            let came = tokio::select! {
                biased;
                published = self.journal.published() => {
                    let (sequence, bytes) = published?;
                    Came::Published(sequence, bytes)
                }
                Some(answered) = self.parts.answers.recv() => Came::Answer(answered),
                message = self.deliveries.next() => match message? {
                    Some(message) => Came::Delivery(message),
                    None => continue,
                },
                () = stop.cancelled() => Came::Stop,
                message = self.escalations.next(), if open => match message? {
                    Some(message) => Came::Escalations(message),
                    None => continue,
                },
            };
            match came {
                Came::Stop => return self.drain().await,
                Came::Published(sequence, bytes) => {
                    self.logged(sequence, bytes, clock::now()).await
                }
                Came::Delivery(message) => self.read(message).await,
                Came::Answer(answered) => self.answered(answered).await,
                Came::Escalations(message) => self.escalated(&message).await,
            }
        }
    }

    /// Takes the answers of what is under way and writes them. Ends when no place is held.
    async fn drain(&mut self) -> Result<(), balefire_bus::Error> {
        self.parts.view.stand("draining");
        loop {
            if self.journal.is_idle() && self.parts.board.queue().busy_len() == 0 {
                return Ok(());
            }
            tokio::select! {
                published = self.journal.published() => {
                    let (sequence, bytes) = published?;
                    self.logged(sequence, bytes, clock::now()).await;
                }
                Some(answered) = self.parts.answers.recv() => self.answered(answered).await,
                message = self.deliveries.next() => if let Some(message) = message? {
                    self.read(message).await;
                },
                // Another partition's last place is given back without a word here.
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    async fn read(&mut self, message: Message) {
        self.logged(message.sequence, message.payload, message.stored_at)
            .await;
    }

    /// A message lies in DELIVERIES. Applied in the order of the log, once.
    async fn logged(&mut self, sequence: u64, bytes: Bytes, at: Timestamp) {
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
                    self.parts.letterbox.malformed(found).await;
                    continue;
                }
            };
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
    }

    fn fold(&mut self, tenant: &str, record: Logged) {
        let input = match record {
            Logged::Intent(intent) => Input::IntentLogged { tenant, intent },
            Logged::Attempt(attempt) => {
                if self.sending {
                    count(attempt.outcome);
                }
                Input::AttemptLogged(attempt)
            }
            Logged::Requeue(requeue) => Input::Requeued(requeue),
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

    async fn escalated(&mut self, message: &Message) {
        let sequence = message.sequence;
        let (batch, whole) = match codec::escalations(&message.payload) {
            Ok(batch) => (batch, None),
            Err(detail) => (EscalationBatch::default(), Some(detail)),
        };
        if sequence > self.parts.view.state().position() {
            let whole = whole.map(|detail| (None, detail));
            let single = batch.bad.into_iter().map(|(i, detail)| (Some(i), detail));
            for (index, detail) in whole.into_iter().chain(single) {
                self.unreadable(message, index, &detail).await;
            }
        }
        let escalations = batch.escalations;
        let effects = self.parts.view.state().apply(Input::Escalated {
            sequence,
            escalations: &escalations,
            now: clock::now(),
        });
        self.parts.view.read.store(sequence, Ordering::Relaxed);
        for effect in effects {
            if let Effect::RecordIntents {
                sequence,
                tenant,
                intents,
            } = effect
            {
                self.decided(&tenant, sequence, &intents, &escalations);
            }
        }
    }

    async fn unreadable(&self, message: &Message, index: Option<u32>, detail: &str) {
        let partition = self.parts.writer.partition;
        let stream = self.parts.topology.escalations_stream(partition);
        let found = Malformed {
            stream: &stream,
            sequence: message.sequence,
            index,
            detail,
            payload: &message.payload,
            at: message.stored_at,
        };
        self.parts.letterbox.malformed(found).await;
    }

    fn decided(
        &mut self,
        tenant: &Arc<str>,
        sequence: u64,
        intents: &[Intent],
        escalations: &[Escalation],
    ) {
        let told = intents.chunk_by(|a, b| a.escalation_id == b.escalation_id);
        for intent in told.filter_map(<[Intent]>::first) {
            let id = intent.escalation_id;
            let one = escalations
                .iter()
                .find(|one| one.escalation_id == id && message_type(one.kind).is_some());
            if let Some(one) = one {
                self.parts.bodies.keep(one);
            }
        }
        metrics::counter!("balefire_delivery_intents_total")
            .increment(u64::try_from(intents.len()).unwrap_or(0));
        self.journal.intents(tenant, sequence, intents);
    }

    async fn answered(&mut self, answered: Answered) {
        let Answered { answer, slot } = answered;
        let key = (answer.escalation_id, Arc::clone(&answer.receiver));
        self.slots.insert(key.clone(), slot);
        let effects = self.parts.view.state().apply(Input::Answered(answer));
        for effect in effects {
            match effect {
                Effect::DeadLetter(dead) => {
                    let body = self
                        .parts
                        .bodies
                        .get(&dead.escalation_id, dead.sequence)
                        .await;
                    let partition = self.parts.writer.partition;
                    let stream = self.parts.topology.escalations_stream(partition);
                    let body = body.unwrap_or_default();
                    self.parts.letterbox.delivery(&stream, dead, body).await;
                }
                Effect::RecordAttempt { tenant, attempt } => self.journal.attempt(tenant, attempt),
                Effect::Release { .. } => {
                    self.slots.remove(&key);
                }
                Effect::Deliver(ticket) => {
                    self.parts.board.push(self.parts.writer.partition, ticket);
                }
                Effect::RecordIntents { .. } => {}
            }
        }
    }
}

fn count(outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Retry => "retry",
        Outcome::DeadLettered => "dead_lettered",
    };
    metrics::counter!("balefire_delivery_attempts_total", "outcome" => outcome).increment(1);
}
