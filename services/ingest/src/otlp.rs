//! OTLP over HTTP: `POST /v1/traces` and `POST /v1/logs`, protobuf or JSON, gzip too.

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use balefire_ingest_core::adapt::{self, Adapted, Choice, Context, Refused, otlp, otlp_wire};
use balefire_kit::{Caller, clock};
use bytes::Bytes;
use serde_json::json;

use crate::http;
use crate::http_body::{self as body, UNPACKED_BYTES_MAX, Unreadable};
use crate::sources::{Sources, Summary};

const PROTOBUF: &str = "application/x-protobuf";

/// The source's name.
pub const SOURCE: &str = otlp::ADAPTER.name;
/// Why a body is refused.
pub const NO_REQUEST: &str = "the body is no OTLP export request";
/// What a partial success says.
const NOT_KNOWN: &str = "records of no known shape are dead letters";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// Spans.
pub async fn traces(
    state: State<Sources>,
    caller: Extension<Caller>,
    headers: HeaderMap,
    packed: Body,
) -> Response {
    take(&state.0, &caller.0, Signal::Traces, &headers, packed).await
}

/// Log records.
pub async fn logs(
    state: State<Sources>,
    caller: Extension<Caller>,
    headers: HeaderMap,
    packed: Body,
) -> Response {
    take(&state.0, &caller.0, Signal::Logs, &headers, packed).await
}

async fn take(
    state: &Sources,
    caller: &Caller,
    signal: Signal,
    headers: &HeaderMap,
    packed: Body,
) -> Response {
    if let Err(refused) = state.http.admit(caller, headers) {
        return *refused;
    }
    let arrived = match state.http.arrived(packed).await {
        Ok(arrived) => arrived,
        Err(refused) => return *refused,
    };
    let Ok(_permit) = state.http.permit() else {
        return http::too_many();
    };
    let _unpacked = match body::take(&state.http.bodies, UNPACKED_BYTES_MAX) {
        Ok(room) => room,
        Err(refused) => return http::unreadable(&refused),
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let protobuf = text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROTOBUF));
    let gzip = text(header::CONTENT_ENCODING) == Some("gzip");
    let bytes = arrived.packed.clone();
    let reading = tokio::task::spawn_blocking(move || read(&bytes, gzip, protobuf, signal));
    let broken = || Unreadable::new(StatusCode::BAD_REQUEST, "the body could not be read");
    let read = match reading.await.unwrap_or_else(|_| Err(broken())) {
        Ok(read) => read,
        Err(refused) => return http::unreadable(&refused),
    };
    match state.append(&caller.tenant, SOURCE, read).await {
        Ok(summary) => answer(signal, protobuf, &summary),
        Err(refusal) => http::refused(&refusal),
    }
}

fn read(
    bytes: &Bytes,
    gzip: bool,
    protobuf: bool,
    signal: Signal,
) -> Result<Vec<Result<Adapted, Refused>>, Unreadable> {
    let bytes = if gzip {
        body::unpack(bytes)?
    } else {
        bytes.clone()
    };
    if !protobuf {
        let context = Context::at(clock::now());
        return Ok(adapt::read(Choice::One(&adapt::OTLP), &bytes, &context));
    }
    let refused = || Unreadable::new(StatusCode::BAD_REQUEST, NO_REQUEST);
    read_protobuf(&bytes, signal).ok_or_else(refused)
}

/// The records of an export request; `None` where it is none.
pub fn read_protobuf(bytes: &[u8], signal: Signal) -> Option<Vec<Result<Adapted, Refused>>> {
    let request = match signal {
        Signal::Traces => otlp_wire::traces(bytes),
        Signal::Logs => otlp_wire::logs(bytes),
    }?;
    // An empty export is a legal one.
    if request.as_object().is_none_or(serde_json::Map::is_empty) {
        return Some(Vec::new());
    }
    let context = Context::at(clock::now());
    let choice = Choice::One(&adapt::OTLP);
    Some(adapt::read_value(choice, &request, &context))
}

/// The answer in protobuf: success, or partial success with a count.
pub fn partial_success(rejected: usize) -> Vec<u8> {
    if rejected == 0 {
        return Vec::new();
    }
    // partial_success = 1 {rejected = 1; error_message = 2}.
    let mut inner = vec![0x08];
    varint(rejected, &mut inner);
    inner.push(0x12);
    varint(NOT_KNOWN.len(), &mut inner);
    inner.extend(NOT_KNOWN.as_bytes());
    let mut answer = vec![0x0a];
    varint(inner.len(), &mut answer);
    answer.extend(inner);
    answer
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// Success, or partial success with a count.
fn answer(signal: Signal, protobuf: bool, summary: &Summary) -> Response {
    let rejected = summary.dead_letters;
    let message = NOT_KNOWN;
    if !protobuf {
        let name = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Logs => "rejectedLogRecords",
        };
        let answer = match rejected {
            0 => json!({}),
            _ => {
                json!({ "partialSuccess": { name: rejected.to_string(), "errorMessage": message } })
            }
        };
        return axum::Json(answer).into_response();
    }
    let answer = partial_success(rejected);
    ([(header::CONTENT_TYPE, PROTOBUF)], answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_protobuf_of_any_count() {
        assert!(partial_success(0).is_empty());
        let small = partial_success(3);
        assert_eq!(small.get(..4), Some([0x0a, 46, 0x08, 3].as_slice()));
        assert_eq!(small.len(), 48);
        let large = partial_success(300);
        assert_eq!(large.get(..5), Some([0x0a, 47, 0x08, 0xac, 2].as_slice()));
        assert!(large.ends_with(NOT_KNOWN.as_bytes()));
    }
}
