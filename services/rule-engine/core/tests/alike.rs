//! Two ways that must come to the same: records that come twice, memory that is never swept,
//! events that were joined late, instances on two revisions, partitions of any number.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it is wrong, and its numbers are small"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{
    DedupId, Escalation, EscalationId, EscalationKind, Event, Field, IdentityKind, Join, Lane,
    RuleId, Timestamp, Timing, partition,
};
use balefire_rule::RuleKind;
use balefire_rule_engine_core::{
    BatchHeader, Effect, Engine, EngineConfig, Part, Rekeyed, RuleSpec,
};
use proptest::prelude::*;
use world::{Hazards, Owner, Record, Rng, TENANT, World};

/// (rule, key as people read it, R, slot start).
type Slot = (RuleId, String, i64, i64);

fn hazardous(seed: u64, bits: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let world = world::world(&mut rng, Hazards::of(bits), seed.is_multiple_of(2));
    (world, rng)
}

fn told<'o>(owner: &'o Owner<'_>) -> impl Iterator<Item = &'o Escalation> {
    let out = owner.out.iter().map(|logged| &logged.escalation);
    out.filter(|one| one.kind != EscalationKind::Closed)
}

fn slot_of(one: &Escalation) -> Slot {
    let key = one.key[0].readable.clone();
    (one.rule_id, key, one.rearm, one.slot_start.0)
}

fn slots(owner: &Owner<'_>) -> BTreeSet<Slot> {
    told(owner).map(slot_of).collect()
}

/// The key of an event under a rule, as people read it.
fn key_of(rule: &RuleSpec, event: &Event<'_>) -> Option<String> {
    match rule.key_fields.as_slice() {
        [Field::Identity(IdentityKind::User)] => event.user.as_ref()?.readable().map(str::to_owned),
        [Field::Model] => Some(event.model.to_string()).filter(|model| !model.is_empty()),
        other => panic!("{other:?}"),
    }
}

/// The definition, over all records.
fn defined(world: &World) -> BTreeSet<Slot> {
    let mut found = BTreeSet::new();
    for (index, (first, specs)) in world.rule_sets.iter().enumerate() {
        let next = world.rule_sets.get(index + 1);
        let covers = *first..next.map_or(u64::MAX, |(next, _)| *next);
        for rule in specs {
            let RuleKind::Threshold(threshold) = &rule.kind else {
                panic!("{rule:?}");
            };
            let mut keys: BTreeMap<String, BTreeMap<DedupId, (i64, bool)>> = BTreeMap::new();
            for event in world.events().filter(|one| one.timing == Timing::OnTime) {
                let Some(key) = key_of(rule, event) else {
                    continue;
                };
                let entries = keys.entry(key).or_default();
                let entry = entries.entry(event.dedup_id).or_insert((event.t.0, false));
                entry.1 |= covers.contains(&event.control_revision);
            }
            for (key, entries) in keys {
                let breaches = entries.values().filter(|(t, may_breach)| {
                    let window = t - threshold.window..=*t;
                    let inside = entries.values().filter(|(u, _)| window.contains(u));
                    *may_breach && inside.count() as u64 > threshold.n
                });
                found.extend(breaches.map(|(t, _)| {
                    let start = t.div_euclid(threshold.rearm) * threshold.rearm;
                    (rule.id, key.clone(), threshold.rearm, start)
                }));
            }
        }
    }
    found
}

/// The same rules once more, by model.
fn by_model_too(world: &mut World) {
    for (_, specs) in &mut world.rule_sets {
        for (id, mut rule) in (9..).zip(specs.clone()) {
            let RuleKind::Threshold(threshold) = &mut rule.kind else {
                panic!("{rule:?}");
            };
            threshold.group_by = vec![Field::Model];
            rule.key_fields = vec![Field::Model];
            rule.id = RuleId([id; 16]);
            specs.push(rule);
        }
    }
    for event in world
        .lanes
        .iter_mut()
        .flatten()
        .filter_map(|r| r.event.as_mut())
    {
        let [id, ..] = event.dedup_id.0;
        event.model = ["a", "a", "b", ""][usize::from(id % 4)].into();
    }
}

/// The world as it is where identities come late: some events without their user first, and again
/// with it behind.
fn joined_late(world: &World, rng: &mut Rng) -> World {
    let mut lanes = world.lanes.clone();
    for lane in &mut lanes {
        let mut late = Vec::new();
        for record in lane.iter_mut() {
            let stored_at = record.stored_at;
            let again = record.clone();
            let Some(event) = &mut record.event else {
                continue;
            };
            if event.user.is_none() || !rng.chance(50) {
                continue;
            }
            let mut amended = event.clone();
            amended.join = Some(Join {
                partial: false,
                amendment: true,
                filled: vec!["user_id".to_owned()],
            });
            let reach = rng.pick(&[0, 3, 60]);
            late.push(Record {
                stored_at: stored_at + rng.between(0, reach),
                event: Some(amended),
                ..again
            });
            event.user = None;
            event.join = Some(Join {
                partial: true,
                ..Join::default()
            });
        }
        lane.extend(late);
        // Stable: an amendment stays behind what it amends.
        lane.sort_by_key(|record| record.stored_at);
    }
    World {
        bounds: world.bounds,
        lanes,
        rule_sets: world.rule_sets.clone(),
        lateness: world.lateness,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_record_that_comes_twice_adds_nothing(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let (mut once, mut twice) = (Owner::new(&world), Owner::new(&world));
        while !once.done() {
            let ready = once.ready();
            if ready.is_empty() {
                once.now += 1;
                twice.now += 1;
                continue;
            }
            let lane = rng.pick(&ready);
            once.consume(lane);
            twice.consume(lane);
            let before = twice.out.len();
            twice.positions[lane] -= 1;
            twice.consume(lane);
            prop_assert_eq!(twice.out.len(), before);
        }
        let ids = |owner: &Owner<'_>| -> Vec<(EscalationId, EscalationKind)> {
            told(owner).map(|one| (one.escalation_id, one.kind)).collect()
        };
        prop_assert_eq!(ids(&once), ids(&twice));
    }

    #[test]
    fn swept_memory_with_repairs_is_memory_never_swept(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let (mut swept, mut never) = (Owner::new(&world), Owner::new(&world));
        let config = EngineConfig { sweep_every: i64::MAX / 4, ..world.bounds.config() };
        never.engine = Engine::with_specs(0, &world.rule_sets, config).expect("good rules");
        while !swept.done() {
            let ready = swept.ready();
            if ready.is_empty() || rng.chance(20) {
                let more = rng.between(1, 4);
                swept.now += more;
                never.now += more;
                continue;
            }
            let lane = rng.pick(&ready);
            swept.consume(lane);
            never.consume(lane);
        }
        prop_assert_eq!(never.repairs, 0);
        let ids = |owner: &Owner<'_>| -> BTreeSet<EscalationId> {
            told(owner).map(|one| one.escalation_id).collect()
        };
        prop_assert_eq!(ids(&swept), ids(&never));
    }

    #[test]
    fn partial_then_amended_is_joined_at_once(seed in any::<u64>(), bits in 0u64..256) {
        let (mut world, mut rng) = hazardous(seed, bits);
        by_model_too(&mut world);
        let late = joined_late(&world, &mut rng);
        let (mut at_once, mut amended) = (Owner::new(&world), Owner::new(&late));
        at_once.finish(&mut rng);
        amended.finish(&mut rng);
        prop_assert_eq!(slots(&amended), slots(&at_once));
        prop_assert_eq!(slots(&at_once), defined(&world));
    }

    #[test]
    fn instances_on_two_revisions_give_the_defined_set(seed in any::<u64>(), bits in 0u64..128) {
        let (mut world, mut rng) = hazardous(seed, bits | 0x80);
        by_model_too(&mut world);
        // Not one after the other: each record was stamped by either.
        for record in world.lanes.iter_mut().flatten() {
            if let Some(event) = &mut record.event {
                event.control_revision = u64::from(rng.chance(50));
            }
        }
        let mut owner = Owner::new(&world);
        owner.finish(&mut rng);
        prop_assert_eq!(slots(&owner), defined(&world));
    }

    #[test]
    fn any_number_of_partitions_gives_the_same_ids(seed in any::<u64>(), bits in 0u64..256) {
        let (mut world, _) = hazardous(seed, bits);
        by_model_too(&mut world);
        let one = ids_of(&world, 1);
        for partitions in [2, 4, 8] {
            prop_assert_eq!(&ids_of(&world, partitions), &one);
        }
        let mut whole = Owner::new(&world);
        whole.finish(&mut Rng::new(seed));
        let ids: BTreeSet<EscalationId> = told(&whole).map(|one| one.escalation_id).collect();
        prop_assert_eq!(&ids, &one);
    }
}

/// Rules by user where the events lie, the others in REKEYED.
fn ids_of(world: &World, partitions: u32) -> BTreeSet<EscalationId> {
    let engines = |part| -> Vec<Engine> {
        let of = |_| world.engine().of_part(part);
        (0..partitions).map(of).collect()
    };
    let mut events = engines(Part::Events);
    let mut counting = engines(Part::Rekeyed {
        sources: partitions,
    });
    let (mut ids, mut effects) = (BTreeSet::new(), Vec::new());
    let header = BatchHeader {
        tenant: TENANT,
        lateness_max: world.lateness,
        received_at_max: Timestamp(0),
    };
    for event in world.events() {
        let place = match &event.user {
            Some(user) => partition::of_subject(TENANT, &user.subject_ref, partitions),
            None => partition::of_event(TENANT, &event.dedup_id, partitions),
        };
        let engine = &mut events[place as usize];
        engine.batch_start(Lane::Normal, &header);
        engine.event(0, event, &mut effects);
        engine.batch_end(&mut effects);
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Escalate(one) => {
                    ids.insert(one.escalation_id);
                }
                Effect::Rekey(found) => {
                    let Rekeyed {
                        rule,
                        generation,
                        ref key,
                        ref event,
                    } = *found;
                    let to = partition::of_match(TENANT, &rule, key, partitions);
                    let engine = &mut counting[to as usize];
                    engine.batch_start(Lane::Normal, &header);
                    assert!(engine.matched(rule, generation, event, &mut effects));
                    engine.batch_end(&mut effects);
                }
                Effect::Promise { .. }
                | Effect::BarrierOut { .. }
                | Effect::DeadLetter { .. }
                | Effect::Repair(_) => panic!("{effect:?}"),
            }
        }
    }
    ids
}

#[test]
fn the_worlds_have_what_the_laws_are_about() {
    let (mut escalations, mut models, mut amended, mut repairs) = (0, 0, 0, 0);
    for seed in 0..200 {
        let (mut world, mut rng) = hazardous(seed, 0xff);
        by_model_too(&mut world);
        let late = joined_late(&world, &mut rng);
        let is_amended = |event: &&Event<'_>| event.join.as_ref().is_some_and(|j| j.amendment);
        amended += late.events().filter(is_amended).count();
        let mut owner = Owner::new(&late);
        owner.finish(&mut rng);
        escalations += told(&owner).count();
        models += told(&owner).filter(|one| one.rule_id.0[0] >= 9).count();
        repairs += owner.repairs;
    }
    let seen = [escalations, models, amended, repairs];
    assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
}
