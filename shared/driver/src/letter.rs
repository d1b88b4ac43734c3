//! Dead letters of a partition's inputs.

use balefire_bus::Message;
use balefire_bus::deadletter::{DeadLetters, Origin};
use balefire_event::Timestamp;
use balefire_event::digest::FieldHasher;
use balefire_event::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use balefire_wire::deadletter::v1::DeadLetter as Letter;
use balefire_wire::log::v1::record::Kind;
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef, RecordView, encode_record};
use bytes::Bytes;

use crate::limit::{RETRY_FIRST, RETRY_MAX};
use crate::plan::{Plan, Source};
use crate::stage::DeadLetter;

/// Reason of a batch that cannot be read.
pub const MALFORMED_RECORD: &str = "malformed_record";
/// Reason of a batch of a later version of SEMANTICS.
pub const UNKNOWN_SCHEMA: &str = "unknown_schema";
/// Reason of a batch on which the stage panicked.
pub const RULE_PANICKED: &str = "rule_panicked";

/// A letter ready to be published: encoded, for there may be one in each hundred events.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    /// What the log's duplicate check knows it by.
    id: String,
    header: Header,
    record: Vec<u8>,
}

impl Sealed {
    /// Bytes that it takes in a message, about.
    pub(crate) fn bytes(&self) -> usize {
        self.record.len()
    }

    fn letter(&self) -> Option<Letter> {
        let mut writer = BatchWriter::default();
        writer.push_encoded(&self.record);
        let batch = writer.finish(&self.header, None);
        let read = BatchView::parse(&batch).ok()?.records().next();
        match read {
            Some(Ok(RecordView::Other(Kind::DeadLetter(letter)))) => Some(letter),
            Some(_) | None => None,
        }
    }
}

/// A line of the log for letters that go together: the first, and how many they are.
fn say(group: &[Sealed]) {
    let Some(first) = group.first().and_then(Sealed::letter) else {
        return;
    };
    tracing::warn!(
        stage = first.stage,
        tenant = first.tenant,
        stream = first.stream,
        sequence = first.sequence,
        index = first.index,
        reason = first.reason,
        detail = first.detail,
        letters = group.len(),
        "dead letters"
    );
}

/// Makes the letters of a message: each the copy of the batch, or of its one record as a batch of its
/// own, with everything a replay needs. Without a view the message cannot be read.
pub(crate) fn seal(
    plan: &Plan,
    source: &Source,
    (message, view): (&Message, Option<&BatchView<'_>>),
    dead: &[DeadLetter],
    now: Timestamp,
) -> Vec<Sealed> {
    // Gone through once, however many letters there are: they come in the order of the records.
    let records = view.into_iter().flat_map(BatchView::encoded_records);
    let mut records = records.enumerate().peekable();
    let mut writer = BatchWriter::default();
    let mut single = |dead: &DeadLetter| {
        let index = dead.index.and_then(|index| usize::try_from(index).ok());
        let (index, view) = index.zip(view)?;
        while records.next_if(|(at, _)| *at < index).is_some() {}
        let found = records.peek().filter(|(at, _)| *at == index);
        // Asked for out of order.
        let again = || view.encoded_records().nth(index);
        let record = found.map(|(_, record)| *record).or_else(again)?;
        writer.push_encoded(record);
        Some(Bytes::from(writer.finish(&view.header, None)))
    };
    let tenant = view.map_or("", |view| view.header.tenant.as_str());
    let mut form = form(plan, source, message, tenant, now);
    let one = |dead: &DeadLetter| {
        let payload = single(dead).unwrap_or_else(|| message.payload.clone());
        fill(&mut form, dead, payload);
        sealed(plan, &form, now)
    };
    dead.iter().map(one).collect()
}

/// What all letters of a message say.
fn form(plan: &Plan, source: &Source, message: &Message, tenant: &str, now: Timestamp) -> Letter {
    Letter {
        stage: plan.stage.to_owned(),
        stream: source.stream.clone(),
        sequence: message.sequence,
        replay_subject: source.replay_subject.clone(),
        attempts: 1,
        first_failed_at_ns: now.0,
        last_failed_at_ns: now.0,
        tenant: tenant.to_owned(),
        ..Letter::default()
    }
}

/// What one of them says.
fn fill(form: &mut Letter, dead: &DeadLetter, payload: Bytes) {
    form.id = match dead.index {
        Some(index) => format!("dl:{}:{}:{index}", form.stream, form.sequence),
        None => format!("dl:{}:{}", form.stream, form.sequence),
    };
    form.index = dead.index;
    dead.reason.clone_into(&mut form.reason);
    for said in [
        &mut form.detail,
        &mut form.first_error,
        &mut form.last_error,
    ] {
        dead.detail.clone_into(said);
    }
    form.payload = payload;
}

fn sealed(plan: &Plan, letter: &Letter, now: Timestamp) -> Sealed {
    let header = Header {
        tenant: letter.tenant.clone(),
        writer_id: plan.owner_id,
        writer_seq: letter.sequence,
        received_at_max: now,
        ..Header::default()
    };
    let origin = Origin {
        stream: &letter.stream,
        sequence: letter.sequence,
        // 0 is the whole batch for the log's duplicate check; records count from 1 there.
        index: letter.index.map_or(0, |index| index.saturating_add(1)),
    };
    let mut record = Vec::new();
    encode_record(RecordRef::DeadLetter(letter), &mut record);
    Sealed {
        id: origin.id(),
        header,
        record,
    }
}

/// Stores letters, and keeps at it: the originals must not be passed over before. Those of one
/// tenant that stand together are one message, for each message is synced.
///
/// # Errors
/// What the server never takes.
pub(crate) async fn publish_all(
    letters: &DeadLetters,
    sealed: &[Sealed],
) -> Result<(), balefire_bus::Error> {
    for group in groups(sealed) {
        let Some((id, count, payload)) = message(group) else {
            continue;
        };
        say(group);
        let mut delay = RETRY_FIRST;
        while let Err(error) = letters.publish_batch(&id, count, payload.clone()).await {
            if !error.is_transient() {
                return Err(error);
            }
            tracing::warn!(id, %error, "dead letters not stored yet");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }
    Ok(())
}

/// What goes into one message each: of one tenant, within the limits of a batch.
fn groups(sealed: &[Sealed]) -> Vec<&[Sealed]> {
    let (mut groups, mut rest) = (Vec::new(), sealed);
    while let Some(first) = rest.first() {
        let mut bytes = 0;
        let fits = |one: &&Sealed| {
            bytes += one.bytes();
            one.header.tenant == first.header.tenant && bytes <= BATCH_BYTES_MAX
        };
        let fitting = rest.iter().take(BATCH_EVENTS_MAX).take_while(fits).count();
        // One that is larger than a batch may be goes alone.
        let (group, behind) = rest.split_at(fitting.max(1));
        groups.push(group);
        rest = behind;
    }
    groups
}

/// The id, count and bytes of a message; `None` of none. The same letters have the same id.
fn message(group: &[Sealed]) -> Option<(String, u64, Bytes)> {
    let first = group.first()?;
    let mut writer = BatchWriter::default();
    for one in group {
        writer.push_encoded(&one.record);
    }
    let id = match group {
        [one] => one.id.clone(),
        many => {
            let mut hasher = FieldHasher::new("balefire dead letters v1");
            for one in many {
                hasher.field(one.id.as_bytes());
            }
            format!("dl:{:032x}", u128::from_be_bytes(hasher.id()))
        }
    };
    let count = u64::try_from(group.len()).ok()?;
    let payload = Bytes::from(writer.finish(&first.header, None));
    Some((id, count, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter_of(sequence: u64, tenant: &str, bytes: usize) -> Sealed {
        let letter = Letter {
            id: format!("dl:S:{sequence}"),
            payload: vec![7; bytes].into(),
            ..Letter::default()
        };
        let mut record = Vec::new();
        encode_record(RecordRef::DeadLetter(&letter), &mut record);
        Sealed {
            id: format!("dl:S:{sequence}:0"),
            header: Header {
                tenant: tenant.into(),
                ..Header::default()
            },
            record,
        }
    }

    #[test]
    fn letters_go_together_as_far_as_a_message_may_hold() {
        let large = BATCH_BYTES_MAX / 2 - 100;
        let all = [
            letter_of(1, "a", 9),
            letter_of(2, "a", 9),
            letter_of(3, "b", large),
            letter_of(4, "b", large),
            letter_of(5, "b", large),
            letter_of(6, "a", 3 * BATCH_BYTES_MAX),
            letter_of(7, "a", 9),
        ];
        let groups = groups(&all);
        let sizes: Vec<_> = groups.iter().map(|group| group.len()).collect();
        assert_eq!(sizes, [2, 2, 1, 1, 1]);
        let many: Vec<_> = (0..1000).map(|n| letter_of(n, "a", 1)).collect();
        assert_eq!(
            super::groups(&many).len(),
            1000_usize.div_ceil(BATCH_EVENTS_MAX)
        );
        assert!(super::groups(&[]).is_empty());
    }

    #[test]
    fn a_message_of_the_same_letters_has_the_same_id_and_of_others_another() {
        let id = |group: &[Sealed]| message(group).unwrap().0;
        let both = [letter_of(1, "a", 9), letter_of(2, "a", 9)];
        assert_eq!(id(&both[..1]), "dl:S:1:0", "as it ever was");
        assert_eq!(id(&both), id(&both));
        assert_ne!(id(&both), id(&both[..1]));
        let (_, count, payload) = message(&both).unwrap();
        let view = BatchView::parse(&payload).unwrap();
        assert_eq!((view.len(), count), (2, 2));
    }

    #[test]
    fn each_letter_has_its_own_record_in_whatever_order_they_are_asked_for() {
        let mut records: Vec<[u8; 3]> = (0..5).map(|n| [0x0a, 1, n]).collect();
        // One that is no record: its letter holds it alone, too.
        records[4] = [0xff; 3];
        let mut writer = BatchWriter::default();
        records.iter().for_each(|one| writer.push_encoded(one));
        let header = Header {
            tenant: "acme".into(),
            ..Header::default()
        };
        let message = Message {
            sequence: 7,
            stored_at: Timestamp(1),
            subject: "s".into(),
            payload: writer.finish(&header, None).into(),
        };
        let source = Source {
            stream: "S".into(),
            lane: None,
            replay_subject: "back".into(),
            tick_subject: None,
        };
        let plan = Plan {
            stage: "test",
            partition: 0,
            sources: Vec::new(),
            targets: Vec::new(),
            further_ticks: Vec::new(),
            owner_id: [1; 16],
        };
        let letter = |index| DeadLetter {
            index,
            reason: MALFORMED_RECORD,
            detail: "why".into(),
        };
        let asked = [Some(1), Some(1), Some(4), Some(0), None, Some(9)];
        let view = BatchView::parse(&message.payload).unwrap();
        let read = (&message, Some(&view));
        let sealed = seal(&plan, &source, read, &asked.map(letter), Timestamp(2));
        let held = sealed.iter().map(|one| {
            let letter = one.letter().unwrap();
            let view = BatchView::parse(&letter.payload).unwrap();
            assert_eq!((&*view.header.tenant, &*letter.tenant), ("acme", "acme"));
            assert_eq!([&*letter.detail, &letter.last_error], ["why", "why"]);
            let records = view.encoded_records().map(<[u8]>::to_vec);
            records.collect::<Vec<_>>()
        });
        let single = |at: usize| vec![records[at].to_vec()];
        let whole: Vec<_> = records.iter().map(|one| one.to_vec()).collect();
        let wanted = [
            single(1),
            single(1),
            single(4),
            single(0),
            whole.clone(),
            whole,
        ];
        assert_eq!(held.collect::<Vec<_>>(), wanted);
        let named = sealed.iter().map(|one| one.letter().unwrap().id);
        let named: Vec<_> = named.collect();
        assert_eq!((&*named[2], &*named[4]), ("dl:S:7:4", "dl:S:7"));
        assert_eq!((&*sealed[2].id, &*sealed[4].id), ("dl:S:7:5", "dl:S:7:0"));
    }
}
