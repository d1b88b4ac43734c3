//! What-if beside the bare reading of the same messages by an ordered consumer, in one run: a real
//! nats-server, the baseline rules, medians of three. `make bench-whatif`.
//!
//! Once with one event a message, as at a thousand events a second, and once with as many as a
//! sender in bulk makes.

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
    SubjectRef, Timestamp,
};
use balefire_kit::{Authenticator, Listeners};
use balefire_rule_engine::{Config, Deps, Pace, baseline_files, start};
use balefire_wire::status::v1::GetStatusRequest;
use balefire_wire::status::v1::status_service_client::StatusServiceClient;
use balefire_wire::whatif::v1::evaluate_response::Answer;
use balefire_wire::whatif::v1::what_if_service_client::WhatIfServiceClient;
use balefire_wire::whatif::v1::{CandidateFile, EvaluateRequest};
use balefire_wire::{BatchWriter, Header, RecordRef};
use futures::StreamExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const TENANT: &str = "default";
/// Events a message, and messages.
const SHAPES: [(usize, usize); 2] = [(1, 40_000), (128, 1_500)];
const ROUNDS: usize = 3;
/// Appends under way.
const AT_ONCE: usize = 256;
const USERS: usize = 2_000;

fn event(number: usize) -> Event<'static> {
    let t = balefire_kit::clock::now();
    let mut dedup = DedupId::default();
    for (byte, from) in dedup.0.iter_mut().zip(number.to_le_bytes()) {
        *byte = from;
    }
    let user = format!("user{}@example.com", number.wrapping_mul(7_919) % USERS);
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
        received_at: t,
        t,
        category,
        severity: Severity::Low,
        control_revision: 1,
        model: "claude-sonnet-4-5".into(),
        endpoint: "/api/v1/chat".into(),
        tokens_in: Some(500),
        lateness: 3_600_000_000_000,
        user: Some(Identity {
            subject_ref: SubjectRef::of(&TenantKey::default_of(TENANT), IdentityKind::User, &user),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain(user.into())),
        }),
        ..Event::default()
    }
}

fn message(number: usize, events: usize) -> Vec<u8> {
    let mut batch = BatchWriter::with_capacity(64 * 1024);
    for index in 0..events {
        batch.push(RecordRef::Event(&event(number * events + index)));
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

/// Messages a second of a bare reading.
async fn bare(bus: &Bus, stream: &str) -> f64 {
    let begun = Instant::now();
    let mut tail = Log::new(bus).read_all(stream, 1).await.expect("read");
    let (mut count, mut bytes) = (0_u64, 0);
    while let Some(message) = tail.next().await.expect("read") {
        count += 1;
        bytes += message.payload.len();
    }
    assert!(bytes > 0, "nothing was read");
    count as f64 / begun.elapsed().as_secs_f64()
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

async fn fill(door: &Log, subject: &str, events: usize, messages: usize) {
    let filling = futures::stream::iter((0..messages).map(|number| async move {
        let payload = message(number, events).into();
        door.append(subject, payload, None).await.expect("append");
    }));
    filling.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
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
    let topology = Topology::new(1).expect("topology");
    let provisioner = connect(Role::Provisioner).await;
    provision::create(&provisioner, &topology)
        .await
        .expect("streams");
    let (subject, stream) = (
        topology.events_door(Lane::Normal, 0),
        topology.events_stream(Lane::Normal, 0),
    );
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
    fill(&door, &subject, events, messages).await;
    caught_up(&channel).await;
    let reader = connect(Role::Operator).await;
    let (mut alone, mut tried) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(bare(&reader, &stream).await);
        tried.push(what_if(&channel).await);
    }
    let (alone, tried) = (median(alone), median(tried));
    println!(
        "{events:>4} event(s) a message: bare {alone:>9.0} messages/s, what-if {tried:>9.0} messages/s ({:>9.0} events/s), ratio {:.2}",
        tried * events as f64,
        tried / alone
    );
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
