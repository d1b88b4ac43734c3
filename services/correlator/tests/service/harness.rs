//! A child server with four partitions, a door to INTAKE, and a view on EVENTS.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use balefire_bus::{
    Bus, Credentials, InstanceId, Log, Role, Server, ServerOptions, Topology, provision,
};
use balefire_correlator::{Config, Deps, start};
use balefire_event::time::SECOND;
use balefire_event::{
    Assurance, BarrierId, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind,
    Lane, Sealed, Stub, SubjectRef, Timestamp, partition,
};
use balefire_kit::{Service, clock};
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef, RecordView};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Nothing in these tests may take longer.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The tenant of callers without keys.
pub const TENANT: &str = balefire_kit::caller::DEFAULT_TENANT;
pub const PARTITIONS: u32 = 4;

pub struct Harness {
    pub server: Server,
    pub topology: Topology,
    credentials: Credentials,
    door: Log,
    view: Bus,
    pub dir: TempDir,
}

/// An event as it came out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub event: String,
    pub user: Option<String>,
    pub amendment: bool,
    pub filled: Vec<String>,
}

impl Harness {
    pub async fn start() -> Self {
        let topology = Topology::new(PARTITIONS).unwrap();
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
            door: Log::new(&connect(Role::Ingest).await),
            view: connect(Role::Operator).await,
            server,
            topology,
            credentials,
            dir,
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("correlator")
    }

    /// Starts the service and waits until it is ready.
    pub async fn correlator(&self, hold: i64, state_dir: Option<PathBuf>) -> Running {
        let credential = self.credentials.of(Role::Correlator);
        let bus = Bus::connect(self.server.url(), &credential, "correlator")
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let config = Config {
            state_dir,
            owner_id: rand::random(),
            instance: InstanceId([1; 16]),
            hold,
            hold_urgent: hold,
        };
        let deps = Deps {
            bus,
            topology: self.topology,
            shutdown: shutdown.clone(),
        };
        let service = start(config, deps).await.unwrap();
        until("the correlator is ready", async || {
            service.status.status().ready
        })
        .await;
        Running { service, shutdown }
    }

    pub async fn append(&self, lane: Lane, partition: u32, records: &[RecordRef<'_>]) {
        let mut writer = BatchWriter::default();
        for record in records {
            writer.push(*record);
        }
        let header = Header {
            tenant: TENANT.into(),
            received_at_max: clock::now(),
            ..Header::default()
        };
        let payload = writer.finish(&header, None);
        let subject = self.topology.intake_door(lane, partition);
        self.door
            .append(&subject, payload.into(), None)
            .await
            .unwrap();
    }

    /// As ingest does: the event where its first key lies, a stub at each further key.
    pub async fn event(&self, event: &Event<'_>) {
        let first = &event.keys[0];
        let home = partition_of(first);
        self.append(Lane::Normal, home, &[RecordRef::Event(event)])
            .await;
        for key in &event.keys[1..] {
            let stub = Stub {
                key: key.clone().into_owned(),
                dedup_id: event.dedup_id,
                partition: home,
                first_key: first.clone().into_owned(),
                received_at: event.received_at,
            };
            self.append(Lane::Bulk, partition_of(key), &[RecordRef::Stub(&stub)])
                .await;
        }
    }

    pub async fn hint(&self, hint: &Hint<'_>) {
        for key in &hint.keys {
            self.append(Lane::Bulk, partition_of(key), &[RecordRef::Hint(hint)])
                .await;
        }
    }

    pub async fn barrier(&self, id: BarrierId) {
        for partition in 0..PARTITIONS {
            for &lane in Lane::ALL {
                let at = clock::now();
                self.append(lane, partition, &[RecordRef::Barrier { id, at }])
                    .await;
            }
        }
    }

    /// Every record that is in EVENTS, by stream.
    async fn records<T>(
        &self,
        mut pick: impl FnMut(Lane, u32, RecordView<'_>) -> Option<T>,
    ) -> Vec<T> {
        let mut picked = Vec::new();
        for partition in 0..PARTITIONS {
            for &lane in Lane::ALL {
                let stream = self.topology.events_stream(lane, partition);
                let mut tail = Log::new(&self.view).read_all(&stream, 1).await.unwrap();
                while let Some(message) = timeout(DEADLINE, tail.next()).await.unwrap().unwrap() {
                    let batch = BatchView::parse(&message.payload).unwrap();
                    for record in batch.records() {
                        picked.extend(pick(lane, partition, record.unwrap()));
                    }
                }
            }
        }
        picked
    }

    /// Every event that came out, each where it must be.
    pub async fn seen(&self) -> Vec<Seen> {
        self.records(|lane, partition, record| {
            let RecordView::Event(event) = record else {
                return None;
            };
            assert_eq!(lane, Lane::Normal);
            let wanted = match &event.user {
                Some(user) => partition::of_subject(TENANT, &user.subject_ref, PARTITIONS),
                None => partition::of_event(TENANT, &event.dedup_id, PARTITIONS),
            };
            assert_eq!(partition, wanted);
            let join = event.join.unwrap();
            assert_eq!(join.partial, event.user.is_none());
            Some(Seen {
                event: event.event_id.into_owned(),
                user: event
                    .user
                    .map(|user| user.readable().unwrap_or_default().to_owned()),
                amendment: join.amendment,
                filled: join.filled,
            })
        })
        .await
    }

    /// How often a barrier came out in each (lane, partition).
    pub async fn barriers(&self, wanted: BarrierId) -> BTreeMap<(Lane, u32), u32> {
        let found = self
            .records(|lane, partition, record| {
                let RecordView::Barrier { id, .. } = record else {
                    return None;
                };
                (id == wanted).then_some((lane, partition))
            })
            .await;
        let mut counts = BTreeMap::new();
        for place in found {
            *counts.entry(place).or_default() += 1;
        }
        counts
    }

    /// Waits for exactly these records of EVENTS, in any order.
    pub async fn expect(&self, mut wanted: Vec<Seen>) {
        wanted.sort();
        let mut seen = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        while seen != wanted && Instant::now() < deadline && seen.len() <= wanted.len() {
            seen = self.seen().await;
            seen.sort();
        }
        assert_eq!(seen, wanted);
    }
}

/// A correlator at work.
pub struct Running {
    pub service: Service,
    pub shutdown: CancellationToken,
}

impl Running {
    /// As `kill -9` does: nothing is drained.
    pub async fn crash(self) {
        self.service.task.abort();
        // Cancelled, or ended just before.
        let _ended = self.service.task.await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.service.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub fn seen(event: &str, user: Option<&str>, amendment: bool) -> Seen {
    Seen {
        event: event.to_owned(),
        user: user.map(str::to_owned),
        amendment,
        filled: user.iter().map(|_| "user_id".to_owned()).collect(),
    }
}

/// `request:r1`, `session:s1`.
fn key(word: &str) -> CorrelationKey<'static> {
    let (kind, value) = word.split_once(':').unwrap();
    CorrelationKey {
        kind: kind.parse::<KeyKind>().unwrap(),
        value: value.to_owned().into(),
    }
}

fn partition_of(key: &CorrelationKey<'_>) -> u32 {
    partition::of_key(TENANT, key.kind, &key.value, PARTITIONS)
}

fn id(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    id
}

pub fn event(name: &str, keys: &[&str]) -> Event<'static> {
    let now = clock::now();
    Event {
        dedup_id: DedupId(id(name)),
        event_id: name.to_owned().into(),
        source: "app".into(),
        occurred_at: now,
        received_at: now,
        t: now,
        keys: keys.iter().map(|word| key(word)).collect(),
        ..Event::default()
    }
}

pub fn hint(user: &str, keys: &[&str]) -> Hint<'static> {
    Hint {
        keys: keys.iter().map(|word| key(word)).collect(),
        identity: Identity {
            subject_ref: SubjectRef(id(user)),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain(user.to_owned().into())),
        },
        source: "gateway".into(),
        received_at: clock::now(),
        join_horizon: 900 * SECOND,
        authority: 1,
        facts: Vec::new(),
        dedup_id: DedupId(id("hint")),
    }
}

pub fn earlier(hint: Hint<'static>, nanos: i64) -> Hint<'static> {
    let received_at: Timestamp = hint.received_at.minus(nanos);
    Hint {
        received_at,
        ..hint
    }
}

/// Looks again and again until it holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
