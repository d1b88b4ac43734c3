//! The escalations that receivers are told of, as they lie in the log: what a receiver gets is made
//! of the record alone, so that a retry hours later sends what the first attempt sent. Recent
//! records are kept; what waited for so long that it no longer is comes back with all of its
//! message, for what stands beside it is wanted next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balefire_bus::Log;
use balefire_event::{Escalation, EscalationId};
use balefire_notifier_core::Notice;
use balefire_notifier_core::body::body;
use balefire_notifier_core::view::{Classification, View};
use bytes::Bytes;

use crate::codec;

/// Records kept, bytes that they take, about.
pub const BODIES_BYTES_MAX: usize = 16 * 1024 * 1024;
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Bodies of one partition.
#[derive(Debug)]
pub struct Bodies {
    log: Log,
    stream: String,
    kept: Mutex<Kept>,
    /// Held by the one that reads: whoever wants the same message waits for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: BTreeMap<(EscalationId, Notice), (Arc<Escalation>, usize)>,
    order: VecDeque<(EscalationId, Notice)>,
    bytes: usize,
}

impl Kept {
    fn put(&mut self, record: Arc<Escalation>, bytes: usize) {
        let id = (record.escalation_id, Notice::about(&record));
        if self.by_id.contains_key(&id) {
            return;
        }
        self.bytes += bytes;
        self.by_id.insert(id, (record, bytes));
        self.order.push_back(id);
        while self.bytes > BODIES_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let freed = self.by_id.remove(&oldest).map_or(0, |(_, bytes)| bytes);
            self.bytes = self.bytes.saturating_sub(freed);
        }
    }
}

impl Bodies {
    /// Of the escalations in `stream`.
    #[must_use]
    pub fn new(log: Log, stream: String) -> Self {
        Self {
            log,
            stream,
            kept: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps an escalation that was just read.
    pub fn keep(&self, escalation: &Escalation) {
        let bytes = weight(escalation);
        if let Ok(mut kept) = self.kept.lock() {
            kept.put(Arc::new(escalation.clone()), bytes);
        }
    }

    /// The record that lies at `sequence`; `None`: the log no longer has it. Waits while the log
    /// cannot be reached.
    pub async fn get(
        &self,
        id: &EscalationId,
        notice: Notice,
        sequence: u64,
    ) -> Option<Arc<Escalation>> {
        if let Some(kept) = self.kept(id, notice) {
            return Some(kept);
        }
        let _reading = self.reading.lock().await;
        if let Some(kept) = self.kept(id, notice) {
            return Some(kept);
        }
        let message = loop {
            match self.log.get(&self.stream, sequence).await {
                Ok(found) => break found?,
                Err(error) if error.is_transient() => {
                    tracing::debug!(stream = %self.stream, sequence, %error, "reading again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) => {
                    tracing::error!(stream = %self.stream, sequence, %error, "cannot be read");
                    return None;
                }
            }
        };
        let batch = codec::escalations(&message.payload).ok()?;
        let is_it = |one: &&Escalation| one.escalation_id == *id && Notice::about(one) == notice;
        let wanted = batch.escalations.iter().find(is_it).cloned();
        for escalation in &batch.escalations {
            self.keep(escalation);
        }
        wanted.map(Arc::new)
    }

    fn kept(&self, id: &EscalationId, notice: Notice) -> Option<Arc<Escalation>> {
        let kept = self.kept.lock().ok()?;
        let (record, _) = kept.by_id.get(&(*id, notice))?;
        Some(Arc::clone(record))
    }
}

/// Bytes that a record takes, about: what is said in it, and what each part of it takes besides.
fn weight(escalation: &Escalation) -> usize {
    /// Of a record or an event without texts.
    const RECORD: usize = 1024;
    /// Of an item of a list.
    const ITEM: usize = 64;
    let texts = [
        &escalation.rule_name,
        &escalation.title,
        &escalation.tenant,
        &escalation.condition,
    ];
    let texts: usize = texts.into_iter().map(String::len).sum();
    let key = escalation.key.iter();
    let key: usize = key.map(|part| ITEM + part.readable.len()).sum();
    let evidence = escalation.evidence.iter();
    let evidence: usize = evidence.map(|item| ITEM + item.event_id.len()).sum();
    let event = escalation.trigger.as_deref().map_or(0, |event| {
        let pairs = event
            .labels
            .iter()
            .map(|(name, text)| ITEM + name.len() + text.len());
        let rest = event.extensions.iter();
        let rest = rest.map(|one| ITEM + one.name.len() + one.json.len());
        RECORD + event.reason.len() + pairs.chain(rest).sum::<usize>()
    });
    RECORD + texts + key + evidence + event
}

/// The whole body, as a dead letter holds it.
#[must_use]
pub fn whole(escalation: &Escalation) -> Bytes {
    let view = View::of(escalation, Classification::Restricted);
    body(&view).map(Bytes::from).unwrap_or_default()
}
