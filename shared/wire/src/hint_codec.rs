//! Bytes of balefire.log.v1.IdentityHint, by hand as the event's: there is one for nearly every event
//! that names its user.
//!
//! Protobuf messages may be concatenated: the static part is encoded once when a record is admitted,
//! the time of arrival when its batch is formed.

use std::borrow::Cow;

use balefire_event::{DedupId, Hint, Timestamp};

use crate::Error;
use crate::bytes_reader::Fields;
use crate::bytes_writer as put;
use crate::part_codec as part;

/// Bytes of the time of arrival.
pub const STAMP_LEN: usize = 9;

/// Appends everything but the time of arrival.
pub fn encode_static(hint: &Hint<'_>, out: &mut Vec<u8>) {
    encode_who(hint, out);
    encode_rest(hint, out);
}

fn encode_who(hint: &Hint<'_>, out: &mut Vec<u8>) {
    for key in &hint.keys {
        put::nested(1, out, |out| part::put_key(key, out));
    }
    put::nested(2, out, |out| part::put_identity(&hint.identity, out));
    put::text(3, &hint.source, out);
}

fn encode_rest(hint: &Hint<'_>, out: &mut Vec<u8>) {
    put::int64(5, hint.join_horizon, out);
    put::uint(6, u64::from(hint.authority), out);
    for (name, text) in &hint.facts {
        put::nested(7, out, |out| part::put_pair(name, text, out));
    }
    put::present_bytes(8, &hint.dedup_id.0, out);
}

/// Appends the time of arrival, [`STAMP_LEN`] bytes; behind another one it replaces it.
pub fn encode_stamp(received_at: Timestamp, out: &mut Vec<u8>) {
    put::present_sfixed64(4, received_at.0, out);
}

/// Appends the whole hint.
pub fn encode(hint: &Hint<'_>, out: &mut Vec<u8>) {
    encode_who(hint, out);
    put::sfixed64(4, hint.received_at.0, out);
    encode_rest(hint, out);
}

/// Reads a hint, borrowing every text of it. Fields of later versions are passed over.
///
/// # Errors
/// Bytes that are no hint, or one without an identity or a dedup id.
pub fn decode(bytes: &[u8]) -> Result<Hint<'_>, Error> {
    let (mut identity, mut dedup_id) = (None, None);
    let (mut keys, mut facts) = (Vec::new(), Vec::new());
    let (mut source, mut received_at, mut join_horizon, mut authority) = ("", 0, 0, 0);
    let mut fields = Fields::of(bytes, "hint");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => keys.push(part::key(field.bytes("hint keys")?)?),
            2 => identity = Some(part::identity(field.bytes("hint identity")?)?),
            3 => source = field.text("hint source")?,
            4 => received_at = field.sfixed64("hint received_at")?,
            5 => join_horizon = field.int64("hint join_horizon")?,
            6 => authority = field.uint32("hint authority")?,
            7 => {
                let fact = part::extension(field.bytes("hint facts")?)?;
                facts.push((fact.name, fact.json));
            }
            8 => dedup_id = DedupId::from_slice(field.bytes("dedup_id")?).ok(),
            _ => {}
        }
    }
    Ok(Hint {
        keys,
        identity: identity.ok_or(Error::malformed("hint identity"))?,
        source: Cow::Borrowed(source),
        received_at: Timestamp(received_at),
        join_horizon,
        authority,
        facts,
        dedup_id: dedup_id.ok_or(Error::malformed("dedup_id"))?,
    })
}
