//! Rules grouped by something else than the user: through REKEYED, to the owner of the key.

use std::collections::BTreeSet;

use crate::world::{Engine, PARTITIONS, TENANT, World, block, until};
use balefire_bus::{Log, Role};
use balefire_event::{BarrierId, Event, partition};
use balefire_wire::escalation::v1::{AwaitBarrierRequest, Escalation};
use balefire_wire::{BatchView, RecordView};

/// More than four blocks on one model within five minutes.
fn rules() -> Vec<(String, String)> {
    let text = "title: b
id: 00000000-0000-4000-8000-000000000001
name: b
level: low
logsource: {product: ai_security}
detection: {selection: {category: guardrail_block}, condition: selection}
---
title: burst on a model
id: 00000000-0000-4000-8000-000000000002
name: model_burst
level: high
correlation: {type: event_count, rules: [b], group-by: [model], timespan: 5m, condition: {gt: 4}}
";
    vec![("model.yml".to_owned(), text.to_owned())]
}

/// A block on a model, each of another user; the users lie in both partitions.
fn on(model: &str, number: i64) -> Event<'static> {
    let user = format!("user-{number}");
    Event {
        model: model.to_owned().into(),
        ..block(&format!("{model}-{number:04}"), &user, number)
    }
}

fn many(model: &str, numbers: std::ops::Range<i64>) -> Vec<Event<'static>> {
    numbers.map(|number| on(model, number)).collect()
}

fn lie_in(events: &[Event<'_>]) -> BTreeSet<u32> {
    let users = events.iter().filter_map(|event| event.user.as_ref());
    users
        .map(|user| partition::of_subject(TENANT, &user.subject_ref, PARTITIONS))
        .collect()
}

fn key(escalation: &Escalation) -> (String, String) {
    let part = &escalation.key[0];
    let value = part.value.as_ref().unwrap().data.to_vec();
    (part.field.clone(), String::from_utf8(value).unwrap())
}

fn model(name: &str) -> (String, String) {
    ("model".to_owned(), name.to_owned())
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

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_many_users_on_one_model_escalate_once() {
    let world = World::start().await;
    let engine = world.engine_under(rules(), true).await;
    let (burst, calm) = (many("m", 0..5), many("n", 0..4));
    assert_eq!(lie_in(&burst).len(), 2, "no partition sees enough alone");
    world.append(&burst).await;
    world.append(&calm).await;
    world.append(&burst).await;
    let found = behind_everything(&world, &engine, 1).await;
    assert_eq!(found.iter().map(key).collect::<Vec<_>>(), [model("m")]);
    assert_eq!(found[0].event_count, 5);
    engine.stop().await;
    for store in [true, false] {
        let engine = world.engine_under(rules(), store).await;
        let id = if store { 2 } else { 3 };
        assert_eq!(behind_everything(&world, &engine, id).await, found);
        engine.stop().await;
    }
    // The window of the other model is whole after all that.
    let engine = world.engine_under(rules(), true).await;
    world.append(&[on("n", 5)]).await;
    let both = behind_everything(&world, &engine, 4).await;
    assert_eq!(both.len(), 2);
    assert!(both.iter().any(|one| key(one) == model("n")));
    engine.stop().await;
}

/// How many EVENTS partitions have promised every REKEYED partition something.
async fn promised(log: &Log, world: &World) -> bool {
    for partition in 0..PARTITIONS {
        let mut sources = BTreeSet::new();
        let stream = world.topology.rekeyed_stream(partition);
        let mut tail = log.read_all(&stream, 1).await.unwrap();
        while let Some(message) = tail.next().await.unwrap() {
            for record in BatchView::parse(&message.payload).unwrap().records() {
                if let RecordView::Watermark { partition, .. } = record.unwrap() {
                    sources.insert(partition);
                }
            }
        }
        if sources.len() < 2 {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_for_a_time_that_left_memory_is_decided_from_the_log() {
    let world = World::start().await;
    let engine = world.engine_under(rules(), false).await;
    // Nobody writes anything else: time passes because the owners of REKEYED tick, and those of
    // EVENTS promise. These events are months old by the clock, so they leave memory at once.
    world.append(&many("m", 0..4)).await;
    let operator = Log::new(&world.bus(Role::Operator).await);
    until("promises of both engines", async || {
        promised(&operator, &world).await.then_some(())
    })
    .await;
    assert_eq!(engine.list().await, []);
    world.append(&[on("m", 4)]).await;
    let found = engine.listed(1).await;
    assert_eq!(found[0].event_count, 5);
    engine.stop().await;
}
