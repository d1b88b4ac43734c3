//! A server that answers as a test's script says, and writes down what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balefire_wire::ingest::v1::ingest_service_server::{IngestService, IngestServiceServer};
use balefire_wire::ingest::v1::{
    AppendRawRequest, AppendRawResponse, AppendRequest, AppendResponse, AppendResult, AppendStatus,
    AppendStreamRequest, AppendStreamResponse, GetNamingCoverageRequest, GetNamingCoverageResponse,
    PlaceBarrierRequest, PlaceBarrierResponse,
};
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// What the server does with one call.
pub enum Reply {
    /// Accepts every record.
    Accept,
    /// Accepts with one result too few.
    AcceptTooFew,
    /// Refuses the call.
    Refuse(Status),
    /// Never answers.
    Hang,
    /// Accepts once this is told `true`.
    AcceptAfter(watch::Receiver<bool>),
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Instant,
    pub token: Option<String>,
    pub has_deadline: bool,
    pub typed: Option<AppendRequest>,
    pub raw: Option<AppendRawRequest>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    calls: Vec<Call>,
}

/// The server. Stops when dropped.
pub struct Server {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    calls: watch::Receiver<usize>,
    /// Its own, so that stopping it cuts every connection.
    runtime: Option<Runtime>,
}

struct Service {
    state: Arc<Mutex<State>>,
    count: watch::Sender<usize>,
}

impl Service {
    async fn answer<T>(
        &self,
        request: &Request<T>,
        call: Call,
        records: usize,
    ) -> Result<Vec<AppendResult>, Status> {
        let metadata = request.metadata();
        let call = Call {
            token: metadata
                .get("authorization")
                .map(|v| v.to_str().expect("ascii").to_owned()),
            has_deadline: metadata.get("grpc-timeout").is_some(),
            ..call
        };
        let reply = {
            let mut state = self.state.lock().expect("no test panics while it holds it");
            state.calls.push(call);
            state.script.pop_front().unwrap_or(Reply::Accept)
        };
        self.count.send_modify(|count| *count += 1);
        let records = match reply {
            Reply::Accept => records,
            Reply::AcceptTooFew => records - 1,
            Reply::Refuse(status) => return Err(status),
            Reply::Hang => std::future::pending().await,
            Reply::AcceptAfter(mut told) => {
                told.wait_for(|yes| *yes).await.expect("the test tells");
                records
            }
        };
        let accepted = AppendResult {
            status: AppendStatus::Accepted.into(),
            ..AppendResult::default()
        };
        Ok(vec![accepted; records])
    }
}

fn call() -> Call {
    Call {
        at: Instant::now(),
        token: None,
        has_deadline: false,
        typed: None,
        raw: None,
    }
}

#[tonic::async_trait]
impl IngestService for Service {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        let message = request.get_ref().clone();
        let records = message.events.len();
        let call = Call {
            typed: Some(message),
            ..call()
        };
        let results = self.answer(&request, call, records).await?;
        Ok(Response::new(AppendResponse { results }))
    }

    async fn append_raw(
        &self,
        request: Request<AppendRawRequest>,
    ) -> Result<Response<AppendRawResponse>, Status> {
        let message = request.get_ref().clone();
        let records = message.records.len();
        let call = Call {
            raw: Some(message),
            ..call()
        };
        let results = self.answer(&request, call, records).await?;
        Ok(Response::new(AppendRawResponse { results }))
    }

    type AppendStreamStream = BoxStream<'static, Result<AppendStreamResponse, Status>>;

    async fn append_stream(
        &self,
        _: Request<Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        Err(Status::unimplemented("no test needs it"))
    }

    async fn get_naming_coverage(
        &self,
        _: Request<GetNamingCoverageRequest>,
    ) -> Result<Response<GetNamingCoverageResponse>, Status> {
        Err(Status::unimplemented("no test needs it"))
    }

    async fn place_barrier(
        &self,
        _: Request<PlaceBarrierRequest>,
    ) -> Result<Response<PlaceBarrierResponse>, Status> {
        Ok(Response::new(PlaceBarrierResponse {
            barrier_id: vec![5; 16].into(),
            partitions: 2,
        }))
    }
}

impl Server {
    /// Serves on a free port.
    pub async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), script).await
    }

    /// Serves on this address, as soon as it is free.
    pub async fn start_at(addr: SocketAddr, script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = bind(addr).await;
        let addr = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State {
            script: script.into_iter().collect(),
            calls: Vec::new(),
        }));
        let (count, calls) = watch::channel(0);
        let service = Service {
            state: Arc::clone(&state),
            count,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            tonic::transport::Server::builder()
                .add_service(IngestServiceServer::new(service).max_decoding_message_size(8 << 20))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("serves");
        });
        Self {
            addr,
            state,
            calls,
            runtime: Some(runtime),
        }
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state
            .lock()
            .expect("no test panics while it holds it")
            .calls
            .clone()
    }

    /// Waits until there were so many calls.
    pub async fn called(&self, count: usize) {
        let mut calls = self.calls.clone();
        let reached = calls.wait_for(|calls| *calls >= count);
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        reached
            .expect("called within 20 s")
            .expect("the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn bind(addr: SocketAddr) -> std::net::TcpListener {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match std::net::TcpListener::bind(addr) {
            Ok(listener) => {
                listener.set_nonblocking(true).expect("a socket");
                return listener;
            }
            Err(error) => assert!(Instant::now() < until, "bind {addr}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
