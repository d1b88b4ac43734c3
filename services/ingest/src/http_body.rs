//! Bodies of HTTP requests: NDJSON, an array or one object; gzip too.

use std::collections::HashMap;
use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use balefire_event::limits::BATCH_EVENTS_MAX;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::budget::Budget;

/// Largest body once unpacked, bytes.
pub const UNPACKED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records of a body that are looked at: one more than a request may hold, so that it is refused.
const RECORDS_MAX: usize = BATCH_EVENTS_MAX + 1;

/// What a body that cannot be read is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// 400, 413 or 415.
    pub status: StatusCode,
    /// What is wrong and what to send instead.
    pub message: String,
}

impl Unreadable {
    /// With a message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An array or one object.
    Json,
    /// A record a line.
    Lines,
}

/// Format and whether it is packed, from the headers.
///
/// # Errors
/// 415 for anything else.
pub fn format(headers: &HeaderMap) -> Result<(Format, bool), Unreadable> {
    let unsupported = |message| Unreadable::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let format = match kind.to_ascii_lowercase().as_str() {
        "application/json" => Format::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Format::Lines,
        _ => {
            return Err(unsupported(
                "send content-type application/x-ndjson (a record a line) or application/json",
            ));
        }
    };
    match text(header::CONTENT_ENCODING).map(str::trim) {
        None | Some("" | "identity") => Ok((format, false)),
        Some("gzip" | "x-gzip") => Ok((format, true)),
        Some(_) => Err(unsupported("send content-encoding gzip or none")),
    }
}

/// A body and its share of the memory that bodies may have.
#[derive(Debug)]
pub struct Arrived {
    /// As it was sent.
    pub packed: Bytes,
    /// Free again when dropped.
    pub room: OwnedSemaphorePermit,
}

/// Reads a body. Room is taken as it arrives: a connection that sends nothing holds none. One for
/// which there is no room is read to its end all the same, and thrown away: many clients see no
/// answer before they have sent everything.
///
/// # Errors
/// 400 where it ends early, 413 where it is too large, 429 where there is no room.
pub async fn arrived(body: Body, room: &Budget) -> Result<Arrived, Unreadable> {
    let mut chunks = body.into_data_stream();
    let mut bytes = 0_usize;
    let mut kept = take(room, 0).map(|held| (BytesMut::new(), held));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_broken| {
            Unreadable::new(StatusCode::BAD_REQUEST, "the body ended too early")
        })?;
        bytes = bytes.saturating_add(chunk.len());
        if bytes > UNPACKED_BYTES_MAX {
            return Err(too_large());
        }
        kept = kept.and_then(|(mut whole, mut held)| {
            held.merge(take(room, chunk.len())?);
            whole.extend_from_slice(&chunk);
            Ok((whole, held))
        });
    }
    let (whole, room) = kept?;
    Ok(Arrived {
        packed: whole.freeze(),
        room,
    })
}

/// Room for more bytes of bodies.
///
/// # Errors
/// 429 where there is none.
pub fn take(room: &Budget, bytes: usize) -> Result<OwnedSemaphorePermit, Unreadable> {
    room.take(bytes).map_err(|_full| {
        let message = "too many bytes are on their way in";
        Unreadable::new(StatusCode::TOO_MANY_REQUESTS, message)
    })
}

/// Unpacks gzip.
///
/// # Errors
/// 400 for what is no gzip, 413 where it holds too much.
pub fn unpack(packed: &[u8]) -> Result<Bytes, Unreadable> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(UNPACKED_BYTES_MAX).unwrap_or(u64::MAX);
    MultiGzDecoder::new(packed)
        .take(limit + 1)
        .read_to_end(&mut unpacked)
        .map_err(|_| Unreadable::new(StatusCode::BAD_REQUEST, "the body is no gzip"))?;
    if unpacked.len() > UNPACKED_BYTES_MAX {
        return Err(too_large());
    }
    Ok(Bytes::from(unpacked))
}

/// The answer to too much.
pub fn too_large() -> Unreadable {
    Unreadable::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "a request may have 4 MiB, unpacked; split it",
    )
}

/// The records of a body; of one with more than a request may hold only so many that this shows.
///
/// # Errors
/// 400 where the whole is no JSON. A bad line of several is refused by itself, later.
pub fn records(body: &Bytes, format: Format) -> Result<Vec<Bytes>, Unreadable> {
    match format {
        Format::Lines => Ok(body
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .take(RECORDS_MAX)
            .map(|line| body.slice_ref(line))
            .collect()),
        Format::Json if body.trim_ascii_start().starts_with(b"[") => {
            let Elements(elements) = serde_json::from_slice(body).map_err(|error| {
                let place = format!("line {}, column {}", error.line(), error.column());
                Unreadable::new(
                    StatusCode::BAD_REQUEST,
                    format!("not a JSON array at {place}"),
                )
            })?;
            let elements = elements.into_iter();
            Ok(elements
                .map(|one| body.slice_ref(one.get().as_bytes()))
                .collect())
        }
        Format::Json => Ok(vec![body.slice_ref(body.trim_ascii())]),
    }
}

/// The first elements of an array; the rest is only read.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < RECORDS_MAX {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Elements(elements)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Elements(elements))
    }
}

/// Of each record, how many identical ones come before it in the request.
pub fn occurrences(records: &[Bytes]) -> Vec<u32> {
    let mut seen: HashMap<&[u8], u32> = HashMap::with_capacity(records.len());
    records
        .iter()
        .map(|record| {
            let count = seen.entry(record.as_ref()).or_default();
            let before = *count;
            *count += 1;
            before
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn text(records: &[Bytes]) -> Vec<&str> {
        records
            .iter()
            .map(|r| std::str::from_utf8(r).unwrap())
            .collect()
    }

    #[test]
    fn lines_arrays_and_single_objects_are_records() {
        let lines = Bytes::from_static(b" {\"a\":1}\r\n\n{\"a\":1}\nbad\n");
        let read = records(&lines, Format::Lines).unwrap();
        assert_eq!(text(&read), ["{\"a\":1}", "{\"a\":1}", "bad"]);
        assert_eq!(occurrences(&read), [0, 1, 0]);
        let array = Bytes::from_static(b" [ {\"a\": 1} , 7 ] ");
        assert_eq!(
            text(&records(&array, Format::Json).unwrap()),
            ["{\"a\": 1}", "7"]
        );
        let one = Bytes::from_static(b" {\"a\":[1]} ");
        assert_eq!(text(&records(&one, Format::Json).unwrap()), ["{\"a\":[1]}"]);
        let broken = Bytes::from_static(b"[{]");
        assert_eq!(records(&broken, Format::Json).unwrap_err().status, 400);
    }

    #[test]
    fn of_too_many_records_only_so_many_are_kept_as_show_it() {
        let many = 1_000_000;
        let array = Bytes::from(format!("[{}1]", "1,".repeat(many)));
        let lines = Bytes::from("1\n".repeat(many));
        for (body, format) in [(array, Format::Json), (lines, Format::Lines)] {
            let read = records(&body, format).unwrap();
            assert_eq!(read.len(), RECORDS_MAX);
            assert!(read.capacity() < 2 * RECORDS_MAX, "{}", read.capacity());
        }
        let cut = Bytes::from("1,".repeat(many).replacen('1', "[1", 1));
        assert_eq!(records(&cut, Format::Json).unwrap_err().status, 400);
    }

    #[tokio::test]
    async fn a_body_takes_room_as_it_arrives() {
        let room = Budget::new(1024 * 1024);
        let arriving = arrived(Body::from(vec![b' '; 700 * 1024]), &room).await;
        let first = arriving.unwrap();
        assert!(room.used_bytes() >= 700 * 1024);
        let unread = Arc::new(AtomicUsize::new(7));
        let left = Arc::clone(&unread);
        let chunk = Bytes::from(vec![b' '; 100 * 1024]);
        let chunks = futures::stream::iter(std::iter::repeat_n(chunk, 7));
        let chunks = chunks.map(move |chunk| {
            left.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(chunk)
        });
        let refused = arrived(Body::from_stream(chunks), &room).await;
        assert_eq!(refused.unwrap_err().status, 429);
        let unread = unread.load(Ordering::Relaxed);
        assert_eq!(unread, 0, "read to its end");
        drop(first);
        assert_eq!(room.used_bytes(), 0);
    }

    #[test]
    fn a_small_body_cannot_unpack_to_a_large_one() {
        let pack = |len| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packer.write_all(&vec![b' '; len]).unwrap();
            packer.finish().unwrap()
        };
        assert_eq!(
            unpack(&pack(UNPACKED_BYTES_MAX)).unwrap().len(),
            UNPACKED_BYTES_MAX
        );
        assert_eq!(
            unpack(&pack(UNPACKED_BYTES_MAX + 1)).unwrap_err().status,
            413
        );
        assert_eq!(unpack(b"no gzip").unwrap_err().status, 400);
    }
}
