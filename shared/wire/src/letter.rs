//! [`PackedLetter`]: a dead letter as a list of many keeps it.

use balefire_event::Timestamp;
use prost::Message as _;

use crate::Error;
use crate::bytes_reader::{Fields, RawField};
use crate::deadletter::v1::{DeadLetter, Edit};

/// What this module reads, in errors.
const WHAT: &str = "dead letter";

/// Numbers of the fields of `balefire.deadletter.v1.DeadLetter`.
mod number {
    pub(super) const ID: u32 = 1;
    pub(super) const PAYLOAD: u32 = 8;
    pub(super) const FIRST_FAILED_AT: u32 = 11;
    pub(super) const LAST_FAILED_AT: u32 = 12;
    pub(super) const ESCALATION_ID: u32 = 16;
    pub(super) const KIND: u32 = 18;
    pub(super) const REVISION: u32 = 19;
    pub(super) const EDITS: u32 = 20;
}

/// A dead letter without its payload, in the bytes that it came in: one piece of memory, where its
/// texts would be ten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLetter(Box<[u8]>);

/// What an index needs of a letter, and the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterView<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its last failure.
    pub last_failed_at: Timestamp,
    /// All but its payload.
    pub packed: PackedLetter,
}

impl<'a> LetterView<'a> {
    /// Of the bytes of a letter's own message ([`crate::RawRecord::message`]).
    ///
    /// # Errors
    /// Bytes that are no dead letter.
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        let (mut id, mut last_failed_at) = ("", 0);
        let mut packed = Vec::with_capacity(message.len());
        let mut fields = Fields::of(message, WHAT);
        let mut rest = message;
        while let Some(field) = fields.next()? {
            let (read, behind) = rest
                .split_at_checked(rest.len() - fields.left())
                .ok_or(Error::malformed(WHAT))?;
            rest = behind;
            if field.number == number::PAYLOAD {
                field.bytes(WHAT)?;
                continue;
            }
            match field.number {
                number::ID => id = field.text(WHAT)?,
                number::LAST_FAILED_AT => last_failed_at = field.sfixed64(WHAT)?,
                _ => check(field)?,
            }
            packed.extend_from_slice(read);
        }
        Ok(Self {
            id,
            last_failed_at: Timestamp(last_failed_at),
            packed: PackedLetter(packed.into_boxed_slice()),
        })
    }
}

/// Holds a field to what the contract says of it.
fn check(field: RawField<'_>) -> Result<(), Error> {
    // Sequence, index, attempts.
    const NUMBERS: [u32; 3] = [4, 5, 10];
    match field.number {
        number::FIRST_FAILED_AT => field.sfixed64(WHAT).map(drop),
        number::ESCALATION_ID => field.bytes(WHAT).map(drop),
        number::KIND | number::REVISION => field.uint64(WHAT).map(drop),
        number::EDITS => {
            let edit = Edit::decode(field.bytes(WHAT)?);
            edit.map(drop).map_err(|_| Error::malformed(WHAT))
        }
        other if NUMBERS.contains(&other) => field.uint64(WHAT).map(drop),
        other if other < number::EDITS => field.check_text(WHAT),
        // Of a later version.
        _ => Ok(()),
    }
}

impl PackedLetter {
    /// The letter, without its payload.
    #[must_use]
    pub fn open(&self) -> DeadLetter {
        // What was held to the contract when it was packed can be read.
        DeadLetter::decode(&*self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: "dl:EVENTS:7:0".into(),
            stage: "rule-engine".into(),
            stream: "EVENTS".into(),
            sequence: 7,
            index: Some(0),
            reason: "malformed_record".into(),
            detail: "why \u{e9}".into(),
            payload: vec![1; 300].into(),
            replay_subject: "back".into(),
            attempts: 3,
            first_failed_at_ns: -5,
            last_failed_at_ns: 9,
            first_error: "first".into(),
            last_error: "last".into(),
            tenant: "acme".into(),
            escalation_id: vec![7; 16].into(),
            receiver: "pager".into(),
            kind: 2,
            revision: 4,
            edits: vec![Edit {
                actor: "ann".into(),
                reason: "mended".into(),
                at_ns: 8,
                sequence_before: 6,
            }],
        }
    }

    #[test]
    fn a_packed_letter_is_the_letter_without_its_payload() {
        let whole = letter();
        let bytes = whole.encode_to_vec();
        let view = LetterView::parse(&bytes).unwrap();
        assert_eq!((view.id, view.last_failed_at), (&*whole.id, Timestamp(9)));
        let bare = DeadLetter {
            payload: Default::default(),
            ..whole
        };
        assert_eq!(view.packed.open(), bare);
        assert!(view.packed.0.len() < bytes.len() - 300);
    }

    /// Whatever the bytes are: what is packed can be read, and what cannot be read is not packed.
    #[test]
    fn what_is_packed_can_be_opened() {
        let bytes = letter().encode_to_vec();
        for at in 0..bytes.len() {
            for flip in [1, 4, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let read = DeadLetter::decode(&*damaged);
                let Ok(view) = LetterView::parse(&damaged) else {
                    continue;
                };
                let mut read = read.unwrap_or_else(|error| panic!("{at} {flip}: {error}"));
                assert_eq!(view.id, read.id);
                read.payload = Default::default();
                assert_eq!(view.packed.open(), read);
            }
            assert_eq!(
                LetterView::parse(&bytes[..at]).is_ok(),
                DeadLetter::decode(&bytes[..at]).is_ok(),
                "cut at {at}"
            );
        }
    }
}
