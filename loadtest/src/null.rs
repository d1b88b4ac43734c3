//! The null receiver: takes events as ingest does, keeps nothing, and calls the webhook at once for
//! each prompt attack. With known faults, so that a generator can prove what it measures.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::{SyncSender, sync_channel};

use balefire_loadtest_core::planned::number_of;
use balefire_wire::ingest::v1::append_stream_request::Batch;
use balefire_wire::ingest::v1::ingest_service_server::{IngestService, IngestServiceServer};
use balefire_wire::ingest::v1::{
    AppendRawRequest, AppendRawResponse, AppendRequest, AppendResponse, AppendResult, AppendStatus,
    AppendStreamRequest, AppendStreamResponse, GetNamingCoverageRequest, GetNamingCoverageResponse,
    PlaceBarrierRequest, PlaceBarrierResponse,
};
use futures::Stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::clock::Clock;
use crate::error::Error;
use crate::receiver::sign;

/// Answers and calls that may wait for their time.
const LINE_MAX: usize = 65_536;
/// It takes what comes as fast as it comes: nothing waits for room in these, bytes.
const FRAME_MAX: u32 = 1024 * 1024;
const WINDOW: u32 = 16 * 1024 * 1024;
/// Largest answer of the webhook, bytes.
const ANSWER_MAX: usize = 4_096;

/// What it does wrong, on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Each call of the webhook waits so long, nanoseconds.
    pub delay_ns: u64,
    /// Nothing is answered or called between these, nanoseconds after the start.
    pub stopped_ns: Option<(u64, u64)>,
    /// The escalation of each event whose number is a multiple of this is lost.
    pub lose_every: Option<u32>,
    /// The escalation of each event whose number is a multiple of this is delivered twice.
    pub double_every: Option<u32>,
}

impl Faults {
    /// How often the escalation of an event is delivered.
    #[must_use]
    pub fn copies(&self, number: u32) -> usize {
        let hit = |every: Option<u32>| every.is_some_and(|every| number.is_multiple_of(every));
        match (hit(self.lose_every), hit(self.double_every)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        }
    }

    fn due(&self, now_ns: u64, delay_ns: u64) -> u64 {
        let due = now_ns + delay_ns;
        match self.stopped_ns {
            Some((from, to)) if (from..to).contains(&due) => to,
            Some(_) | None => due,
        }
    }
}

/// Things that leave at a time of their own, in order, held by a thread that wakes precisely.
struct Line<T>(SyncSender<(u64, T)>);

impl<T> Clone for Line<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> Line<T> {
    fn start(clock: Clock, mut leave: impl FnMut(T) + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel::<(u64, T)>(LINE_MAX);
        std::thread::spawn(move || {
            for (due_ns, item) in waiting {
                clock.block_until(due_ns);
                leave(item);
            }
        });
        Self(queue)
    }

    /// False: it is full, and the item is gone.
    fn put(&self, due_ns: u64, item: T) -> bool {
        self.0.try_send((due_ns, item)).is_ok()
    }
}

type Answer = Result<AppendStreamResponse, Status>;

/// The server.
#[derive(Clone)]
pub struct Null {
    /// `None`: it counts and answers, and looks at no record.
    watch: Option<Watch>,
}

#[derive(Clone)]
struct Watch {
    tag: String,
    clock: Clock,
    faults: Faults,
    answers: Line<(mpsc::Sender<Answer>, AppendStreamResponse)>,
    calls: Line<(String, Vec<u8>)>,
}

impl Null {
    /// Serves on a free port for as long as the runtime lives; calls the webhook at `hook`.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn start(
        tag: &str,
        clock: Clock,
        faults: Faults,
        hook: SocketAddr,
    ) -> Result<SocketAddr, Error> {
        let (posts, to_post) = mpsc::channel(LINE_MAX);
        tokio::spawn(post_all(hook, to_post));
        let watch = Watch {
            tag: tag.to_owned(),
            clock,
            faults,
            answers: Line::start(clock, |(to, answer): (mpsc::Sender<Answer>, _)| {
                // A stream that is gone wants no answer.
                let _gone = to.blocking_send(Ok(answer));
            }),
            calls: Line::start(clock, move |call| {
                let _gone = posts.blocking_send(call);
            }),
        };
        serve(Self { watch: Some(watch) }).await
    }

    /// Serves on a free port for as long as the runtime lives: counts, answers and looks at nothing.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn counting() -> Result<SocketAddr, Error> {
        serve(Self { watch: None }).await
    }
}

impl Watch {
    /// Takes one batch; false: too much waits.
    fn batch(&self, message: &AppendStreamRequest, to: &mpsc::Sender<Answer>) -> bool {
        let now_ns = self.clock.now_ns();
        let records = match &message.batch {
            Some(Batch::Raw(raw)) => raw.records.as_slice(),
            Some(Batch::Events(_)) | None => &[],
        };
        for record in records {
            if !self.record(record, now_ns) {
                return false;
            }
        }
        let due = self.faults.due(now_ns, 0);
        self.answers.put(due, (to.clone(), accepted(message)))
    }

    fn record(&self, record: &[u8], now_ns: u64) -> bool {
        const MARK: &[u8] = b"\"prompt_attack\"";
        if !record.windows(MARK.len()).any(|window| window == MARK) {
            return true;
        }
        let Ok(record) = serde_json::from_slice::<Value>(record) else {
            return true;
        };
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = number_of(&self.tag, text("event_id")).unwrap_or_default();
        let id = format!("null-{}", text("event_id"));
        let body = json!({"type": "escalation.raised", "data": {
            "escalation_id": id, "rule": "prompt_attack", "severity": "high", "key": {},
            "slot_start": text("timestamp"), "event_ids": [text("event_id")],
        }});
        let due = self.faults.due(now_ns, self.faults.delay_ns);
        (0..self.faults.copies(number)).all(|_| {
            self.calls
                .put(due, (id.clone(), body.to_string().into_bytes()))
        })
    }
}

/// Serves on a free port for as long as the runtime lives.
async fn serve(service: Null) -> Result<SocketAddr, Error> {
    let listen = |source| Error::Listen { source };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .max_frame_size(FRAME_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(IngestServiceServer::new(service));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(addr)
}

fn accepted(message: &AppendStreamRequest) -> AppendStreamResponse {
    let records = match &message.batch {
        Some(Batch::Raw(raw)) => raw.records.len(),
        Some(Batch::Events(_)) | None => 0,
    };
    let accepted = AppendResult {
        status: AppendStatus::Accepted.into(),
        ..AppendResult::default()
    };
    AppendStreamResponse {
        batch_id: message.batch_id,
        results: vec![accepted; records],
        error: None,
    }
}

/// Calls the webhook over one connection, in order.
async fn post_all(hook: SocketAddr, mut calls: mpsc::Receiver<(String, Vec<u8>)>) {
    let Ok(mut connection) = TcpStream::connect(hook).await else {
        return;
    };
    let _slow = connection.set_nodelay(true);
    let mut answer = vec![0; ANSWER_MAX];
    while let Some((id, body)) = calls.recv().await {
        let seconds = (balefire_kit::clock::now().0 / 1_000_000_000).to_string();
        let signature = sign(&id, &seconds, &body);
        let length = body.len();
        let mut request = format!(
            "POST /hook HTTP/1.1\r\nhost: {hook}\r\ncontent-length: {length}\r\nwebhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: {signature}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(&body);
        // An answer has no body and fits into one segment.
        if connection.write_all(&request).await.is_err()
            || connection.read(&mut answer).await.is_err()
        {
            return;
        }
    }
}

#[tonic::async_trait]
impl IngestService for Null {
    type AppendStreamStream = Pin<Box<dyn Stream<Item = Answer> + Send>>;

    async fn append(&self, _: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        Err(Status::unimplemented("the null receiver takes streams"))
    }

    async fn append_raw(
        &self,
        _: Request<AppendRawRequest>,
    ) -> Result<Response<AppendRawResponse>, Status> {
        Err(Status::unimplemented("the null receiver takes streams"))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (to, answers) = mpsc::channel(LINE_MAX);
        let null = self.clone();
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let taken = match &null.watch {
                    Some(watch) => watch.batch(&message, &to),
                    None => to.send(Ok(accepted(&message))).await.is_ok(),
                };
                if !taken {
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
        Err(Status::unimplemented("the null receiver names nobody"))
    }

    async fn place_barrier(
        &self,
        _: Request<PlaceBarrierRequest>,
    ) -> Result<Response<PlaceBarrierResponse>, Status> {
        Err(Status::unimplemented("the null receiver has no log"))
    }
}
