//! A child server with credentials and streams, in a temporary directory.

use std::time::Duration;

use balefire_bus::{
    Bus, Credentials, Role, Server, ServerOptions, ServerState, Topology, provision,
};
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

/// Nothing in these tests may take longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Harness {
    pub server: Server,
    pub credentials: Credentials,
    pub topology: Topology,
    pub dir: TempDir,
}

impl Harness {
    pub async fn start(topology: Topology) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::of_dir(&dir.path().join("credentials")).unwrap();
        let options = ServerOptions {
            authorization: credentials.authorization(&topology),
            ..ServerOptions::new(dir.path().join("nats"))
        };
        let server = Server::start(options).await.unwrap();
        let harness = Self {
            server,
            credentials,
            topology,
            dir,
        };
        let provisioner = harness.bus(Role::Provisioner).await;
        provision::create(&provisioner, &topology).await.unwrap();
        harness
    }

    pub async fn partitions(partitions: u32) -> Self {
        Self::start(Topology::new(partitions).unwrap()).await
    }

    pub async fn bus(&self, role: Role) -> Bus {
        Bus::connect(self.server.url(), &self.credentials.of(role), role.as_str())
            .await
            .unwrap()
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
}

/// Every record of a stream.
pub async fn read(bus: &Bus, stream: &str) -> Vec<balefire_bus::Message> {
    let mut tail = balefire_bus::Log::new(bus)
        .read_all(stream, 1)
        .await
        .unwrap();
    let mut records = Vec::new();
    while let Some(record) = timeout(DEADLINE, tail.next()).await.unwrap().unwrap() {
        records.push(record);
    }
    records
}

/// Looks again and again until it holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}
