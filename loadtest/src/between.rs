//! Faults put between the load test and the product on purpose, to show that the report finds and
//! names them: to whoever measures, they are the product's. Nothing of this is in the product.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use balefire_wire::ingest::v1::append_stream_request::Batch;
use balefire_wire::ingest::v1::ingest_service_client::IngestServiceClient;
use balefire_wire::ingest::v1::ingest_service_server::{IngestService, IngestServiceServer};
use balefire_wire::ingest::v1::{
    AppendRawRequest, AppendRawResponse, AppendRequest, AppendResponse, AppendResult, AppendStatus,
    AppendStreamRequest, AppendStreamResponse, GetNamingCoverageRequest, GetNamingCoverageResponse,
    PlaceBarrierRequest, PlaceBarrierResponse,
};
use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;

/// Messages that may wait on either way.
const QUEUE_MAX: usize = 4_096;
/// A second, and how long of its beginning nothing passes, milliseconds.
const STALL_EVERY_MS: u64 = 1_000;
const STALL_MS: u64 = 200;
/// Largest answer of a webhook, bytes.
const ANSWER_MAX: usize = 4_096;
/// Which call of the webhook is made twice.
const DOUBLED: u64 = 10;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// One event in 10,000 is acknowledged and dropped
    Drop,
    /// One escalation is delivered twice
    Double,
    /// Nothing passes for 200 ms of each second
    Stall,
}

/// How often an event is dropped by [`Fault::Drop`].
pub const DROP_EVERY: u64 = 10_000;

type Answer = Result<AppendStreamResponse, Status>;

/// Stands in front of a product's door.
#[derive(Clone)]
struct Door {
    behind: IngestServiceClient<Channel>,
    fault: Fault,
    records: Arc<AtomicU64>,
}

/// Which records of a batch were dropped, by batch; one of each stream.
type Dropped = Arc<Mutex<BTreeMap<u64, Vec<usize>>>>;

fn accepted() -> AppendResult {
    AppendResult {
        status: AppendStatus::Accepted.into(),
        ..AppendResult::default()
    }
}

async fn listen() -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { source };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// Puts a fault in front of the gRPC server at `addr`; where to send instead.
///
/// # Errors
/// Nobody is there, or this machine lets nothing listen.
pub async fn door(fault: Fault, addr: &str) -> Result<String, Error> {
    let behind = IngestServiceClient::connect(format!("http://{addr}"));
    let behind = behind.await.map_err(|source| Error::Connect { source })?;
    let (listener, own) = listen().await?;
    let door = Door {
        behind,
        fault,
        records: Arc::default(),
    };
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(IngestServiceServer::new(door));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(own.to_string())
}

/// Milliseconds until the next time when something passes; 0: now.
const fn held_ms(wall_ms: u64) -> u64 {
    STALL_MS.saturating_sub(wall_ms % STALL_EVERY_MS)
}

impl Door {
    async fn hold(&self) {
        if self.fault == Fault::Stall {
            let wall_ms = u64::try_from(balefire_kit::clock::now().0 / 1_000_000);
            let held = held_ms(wall_ms.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(held)).await;
        }
    }

    /// Takes what is to be lost out of a batch; the places.
    fn take(&self, message: &mut AppendStreamRequest) -> Vec<usize> {
        let Some(Batch::Raw(raw)) = &mut message.batch else {
            return Vec::new();
        };
        let mut places = Vec::new();
        let mut place = 0;
        raw.records.retain(|_| {
            let number = self.records.fetch_add(1, Ordering::Relaxed) + 1;
            let lost = self.fault == Fault::Drop && number.is_multiple_of(DROP_EVERY);
            if lost {
                places.push(place);
            }
            place += 1;
            !lost
        });
        places
    }

    async fn forward(
        self,
        mut messages: Streaming<AppendStreamRequest>,
        to: mpsc::Sender<AppendStreamRequest>,
        back: mpsc::Sender<Answer>,
        dropped: Dropped,
    ) {
        while let Ok(Some(mut message)) = messages.message().await {
            self.hold().await;
            let places = self.take(&mut message);
            let empty = matches!(&message.batch, Some(Batch::Raw(raw)) if raw.records.is_empty());
            let sent = if empty {
                let answer = AppendStreamResponse {
                    batch_id: message.batch_id,
                    results: places.iter().map(|_| accepted()).collect(),
                    error: None,
                };
                back.send(Ok(answer)).await.is_ok()
            } else {
                if !places.is_empty() {
                    let mut dropped = dropped.lock().unwrap_or_else(PoisonError::into_inner);
                    dropped.insert(message.batch_id, places);
                }
                to.send(message).await.is_ok()
            };
            if !sent {
                return;
            }
        }
    }
}

/// Says of what was dropped that it was accepted.
fn lie(mut answer: AppendStreamResponse, dropped: &Dropped) -> AppendStreamResponse {
    let mut dropped = dropped.lock().unwrap_or_else(PoisonError::into_inner);
    for place in dropped.remove(&answer.batch_id).unwrap_or_default() {
        let place = place.min(answer.results.len());
        answer.results.insert(place, accepted());
    }
    answer
}

#[tonic::async_trait]
impl IngestService for Door {
    type AppendStreamStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn append(&self, _: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        Err(Status::unimplemented("faults are put into streams"))
    }

    async fn append_raw(
        &self,
        _: Request<AppendRawRequest>,
    ) -> Result<Response<AppendRawResponse>, Status> {
        Err(Status::unimplemented("faults are put into streams"))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (to, outgoing) = mpsc::channel(QUEUE_MAX);
        let (back, answers) = mpsc::channel(QUEUE_MAX);
        let dropped = Dropped::default();
        let forward =
            self.clone()
                .forward(request.into_inner(), to, back.clone(), Arc::clone(&dropped));
        tokio::spawn(forward);
        let mut behind = self.behind.clone();
        let door = self.clone();
        tokio::spawn(async move {
            let Ok(streams) = behind.append_stream(ReceiverStream::new(outgoing)).await else {
                return;
            };
            let mut streams = streams.into_inner();
            while let Some(answer) = streams.next().await {
                door.hold().await;
                if back
                    .send(answer.map(|one| lie(one, &dropped)))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_naming_coverage(
        &self,
        _: Request<GetNamingCoverageRequest>,
    ) -> Result<Response<GetNamingCoverageResponse>, Status> {
        Err(Status::unimplemented(
            "coverage is asked of the product itself",
        ))
    }

    async fn place_barrier(
        &self,
        _: Request<PlaceBarrierRequest>,
    ) -> Result<Response<PlaceBarrierResponse>, Status> {
        Err(Status::unimplemented("barriers go to the product itself"))
    }
}

/// Puts itself in front of a webhook receiver and makes one call twice; what to call instead.
///
/// # Errors
/// This machine lets nothing listen.
pub async fn hook(receiver: SocketAddr) -> Result<SocketAddr, Error> {
    let (listener, own) = listen().await?;
    let calls = Arc::new(AtomicU64::new(0));
    let router = Router::new()
        .route("/hook", post(pass))
        .with_state((receiver, calls));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(own)
}

async fn pass(
    State((receiver, calls)): State<(SocketAddr, Arc<AtomicU64>)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
    let mut status = StatusCode::BAD_GATEWAY;
    for _ in 0..=u8::from(number == DOUBLED) {
        status = call(receiver, &headers, &body)
            .await
            .unwrap_or(StatusCode::BAD_GATEWAY);
    }
    status
}

/// One call over a connection of its own.
async fn call(receiver: SocketAddr, headers: &HeaderMap, body: &[u8]) -> Option<StatusCode> {
    let mut request = format!(
        "POST /hook HTTP/1.1\r\nhost: {receiver}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = headers.get(name)?.to_str().ok()?;
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    let mut connection = TcpStream::connect(receiver).await.ok()?;
    let bytes = [request.as_bytes(), body].concat();
    connection.write_all(&bytes).await.ok()?;
    let mut answer = vec![0; ANSWER_MAX];
    let length = connection.read(&mut answer).await.ok()?;
    let head = std::str::from_utf8(answer.get(..length)?).ok()?;
    head.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_in_the_first_fifth_of_a_second() {
        assert_eq!(held_ms(7_000), 200);
        assert_eq!(held_ms(7_150), 50);
        assert_eq!(held_ms(7_200), 0);
        assert_eq!(held_ms(7_999), 0);
    }
}
