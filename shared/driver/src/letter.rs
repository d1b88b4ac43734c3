//! Dead letters of a partition's inputs.

use balefire_bus::Message;
use balefire_bus::deadletter::{DeadLetters, Origin};
use balefire_event::Timestamp;
use balefire_wire::deadletter::v1::DeadLetter as Letter;
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef};
use bytes::Bytes;

use crate::plan::{Plan, Source};
use crate::stage::DeadLetter;

/// Reason of a batch that cannot be read.
pub const MALFORMED_RECORD: &str = "malformed_record";
/// Reason of a batch of a later version of SEMANTICS.
pub const UNKNOWN_SCHEMA: &str = "unknown_schema";
/// Reason of a batch on which the stage panicked.
pub const RULE_PANICKED: &str = "rule_panicked";

/// A letter ready to be published, with the place it came from.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    stream: String,
    sequence: u64,
    index: u32,
    payload: Bytes,
}

/// Makes the letter: the copy of the batch, or of its one record as a batch of its own, with
/// everything a replay needs.
pub(crate) fn seal(
    plan: &Plan,
    source: &Source,
    message: &Message,
    dead: &DeadLetter,
    now: Timestamp,
) -> Sealed {
    let view = BatchView::parse(&message.payload).ok();
    let single = dead
        .index
        .zip(view.as_ref())
        .and_then(|(index, view)| single_record(view, index));
    let id = match dead.index {
        Some(index) => format!("dl:{}:{}:{index}", source.stream, message.sequence),
        None => format!("dl:{}:{}", source.stream, message.sequence),
    };
    let tenant = view.map(|view| view.header.tenant).unwrap_or_default();
    let letter = Letter {
        id,
        stage: plan.stage.to_owned(),
        stream: source.stream.clone(),
        sequence: message.sequence,
        index: dead.index,
        reason: dead.reason.to_owned(),
        detail: dead.detail.clone(),
        payload: single.unwrap_or_else(|| message.payload.clone()),
        replay_subject: source.replay_subject.clone(),
        attempts: 1,
        first_failed_at_ns: now.0,
        last_failed_at_ns: now.0,
        first_error: dead.detail.clone(),
        last_error: dead.detail.clone(),
        tenant: tenant.clone(),
        ..Letter::default()
    };
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::DeadLetter(&letter));
    let header = Header {
        tenant,
        writer_id: plan.owner_id,
        writer_seq: message.sequence,
        received_at_max: now,
        ..Header::default()
    };
    Sealed {
        stream: source.stream.clone(),
        sequence: message.sequence,
        // 0 is the whole batch for the log's duplicate check; records count from 1 there.
        index: dead.index.map_or(0, |index| index.saturating_add(1)),
        payload: Bytes::from(writer.finish(&header, None)),
    }
}

/// One record under the header of its batch.
fn single_record(view: &BatchView<'_>, index: u32) -> Option<Bytes> {
    let position = usize::try_from(index).ok()?;
    let raw = view.raw_records().nth(position)?.ok()?;
    let mut writer = BatchWriter::default();
    writer.push_encoded(raw.bytes);
    Some(Bytes::from(writer.finish(&view.header, None)))
}

/// One attempt; the original must not be passed over until it succeeds.
pub(crate) async fn publish(
    letters: &DeadLetters,
    letter: &Sealed,
) -> Result<(), balefire_bus::Error> {
    let origin = Origin {
        stream: &letter.stream,
        sequence: letter.sequence,
        index: letter.index,
    };
    letters
        .publish(origin, letter.payload.clone())
        .await
        .map(|_| ())
}
