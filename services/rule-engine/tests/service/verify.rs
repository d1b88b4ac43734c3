//! `verify` against a real log: right is right, and one altered byte is named with its place.

use std::time::Duration;

use balefire_bus::Role;
use balefire_event::time::{HOUR, SECOND};
use balefire_event::{BarrierId, Event, Timestamp};
use balefire_rule_engine::verify::{Subject, Verdict, verify};
use balefire_store::{Changes, Copy, Options, Records, Store};
use balefire_wire::escalation::v1::{AwaitBarrierRequest, DigestStateRequest, PartitionState};
use balefire_wire::{BatchView, BatchWriter, RecordRef, RecordView};

use crate::world::{World, block, blocks};

/// Bursts of some users, calm of others, one rule by the user and one by the model.
fn rules() -> Vec<(String, String)> {
    let text = "title: b
id: 00000000-0000-4000-8000-000000000001
name: b
level: low
logsource: {product: ai_security}
detection: {selection: {category: guardrail_block}, condition: selection}
---
title: burst of a user
id: 00000000-0000-4000-8000-000000000002
name: user_burst
level: high
correlation: {type: event_count, rules: [b], group-by: [user_id], timespan: 1h, condition: {gt: 4}}
---
title: burst on a model
id: 00000000-0000-4000-8000-000000000003
name: model_burst
level: high
correlation: {type: event_count, rules: [b], group-by: [model], timespan: 1h, condition: {gt: 9}}
";
    vec![("rules.yml".to_owned(), text.to_owned())]
}

fn on(model: &str, users: &str, numbers: std::ops::Range<i64>) -> Vec<Event<'static>> {
    let events = numbers.map(|number| {
        let user = format!("{users}-{number}");
        Event {
            model: model.to_owned().into(),
            ..block(&format!("{user}-{model}"), &user, number)
        }
    });
    events.collect()
}

/// The same events of just now, so that they are kept; all within one hour of the clock.
fn recent(events: &[Event<'static>]) -> Vec<Event<'static>> {
    let hour = |t: Timestamp| t.0.div_euclid(HOUR);
    let now = balefire_kit::clock::now();
    let mut begin = now.minus(30 * SECOND);
    if hour(begin) != hour(begin.plus(20 * SECOND)) {
        begin = begin.minus(30 * SECOND);
    }
    let moved = events.iter().map(|event| {
        let t = begin.plus(event.t.since(block("", "", 0).t));
        Event {
            occurred_at: t,
            received_at: t,
            t,
            ..event.clone()
        }
    });
    moved.collect()
}

/// A log that was worked on, with checkpoints of the stopped owner.
async fn worked_on() -> World {
    let world = World::start().await;
    let engine = world.engine_under(rules(), true).await;
    for user in ["loud", "louder", "ann", "bob"] {
        world.append(&recent(&blocks(user, 0..7))).await;
    }
    world.append(&recent(&blocks("calm", 0..3))).await;
    world.append(&recent(&on("gpt", "crowd", 0..12))).await;
    world.append(&recent(&on("claude", "few", 0..4))).await;
    let id = BarrierId([9; 16]);
    world.barrier(id).await;
    let request = AwaitBarrierRequest {
        barrier_id: id.0.to_vec().into(),
    };
    engine.client.clone().await_barrier(request).await.unwrap();
    assert_eq!(engine.list().await.len(), 5);
    engine.stop().await;
    world
}

async fn verified(world: &World, checkpoints: Vec<(String, Store)>) -> Vec<Verdict> {
    verified_with(world, checkpoints, Vec::new()).await
}

async fn verified_with(
    world: &World,
    checkpoints: Vec<(String, Store)>,
    live: Vec<(String, PartitionState)>,
) -> Vec<Verdict> {
    let subject = Subject {
        bus: &world.bus(Role::Operator).await,
        topology: world.topology,
        checkpoints,
        live,
        patience: Duration::ZERO,
        progress: &|_, _, _| {},
    };
    verify(&subject, |_| {}).await.unwrap()
}

fn faults(verdicts: &[Verdict]) -> Vec<String> {
    let all = verdicts.iter().flat_map(|verdict| &verdict.faults);
    all.cloned().collect()
}

async fn copy(world: &World) -> Copy {
    Copy::of(&world.state_dir(), Options::default())
        .await
        .unwrap()
        .expect("the owner took checkpoints")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_worked_on_is_what_the_log_gives() {
    let world = worked_on().await;
    let copy = copy(&world).await;
    let verdicts = verified(&world, vec![("state".into(), copy.store.clone())]).await;
    assert_eq!(faults(&verdicts), Vec::<String>::new());
    let sum = |of: fn(&Verdict) -> u64| verdicts.iter().map(of).sum::<u64>();
    assert_eq!(sum(|verdict| verdict.escalations), 5);
    assert_eq!(
        sum(|verdict| verdict.checkpoints),
        4,
        "of every partition of both stages"
    );
    // It may run beside an owner, too.
    let engine = world.engine_under(rules(), true).await;
    assert_eq!(
        faults(&verified(&world, Vec::new()).await),
        Vec::<String>::new()
    );
    let refused = Copy::of(&world.state_dir(), Options::default()).await;
    assert!(
        matches!(refused, Err(balefire_store::Error::Locked { .. })),
        "{refused:?}"
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_holds_is_what_the_log_gives() {
    let world = worked_on().await;
    let engine = world.engine_under(rules(), true).await;
    // One more, so that the state is not that of the checkpoints.
    world.append(&recent(&blocks("late", 0..3))).await;
    let id = BarrierId([8; 16]);
    world.barrier(id).await;
    let request = AwaitBarrierRequest {
        barrier_id: id.0.to_vec().into(),
    };
    engine.client.clone().await_barrier(request).await.unwrap();
    let mut client = engine.client.clone();
    let held = client.digest_state(DigestStateRequest {}).await;
    let held = held.unwrap().into_inner();
    assert_eq!(held.silent, Vec::<String>::new());
    assert_eq!(
        held.partitions.len(),
        4,
        "of every partition of both stages"
    );
    let entries = held.partitions.iter().flat_map(|state| &state.parts);
    assert!(entries.map(|part| part.count).sum::<u64>() > 20);
    let live = |states: &[PartitionState]| -> Vec<(String, PartitionState)> {
        let named = states
            .iter()
            .map(|state| ("ENGINE".to_owned(), state.clone()));
        named.collect()
    };
    let verdicts = verified_with(&world, Vec::new(), live(&held.partitions)).await;
    assert_eq!(faults(&verdicts), Vec::<String>::new());
    assert_eq!(verdicts.iter().map(|verdict| verdict.live).sum::<u64>(), 4);
    // An engine that holds something else, or less, is named with the rule.
    let mut told = 0;
    for (index, state) in held.partitions.iter().enumerate() {
        for part in 0..state.parts.len() {
            let mut other = held.partitions.clone();
            let digest = &mut other[index].parts[part].digest;
            let mut bytes = digest.to_vec();
            bytes[3] ^= 1;
            *digest = bytes.into();
            let found = faults(&verified_with(&world, Vec::new(), live(&other)).await);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].starts_with("state held by ENGINE, after step "),
                "{found:?}"
            );
            assert!(
                found[0].contains("_burst") && found[0].contains("differ"),
                "{found:?}"
            );
            told += 1;
        }
    }
    assert!(told >= 4, "{told} parts");
    // One that stands elsewhere than it says: at the log's beginning. The last few messages may be
    // ones that no window holds, by how the steps fell.
    let mut other = held.partitions.clone();
    let windows = |state: &&mut PartitionState| state.parts.iter().any(|part| part.count > 3);
    let state = other.iter_mut().find(windows).unwrap();
    for position in &mut state.positions {
        position.sequence = 0;
    }
    let found = faults(&verified_with(&world, Vec::new(), live(&other)).await);
    assert_eq!(found.len(), 1, "{found:?}");
    engine.stop().await;
}

/// Where `wanted` stands in some bytes, each time.
fn find(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(wanted.len()).enumerate();
    let found = windows.filter(|(_, bytes)| *bytes == wanted);
    found.map(|(at, _)| at).collect()
}

/// The same records, each byte string `wanted` in them altered in one place: one after the other.
fn altered_states(right: &Records, wanted: &[u8]) -> Vec<Changes> {
    let mut all = Vec::new();
    for (place, (_, hit)) in right.iter().enumerate() {
        for at in find(hit, wanted) {
            let mut changes = Changes::whole();
            for (other, (key, value)) in right.iter().enumerate() {
                let mut value = value.to_vec();
                if other == place {
                    value[at + 3] ^= 1;
                }
                changes.put_encoded(key, &value).unwrap();
            }
            all.push(changes);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn one_altered_byte_of_a_stored_state_is_named() {
    let world = worked_on().await;
    let copy = copy(&world).await;
    // An event of somebody who is kept in a window, in the middle of its id.
    let names = [
        "rule-engine.0",
        "rule-engine.1",
        "rule-engine-rekeyed.0",
        "rule-engine-rekeyed.1",
    ];
    for (wanted, rule) in [
        (&b"calm-0001"[..], "user_burst"),
        (b"few-2-claude", "model_burst"),
    ] {
        let mut windows = 0;
        for name in names {
            let right = copy.store.load(name).await.unwrap().unwrap();
            for (at, wrong) in altered_states(&right.state, wanted).into_iter().enumerate() {
                let saved = copy.store.save(name, right.meta.clone(), wrong).await;
                saved.unwrap();
                let stores = vec![("STATE".into(), copy.store.clone())];
                let found = faults(&verified(&world, stores).await);
                assert_eq!(found.len(), 1, "{name} at {at}: {found:?}");
                let place = format!("checkpoint {name} of STATE: after step ");
                assert!(found[0].starts_with(&place), "{found:?}");
                let in_window = found[0].contains("_burst, tenant default, key ");
                assert!(in_window || found[0].contains("copies seen"), "{found:?}");
                windows += usize::from(found[0].contains(&format!(", rule {rule}, ")));
            }
            let whole = right.state.into_changes();
            copy.store.save(name, right.meta, whole).await.unwrap();
        }
        assert!(
            windows >= 2,
            "an event's id and its digest stand in a window"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_no_store() {
    let world = worked_on().await;
    let file = world.state_dir().join("db");
    let mut bytes = std::fs::read(&file).unwrap();
    let places = find(&bytes, b"calm-0001");
    assert!(!places.is_empty(), "stored as it is");
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&file, &bytes).unwrap();
    // It is named, or the database took its last good state and has none: never is it right.
    let found = match Copy::of(&world.state_dir(), Options::default()).await {
        Ok(copy) => {
            let stores = vec![("STATE".into(), copy.unwrap().store)];
            let verdicts = verified(&world, stores).await;
            let right: u64 = verdicts.iter().map(|verdict| verdict.checkpoints).sum();
            let named = faults(&verdicts);
            assert!(right < 4 || !named.is_empty(), "{verdicts:?}");
            named
        }
        Err(error) => vec![error.to_string()],
    };
    assert!(
        found.iter().all(|one| one.contains("checkpoint")),
        "{found:?}"
    );
    assert_eq!(
        std::fs::read(&file).unwrap(),
        bytes,
        "the original is as it was"
    );
}

/// The batch once more, with `alter` done to its first escalation; `None`: it has none.
fn altered(payload: &[u8], alter: impl FnOnce(&mut balefire_event::Escalation)) -> Option<Vec<u8>> {
    let batch = BatchView::parse(payload).unwrap();
    let mut writer = BatchWriter::default();
    let mut alter = Some(alter);
    for record in batch.raw_records() {
        let record = record.unwrap();
        if let Ok(RecordView::Escalation(mut one)) = record.view()
            && let Some(alter) = alter.take()
        {
            alter(&mut one);
            writer.push(RecordRef::Escalation(&one));
        } else {
            writer.push_encoded(record.bytes);
        }
    }
    if alter.is_some() {
        return None;
    }
    Some(writer.finish(&batch.header, batch.step.as_ref()))
}

/// A copy of the log in which the first escalation of all is otherwise; and its place.
async fn with_one_altered(world: &World, alter: impl Fn(&mut balefire_event::Escalation)) -> World {
    let done = std::cell::Cell::new(false);
    world
        .copied(|subject, payload| {
            if done.get() || !subject.starts_with("escalations.") {
                return payload.to_vec();
            }
            match altered(payload, &alter) {
                Some(other) => {
                    done.set(true);
                    other
                }
                None => payload.to_vec(),
            }
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_altered_escalation_is_named() {
    let world = worked_on().await;
    let same = world.copied(|_, payload| payload.to_vec()).await;
    assert_eq!(
        faults(&verified(&same, Vec::new()).await),
        Vec::<String>::new()
    );

    let other_id = with_one_altered(&world, |one| one.escalation_id.0[7] ^= 1).await;
    let found = faults(&verified(&other_id, Vec::new()).await);
    assert_eq!(found.len(), 2, "one too many, one too few: {found:?}");
    assert!(found[0].starts_with("ESCALATIONS_g1_"), "{found:?}");
    assert!(
        found[0].contains("record 0: 1 escalation(s) are not what the log gives"),
        "{found:?}"
    );
    assert!(found[1].starts_with("1 escalation(s) lack"), "{found:?}");

    let other_key = with_one_altered(&world, |one| one.key[0].canonical[0] ^= 1).await;
    let found = faults(&verified(&other_key, Vec::new()).await);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains(": key is ") && found[0].contains("the log gives "),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_nobody_worked_on_is_not_published_yet() {
    let world = worked_on().await;
    world.append(&recent(&blocks("new", 0..5))).await;
    let found = faults(&verified(&world, Vec::new()).await);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("1 escalation(s) are not published yet"),
        "{found:?}"
    );
}
