//! One record of a batch: what it can be, and its bytes.

use balefire_event::{BarrierId, Escalation, Event, Hint, RuleId, Stub, Timestamp};
use prost::Message;

use crate::bytes_reader::Fields;
use crate::bytes_writer as put;
use crate::{Error, deadletter, delivery, escalation, event_codec, hint_codec, log};

/// Field numbers of balefire.log.v1.Record: [`crate::RawRecord::kind`] is one of these.
pub mod kind {
    /// An event.
    pub const EVENT: u32 = 1;
    /// An identity hint.
    pub const HINT: u32 = 2;
    /// A key stub.
    pub const STUB: u32 = 3;
    /// A tick.
    pub const TICK: u32 = 4;
    /// A barrier.
    pub const BARRIER: u32 = 5;
    /// A promise.
    pub const WATERMARK: u32 = 6;
    /// An escalation.
    pub const ESCALATION: u32 = 7;
    /// Sealed bodies.
    pub const EVIDENCE: u32 = 8;
    /// A change of what is in force.
    pub const CONTROL: u32 = 9;
    /// The decision to deliver.
    pub const INTENT: u32 = 10;
    /// An attempt to deliver.
    pub const ATTEMPT: u32 = 11;
    /// A delivery that goes back to the queue.
    pub const REQUEUE: u32 = 12;
    /// A dead letter.
    pub const DEAD_LETTER: u32 = 13;
    /// What became of one.
    pub const RESOLUTION: u32 = 14;
    /// An event that a rule matched, on its way to its key's owner.
    pub const MATCH: u32 = 15;
    /// How far a feed receiver has the events.
    pub const FEED_POSITION: u32 = 16;
    /// An acknowledgement.
    pub const ACKNOWLEDGEMENT: u32 = 17;
}

/// A record to be written.
#[derive(Debug, Clone, Copy)]
pub enum RecordRef<'r> {
    /// An event.
    Event(&'r Event<'r>),
    /// An identity hint.
    Hint(&'r Hint<'r>),
    /// A key stub.
    Stub(&'r Stub),
    /// The owner's clock.
    Tick(Timestamp),
    /// A barrier.
    Barrier {
        /// Which.
        id: BarrierId,
        /// When it was placed.
        at: Timestamp,
    },
    /// A promise: of a correlator in EVENTS, of a rule engine in REKEYED.
    Watermark {
        /// Whose: INTAKE partition, or EVENTS partition.
        partition: u32,
        /// Lowest received_at it may still emit.
        at: Timestamp,
    },
    /// An escalation.
    Escalation(&'r Escalation),
    /// An event that a rule matched.
    Match {
        /// The rule.
        rule_id: RuleId,
        /// First control revision of its generation.
        generation: u64,
        /// The event.
        event: &'r Event<'r>,
    },
    /// Sealed bodies.
    Evidence(&'r log::v1::Evidence),
    /// A change of what is in force.
    Control(&'r log::v1::Control),
    /// The decision to deliver.
    Intent(&'r delivery::v1::Intent),
    /// An attempt to deliver.
    Attempt(&'r delivery::v1::Attempt),
    /// A delivery that goes back to the queue.
    Requeue(&'r delivery::v1::Requeue),
    /// A dead letter.
    DeadLetter(&'r deadletter::v1::DeadLetter),
    /// What became of one.
    Resolution(&'r deadletter::v1::Resolution),
    /// How far a feed receiver has the events.
    FeedPosition(&'r delivery::v1::FeedPosition),
    /// An acknowledgement.
    Acknowledgement(&'r delivery::v1::Acknowledgement),
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every record is an event; boxing it would cost an allocation each"
)]
pub enum RecordView<'a> {
    /// An event, borrowed from the batch.
    Event(Event<'a>),
    /// An identity hint.
    Hint(Hint<'a>),
    /// A key stub.
    Stub(Stub),
    /// The owner's clock.
    Tick(Timestamp),
    /// A barrier.
    Barrier {
        /// Which.
        id: BarrierId,
        /// When it was placed.
        at: Timestamp,
    },
    /// A promise: of a correlator in EVENTS, of a rule engine in REKEYED.
    Watermark {
        /// Whose: INTAKE partition, or EVENTS partition.
        partition: u32,
        /// Lowest received_at it may still emit.
        at: Timestamp,
    },
    /// An escalation.
    Escalation(Box<Escalation>),
    /// An event that a rule matched, borrowed from the batch.
    Match {
        /// The rule.
        rule_id: RuleId,
        /// First control revision of its generation.
        generation: u64,
        /// The event.
        event: Event<'a>,
    },
    /// Every other kind, as generated.
    Other(log::v1::record::Kind),
}

/// Appends the bytes of a balefire.log.v1.Record.
pub fn encode_record(record: RecordRef<'_>, out: &mut Vec<u8>) {
    match record {
        RecordRef::Event(event) => {
            put::nested(kind::EVENT, out, |out| event_codec::encode(event, out));
        }
        RecordRef::Hint(hint) => {
            put::nested(kind::HINT, out, |out| hint_codec::encode(hint, out));
        }
        RecordRef::Stub(stub) => message(kind::STUB, &log::v1::KeyStub::from(stub), out),
        RecordRef::Tick(at) => put::nested(kind::TICK, out, |out| put::sfixed64(1, at.0, out)),
        RecordRef::Barrier { id, at } => put::nested(kind::BARRIER, out, |out| {
            put::present_bytes(1, &id.0, out);
            put::sfixed64(2, at.0, out);
        }),
        RecordRef::Watermark { partition, at } => put::nested(kind::WATERMARK, out, |out| {
            put::uint(1, u64::from(partition), out);
            put::sfixed64(2, at.0, out);
        }),
        RecordRef::Escalation(escalation) => message(
            kind::ESCALATION,
            &escalation::v1::Escalation::from(escalation),
            out,
        ),
        RecordRef::Match {
            rule_id,
            generation,
            event,
        } => put::nested(kind::MATCH, out, |out| {
            put::present_bytes(1, &rule_id.0, out);
            put::uint(2, generation, out);
            put::nested(3, out, |out| event_codec::encode(event, out));
        }),
        RecordRef::Evidence(evidence) => message(kind::EVIDENCE, evidence, out),
        RecordRef::Control(control) => message(kind::CONTROL, control, out),
        RecordRef::Intent(intent) => message(kind::INTENT, intent, out),
        RecordRef::Attempt(attempt) => message(kind::ATTEMPT, attempt, out),
        RecordRef::Requeue(requeue) => message(kind::REQUEUE, requeue, out),
        RecordRef::DeadLetter(letter) => message(kind::DEAD_LETTER, letter, out),
        RecordRef::Resolution(resolution) => message(kind::RESOLUTION, resolution, out),
        RecordRef::FeedPosition(position) => message(kind::FEED_POSITION, position, out),
        RecordRef::Acknowledgement(said) => message(kind::ACKNOWLEDGEMENT, said, out),
    }
}

fn message(number: u32, message: &impl Message, out: &mut Vec<u8>) {
    put::bytes_head(number, message.encoded_len(), out);
    message.encode_raw(out);
}

/// Which kind a record is, and the bytes of that kind's message.
pub(crate) fn split(record: &[u8]) -> Result<(u32, &[u8]), Error> {
    let mut found = None;
    let mut fields = Fields::of(record, "record");
    while let Some(field) = fields.next()? {
        if (kind::EVENT..=kind::ACKNOWLEDGEMENT).contains(&field.number) {
            found = Some((field.number, field.bytes("record kind")?));
        }
    }
    found.ok_or(Error::malformed("record kind"))
}

/// Understands the message of a kind.
pub(crate) fn view(number: u32, bytes: &[u8]) -> Result<RecordView<'_>, Error> {
    use log::v1::record::Kind;
    Ok(match number {
        kind::EVENT => RecordView::Event(event_codec::decode(bytes)?),
        kind::HINT => RecordView::Hint(hint_codec::decode(bytes)?),
        kind::STUB => {
            let stub: log::v1::KeyStub = generated(bytes, "stub")?;
            RecordView::Stub(Stub::try_from(&stub)?)
        }
        kind::TICK => {
            let tick: log::v1::Tick = generated(bytes, "tick")?;
            RecordView::Tick(Timestamp(tick.received_at_ns))
        }
        kind::BARRIER => {
            let barrier: log::v1::Barrier = generated(bytes, "barrier")?;
            let id =
                BarrierId::from_slice(&barrier.id).map_err(|_| Error::malformed("barrier id"))?;
            let at = Timestamp(barrier.received_at_ns);
            RecordView::Barrier { id, at }
        }
        kind::WATERMARK => {
            let watermark: log::v1::Watermark = generated(bytes, "watermark")?;
            RecordView::Watermark {
                partition: watermark.partition,
                at: Timestamp(watermark.received_at_ns),
            }
        }
        kind::ESCALATION => {
            let escalation: escalation::v1::Escalation = generated(bytes, "escalation")?;
            RecordView::Escalation(Box::new(Escalation::try_from(&escalation)?))
        }
        kind::MATCH => matched(bytes)?,
        kind::EVIDENCE => RecordView::Other(Kind::Evidence(generated(bytes, "evidence")?)),
        kind::CONTROL => RecordView::Other(Kind::Control(generated(bytes, "control")?)),
        kind::INTENT => RecordView::Other(Kind::Intent(generated(bytes, "intent")?)),
        kind::ATTEMPT => RecordView::Other(Kind::Attempt(generated(bytes, "attempt")?)),
        kind::REQUEUE => RecordView::Other(Kind::Requeue(generated(bytes, "requeue")?)),
        kind::DEAD_LETTER => RecordView::Other(Kind::DeadLetter(generated(bytes, "dead letter")?)),
        kind::RESOLUTION => RecordView::Other(Kind::Resolution(generated(bytes, "resolution")?)),
        kind::FEED_POSITION => {
            RecordView::Other(Kind::FeedPosition(generated(bytes, "feed position")?))
        }
        kind::ACKNOWLEDGEMENT => {
            RecordView::Other(Kind::Acknowledgement(generated(bytes, "acknowledgement")?))
        }
        _ => return Err(Error::malformed("record kind")),
    })
}

fn matched(bytes: &[u8]) -> Result<RecordView<'_>, Error> {
    let (mut rule_id, mut generation, mut event) = (None, 0, None);
    let mut fields = Fields::of(bytes, "match");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => rule_id = RuleId::from_slice(field.bytes("rule_id")?).ok(),
            2 => generation = field.uint64("generation")?,
            3 => event = Some(event_codec::decode(field.bytes("event")?)?),
            _ => {}
        }
    }
    Ok(RecordView::Match {
        rule_id: rule_id.ok_or(Error::malformed("rule_id"))?,
        generation,
        event: event.ok_or(Error::malformed("event"))?,
    })
}

fn generated<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, Error> {
    M::decode(bytes).map_err(|_| Error::malformed(what))
}
