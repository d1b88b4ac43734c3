//! New rules warm up beside the live path: they count what came before, the other windows stay, and
//! an owner that ends meanwhile loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use balefire_bus::{Fence, Log, Message, Role, Topology};
use balefire_event::{BarrierId, Event, Lane, partition};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use balefire_wire::escalation::v1::{AwaitBarrierRequest, Escalation};
use balefire_wire::log::v1::{InputRun, Step};
use balefire_wire::{BatchView, BatchWriter, Header};

use crate::live::of_rule;
use crate::world::{Engine, PARTITIONS, TENANT, World, block};

/// More than four blocks within five minutes, by a field.
fn bursts(by: &str) -> String {
    format!(
        "title: any block
id: 00000000-0000-4000-8000-0000000000a1
name: any_block
level: low
logsource: {{product: ai_security}}
detection: {{selection: {{category: guardrail_block}}, condition: selection}}
---
title: burst
id: 00000000-0000-4000-8000-0000000000a2
name: late_burst
level: high
correlation: {{type: event_count, rules: [any_block], group-by: [{by}], timespan: 5m, condition: {{gt: 4}}}}
"
    )
}

/// Puts the rule in force; the revision from which on.
async fn learn(engine: &Engine, by: &str) -> u64 {
    let request = wire::CreateObjectRequest {
        object: Some(of_rule("bursts", bursts(by))),
        ..Default::default()
    };
    let mut client = ControlServiceClient::new(engine.channel.clone());
    let made = client.create_object(request).await.unwrap().into_inner();
    made.object.unwrap().control_revision
}

async fn behind_everything(world: &World, engine: &Engine, id: u8) -> Vec<Escalation> {
    let id = BarrierId([id; 16]);
    world.barrier(id).await;
    let request = AwaitBarrierRequest {
        barrier_id: id.0.to_vec().into(),
    };
    engine.client.clone().await_barrier(request).await.unwrap();
    engine.list().await
}

fn names(found: &[Escalation]) -> BTreeSet<&str> {
    found.iter().map(|one| one.rule_name.as_str()).collect()
}

async fn all(log: &Log, stream: &str) -> Vec<Message> {
    let mut tail = log.read_all(stream, 1).await.unwrap();
    let mut all = Vec::new();
    while let Some(message) = tail.next().await.unwrap() {
        all.push(message);
    }
    all
}

fn step_of(message: &Message) -> Step {
    BatchView::parse(&message.payload).unwrap().step.unwrap()
}

/// How often a partition was opened: each owner claims its subjects, and a state that is built anew
/// has an owner that begins again.
async fn claims(world: &World) -> usize {
    let log = Log::new(&world.bus(Role::Operator).await);
    let mut claims = 0;
    for partition in 0..PARTITIONS {
        let messages = all(&log, &world.topology.escalations_stream(partition)).await;
        claims += messages.iter().filter(|one| step_of(one).claim).count();
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_learnt_later_counts_what_came_before_and_the_other_windows_stay() {
    let world = World::start().await;
    let engine = world.engine(true).await;
    let before: Vec<_> = (0..10)
        .map(|n| block(&format!("e-{n:04}"), "u", n))
        .collect();
    world.append(&before).await;
    let found = behind_everything(&world, &engine, 9).await;
    assert_eq!(found, [], "ten blocks are not more than ten");
    let opened = claims(&world).await;
    let revision = learn(&engine, "user_id").await;
    let mut last = block("e-0010", "u", 10);
    last.control_revision = revision;
    world.append_under(&[last], revision).await;
    let found = engine.listed(2).await;
    let wanted = BTreeSet::from(["guardrail_block_burst", "late_burst"]);
    assert_eq!(names(&found), wanted);
    assert!(
        found.iter().all(|one| one.event_count > one.threshold),
        "{found:?}"
    );
    assert_eq!(claims(&world).await, opened, "nothing was built anew");
    engine.stop().await;
    // A checkpoint and a lost store give no more.
    for (store, id) in [(true, 8), (false, 7)] {
        let engine = world.engine(store).await;
        assert_eq!(behind_everything(&world, &engine, id).await.len(), 2);
        engine.stop().await;
    }
}

/// A block on the model, now, each of another user; the users lie in both partitions.
fn on_model(number: i64, control_revision: u64) -> Event<'static> {
    let now = balefire_kit::clock::now();
    Event {
        model: "m".into(),
        occurred_at: now,
        received_at: now,
        t: now,
        control_revision,
        ..block(&format!("m-{number:04}"), &format!("user-{number}"), 0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_without_the_user_counts_what_lies_in_every_partition_from_before_it() {
    let world = World::start().await;
    let engine = world.engine(true).await;
    let before: Vec<_> = (0..4).map(|number| on_model(number, 1)).collect();
    let lie_in: BTreeSet<u32> = before.iter().map(partition_of).collect();
    assert_eq!(lie_in.len(), 2, "no partition sees enough alone");
    world.append(&before).await;
    assert_eq!(behind_everything(&world, &engine, 9).await, []);
    let revision = learn(&engine, "model").await;
    // The other partition gets nothing of the new revision: it learns the rule all the same.
    world.append_under(&[on_model(4, revision)], revision).await;
    let found = engine.listed(1).await;
    assert_eq!(names(&found), BTreeSet::from(["late_burst"]));
    assert_eq!(found[0].event_count, 5);
    engine.stop().await;
    for (store, id) in [(true, 8), (false, 7)] {
        let engine = world.engine(store).await;
        assert_eq!(behind_everything(&world, &engine, id).await, found);
        engine.stop().await;
    }
}

fn partition_of(event: &Event<'_>) -> u32 {
    let user = event.user.as_ref().unwrap();
    partition::of_subject(TENANT, &user.subject_ref, PARTITIONS)
}

/// Streams and subjects that the steps of a partition go to, ESCALATIONS first.
fn targets_of(topology: &Topology, partition: u32) -> Vec<(String, String)> {
    let escalations = (
        topology.escalations_stream(partition),
        topology.escalations_step(partition, partition),
    );
    let rekeyed = (0..PARTITIONS).map(|to| {
        (
            topology.rekeyed_stream(to),
            topology.rekeyed_step(to, partition),
        )
    });
    std::iter::once(escalations).chain(rekeyed).collect()
}

/// Writes the steps of an owner that took every input of a partition in, and told nothing of it: its
/// rules from `revision` on were still warming up. Then one more, behind it.
async fn steps_of_an_owner_that_ended(world: &World, partition: u32, revision: u64) {
    let bus = world.bus(Role::RuleEngine).await;
    let log = Log::new(&world.bus(Role::Operator).await);
    let topology = &world.topology;
    let targets = targets_of(topology, partition);
    let (mut number, mut taken) = (0, BTreeMap::new());
    for (stream, subject) in &targets {
        let messages = all(&log, stream).await;
        for step in messages
            .iter()
            .filter(|m| m.subject == *subject)
            .map(step_of)
        {
            number = step.number.max(number);
            for run in &step.inputs {
                let last = taken.entry(run.lane).or_insert(0);
                *last = (run.first_sequence + run.count - 1).max(*last);
            }
        }
    }
    let mut inputs = Vec::new();
    for &lane in Lane::ALL {
        let end = all(&log, &topology.events_stream(lane, partition))
            .await
            .len() as u64;
        let first = taken.get(&lane.number()).copied().unwrap_or(0) + 1;
        if first <= end {
            inputs.push(InputRun {
                lane: lane.number(),
                first_sequence: first,
                count: end + 1 - first,
            });
        }
    }
    assert!(!inputs.is_empty());
    let (stream, subject) = &targets[0];
    let mut fence = Fence::new(&bus, stream, subject);
    let payload = |step: Step| {
        let step = Step {
            source_partition: partition,
            last_part: true,
            whole_below: Some(revision),
            ..step
        };
        BatchWriter::default()
            .finish(&Header::default(), Some(&step))
            .into()
    };
    let claim = Step {
        number,
        claim: true,
        ..Step::default()
    };
    fence.claim(payload(claim)).await.unwrap();
    for (number, inputs) in [(number + 1, inputs), (number + 2, Vec::new())] {
        let step = Step {
            number,
            inputs,
            ..Step::default()
        };
        fence.publish(payload(step)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_left_untold_while_a_rule_warmed_up_is_told_once() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    let before: Vec<_> = (0..10)
        .map(|n| block(&format!("e-{n:04}"), "u", n))
        .collect();
    world.append(&before).await;
    assert_eq!(behind_everything(&world, &engine, 9).await, []);
    let revision = learn(&engine, "user_id").await;
    engine.stop().await;
    let mut last = block("e-0010", "u", 10);
    last.control_revision = revision;
    let partition = partition_of(&last);
    world.append_under(&[last], revision).await;
    steps_of_an_owner_that_ended(&world, partition, revision).await;
    for id in [8, 7] {
        let engine = world.engine(false).await;
        let found = engine.listed(1).await;
        // The rule that was whole was told with that step, if there was anything to tell.
        assert_eq!(names(&found), BTreeSet::from(["late_burst"]));
        assert_eq!(behind_everything(&world, &engine, id).await, found);
        engine.stop().await;
    }
}
