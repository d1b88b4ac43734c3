//! A child server with one partition, the plan of its engine, and a door to it.

use std::path::Path;
use std::time::Duration;

use balefire_bus::{
    Bus, Credentials, Log, Message, Role, Server, ServerOptions, ServerState, Topology, provision,
};
use balefire_driver::{Driver, Error, Plan, Report, Settings, Source, Target};
use balefire_event::{BarrierId, Lane, Timestamp};
use balefire_store::{Options, Store};
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::stage::Thirds;

/// Nothing in these tests may take longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Harness {
    pub server: Server,
    pub topology: Topology,
    pub engine: Bus,
    pub door: Bus,
    pub dir: TempDir,
}

/// A driver at work.
pub struct Running {
    pub task: JoinHandle<Result<(), Error>>,
    pub report: watch::Receiver<Report>,
    pub shutdown: CancellationToken,
}

impl Harness {
    pub async fn start() -> Self {
        let topology = Topology::new(1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::of_dir(&dir.path().join("credentials")).unwrap();
        let options = ServerOptions {
            authorization: credentials.authorization(&topology),
            ..ServerOptions::new(dir.path().join("nats"))
        };
        let server = Server::start(options).await.unwrap();
        let connect = async |role| {
            Bus::connect(server.url(), &credentials.of(role), "test")
                .await
                .unwrap()
        };
        provision::create(&connect(Role::Provisioner).await, &topology)
            .await
            .unwrap();
        Self {
            engine: connect(Role::RuleEngine).await,
            door: connect(Role::Ingest).await,
            server,
            topology,
            dir,
        }
    }

    pub fn plan(&self) -> Plan {
        let topology = &self.topology;
        let source = |&lane: &Lane| Source {
            lane: Some(lane),
            stream: topology.events_stream(lane, 0),
            replay_subject: topology.events_replay(lane, 0),
            tick_subject: Some(topology.events_tick(lane, 0)),
        };
        Plan {
            stage: "rule-engine",
            partition: 0,
            sources: Lane::ALL.iter().map(source).collect(),
            targets: vec![
                Target {
                    stream: topology.escalations_stream(0),
                    subject: topology.escalations_step(0, 0),
                },
                Target {
                    stream: topology.rekeyed_stream(0),
                    subject: topology.rekeyed_step(0, 0),
                },
            ],
            further_ticks: Vec::new(),
            owner_id: rand::random(),
        }
    }

    pub async fn store(&self) -> Store {
        open_store(self.dir.path()).await
    }

    /// Starts a driver of the one partition.
    pub fn drive(&self, store: Store, stage: Thirds) -> Running {
        let settings = Settings {
            checkpoint_interval: Duration::from_millis(5),
            reclaim_delay: 2 * DEADLINE,
        };
        let driver = Driver::new(self.engine.clone(), store, self.plan(), settings);
        let report = driver.report();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(driver.run(stage, shutdown.clone()));
        Running {
            task,
            report,
            shutdown,
        }
    }

    pub async fn append(&self, lane: Lane, payload: Bytes) -> u64 {
        let subject = self.topology.events_door(lane, 0);
        let log = Log::new(&self.door);
        log.append(&subject, payload, None).await.unwrap().sequence
    }

    /// One batch with one input.
    pub async fn input(&self, lane: Lane, key: u8, command: u8) -> u64 {
        self.append(lane, batch(key, command, 0)).await
    }

    /// Marks every lane: when all marks came out, everything before them did.
    pub async fn mark(&self) {
        for &lane in Lane::ALL {
            self.input(lane, 0, crate::stage::MARK).await;
        }
    }

    pub async fn last(&self, stream: &str) -> u64 {
        self.engine.stream_info(stream).await.unwrap().last_sequence
    }

    /// `kill -9` of the server, and back again.
    pub async fn kill_server(&self) {
        let before = self.server.pid().unwrap();
        let pid = Pid::from_raw(i32::try_from(before).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        let mut state = self.server.state();
        let back =
            state.wait_for(|state| matches!(state, ServerState::Ready { pid } if *pid != before));
        timeout(DEADLINE, back).await.unwrap().unwrap();
    }
}

impl Running {
    /// As a crash: nothing is drained.
    pub async fn crash(self) {
        self.task.abort();
        // Cancelled, or ended just before.
        let _ended = self.task.await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    pub async fn reported(&mut self, holds: impl FnMut(&Report) -> bool) {
        timeout(DEADLINE, self.report.wait_for(holds))
            .await
            .unwrap()
            .unwrap();
    }
}

pub async fn open_store(dir: &Path) -> Store {
    Store::open(&dir.join("checkpoints"), Options::default())
        .await
        .unwrap()
}

/// A batch with one input; random bytes tell it from all others.
pub fn batch(key: u8, command: u8, control_revision: u64) -> Bytes {
    let mut id: [u8; 16] = rand::random();
    (id[0], id[1]) = (key, command);
    let at = Timestamp(1_000);
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Barrier {
        id: BarrierId(id),
        at,
    });
    let header = Header {
        tenant: "acme".into(),
        received_at_max: at,
        control_revision_max: control_revision,
        ..Header::default()
    };
    writer.finish(&header, None).into()
}

/// Every message of a stream.
pub async fn read(bus: &Bus, stream: &str) -> Vec<Message> {
    let mut tail = Log::new(bus).read_all(stream, 1).await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = timeout(DEADLINE, tail.next()).await.unwrap().unwrap() {
        messages.push(message);
    }
    messages
}

/// Looks again and again until it holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
