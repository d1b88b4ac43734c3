//! Writes DELIVERIES of one partition: fenced steps, each with whatever waited while the one
//! before it was being acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use balefire_bus::Fence;
use balefire_event::Lane;
use balefire_event::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use balefire_kit::clock;
use balefire_notifier_core::{Attempt, FeedPosition, Intent};
use balefire_wire::log::v1::{InputRun, Step};
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::codec;

const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Between two messages of nothing but attempts: so that what is decided meanwhile finds the log free,
/// however many deliveries end one after the other.
const ATTEMPTS_GAP: Duration = Duration::from_millis(2);

/// What shall be written.
#[derive(Debug)]
enum Item {
    /// Those of one escalation: they always lie in one message.
    Intents(Arc<str>, Vec<Intent>),
    /// What stands before it covers ESCALATIONS up to there.
    Covered(u64),
    Attempt(Arc<str>, Attempt),
}

impl Item {
    /// Whose it is; `None`: everybody's.
    const fn tenant(&self) -> Option<&Arc<str>> {
        match self {
            Self::Intents(tenant, _) | Self::Attempt(tenant, _) => Some(tenant),
            Self::Covered(_) => None,
        }
    }

    const fn is_attempt(&self) -> bool {
        matches!(self, Self::Attempt(..))
    }

    /// Its records.
    fn len(&self) -> usize {
        match self {
            Self::Intents(_, intents) => intents.len(),
            Self::Covered(_) => 0,
            Self::Attempt(..) => 1,
        }
    }
}

/// Who writes.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Random bytes of this process.
    pub id: [u8; 16],
    /// The partition.
    pub partition: u32,
}

type Published = Result<(Fence, u64, Bytes), balefire_bus::Error>;

/// The writing end of one partition's DELIVERIES.
pub struct Journal {
    writer: Writer,
    fence: Option<Fence>,
    publishing: Option<JoinHandle<Published>>,
    waiting: VecDeque<Item>,
    /// How many of them are no attempts: those go as soon as the log is free.
    decided: usize,
    /// The newest of each feed.
    positions: BTreeMap<(Arc<str>, Lane), FeedPosition>,
    /// Positions are written though nothing else is.
    flushing: bool,
    /// When the last message was acknowledged.
    acknowledged: Option<Instant>,
    step: u64,
    covered: u64,
    writer_seq: u64,
}

impl Journal {
    /// On a claimed fence.
    #[must_use]
    pub fn new(writer: Writer, fence: Fence) -> Self {
        Self {
            writer,
            fence: Some(fence),
            publishing: None,
            waiting: VecDeque::new(),
            decided: 0,
            positions: BTreeMap::new(),
            flushing: false,
            acknowledged: None,
            step: 0,
            covered: 0,
            writer_seq: 1,
        }
    }

    /// The empty message by which an owner takes the partition.
    #[must_use]
    pub fn claim(writer: &Writer) -> Bytes {
        let step = Step {
            source_partition: writer.partition,
            last_part: true,
            claim: true,
            owner_id: Bytes::copy_from_slice(&writer.id),
            ..Step::default()
        };
        let header = Header {
            writer_id: writer.id,
            writer_seq: 1,
            received_at_max: clock::now(),
            ..Header::default()
        };
        BatchWriter::default().finish(&header, Some(&step)).into()
    }

    /// What the log says about where the writing stands.
    pub fn stand(&mut self, step: u64, covered: u64) {
        self.step = self.step.max(step);
        self.covered = self.covered.max(covered);
    }

    /// Number of the last step.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Records that wait.
    #[must_use]
    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.positions.is_empty() && self.publishing.is_none()
    }

    /// Intents of one message of ESCALATIONS.
    pub fn intents(&mut self, tenant: &Arc<str>, sequence: u64, intents: &[Intent]) {
        for group in intents.chunk_by(|a, b| a.escalation_id == b.escalation_id) {
            self.push(Item::Intents(Arc::clone(tenant), group.to_vec()));
        }
        self.push(Item::Covered(sequence));
        self.go_on();
    }

    /// One attempt.
    pub fn attempt(&mut self, tenant: Arc<str>, attempt: Attempt) {
        self.push(Item::Attempt(tenant, attempt));
        self.go_on();
    }

    fn push(&mut self, item: Item) {
        self.decided += usize::from(!item.is_attempt());
        self.waiting.push_back(item);
    }

    /// How far a feed receiver is: goes along with what is written next, or with
    /// [`Journal::flush`]. Of each feed only the newest.
    pub fn fed(&mut self, position: FeedPosition) {
        let feed = (Arc::clone(&position.receiver), position.lane);
        self.positions.insert(feed, position);
    }

    /// Writes the positions that wait.
    pub fn flush(&mut self) {
        self.flushing = !self.positions.is_empty();
        self.go_on();
    }

    /// The next step that lies in the log: its sequence and bytes. Waits for ever where nothing is
    /// under way. Cancel-safe.
    ///
    /// # Errors
    /// Another owner, or a record that the server never takes.
    pub async fn published(&mut self) -> Result<(u64, Bytes), balefire_bus::Error> {
        if self.publishing.is_none()
            && let Some(until) = self.rests_until()
        {
            tokio::time::sleep_until(until).await;
            self.start();
        }
        let Some(publishing) = &mut self.publishing else {
            return std::future::pending().await;
        };
        let ended = publishing.await;
        self.publishing = None;
        self.acknowledged = Some(Instant::now());
        let (fence, sequence, bytes) =
            ended.map_err(|error| balefire_bus::Error::Unavailable {
                doing: "writing deliveries".into(),
                reason: error.to_string(),
            })??;
        self.fence = Some(fence);
        self.go_on();
        Ok((sequence, bytes))
    }

    fn go_on(&mut self) {
        let rested = |until: Instant| until <= Instant::now();
        if self.flushing || self.decided > 0 || self.rests_until().is_some_and(rested) {
            self.start();
        }
    }

    /// Until when attempts that wait do; `None`: none does, or a message is under way.
    fn rests_until(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.fence.is_none() {
            return None;
        }
        let last = self.acknowledged.map(|last| last + ATTEMPTS_GAP);
        Some(last.unwrap_or_else(Instant::now))
    }

    fn start(&mut self) {
        let Some(fence) = self.fence.take() else {
            return;
        };
        let payload = self.form();
        self.publishing = Some(tokio::spawn(publish(fence, payload)));
    }

    /// Takes what goes into one message: of one tenant, within the limits of a batch, and every
    /// position. What is another tenant's keeps its order and goes next, so that many tenants do
    /// not make many messages.
    fn form(&mut self) -> Bytes {
        let mut batch = BatchWriter::default();
        let mut tenant: Option<Arc<str>> = None;
        let mut covered = self.covered;
        let mut left = VecDeque::new();
        while let Some(item) = self.waiting.pop_front() {
            let foreign = match (&tenant, item.tenant()) {
                (Some(tenant), Some(of)) => tenant != of,
                (None, _) | (_, None) => false,
            };
            if foreign {
                left.push_back(item);
                continue;
            }
            let full =
                batch.count() + item.len() > BATCH_EVENTS_MAX || batch.len() >= BATCH_BYTES_MAX;
            if !batch.is_empty() && full {
                left.push_back(item);
                break;
            }
            if tenant.is_none() {
                tenant = item.tenant().cloned();
            }
            match item {
                // Covered is what all before it lies in the log with.
                Item::Covered(_) if !left.is_empty() => left.push_back(item),
                Item::Covered(sequence) => {
                    self.decided = self.decided.saturating_sub(1);
                    covered = covered.max(sequence);
                }
                Item::Intents(_, intents) => {
                    self.decided = self.decided.saturating_sub(1);
                    for one in &intents {
                        batch.push(RecordRef::Intent(&codec::intent(one)));
                    }
                }
                Item::Attempt(_, one) => batch.push(RecordRef::Attempt(&codec::attempt(&one))),
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        while batch.count() < BATCH_EVENTS_MAX
            && let Some((_, position)) = self.positions.pop_first()
        {
            let position = codec::feed_position(&position);
            batch.push(RecordRef::FeedPosition(&position));
        }
        self.flushing = !self.positions.is_empty();
        self.close(batch, tenant.as_deref().unwrap_or_default(), covered)
    }

    /// The next step around what was taken.
    fn close(&mut self, mut batch: BatchWriter, tenant: &str, covered: u64) -> Bytes {
        self.step += 1;
        self.writer_seq += 1;
        let header = Header {
            tenant: tenant.to_owned(),
            writer_id: self.writer.id,
            writer_seq: self.writer_seq,
            received_at_max: clock::now(),
            ..Header::default()
        };
        let step = self.next_step(covered);
        self.covered = covered;
        batch.finish(&header, Some(&step)).into()
    }

    fn next_step(&self, covered: u64) -> Step {
        let run = InputRun {
            first_sequence: self.covered + 1,
            count: covered.saturating_sub(self.covered),
            ..InputRun::default()
        };
        Step {
            number: self.step,
            source_partition: self.writer.partition,
            inputs: if run.count > 0 { vec![run] } else { Vec::new() },
            last_part: true,
            owner_id: Bytes::copy_from_slice(&self.writer.id),
            ..Step::default()
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(publishing) = &self.publishing {
            publishing.abort();
        }
    }
}

/// Publishes until the log has it, however long the log is away.
async fn publish(mut fence: Fence, payload: Bytes) -> Published {
    loop {
        match fence.publish(payload.clone()).await {
            Ok(sequence) => return Ok((fence, sequence, payload)),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "deliveries wait for the log");
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DeliveryBatch, Logged, delivery_batch};
    use balefire_event::{EscalationId, Severity, Timestamp};
    use balefire_notifier_core::Notice;

    /// One that cannot publish: what it forms is looked at.
    fn journal() -> Journal {
        Journal {
            writer: Writer {
                id: [1; 16],
                partition: 0,
            },
            fence: None,
            publishing: None,
            waiting: VecDeque::new(),
            decided: 0,
            positions: BTreeMap::new(),
            flushing: false,
            acknowledged: None,
            step: 0,
            covered: 0,
            writer_seq: 1,
        }
    }

    fn intent(id: u8) -> Intent {
        Intent {
            escalation_id: EscalationId([id; 16]),
            receiver: "soc".into(),
            escalation_sequence: id.into(),
            severity: Severity::High,
            decided_at: Timestamp(0),
            route: "".into(),
            notice: Notice::First,
            episode_id: EscalationId([id; 16]),
            withheld: None,
            withheld_by: "".into(),
            tier: "".into(),
            group: 0,
            control_revision: 0,
            summary: None,
            digest: None,
        }
    }

    fn formed(journal: &mut Journal) -> DeliveryBatch {
        delivery_batch(&journal.form()).unwrap()
    }

    fn ids(batch: &DeliveryBatch) -> Vec<u8> {
        let one = |record: &Logged| match record {
            Logged::Intent(intent) => Some(intent.escalation_id.0[0]),
            Logged::Attempt(_) | Logged::Requeue(_) | Logged::Fed(_) | Logged::Acknowledged(_) => {
                None
            }
        };
        batch.records.iter().filter_map(one).collect()
    }

    #[test]
    fn many_tenants_make_no_more_messages_than_there_are_tenants() {
        let mut journal = journal();
        for number in 1..=9_u8 {
            let tenant: Arc<str> = format!("t{}", number % 3).into();
            journal.intents(&tenant, number.into(), &[intent(number)]);
        }
        let mut told = Vec::new();
        for (tenant, covered) in [("t1", 1), ("t2", 2), ("t0", 9)] {
            let batch = formed(&mut journal);
            assert_eq!(batch.tenant, tenant);
            assert_eq!(
                batch.covered, covered,
                "no further than what lies in the log"
            );
            told.extend(ids(&batch));
        }
        assert_eq!(told, [1, 4, 7, 2, 5, 8, 3, 6, 9]);
        assert!(journal.is_idle());
    }

    #[test]
    fn of_each_feed_the_newest_position_goes_along_with_whatever_is_written() {
        let mut journal = journal();
        let position = |receiver: &str, sequence| FeedPosition {
            receiver: receiver.into(),
            lane: Lane::Normal,
            sequence,
            at: Timestamp(0),
        };
        for sequence in 1..=50 {
            journal.fed(position("siem", sequence));
            journal.fed(position("lake", sequence));
        }
        assert!(!journal.is_idle(), "they are still to be written");
        journal.intents(&"acme".into(), 4, &[intent(1)]);
        let batch = formed(&mut journal);
        let fed: Vec<_> = batch
            .records
            .iter()
            .filter(|record| matches!(record, Logged::Fed(_)))
            .cloned()
            .collect();
        let want = ["lake", "siem"].map(|name| Logged::Fed(position(name, 50)));
        assert_eq!(
            (fed.as_slice(), ids(&batch), batch.covered),
            (&want[..], vec![1], 4)
        );
        assert!(journal.is_idle());
        journal.flush();
        assert!(!journal.flushing, "there is nothing to write");
        journal.fed(position("siem", 51));
        journal.flush();
        assert_eq!(formed(&mut journal).records.len(), 1);
    }
}
