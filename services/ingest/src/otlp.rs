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

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Traces,
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
    match state.append(&caller.tenant, otlp::ADAPTER.name, read).await {
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
    let context = Context { at: clock::now() };
    let choice = Choice::One(&adapt::OTLP);
    if !protobuf {
        return Ok(adapt::read(choice, &bytes, &context));
    }
    let request = match signal {
        Signal::Traces => otlp_wire::traces(&bytes),
        Signal::Logs => otlp_wire::logs(&bytes),
    };
    let wanted = "the body is no OTLP export request";
    let request = request.ok_or_else(|| Unreadable::new(StatusCode::BAD_REQUEST, wanted))?;
    // An empty export is a legal one.
    if request.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(Vec::new());
    }
    Ok(adapt::read_value(choice, &request, &context))
}

/// Success, or partial success with a count.
fn answer(signal: Signal, protobuf: bool, summary: &Summary) -> Response {
    let rejected = summary.dead_letters;
    let message = "records of no known shape are dead letters";
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
    let mut partial = Vec::new();
    if rejected > 0 {
        // partial_success = 1 {rejected = 1 (varint, at most 512 here); error_message = 2}.
        let (low, high) = (rejected & 0x7f, rejected >> 7);
        let count = [
            u8::try_from(low).unwrap_or_default() | 0x80,
            u8::try_from(high).unwrap_or_default(),
        ];
        let len = u8::try_from(message.len()).unwrap_or_default();
        let inner = [&[0x08], count.as_slice(), &[0x12, len], message.as_bytes()].concat();
        partial.extend([0x0a, u8::try_from(inner.len()).unwrap_or_default()]);
        partial.extend(inner);
    }
    ([(header::CONTENT_TYPE, PROTOBUF)], partial).into_response()
}
