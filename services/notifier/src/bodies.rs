//! The escalations that receivers are told of, as they lie in the log: what a receiver gets is made
//! of the record alone, so that a retry hours later sends what the first attempt sent. Recent
//! records are kept.

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

/// Records kept, bytes of their bodies.
pub const BODIES_BYTES_MAX: usize = 16 * 1024 * 1024;
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Bodies of one partition.
#[derive(Debug)]
pub struct Bodies {
    log: Log,
    stream: String,
    kept: Mutex<Kept>,
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
        }
    }

    /// Keeps an escalation that was just read.
    pub fn keep(&self, escalation: &Escalation) {
        let bytes = whole(escalation).len();
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
        let kept = self.kept.lock().ok().and_then(|kept| {
            kept.by_id
                .get(&(*id, notice))
                .map(|(record, _)| Arc::clone(record))
        });
        if kept.is_some() {
            return kept;
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
        let escalation = batch
            .escalations
            .iter()
            .find(|one| one.escalation_id == *id && Notice::about(one) == notice)?;
        self.keep(escalation);
        Some(Arc::new(escalation.clone()))
    }
}

/// The whole body, as a dead letter holds it.
#[must_use]
pub fn whole(escalation: &Escalation) -> Bytes {
    let view = View::of(escalation, Classification::Restricted);
    body(&view).map(Bytes::from).unwrap_or_default()
}
