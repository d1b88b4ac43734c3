//! A real nats-server, a real ingest in front of it, and real clients.

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{
    Bus, Credentials, Log, Message, Role, Server, ServerOptions, ServerState, Topology, provision,
};
use balefire_event::{Event, Hint, Lane};
use balefire_ingest::{Config, Deps};
use balefire_kit::{Authenticator, Listeners, StatusSource};
use balefire_wire::ingest::v1::ingest_service_client::IngestServiceClient;
use balefire_wire::ingest::v1::{AppendOptions, AppendRawRequest, AppendResult};
use balefire_wire::{BatchView, RecordView};
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Nothing in these tests may take longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Harness {
    pub server: Server,
    pub credentials: Credentials,
    pub topology: Topology,
    pub status: Arc<dyn StatusSource>,
    pub grpc: String,
    pub http: String,
    pub client: IngestServiceClient<Channel>,
    pub shutdown: CancellationToken,
    pub serving: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

impl Harness {
    /// With two partitions and everybody let in.
    pub async fn start() -> Self {
        Self::with(Config::default(), Authenticator::open()).await
    }

    pub async fn with(config: Config, authenticator: Authenticator) -> Self {
        balefire_kit::install_crypto();
        let topology = Topology::new(2).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::of_dir(&dir.path().join("credentials")).unwrap();
        let options = ServerOptions {
            authorization: credentials.authorization(&topology),
            ..ServerOptions::new(dir.path().join("nats"))
        };
        let server = Server::start(options).await.unwrap();
        let bus = connect(&server, &credentials, Role::Provisioner).await;
        provision::create(&bus, &topology).await.unwrap();
        let shutdown = CancellationToken::new();
        let deps = Deps {
            bus: connect(&server, &credentials, Role::Ingest).await,
            topology,
            shutdown: shutdown.clone(),
        };
        let service = balefire_ingest::start(config, deps).await.unwrap();
        let status = Arc::clone(&service.status);
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(any, any).await.unwrap();
        let grpc = format!("http://{}", listeners.grpc.local_addr().unwrap());
        let http = format!("http://{}", listeners.http.local_addr().unwrap());
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            let services = vec![service];
            balefire_kit::serve(listeners, services, authenticator, None, "nats", stop)
                .await
                .unwrap();
        });
        let client = IngestServiceClient::connect(grpc.clone()).await.unwrap();
        let harness = Self {
            server,
            credentials,
            topology,
            status,
            grpc,
            http,
            client,
            shutdown,
            serving,
            _dir: dir,
        };
        until("ready", || harness.status.status().ready).await;
        harness
    }

    pub async fn bus(&self, role: Role) -> Bus {
        connect(&self.server, &self.credentials, role).await
    }

    pub async fn send(&self, records: &[&str]) -> Result<Vec<AppendResult>, tonic::Status> {
        self.send_as(records, AppendOptions::default()).await
    }

    pub async fn send_as(
        &self,
        records: &[&str],
        options: AppendOptions,
    ) -> Result<Vec<AppendResult>, tonic::Status> {
        let request = AppendRawRequest {
            records: records
                .iter()
                .map(|record| Bytes::from((*record).to_owned()))
                .collect(),
            options: Some(options),
            occurrences: Vec::new(),
        };
        let answer = timeout(DEADLINE, self.client.clone().append_raw(request))
            .await
            .unwrap();
        answer.map(|answer| answer.into_inner().results)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.server.pid().unwrap();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    }

    /// `kill -9`, and back again.
    pub async fn kill_and_come_back(&self) {
        let before = self.server.pid().unwrap();
        self.signal(Signal::KILL);
        let mut state = self.server.state();
        let back =
            state.wait_for(|state| matches!(state, ServerState::Ready { pid } if *pid != before));
        timeout(DEADLINE, back).await.unwrap().unwrap();
    }

    /// Every message of a stream.
    pub async fn messages(&self, stream: &str) -> Vec<Message> {
        let bus = self.bus(Role::Operator).await;
        let mut tail = Log::new(&bus).read_all(stream, 1).await.unwrap();
        let mut messages = Vec::new();
        while let Some(message) = timeout(DEADLINE, tail.next()).await.unwrap().unwrap() {
            messages.push(message);
        }
        messages
    }

    /// Every stream with lanes, INTAKE first.
    pub fn laned(&self) -> Vec<String> {
        let mut streams = Vec::new();
        for &lane in Lane::ALL {
            for partition in 0..self.topology.partitions {
                streams.push(self.topology.intake_stream(lane, partition));
                streams.push(self.topology.events_stream(lane, partition));
            }
        }
        streams.sort_by_key(|stream| !stream.starts_with("INTAKE"));
        streams
    }

    /// Every hint of INTAKE.
    pub async fn hints(&self) -> Vec<Hint<'static>> {
        let mut hints = Vec::new();
        for stream in self.laned() {
            for message in self.messages(&stream).await {
                let batch = BatchView::parse(&message.payload).unwrap();
                for record in batch.records() {
                    if let RecordView::Hint(hint) = record.unwrap() {
                        hints.push(hint.into_owned());
                    }
                }
            }
        }
        hints
    }

    /// Every event of INTAKE and EVENTS, by stream, sequence and index.
    pub async fn events(&self) -> Vec<(String, u64, u32, Event<'static>)> {
        let mut events = Vec::new();
        for stream in self.laned() {
            for message in self.messages(&stream).await {
                let batch = BatchView::parse(&message.payload).unwrap();
                for (record, index) in batch.records().zip(0..) {
                    if let RecordView::Event(event) = record.unwrap() {
                        let event = event.into_owned();
                        events.push((stream.clone(), message.sequence, index, event));
                    }
                }
            }
        }
        events
    }
}

async fn connect(server: &Server, credentials: &Credentials, role: Role) -> Bus {
    Bus::connect(server.url(), &credentials.of(role), role.as_str())
        .await
        .unwrap()
}

/// Looks again and again until it holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A record of now with more fields.
pub fn record(fields: &str) -> String {
    let now = balefire_kit::clock::now();
    format!(r#"{{"timestamp":"{now}","category":"judge_flag",{fields}}}"#)
}
