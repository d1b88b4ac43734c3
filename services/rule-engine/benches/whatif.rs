//! What-if beside the bare reading of the same messages by ordered consumers, in one run: a real
//! nats-server, two partitions, the baseline rules, medians of three. `make bench-whatif`.
//!
//! With one event a message, as at a thousand events a second, up to as many as a sender in bulk
//! makes. The more there are, the less a message says of the work: so a second reading stands
//! beside, which decodes each event and does nothing with it.

#![expect(
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints what it measured"
)]

use std::time::Duration;

use balefire_bus::{
    Bus, Credential, InstanceId, Log, Role, Server, ServerOptions, Topology, provision,
};
use balefire_event::identity::TenantKey;
use balefire_event::{
    Assurance, Category, DedupId, Event, Identity, IdentityKind, Lane, Sealed, Severity,
    SubjectRef, Timestamp, partition,
};
use balefire_kit::{Authenticator, Listeners};
use balefire_rule_engine::{Config, Deps, Pace, baseline_files, start};
use balefire_wire::status::v1::GetStatusRequest;
use balefire_wire::status::v1::status_service_client::StatusServiceClient;
use balefire_wire::whatif::v1::evaluate_response::Answer;
use balefire_wire::whatif::v1::what_if_service_client::WhatIfServiceClient;
use balefire_wire::whatif::v1::{CandidateFile, EvaluateRequest};
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const TENANT: &str = "default";
/// Partitions, as `balefire up` has them.
const PARTITIONS: u32 = 2;
/// Events a message, and messages.
const SHAPES: [(usize, usize); 3] = [(1, 60_000), (16, 30_000), (128, 6_000)];
const ROUNDS: usize = 3;
/// Appends under way.
const AT_ONCE: usize = 256;
const USERS: usize = 2_000;
/// From producer to door, nanoseconds.
const ON_THE_WAY: i64 = 2_000_000;

/// The users of each partition.
fn users() -> Vec<Vec<(SubjectRef, String)>> {
    let key = TenantKey::default_of(TENANT);
    let users = (0..USERS).map(|number| {
        let user = format!("user{number}@example.com");
        (SubjectRef::of(&key, IdentityKind::User, &user), user)
    });
    let users: Vec<_> = users.collect();
    let of = |p| {
        let own = users.iter();
        own.filter(|(user, _)| partition::of_subject(TENANT, user, PARTITIONS) == p)
            .cloned()
            .collect()
    };
    (0..PARTITIONS).map(of).collect()
}

fn event(number: usize, users: &[(SubjectRef, String)]) -> Event<'static> {
    let received_at = balefire_kit::clock::now();
    // A producer's own clock, a moment before.
    let t = received_at.minus(ON_THE_WAY);
    let mut dedup = DedupId::default();
    for (byte, from) in dedup.0.iter_mut().zip(number.to_le_bytes()) {
        *byte = from;
    }
    let user = users.get(number.wrapping_mul(7_919) % users.len());
    let (subject_ref, user) = user.cloned().expect("there are users");
    // A third of what is seen is telemetry, as in the load test.
    let category = match number % 3 {
        0 => Category::Telemetry,
        1 => Category::GuardrailBlock,
        _ => Category::JudgeFlag,
    };
    Event {
        dedup_id: dedup,
        event_id: format!("event-{number:09}").into(),
        source: "native".into(),
        occurred_at: t,
        received_at,
        t,
        category,
        severity: Severity::Low,
        control_revision: 1,
        model: "claude-sonnet-4-5".into(),
        endpoint: "/api/v1/chat".into(),
        tokens_in: Some(500),
        lateness: 3_600_000_000_000,
        user: Some(Identity {
            subject_ref,
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain(user.into())),
        }),
        ..Event::default()
    }
}

fn message(number: usize, events: usize, users: &[(SubjectRef, String)]) -> Vec<u8> {
    let mut batch = BatchWriter::with_capacity(64 * 1024);
    for index in 0..events {
        batch.push(RecordRef::Event(&event(number * events + index, users)));
    }
    let header = Header {
        tenant: TENANT.into(),
        lateness_max: 3_600_000_000_000,
        received_at_max: balefire_kit::clock::now(),
        control_revision_max: 1,
        ..Header::default()
    };
    batch.finish(&header, None)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Waits until the live path is done: else both compete with it.
async fn caught_up(channel: &Channel) {
    let mut client = StatusServiceClient::new(channel.clone());
    loop {
        let answer = client.get_status(GetStatusRequest {}).await;
        let services = answer.expect("status").into_inner().services;
        let mut partitions = services.iter().flat_map(|service| &service.partitions);
        if partitions.all(|partition| partition.lag == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Messages a second of a reading of all partitions at once, each by a task of its own.
async fn bare(bus: &Bus, topology: Topology, decodes: bool) -> f64 {
    let begun = Instant::now();
    let reading = (0..PARTITIONS).map(|partition| {
        let bus = bus.clone();
        let stream = topology.events_stream(Lane::Normal, partition);
        tokio::spawn(async move {
            let mut tail = Log::new(&bus).read_all(&stream, 1).await.expect("read");
            let (mut count, mut found) = (0_u64, 0);
            while let Some(message) = tail.next().await.expect("read") {
                count += 1;
                found += if decodes {
                    decoded(&message.payload)
                } else {
                    message.payload.len()
                };
            }
            assert!(found > 0, "nothing was read");
            count
        })
    });
    let reading: Vec<_> = reading.collect();
    let mut count = 0;
    for partition in reading {
        count += partition.await.expect("read");
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// Events of a message, each read as the live path reads it.
fn decoded(payload: &[u8]) -> usize {
    let batch = BatchView::parse(payload).expect("a batch");
    let events = batch.records().flatten();
    events.map(std::hint::black_box).count()
}

/// Messages a second of a what-if of the rules in force.
async fn what_if(channel: &Channel) -> f64 {
    let files = baseline_files().into_iter();
    let request = EvaluateRequest {
        files: files
            .map(|(name, yaml)| CandidateFile { name, yaml })
            .collect(),
        overlay: false,
        since_ns: Timestamp(balefire_kit::clock::now().0 - 3_600_000_000_000).0,
        unchanged: false,
    };
    let begun = Instant::now();
    let mut client = WhatIfServiceClient::new(channel.clone());
    let answers = client.evaluate(request).await.expect("what-if");
    let mut answers = answers.into_inner();
    while let Some(answer) = answers.message().await.expect("what-if") {
        if let Some(Answer::Summary(summary)) = answer.answer {
            assert_eq!((summary.added, summary.removed), (0, 0), "rules in force");
            return summary.messages as f64 / begun.elapsed().as_secs_f64();
        }
    }
    panic!("no summary");
}

async fn fill(door: &Log, topology: Topology, events: usize, messages: usize) {
    let users = users();
    let filling = futures::stream::iter((0..messages).map(|number| {
        let (partition, users) = (number % users.len(), &users);
        let own = users.get(partition).map_or(&[][..], Vec::as_slice);
        let partition = u32::try_from(partition).unwrap_or(0);
        let subject = topology.events_door(Lane::Normal, partition);
        let payload = Bytes::from(message(number, events, own));
        async move {
            // A disk that is slow for a while is waited for: a message that comes twice changes no id.
            while let Err(error) = door.append(&subject, Bytes::clone(&payload), None).await {
                println!("appending again: {error}");
            }
        }
    }));
    filling.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Each by turns, and their medians.
async fn compare(reader: &Bus, topology: Topology, channel: &Channel, events: usize) {
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let round = [
            bare(reader, topology, false).await,
            bare(reader, topology, true).await,
            what_if(channel).await,
        ];
        rates
            .iter_mut()
            .zip(round)
            .for_each(|(rates, rate)| rates.push(rate));
    }
    let [alone, decoding, tried] = rates.map(median);
    let events = events as f64;
    println!("{events} event(s) a message, messages/s (events/s):");
    for (name, rate) in [("bare", alone), ("decoding", decoding), ("what-if", tried)] {
        println!("  {name:<9} {rate:>9.0} ({:>10.0})", rate * events);
    }
    println!(
        "  what-if is {:.2} of bare, {:.2} of decoding",
        tried / alone,
        tried / decoding
    );
}

async fn shape(events: usize, messages: usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(ServerOptions::new(dir.path().join("nats")));
    let server = server.await.expect("nats-server");
    let connect = async |role| {
        Bus::connect(server.url(), &Credential::none(role), role.as_str())
            .await
            .expect("connect")
    };
    let topology = Topology::new(PARTITIONS).expect("topology");
    let provisioner = connect(Role::Provisioner).await;
    provision::create(&provisioner, &topology)
        .await
        .expect("streams");
    let shutdown = CancellationToken::new();
    let config = Config {
        rules: Some(baseline_files()),
        state_dir: None,
        owner_id: [1; 16],
        instance: InstanceId([1; 16]),
        pace: Pace::default(),
    };
    let deps = Deps {
        bus: connect(Role::RuleEngine).await,
        topology,
        shutdown: shutdown.clone(),
    };
    let service = start(config, deps).await.expect("rule engine");
    let any = "127.0.0.1:0".parse().expect("an address");
    let listeners = Listeners::bind(any, any).await.expect("listen");
    let addr = listeners.grpc.local_addr().expect("an address");
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move {
        balefire_kit::serve(
            listeners,
            vec![service],
            Authenticator::open(),
            None,
            "-",
            stop,
        )
        .await
    });
    let channel = Channel::from_shared(format!("http://{addr}"))
        .expect("an address")
        .connect_lazy();
    let door = Log::new(&connect(Role::Ingest).await);
    fill(&door, topology, events, messages).await;
    caught_up(&channel).await;
    let reader = connect(Role::Operator).await;
    compare(&reader, topology, &channel, events).await;
    shutdown.cancel();
    serving.await.expect("serving").expect("serving");
}

#[tokio::main]
async fn main() {
    balefire_kit::install_crypto();
    for (events, messages) in SHAPES {
        shape(events, messages).await;
    }
}
