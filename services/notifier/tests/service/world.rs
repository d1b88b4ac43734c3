//! A real nats-server with the roles' own credentials, and a notifier that can be killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_bus::{
    Bus, Credentials, Fence, InstanceId, Role, Server, ServerOptions, ServerState, Topology,
    Verification, provision,
};
use balefire_event::time::SECOND;
use balefire_event::{
    Category, Escalation, EscalationId, EscalationKind, Event, EvidenceItem, RuleId, Severity,
    Timestamp, Timing,
};
use balefire_kit::{Authenticator, Listeners};
use balefire_notifier::{Config, Deps};
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::route::ReceiverEntry;
use balefire_wire::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use balefire_wire::deadletter::v1::{DeadLetterEntry, ListDeadLettersRequest};
use balefire_wire::delivery::v1::delivery_service_client::DeliveryServiceClient;
use balefire_wire::status::v1::status_service_client::StatusServiceClient;
use balefire_wire::status::v1::{GetStatusRequest, ServiceStatus};
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const PARTITIONS: u32 = 2;
/// Nothing here takes longer on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub async fn until<T>(what: &str, mut met: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(found) = met().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < give_up, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub struct World {
    pub server: Server,
    pub topology: Topology,
    credentials: Credentials,
    fences: Vec<Fence>,
    _dir: tempfile::TempDir,
}

fn binary() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/nats-server");
    path.exists().then_some(path)
}

/// What is unusual about streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Oddity {
    /// A full disk refused the first records: what is kept of escalations, deliveries and dead letters
    /// begins here. 0: at 1.
    pub first: u64,
    /// Dead letters find no room.
    pub no_letters: bool,
}

async fn make_odd(server: &Server, topology: &Topology, credentials: &Path, odd: Oddity) {
    use async_nats::jetstream::stream::{Config, DiscardPolicy};
    let seed = std::fs::read_to_string(credentials.join("provisioner.nk")).unwrap();
    let client = async_nats::ConnectOptions::with_nkey(seed)
        .custom_inbox_prefix(Role::Provisioner.inbox_prefix())
        .connect(server.url())
        .await
        .unwrap();
    let context = async_nats::jetstream::new(client);
    let late = ["ESCALATIONS", "DELIVERIES", "DEADLETTERS"];
    for spec in topology.streams() {
        if !late.iter().any(|name| spec.name.starts_with(name)) {
            continue;
        }
        let letters = spec.name == "DEADLETTERS";
        let config = Config {
            max_bytes: if letters && odd.no_letters { 1 } else { -1 },
            name: spec.name.clone(),
            subjects: vec![spec.filter.clone()],
            discard: DiscardPolicy::New,
            duplicate_window: balefire_bus::provision::DUPLICATE_WINDOW,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            first_sequence: (odd.first > 1).then_some(odd.first),
            ..Config::default()
        };
        context.create_stream(config).await.unwrap();
    }
}

impl World {
    pub async fn start() -> Self {
        Self::start_odd(Oddity::default()).await
    }

    pub async fn start_odd(odd: Oddity) -> Self {
        balefire_kit::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let topology = Topology::new(PARTITIONS).unwrap();
        let credentials = Credentials::of_dir(&dir.path().join("credentials")).unwrap();
        let mut options = ServerOptions::new(dir.path().join("nats"));
        options.binary = binary();
        options.authorization = credentials.authorization(&topology);
        let server = Server::start(options).await.unwrap();
        if odd.first > 1 || odd.no_letters {
            make_odd(&server, &topology, &dir.path().join("credentials"), odd).await;
        }
        let mut world = Self {
            server,
            topology,
            credentials,
            fences: Vec::new(),
            _dir: dir,
        };
        let provisioner = world.bus(Role::Provisioner).await;
        provision::create(&provisioner, &topology).await.unwrap();
        let engine = world.bus(Role::RuleEngine).await;
        for partition in 0..PARTITIONS {
            let stream = topology.escalations_stream(partition);
            let subject = topology.escalations_step(partition, partition);
            let mut fence = Fence::new(&engine, &stream, &subject);
            fence.claim(batch(&[])).await.unwrap();
            world.fences.push(fence);
        }
        world
    }

    pub async fn bus(&self, role: Role) -> Bus {
        let credential = self.credentials.of(role);
        let bus = Bus::connect(self.server.url(), &credential, role.as_str()).await;
        bus.unwrap()
    }

    /// Writes escalations as one message of a partition.
    pub async fn escalate(&mut self, partition: usize, escalations: &[Escalation]) {
        self.write(partition, batch(escalations)).await;
    }

    pub async fn write(&mut self, partition: usize, payload: Bytes) {
        self.fences[partition].publish(payload).await.unwrap();
    }

    pub async fn notifier(&self, config: &Config) -> Notifier {
        let bus = self.bus(Role::Notifier).await;
        provision::verify(
            &bus,
            &self.topology,
            &Verification::strict(self.server.sync_proof()),
        )
        .await
        .unwrap();
        drop(bus);
        Notifier::start(self, config, InstanceId([1; 16])).await
    }

    /// One more beside it.
    pub async fn second_notifier(&self, config: &Config) -> Notifier {
        Notifier::start(self, config, InstanceId([2; 16])).await
    }

    /// Sends the nats-server a signal: `-9` kills it, `-STOP` lets it stand, `-CONT` go on.
    pub fn signal_server(&self, signal: &str) {
        let ServerState::Ready { pid } = self.server.state().borrow().clone() else {
            panic!("the server is not up");
        };
        let sent = std::process::Command::new("kill")
            .args([signal, &pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

fn batch(escalations: &[Escalation]) -> Bytes {
    let mut writer = BatchWriter::default();
    for escalation in escalations {
        writer.push(RecordRef::Escalation(escalation));
    }
    let header = Header {
        tenant: "default".into(),
        ..Header::default()
    };
    writer.finish(&header, None).into()
}

/// An escalation of a prompt attack.
pub fn escalation(id: u8) -> Escalation {
    let t = Timestamp(1_770_820_200 * SECOND);
    Escalation {
        escalation_id: EscalationId([id; 16]),
        episode_id: EscalationId([id; 16]),
        kind: EscalationKind::Raised,
        tenant: "default".into(),
        rule_id: RuleId([9; 16]),
        rule_name: "prompt_attack".into(),
        title: "Prompt attack".into(),
        key: Vec::new(),
        slot_start: t,
        rearm: 0,
        breach_at: t,
        severity: Severity::High,
        timing: Timing::OnTime,
        assurance: None,
        evidence: vec![EvidenceItem {
            event_id: format!("event-{id}"),
            dedup_id: Default::default(),
            t,
        }],
        event_count: 1,
        recommended_actions: Vec::new(),
        audiences: vec!["soc".into()],
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: Some(Box::new(Event {
            category: Category::PromptAttack,
            severity: Severity::High,
            occurred_at: t,
            event_id: format!("event-{id}").into(),
            ..Event::default()
        })),
        received_at: t,
        revision: 0,
        backfill: false,
        window: 0,
        threshold: 0,
        at_close: false,
        condition: String::new(),
        shadow: false,
    }
}

pub fn entry(name: &str, url: &str) -> ReceiverEntry {
    ReceiverEntry {
        name: name.into(),
        url: url.into(),
        allow_loopback: true,
        ..ReceiverEntry::default()
    }
}

/// Quick retries, three attempts, all signed.
pub fn config(receivers: &[(&str, &str)]) -> Config {
    let backoff = Backoff {
        attempts_max: 3,
        first: SECOND / 50,
        cap: SECOND / 10,
        retry_after_max: 2 * SECOND,
    };
    let entries: Vec<_> = receivers.iter().map(|(n, u)| entry(n, u)).collect();
    let secrets = vec![Some(SECRET.to_owned()); entries.len()];
    Config::of(&entries, &secrets, backoff, Duration::from_secs(2)).unwrap()
}

/// A notifier in a runtime of its own, so that it can be killed with all that it does.
pub struct Notifier {
    runtime: Option<tokio::runtime::Runtime>,
    serving: Option<tokio::task::JoinHandle<()>>,
    shutdown: CancellationToken,
    channel: Channel,
}

impl Notifier {
    async fn start(world: &World, config: &Config, instance: InstanceId) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = CancellationToken::new();
        let (url, topology) = (world.server.url().to_owned(), world.topology);
        let credential = world.credentials.of(Role::Notifier);
        let (config, token) = (config.clone(), shutdown.clone());
        let (address, bound) = tokio::sync::oneshot::channel();
        let serving = runtime.spawn(async move {
            let bus = Bus::connect(&url, &credential, "notifier").await.unwrap();
            let free = "127.0.0.1:0".parse().unwrap();
            let listeners = Listeners::bind(free, free).await.unwrap();
            address.send(listeners.grpc.local_addr().unwrap()).unwrap();
            let deps = Deps {
                bus,
                topology,
                instance,
                shutdown: token.clone(),
            };
            let service = balefire_notifier::start(&config, deps);
            let open = Authenticator::open();
            balefire_kit::serve(listeners, vec![service], open, None, &url, token)
                .await
                .unwrap();
        });
        let address = bound.await.unwrap();
        let channel = until("a connection", async || {
            let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
            endpoint.connect().await.ok()
        })
        .await;
        let notifier = Self {
            runtime: Some(runtime),
            serving: Some(serving),
            shutdown,
            channel,
        };
        until("ready", async || {
            notifier.status().await.ready.then_some(())
        })
        .await;
        notifier
    }

    /// Ends it at once, whatever it was doing.
    pub fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Ends it as SIGTERM does, and waits until it has drained.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
    }

    pub async fn status(&self) -> ServiceStatus {
        let mut client = StatusServiceClient::new(self.channel.clone());
        let answer = client.get_status(GetStatusRequest {}).await.unwrap();
        answer.into_inner().services.remove(0)
    }

    pub async fn counter(&self, name: &str) -> u64 {
        let status = self.status().await;
        let found = status.counters.into_iter().find(|one| one.name == name);
        found.unwrap().value
    }

    /// Waits until everything in ESCALATIONS was read and nothing is pending.
    pub async fn settled(&self, world: &World) {
        let bus = world.bus(Role::Operator).await;
        until("settled", async || {
            let status = self.status().await;
            for partition in &status.partitions {
                let stream = world.topology.escalations_stream(partition.partition);
                let last = bus.stream_info(&stream).await.ok()?.last_sequence;
                if self.read(partition.partition).await < last {
                    return None;
                }
            }
            (self.counter("deliveries_pending").await == 0).then_some(())
        })
        .await;
    }

    async fn read(&self, partition: u32) -> u64 {
        self.counter(&format!("escalations_read_{partition}")).await
    }

    pub fn letters(&self) -> DeadLetterServiceClient<Channel> {
        DeadLetterServiceClient::new(self.channel.clone())
    }

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn deliveries(&self) -> DeliveryServiceClient<Channel> {
        DeliveryServiceClient::new(self.channel.clone())
    }

    pub async fn open_letters(&self) -> Vec<DeadLetterEntry> {
        let request = ListDeadLettersRequest::default();
        let answer = self.letters().list_dead_letters(request).await.unwrap();
        answer.into_inner().dead_letters
    }

    /// Waits for so many open letters.
    pub async fn await_letters(&self, count: usize) -> Vec<DeadLetterEntry> {
        until("dead letters", async || {
            let open = self.open_letters().await;
            (open.len() == count).then_some(open)
        })
        .await
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
