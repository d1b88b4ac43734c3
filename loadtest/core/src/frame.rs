//! Frames: what goes out at one intended time, encoded before the run begins.
//!
//! The bytes are `balefire.ingest.v1.AppendStreamRequest` with `raw`, written by hand so that
//! sending costs nothing but the write.

use bytes::Bytes;

use crate::planned::Planned;

/// Most events of a frame; the server's own limit.
pub const FRAME_EVENTS_MAX: usize = 512;

const BATCH_ID: u8 = 1 << 3;
const RAW: u8 = (3 << 3) | 2;
const RECORDS: u8 = (1 << 3) | 2;
const OPTIONS: u8 = (2 << 3) | 2;
const SOURCE: u8 = (1 << 3) | 2;

/// One message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it is meant to be sent, nanoseconds after the start.
    pub at_ns: u64,
    /// Number of its first event; the others follow.
    pub first: u32,
    /// How many events it holds.
    pub len: u32,
    /// Who sends it: [`Planned::producer`].
    pub producer: usize,
    /// The message's bytes behind its [`head`], which carries the frame's index.
    pub bytes: Bytes,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        // Seven bits and the mark that more follow.
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, u64::try_from(bytes.len()).unwrap_or_default());
    out.extend_from_slice(bytes);
}

/// The beginning of the message with batch number `id`.
#[must_use]
pub fn head(id: u64) -> Vec<u8> {
    let mut out = vec![BATCH_ID];
    varint(&mut out, id);
    out
}

/// What follows the [`head`]: records from a source of that name. The same bytes do for any number.
#[must_use]
pub fn body<'a>(records: impl Iterator<Item = &'a [u8]>, source: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    records.for_each(|record| field(&mut raw, RECORDS, record));
    let mut options = Vec::new();
    field(&mut options, SOURCE, source.as_bytes());
    field(&mut raw, OPTIONS, &options);
    let mut out = Vec::with_capacity(raw.len() + 8);
    field(&mut out, RAW, &raw);
    out
}

/// Cuts a plan into frames: events of one intended time and producer, in the plan's order. The batch
/// number is the frame's index.
#[must_use]
pub fn frames(events: &[Planned], tag: &str, source: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut rest = events.iter().peekable();
    while let Some(head) = rest.next() {
        let same =
            |event: &&Planned| (event.at_ns, event.producer()) == (head.at_ns, head.producer());
        let mut records = vec![head.payload(tag)];
        while records.len() < FRAME_EVENTS_MAX
            && let Some(event) = rest.next_if(same)
        {
            records.push(event.payload(tag));
        }
        frames.push(Frame {
            at_ns: head.at_ns,
            first: head.number,
            len: u32::try_from(records.len()).unwrap_or(u32::MAX),
            producer: head.producer(),
            bytes: body(records.iter().map(String::as_bytes), source).into(),
        });
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Scenario, Shape};

    #[test]
    fn the_bytes_are_those_of_the_contract() {
        let records = [b"{}".as_slice(), b"[]"];
        let bytes = [head(300), body(records.into_iter(), "lt")].concat();
        let raw = b"\x0a\x02{}\x0a\x02[]\x12\x04\x0a\x02lt";
        let mut want = vec![0x08, 0xac, 0x02, 0x1a, u8::try_from(raw.len()).unwrap()];
        want.extend_from_slice(raw);
        assert_eq!(bytes, want);
    }

    #[test]
    fn a_flood_never_shares_a_frame_with_others() {
        let plan = Shape {
            scenario: Scenario::Flood,
            arrival: Shape::usual_arrival(Scenario::Flood),
            rate: 1_000,
            flood_rate: 5_000,
            seconds: 4,
            seed: 1,
            base_ns: 1_700_000_000_000_000_000,
        }
        .plan();
        let frames = frames(&plan.events, &plan.tag, "lt");
        let mut next = 0;
        for frame in &frames {
            assert_eq!(frame.first, next);
            next += frame.len;
            let (from, to) = (frame.first as usize, next as usize);
            let events = &plan.events[from..to];
            assert!(
                events
                    .iter()
                    .all(|event| event.producer() == frame.producer)
            );
        }
        assert_eq!(next as usize, plan.events.len());
        assert!(frames.iter().any(|frame| frame.producer == 1));
    }
}
