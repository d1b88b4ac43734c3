//! A real nats-server with the roles' own credentials, a door that writes as ingest does, and a
//! rule engine that can be killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_bus::{
    Bus, Credential, Credentials, InstanceId, Log, Role, Server, ServerOptions, Topology, provision,
};
use balefire_event::identity::TenantKey;
use balefire_event::{
    Assurance, BarrierId, Category, DedupId, Event, Identity, IdentityKind, Lane, Sealed, Severity,
    SubjectRef, Timestamp, partition,
};
use balefire_kit::{Authenticator, Listeners};
use balefire_rule_engine::{Config, Deps, Pace, baseline_files, start};
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::escalation::v1::{Escalation, ListEscalationsRequest};
use balefire_wire::{BatchWriter, Header, RecordRef};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

pub const PARTITIONS: u32 = 2;
pub const TENANT: &str = "default";
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

/// A guardrail block of a user, so many seconds after a fixed time.
pub fn block(id: &str, user: &str, seconds: i64) -> Event<'static> {
    let t = Timestamp(1_770_820_200_000_000_000 + seconds * 1_000_000_000);
    let mut dedup = DedupId::default();
    for (byte, from) in dedup.0.iter_mut().zip(id.bytes()) {
        *byte = from;
    }
    Event {
        dedup_id: dedup,
        event_id: id.to_owned().into(),
        occurred_at: t,
        received_at: t,
        t,
        category: Category::GuardrailBlock,
        severity: Severity::Low,
        control_revision: 1,
        user: Some(Identity {
            subject_ref: SubjectRef::of(&TenantKey::default_of(TENANT), IdentityKind::User, user),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain(user.to_owned().into())),
        }),
        ..Event::default()
    }
}

pub fn blocks(user: &str, ids: std::ops::Range<i64>) -> Vec<Event<'static>> {
    ids.map(|i| block(&format!("{user}-{i:04}"), user, i))
        .collect()
}

pub struct World {
    server: Server,
    pub topology: Topology,
    /// `None`: everybody may do everything.
    credentials: Option<Credentials>,
    dir: tempfile::TempDir,
    door: Log,
}

fn binary() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/nats-server");
    path.exists().then_some(path)
}

async fn connect(server: &Server, credentials: Option<&Credentials>, role: Role) -> Bus {
    let credential = credentials.map_or(Credential::none(role), |all| all.of(role));
    Bus::connect(server.url(), &credential, role.as_str())
        .await
        .unwrap()
}

impl World {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::of_dir(&dir.path().join("credentials")).unwrap();
        Self::under(dir, Some(credentials)).await
    }

    async fn under(dir: tempfile::TempDir, credentials: Option<Credentials>) -> Self {
        balefire_kit::install_crypto();
        let topology = Topology::new(PARTITIONS).unwrap();
        let mut options = ServerOptions::new(dir.path().join("nats"));
        options.binary = binary();
        if let Some(credentials) = &credentials {
            options.authorization = credentials.authorization(&topology);
        }
        let server = Server::start(options).await.unwrap();
        let connect = async |role| connect(&server, credentials.as_ref(), role).await;
        provision::create(&connect(Role::Provisioner).await, &topology)
            .await
            .unwrap();
        let door = Log::new(&connect(Role::Ingest).await);
        Self {
            server,
            topology,
            credentials,
            dir,
            door,
        }
    }

    /// The same log once more on a server of its own, with every message as `altered` makes it.
    pub async fn copied(&self, altered: impl Fn(&str, &[u8]) -> Vec<u8>) -> Self {
        let copy = Self::under(tempfile::tempdir().unwrap(), None).await;
        let from = Log::new(&self.bus(Role::Operator).await);
        let to = Log::new(&copy.bus(Role::Ingest).await);
        for stream in self.topology.streams() {
            let mut tail = from.read_all(&stream.name, 1).await.unwrap();
            while let Some(message) = tail.next().await.unwrap() {
                let payload = altered(&message.subject, &message.payload);
                let place = to.append(&message.subject, payload.into(), None).await;
                assert_eq!(place.unwrap().sequence, message.sequence);
            }
        }
        copy
    }

    /// Where the checkpoints of [`World::engine`] are.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub async fn bus(&self, role: Role) -> Bus {
        connect(&self.server, self.credentials.as_ref(), role).await
    }

    /// Writes events as ingest does, one batch a partition.
    pub async fn append(&self, events: &[Event<'_>]) {
        self.append_under(events, 1).await;
    }

    /// The same under another control revision.
    pub async fn append_under(&self, events: &[Event<'_>], control_revision_max: u64) {
        for p in 0..PARTITIONS {
            let mut writer = BatchWriter::default();
            let of_partition = events.iter().filter(|event| {
                let user = event.user.as_ref().unwrap();
                partition::of_subject(TENANT, &user.subject_ref, PARTITIONS) == p
            });
            of_partition.for_each(|event| writer.push(RecordRef::Event(event)));
            if writer.is_empty() {
                continue;
            }
            let header = Header {
                tenant: TENANT.into(),
                control_revision_max,
                received_at_max: events.iter().map(|event| event.received_at).max().unwrap(),
                ..Header::default()
            };
            self.raw(Lane::Normal, p, writer.finish(&header, None))
                .await;
        }
    }

    pub async fn raw(&self, lane: Lane, partition: u32, payload: Vec<u8>) -> u64 {
        let subject = self.topology.events_door(lane, partition);
        self.door
            .append(&subject, payload.into(), None)
            .await
            .unwrap()
            .sequence
    }

    /// A barrier on the door's lanes. Those of the correlator are written on their own subjects.
    pub async fn barrier(&self, id: BarrierId) {
        let correlator = Log::new(&self.bus(Role::Correlator).await);
        let mut writer = BatchWriter::default();
        writer.push(RecordRef::Barrier {
            id,
            // Barriers are forgotten an hour after they were placed.
            at: balefire_kit::clock::now(),
        });
        let payload = writer.finish(&Header::default(), None);
        for p in 0..PARTITIONS {
            for &lane in Lane::ALL {
                self.raw(lane, p, payload.clone()).await;
                for source in 0..PARTITIONS {
                    let subject = self.topology.events_joined(lane, p, source);
                    correlator
                        .append(&subject, payload.clone().into(), None)
                        .await
                        .unwrap();
                }
            }
        }
    }

    pub async fn engine(&self, store: bool) -> Engine {
        self.engine_under(baseline_files(), store).await
    }

    /// The same with rules of its own.
    pub async fn engine_under(&self, rules: Vec<(String, String)>, store: bool) -> Engine {
        self.engine_paced(rules, store, Pace::default()).await
    }

    /// The same that lets each caller make so many calls of the ControlService.
    pub async fn engine_paced(
        &self,
        rules: Vec<(String, String)>,
        store: bool,
        pace: Pace,
    ) -> Engine {
        let bus = self.bus(Role::RuleEngine).await;
        let shutdown = CancellationToken::new();
        let config = Config {
            rules: Some(rules),
            state_dir: store.then(|| self.dir.path().join("state")),
            owner_id: [7; 16],
            instance: InstanceId([7; 16]),
            pace,
        };
        let service = start(
            config,
            Deps {
                bus,
                topology: self.topology,
                shutdown: shutdown.clone(),
            },
        )
        .await
        .unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(any, any).await.unwrap();
        let addr = listeners.grpc.local_addr().unwrap();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            let services = vec![service];
            balefire_kit::serve(listeners, services, Authenticator::open(), None, "-", stop)
                .await
                .unwrap();
        });
        let channel = Channel::from_shared(format!("http://{addr}"))
            .unwrap()
            .connect_lazy();
        Engine {
            client: EscalationServiceClient::new(channel.clone()),
            channel,
            shutdown,
            task,
        }
    }
}

pub struct Engine {
    pub client: EscalationServiceClient<Channel>,
    pub channel: Channel,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Engine {
    pub async fn list(&self) -> Vec<Escalation> {
        let request = ListEscalationsRequest::default();
        let Ok(answer) = self.client.clone().list_escalations(request).await else {
            return Vec::new();
        };
        answer
            .into_inner()
            .escalations
            .into_iter()
            .filter_map(|entry| entry.escalation)
            .collect()
    }

    /// Waits until so many are listed.
    pub async fn listed(&self, count: usize) -> Vec<Escalation> {
        until(&format!("{count} escalations"), async || {
            let all = self.list().await;
            (all.len() >= count).then_some(all)
        })
        .await
    }

    /// Waits until it answers.
    pub async fn ready(&self) {
        let request = ListEscalationsRequest::default;
        until("an answer", async || {
            self.client.clone().list_escalations(request()).await.ok()
        })
        .await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}
