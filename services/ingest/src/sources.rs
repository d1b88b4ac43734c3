//! `POST /v1/sources/{source}`: what vendors call back with, in their own envelopes.
//!
//! Answered 200 also where records are refused: they lie in DEADLETTERS, and a vendor who sends
//! them again for ever mends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use balefire_event::limits::{BATCH_EVENTS_MAX, REQUEST_BYTES_MAX};
use balefire_ingest_core::adapt::map::{self, FieldMap};
use balefire_ingest_core::adapt::{self, Adapted, Choice, Context, Refused};
use balefire_kit::{Caller, clock};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::append::{Records, Request};
use crate::http::{self, Http};
use crate::http_body::{self as body, UNPACKED_BYTES_MAX, Unreadable};
use crate::letters::{Letters, Refusable};
use crate::otlp;
use crate::outcome::{Outcome, Refusal};

/// The routes.
pub fn routes(state: Sources) -> Router {
    Router::new()
        .route("/v1/sources/{source}", post(sources).options(handshake))
        // Where OPA sends its decision logs to unless told otherwise.
        .route("/v1/sources/{source}/logs", post(sources))
        .route("/v1/cloudevents", post(events).options(handshake))
        .route("/v1/traces", post(otlp::traces))
        .route("/v1/logs", post(otlp::logs))
        .with_state(state)
}

/// What these ways in share.
#[derive(Clone)]
pub struct Sources {
    /// What every HTTP way in shares.
    pub http: Http,
    letters: Arc<Letters>,
}

/// What makes native records of a body.
enum Reader {
    /// An adapter, or whichever knows it.
    Known(Choice),
    /// The field map of a source object.
    Mapped(Arc<FieldMap>),
}

impl Reader {
    fn of(source: &str, map: Option<Arc<FieldMap>>) -> Option<Self> {
        match map {
            Some(map) => Some(Self::Mapped(map)),
            None => Choice::of(source).map(Self::Known),
        }
    }

    fn read(&self, bytes: &[u8], context: &Context) -> Vec<Result<Adapted, Refused>> {
        match self {
            Self::Known(choice) => adapt::read(*choice, bytes, context),
            Self::Mapped(map) => map.read(bytes, context),
        }
    }
}

/// What became of a body.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    accepted: usize,
    duplicate: usize,
    /// Refused, and in DEADLETTERS.
    pub dead_letters: usize,
}

/// A CloudEvents webhook asks whether it may send before it does.
async fn handshake(headers: HeaderMap) -> Response {
    match headers.get("webhook-request-origin") {
        Some(origin) => {
            let allowed = [("webhook-allowed-origin", origin.clone())];
            (StatusCode::OK, allowed).into_response()
        }
        None => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn events(
    state: State<Sources>,
    caller: Extension<Caller>,
    headers: HeaderMap,
    packed: Body,
) -> Response {
    take(&state.0, &caller.0, adapt::AUTO, &headers, packed).await
}

async fn sources(
    state: State<Sources>,
    caller: Extension<Caller>,
    Path(source): Path<String>,
    headers: HeaderMap,
    packed: Body,
) -> Response {
    take(&state.0, &caller.0, &source, &headers, packed).await
}

async fn take(
    state: &Sources,
    caller: &Caller,
    source: &str,
    headers: &HeaderMap,
    packed: Body,
) -> Response {
    let declared = state.http.door.control.declared();
    let Some(reader) = Reader::of(source, declared.map(&caller.tenant, source)) else {
        let names: Vec<&str> = adapt::ALL.iter().map(|adapter| adapter.name).collect();
        let message = format!(
            "no such source; there are auto, {}, and source objects with fields",
            names.join(", ")
        );
        return http::problem(StatusCode::NOT_FOUND, &message, None);
    };
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
    let bytes = arrived.packed.clone();
    if let Some(answer) = serde_json::from_slice(&bytes)
        .ok()
        .and_then(|value| subscribed(&value))
    {
        return axum::Json(answer).into_response();
    }
    // Room for what it unpacks to.
    let _unpacked = match body::take(&state.http.bodies, UNPACKED_BYTES_MAX) {
        Ok(room) => room,
        Err(refused) => return http::unreadable(&refused),
    };
    let context = delivered(headers);
    let reading = tokio::task::spawn_blocking(move || reader.read(&bytes, &context));
    let Ok(read) = reading.await else {
        let refused = Unreadable::new(StatusCode::BAD_REQUEST, "the body could not be read");
        return http::unreadable(&refused);
    };
    match state.append(&caller.tenant, source, read).await {
        Ok(summary) => answer(headers, &arrived.packed, &summary),
        Err(refusal) => http::refused(&refusal),
    }
}

/// What the headers of a CloudEvent's binary form say of the body.
fn delivered(headers: &HeaderMap) -> Context {
    let context = Context::at(clock::now());
    let said = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    match said("ce-id") {
        "" => context,
        id => context.of_cloud_event(said("ce-source"), id, said("ce-time")),
    }
}

/// The answer to Event Grid's question whether this address wants its events.
fn subscribed(body: &Value) -> Option<Value> {
    let event = body.get(0).unwrap_or(body);
    let asks = event.get("eventType")? == "Microsoft.EventGrid.SubscriptionValidationEvent";
    let code = event.pointer("/data/validationCode")?.as_str()?;
    asks.then(|| json!({ "validationResponse": code }))
}

/// Firehose wants its request's id back; others read nothing.
fn answer(headers: &HeaderMap, body: &Bytes, summary: &Summary) -> Response {
    let Some(id) = headers
        .get("x-amz-firehose-request-id")
        .and_then(|id| id.to_str().ok())
    else {
        return axum::Json(summary).into_response();
    };
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    let now = clock::now().0 / 1_000_000;
    let timestamp = sent.get("timestamp").cloned().unwrap_or_else(|| now.into());
    let answer = json!({ "requestId": id, "timestamp": timestamp });
    (
        [(header::CONTENT_TYPE, "application/json")],
        answer.to_string(),
    )
        .into_response()
}

impl Sources {
    /// Beside the way in for events.
    pub fn new(http: &Http, letters: Letters) -> Self {
        Self {
            http: http.clone(),
            letters: Arc::new(letters),
        }
    }

    /// Appends source by source, in requests of what one may hold.
    pub async fn append(
        &self,
        tenant: &str,
        source: &str,
        read: Vec<Result<Adapted, Refused>>,
    ) -> Result<Summary, Refusal> {
        let mut dead = Vec::new();
        let mut by_source: BTreeMap<&str, Vec<Bytes>> = BTreeMap::new();
        for one in read {
            match one {
                Ok(adapted) => {
                    let name = match adapted.source {
                        map::SOURCE => source,
                        name => name,
                    };
                    by_source.entry(name).or_default().push(adapted.json.into());
                }
                Err(Refused { why, record }) => dead.push(Refusable {
                    source: source.to_owned(),
                    why: why.to_owned(),
                    record: record.into(),
                }),
            }
        }
        let mut summary = Summary::default();
        for (name, records) in by_source {
            for chunk in chunks(&records) {
                dead.extend(self.append_chunk(tenant, name, chunk, &mut summary).await?);
            }
        }
        summary.dead_letters = dead.len();
        self.letters.write(tenant, dead).await?;
        Ok(summary)
    }

    async fn append_chunk(
        &self,
        tenant: &str,
        source: &str,
        records: &[Bytes],
        summary: &mut Summary,
    ) -> Result<Vec<Refusable>, Refusal> {
        let occurrences = body::occurrences(records);
        let request = Request {
            tenant,
            source,
            backfill: None,
            idempotency_key: "",
            records: Records::Raw(records, &occurrences),
        };
        let mut dead = Vec::new();
        for (outcome, record) in self
            .http
            .door
            .append(request)
            .await?
            .into_iter()
            .zip(records)
        {
            match outcome {
                Outcome::Accepted { .. } => summary.accepted += 1,
                Outcome::Duplicate { .. } => summary.duplicate += 1,
                Outcome::Rejected(violation) => dead.push(Refusable {
                    source: source.to_owned(),
                    why: violation.to_string(),
                    record: record.clone(),
                }),
            }
        }
        Ok(dead)
    }
}

/// Runs of at most as many records and bytes as a request may hold.
fn chunks(records: &[Bytes]) -> Vec<&[Bytes]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        if index > start
            && (index - start == BATCH_EVENTS_MAX || bytes + record.len() > REQUEST_BYTES_MAX)
        {
            chunks.extend(records.get(start..index));
            (start, bytes) = (index, 0);
        }
        bytes += record.len();
    }
    chunks.extend(records.get(start..).filter(|rest| !rest.is_empty()));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_records_are_cut_into_requests() {
        let small = vec![Bytes::from_static(b"{}"); 1100];
        assert_eq!(
            chunks(&small)
                .iter()
                .map(|chunk| chunk.len())
                .collect::<Vec<_>>(),
            [512, 512, 76]
        );
        let large = vec![Bytes::from(vec![b' '; REQUEST_BYTES_MAX / 2]); 3];
        assert_eq!(
            chunks(&large)
                .iter()
                .map(|chunk| chunk.len())
                .collect::<Vec<_>>(),
            [2, 1]
        );
        assert!(chunks(&[]).is_empty());
    }

    #[test]
    fn event_grid_hears_its_code() {
        let body = json!([{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c"}}]);
        assert_eq!(subscribed(&body), Some(json!({"validationResponse": "c"})));
        assert_eq!(
            subscribed(&json!([{"eventType": "x", "data": {"validationCode": "c"}}])),
            None
        );
    }
}
