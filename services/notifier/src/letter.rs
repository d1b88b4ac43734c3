//! Writes dead letters of the notifier, and keeps at it: what cannot go on is in the log before
//! anything goes on without it.

use std::time::Duration;

use balefire_bus::{Log, Role, topology};
use balefire_event::Timestamp;
use balefire_kit::clock;
use balefire_notifier_core::feed::Item;
use balefire_notifier_core::{DeadDelivery, Notice};
use balefire_wire::deadletter::v1::DeadLetter;
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef};
use bytes::Bytes;

use crate::codec::id_bytes;

/// Reason of a record that cannot be read.
pub const MALFORMED: &str = "malformed_record";
/// Reason of a record that this program panicked over.
pub const PANICKED: &str = "rule_panicked";
/// Reason of an event that a feed receiver refused.
pub const FEED_REFUSED: &str = "feed_refused";
/// Start of the ids of events that a feed receiver refused.
pub const FEED_PREFIX: &str = "dl:feed:";
/// Start of the ids of dead deliveries.
pub const DELIVERY_PREFIX: &str = "dl:delivery:";
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// A record that cannot be read, or be worked on.
#[derive(Debug, Clone, Copy)]
pub struct Malformed<'a> {
    /// Its stream.
    pub stream: &'a str,
    /// Its sequence there.
    pub sequence: u64,
    /// Which record of the message; `None`: the message.
    pub index: Option<u32>,
    /// What is wrong with it.
    pub detail: &'a str,
    /// The message.
    pub payload: &'a Bytes,
    /// When the log stored it.
    pub at: Timestamp,
}

/// Where the notifier's dead letters go.
#[derive(Debug, Clone)]
pub struct Letterbox {
    log: Log,
    writer_id: [u8; 16],
}

impl Letterbox {
    /// Of a process.
    #[must_use]
    pub fn new(log: Log, writer_id: [u8; 16]) -> Self {
        Self { log, writer_id }
    }

    /// A record that cannot go on. Found again after a restart it is the same letter.
    pub async fn set_aside(&self, reason: &str, found: Malformed<'_>) {
        let Malformed {
            stream, sequence, ..
        } = found;
        let id = match found.index {
            Some(index) => format!("dl:{stream}:{sequence}:{index}"),
            None => format!("dl:{stream}:{sequence}"),
        };
        tracing::warn!(id, reason, detail = found.detail, "record set aside");
        let letter = DeadLetter {
            id: id.clone(),
            stage: Role::Notifier.as_str().into(),
            stream: stream.into(),
            sequence,
            index: found.index,
            reason: reason.into(),
            detail: found.detail.into(),
            payload: found.payload.clone(),
            attempts: 1,
            first_failed_at_ns: found.at.0,
            last_failed_at_ns: found.at.0,
            first_error: found.detail.into(),
            last_error: found.detail.into(),
            tenant: tenant_of(found.payload),
            ..DeadLetter::default()
        };
        self.write(letter, &id).await;
    }

    /// A delivery that was given up, with what the receiver should have got.
    pub async fn delivery(&self, stream: &str, dead: DeadDelivery, body: Bytes) {
        let id = delivery_id(&dead);
        tracing::warn!(
            id,
            reason = dead.reason,
            error = dead.last_error,
            "delivery given up"
        );
        // Each giving up is a record of its own, however soon it follows on a replay.
        let msg_id = format!("{id}:{}:{}", dead.round, dead.last_failed_at.0);
        let letter = DeadLetter {
            id,
            stage: Role::Notifier.as_str().into(),
            stream: stream.into(),
            sequence: dead.sequence,
            index: None,
            reason: dead.reason.into(),
            detail: format!(
                "receiver {} after {} attempts: {}",
                dead.receiver, dead.attempts, dead.last_error
            ),
            payload: body,
            replay_subject: String::new(),
            attempts: dead.attempts,
            first_failed_at_ns: dead.first_failed_at.0,
            last_failed_at_ns: dead.last_failed_at.0,
            first_error: dead.first_error,
            last_error: dead.last_error,
            tenant: dead.tenant.to_string(),
            escalation_id: id_bytes(&dead.escalation_id),
            receiver: dead.receiver.to_string(),
            kind: dead.notice.parts().0.number(),
            revision: dead.notice.parts().1,
            edits: Vec::new(),
        };
        self.write(letter, &msg_id).await;
    }

    /// An event that a feed receiver refused for good, with what it was sent.
    pub async fn refused(
        &self,
        stream: &str,
        receiver: &str,
        (item, bytes): (&Item, &[u8]),
        error: &str,
    ) {
        let id = format!(
            "{FEED_PREFIX}{receiver}:{stream}:{}:{}",
            item.sequence, item.index
        );
        tracing::warn!(id, error, "a feed receiver refused an event");
        let now = clock::now().0;
        let letter = DeadLetter {
            id: id.clone(),
            stage: Role::Notifier.as_str().into(),
            stream: stream.into(),
            sequence: item.sequence,
            index: Some(item.index),
            reason: FEED_REFUSED.into(),
            detail: format!(
                "feed receiver {receiver} refused event {}: {error}",
                item.id
            ),
            payload: Bytes::copy_from_slice(bytes),
            attempts: 1,
            first_failed_at_ns: now,
            last_failed_at_ns: now,
            first_error: error.into(),
            last_error: error.into(),
            tenant: item.tenant.to_string(),
            receiver: receiver.into(),
            ..DeadLetter::default()
        };
        self.write(letter, &id).await;
    }

    async fn write(&self, letter: DeadLetter, msg_id: &str) {
        let mut batch = BatchWriter::default();
        batch.push(RecordRef::DeadLetter(&letter));
        let payload = frame(&mut batch, self.writer_id, &letter.tenant, clock::now());
        let subject = topology::deadletters(Role::Notifier.as_str());
        metrics::counter!("balefire_delivery_dead_letters_total", "reason" => letter.reason)
            .increment(1);
        while let Err(error) = self
            .log
            .append(&subject, payload.clone(), Some(msg_id))
            .await
        {
            tracing::error!(msg_id, %error, "a dead letter waits for the log");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// One letter for each receiver and record.
fn delivery_id(dead: &DeadDelivery) -> String {
    let id = format!("{DELIVERY_PREFIX}{}:{}", dead.escalation_id, dead.receiver);
    match dead.notice {
        Notice::First => id,
        Notice::Amended(revision) => format!("{id}:amended-{revision}"),
        Notice::Closed(revision) => format!("{id}:closed-{revision}"),
    }
}

/// Whose a message is; empty: its header cannot be read either.
fn tenant_of(payload: &[u8]) -> String {
    BatchView::parse(payload)
        .map(|view| view.header.tenant)
        .unwrap_or_default()
}

/// A message of one writer outside the steps.
pub fn frame(batch: &mut BatchWriter, writer_id: [u8; 16], tenant: &str, now: Timestamp) -> Bytes {
    let header = Header {
        tenant: tenant.to_owned(),
        writer_id,
        writer_seq: 1,
        received_at_max: now,
        ..Header::default()
    };
    batch.finish(&header, None).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_a_bad_record_still_says_whose_it_is() {
        let mut batch = BatchWriter::default();
        batch.push_encoded(&[0xff; 3]);
        let payload = frame(&mut batch, [1; 16], "acme", Timestamp(1));
        assert_eq!(tenant_of(&payload), "acme");
        assert_eq!(tenant_of(b"\xff\xff"), "");
    }
}
