//! Writes DELIVERIES of one partition: fenced steps, each with whatever waited while the one
//! before it was being acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use balefire_bus::Fence;
use balefire_event::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use balefire_kit::clock;
use balefire_notifier_core::{Attempt, FeedPosition, Intent};
use balefire_wire::log::v1::{InputRun, Step};
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::codec;

const RETRY_DELAY: Duration = Duration::from_millis(250);

/// What shall be written.
#[derive(Debug)]
enum Item {
    /// Those of one escalation: they always lie in one message.
    Intents(Vec<Intent>),
    Covered(u64),
    Attempt(Attempt),
    Fed(FeedPosition),
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
    waiting: VecDeque<(Arc<str>, Item)>,
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
        self.waiting.is_empty() && self.publishing.is_none()
    }

    /// Intents of one message of ESCALATIONS.
    pub fn intents(&mut self, tenant: &Arc<str>, sequence: u64, intents: &[Intent]) {
        for group in intents.chunk_by(|a, b| a.escalation_id == b.escalation_id) {
            let item = Item::Intents(group.to_vec());
            self.waiting.push_back((Arc::clone(tenant), item));
        }
        self.waiting
            .push_back((Arc::clone(tenant), Item::Covered(sequence)));
        self.go_on();
    }

    /// One attempt.
    pub fn attempt(&mut self, tenant: Arc<str>, attempt: Attempt) {
        self.waiting.push_back((tenant, Item::Attempt(attempt)));
        self.go_on();
    }

    /// How far a feed receiver is.
    pub fn fed(&mut self, position: FeedPosition) {
        self.waiting.push_back(("".into(), Item::Fed(position)));
        self.go_on();
    }

    /// The next step that lies in the log: its sequence and bytes. Waits for ever where nothing is
    /// under way. Cancel-safe.
    ///
    /// # Errors
    /// Another owner, or a record that the server never takes.
    pub async fn published(&mut self) -> Result<(u64, Bytes), balefire_bus::Error> {
        let Some(publishing) = &mut self.publishing else {
            return std::future::pending().await;
        };
        let ended = publishing.await;
        self.publishing = None;
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
        if self.waiting.is_empty() {
            return;
        }
        let Some(fence) = self.fence.take() else {
            return;
        };
        let payload = self.form();
        self.publishing = Some(tokio::spawn(publish(fence, payload)));
    }

    /// Takes what goes into one message: of one tenant, within the limits of a batch.
    fn form(&mut self) -> Bytes {
        let mut batch = BatchWriter::default();
        let mut tenant: Option<Arc<str>> = None;
        let mut covered = self.covered;
        while let Some((of, item)) = self.waiting.front() {
            let size = match item {
                Item::Intents(intents) => intents.len(),
                Item::Covered(_) => 0,
                Item::Attempt(_) | Item::Fed(_) => 1,
            };
            let full = batch.count() + size > BATCH_EVENTS_MAX || batch.len() >= BATCH_BYTES_MAX;
            let foreign = tenant.as_ref().is_some_and(|tenant| tenant != of);
            if !batch.is_empty() && full || foreign {
                break;
            }
            tenant.get_or_insert_with(|| Arc::clone(of));
            match item {
                Item::Intents(intents) => {
                    for one in intents {
                        batch.push(RecordRef::Intent(&codec::intent(one)));
                    }
                }
                Item::Covered(sequence) => covered = covered.max(*sequence),
                Item::Attempt(one) => batch.push(RecordRef::Attempt(&codec::attempt(one))),
                Item::Fed(one) => {
                    batch.push(RecordRef::FeedPosition(&codec::feed_position(one)));
                }
            }
            self.waiting.pop_front();
        }
        self.step += 1;
        self.writer_seq += 1;
        let header = Header {
            tenant: tenant.as_deref().unwrap_or_default().to_owned(),
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
