//! `POST /v1/events`: the JSON way in, with the results of gRPC in JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use balefire_kit::{Caller, Scope};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError};

use crate::append::{Door, Records, Request};
use crate::budget::Budget;
use crate::config::Config;
use crate::http_body::{self as body, Arrived, Format, UNPACKED_BYTES_MAX, Unreadable};
use crate::outcome::{OVERLOAD_RETRY, Outcome, Refusal};
use crate::sources::{self, Sources};

/// HTTP requests at once that are read, under way or answered; one that arrives does not count.
const REQUESTS_MAX: usize = 128;
/// Bytes of bodies, arriving and unpacked.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest Idempotency-Key, bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 200;

/// What every HTTP way in shares.
#[derive(Clone)]
pub struct Http {
    /// The door itself.
    pub door: Arc<Door>,
    requests: Arc<Semaphore>,
    /// What bodies may take.
    pub bodies: Budget,
    upload_time_max: Duration,
}

/// The routes.
pub fn routes(http: Http, sources: Sources) -> Router {
    Router::new()
        .route("/v1/events", post(events))
        .with_state(http)
        .merge(sources::routes(sources))
}

impl Http {
    /// Before a door.
    pub fn new(door: Arc<Door>, config: &Config) -> Self {
        Self {
            door,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            bodies: Budget::new(BODIES_BYTES_MAX),
            upload_time_max: config.upload_time_max,
        }
    }

    /// Who may not send is told before the body is sent, where it can be.
    pub fn admit(&self, caller: &Caller, headers: &HeaderMap) -> Result<(), Box<Response>> {
        if let Err(status) = caller.require(Scope::Ingest) {
            return Err(Box::new(problem(
                StatusCode::FORBIDDEN,
                status.message(),
                None,
            )));
        }
        // Pages of the web reach this host through its browsers, and need no token where none is
        // set.
        if headers.contains_key(header::ORIGIN) {
            let refused = problem(StatusCode::FORBIDDEN, "not for pages of the web", None);
            return Err(Box::new(refused));
        }
        if self.requests.available_permits() == 0 {
            return Err(Box::new(too_many()));
        }
        Ok(())
    }

    /// The body, in time.
    pub async fn arrived(&self, packed: Body) -> Result<Arrived, Box<Response>> {
        let arriving = body::arrived(packed, &self.bodies);
        match tokio::time::timeout(self.upload_time_max, arriving).await {
            Ok(Ok(arrived)) => Ok(arrived),
            Ok(Err(refused)) => Err(Box::new(unreadable(&refused))),
            Err(_late) => {
                let message = "the body did not arrive in time";
                Err(Box::new(problem(
                    StatusCode::REQUEST_TIMEOUT,
                    message,
                    None,
                )))
            }
        }
    }

    /// One of the requests at once.
    pub fn permit(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.requests.try_acquire()
    }
}

/// Options of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Name of the source.
    #[serde(default)]
    source: String,
}

#[derive(Debug, Serialize)]
struct Answer {
    accepted: usize,
    duplicate: usize,
    rejected: usize,
    results: Vec<Item>,
}

/// What became of one record.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE")]
enum Item {
    Accepted {
        dedup_id: String,
        timing: &'static str,
        stream: String,
        sequence: u64,
        index: u32,
    },
    Duplicate {
        dedup_id: String,
        timing: &'static str,
    },
    Rejected {
        field: String,
        reason: &'static str,
        description: String,
    },
}

#[derive(Debug, Serialize)]
struct Problem<'p> {
    error: &'p str,
}

async fn events(
    State(http): State<Http>,
    Extension(caller): Extension<Caller>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    packed: Body,
) -> Response {
    if let Err(refused) = http.admit(&caller, &headers) {
        return *refused;
    }
    let (format, gzip) = match body::format(&headers) {
        Ok(format) => format,
        Err(refused) => return unreadable(&refused),
    };
    let arrived = match http.arrived(packed).await {
        Ok(arrived) => arrived,
        Err(refused) => return *refused,
    };
    let Ok(_permit) = http.permit() else {
        return too_many();
    };
    let (records, _room) = match read(arrived, format, gzip, &http.bodies).await {
        Ok(read) => read,
        Err(refused) => return unreadable(&refused),
    };
    let key = match idempotency_key(&headers) {
        Ok(key) => key,
        Err(refused) => return unreadable(&refused),
    };
    let occurrences = body::occurrences(&records);
    let request = Request {
        tenant: &caller.tenant,
        source: &options.source,
        backfill: None,
        idempotency_key: key,
        records: Records::Raw(&records, &occurrences),
    };
    match http.door.append(request).await {
        Ok(outcomes) => answer(outcomes),
        Err(refusal) => refused(&refusal),
    }
}

/// The records, and the room that they take.
async fn read(
    arrived: Arrived,
    format: Format,
    gzip: bool,
    bodies: &Budget,
) -> Result<(Vec<Bytes>, OwnedSemaphorePermit), Unreadable> {
    let Arrived { packed, mut room } = arrived;
    let unpacked = if gzip {
        room.merge(body::take(bodies, UNPACKED_BYTES_MAX)?);
        let unpacking = tokio::task::spawn_blocking(move || body::unpack(&packed));
        unpacking.await.map_err(|_| {
            Unreadable::new(StatusCode::BAD_REQUEST, "the body could not be unpacked")
        })??
    } else {
        packed
    };
    let records = body::records(&unpacked, format)?;
    if records.is_empty() {
        return Err(Unreadable::new(
            StatusCode::BAD_REQUEST,
            "the body holds no record",
        ));
    }
    Ok((records, room))
}

/// An answer to what is refused.
pub fn too_many() -> Response {
    let message = "too many requests at once";
    problem(StatusCode::TOO_MANY_REQUESTS, message, Some(OVERLOAD_RETRY))
}

/// An answer to what is refused.
pub fn unreadable(refused: &Unreadable) -> Response {
    let retry = (refused.status == StatusCode::TOO_MANY_REQUESTS).then_some(OVERLOAD_RETRY);
    problem(refused.status, &refused.message, retry)
}

fn idempotency_key(headers: &HeaderMap) -> Result<&str, Unreadable> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok("");
    };
    value
        .to_str()
        .ok()
        .map(str::trim)
        .filter(|key| !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_BYTES_MAX)
        .ok_or_else(|| {
            Unreadable::new(
                StatusCode::BAD_REQUEST,
                "idempotency-key: give 1 to 200 visible ASCII characters",
            )
        })
}

fn answer(outcomes: Vec<Outcome>) -> Response {
    let results: Vec<Item> = outcomes.into_iter().map(item).collect();
    let count = |is: fn(&Item) -> bool| results.iter().filter(|item| is(item)).count();
    let accepted = count(|item| matches!(item, Item::Accepted { .. }));
    let duplicate = count(|item| matches!(item, Item::Duplicate { .. }));
    let rejected = results.len() - accepted - duplicate;
    let status = match rejected {
        0 => StatusCode::OK,
        all if all == results.len() => StatusCode::BAD_REQUEST,
        _ => StatusCode::MULTI_STATUS,
    };
    let answer = Answer {
        accepted,
        duplicate,
        rejected,
        results,
    };
    (status, axum::Json(answer)).into_response()
}

fn item(outcome: Outcome) -> Item {
    match outcome {
        Outcome::Accepted {
            stream,
            place,
            dedup_id,
            timing,
        } => Item::Accepted {
            dedup_id: dedup_id.to_string(),
            timing: timing.as_str(),
            stream: stream.to_string(),
            sequence: place.sequence,
            index: place.index,
        },
        Outcome::Duplicate { dedup_id, timing } => Item::Duplicate {
            dedup_id: dedup_id.to_string(),
            timing: timing.as_str(),
        },
        Outcome::Rejected(violation) => Item::Rejected {
            field: violation.field.into_owned(),
            reason: violation.reason.as_str(),
            description: violation.description.into_owned(),
        },
    }
}

/// An answer to what is refused.
pub fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Overloaded {
            message,
            retry_after,
        } => problem(StatusCode::TOO_MANY_REQUESTS, message, Some(*retry_after)),
        Refusal::Unavailable {
            message,
            retry_after,
        } => problem(StatusCode::SERVICE_UNAVAILABLE, message, Some(*retry_after)),
        Refusal::Forbidden { message } => problem(StatusCode::FORBIDDEN, message, None),
        Refusal::Invalid {
            field,
            description,
            too_large,
        } => {
            let status = if *too_large {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            problem(status, &format!("{field}: {description}"), None)
        }
    }
}

/// An answer to what is refused.
pub fn problem(status: StatusCode, error: &str, retry_after: Option<Duration>) -> Response {
    let mut response = (status, axum::Json(Problem { error })).into_response();
    if let Some(after) = retry_after {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.max(1).into());
    }
    response
}
