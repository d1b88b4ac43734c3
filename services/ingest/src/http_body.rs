//! Bodies of HTTP requests: NDJSON, an array or one object; gzip too.

use std::collections::HashMap;
use std::io::Read;

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::value::RawValue;

/// Largest body once unpacked, bytes.
pub const UNPACKED_BYTES_MAX: usize = 4 * 1024 * 1024;

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

/// The records of a body.
///
/// # Errors
/// 400 where the whole is no JSON. A bad line of several is refused by itself, later.
pub fn records(body: &Bytes, format: Format) -> Result<Vec<Bytes>, Unreadable> {
    match format {
        Format::Lines => Ok(body
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(|line| body.slice_ref(line))
            .collect()),
        Format::Json if body.trim_ascii_start().starts_with(b"[") => {
            let elements: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
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
