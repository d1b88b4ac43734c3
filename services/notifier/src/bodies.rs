//! The bytes that receivers get. Made from the escalation's record in the log, so that a retry
//! hours later sends what the first attempt sent; recent ones are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use balefire_bus::Log;
use balefire_event::{Escalation, EscalationId};
use balefire_notifier_core::body::{body, message_type};
use bytes::Bytes;

use crate::codec;

/// Bodies kept, bytes.
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
    by_id: BTreeMap<EscalationId, Bytes>,
    order: VecDeque<EscalationId>,
    bytes: usize,
}

impl Kept {
    fn put(&mut self, id: EscalationId, body: Bytes) {
        if self.by_id.contains_key(&id) {
            return;
        }
        self.bytes += body.len();
        self.by_id.insert(id, body);
        self.order.push_back(id);
        while self.bytes > BODIES_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            let freed = self.by_id.remove(&oldest).map_or(0, |body| body.len());
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

    /// Keeps the body of an escalation that was just read.
    pub fn keep(&self, escalation: &Escalation) {
        if let (Some(body), Ok(mut kept)) = (body(escalation), self.kept.lock()) {
            kept.put(escalation.escalation_id, body.into());
        }
    }

    /// The body of the escalation that lies at `sequence`; `None`: the log no longer has it. Waits
    /// while the log cannot be reached.
    pub async fn get(&self, id: &EscalationId, sequence: u64) -> Option<Bytes> {
        let kept = self
            .kept
            .lock()
            .ok()
            .and_then(|kept| kept.by_id.get(id).cloned());
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
            .find(|one| one.escalation_id == *id && message_type(one.kind).is_some())?;
        self.keep(escalation);
        body(escalation).map(Bytes::from)
    }
}
