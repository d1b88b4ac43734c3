//! A state against one that is built from the log lane after lane, and escalations against those
//! that the log gives: what is right is never blamed, what is altered is always named.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "a test ends where it is wrong, and its numbers are small"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use balefire_event::{Escalation, EscalationId, EscalationKind, Lane, Timestamp};
use balefire_rule_engine_core::{BatchHeader, Effect, Engine, EngineConfig, Facts, Fault, compare};
use proptest::prelude::*;
use world::{Hazards, Owner, Rng, TENANT, World};

type Derived = BTreeMap<EscalationId, Facts>;

/// An engine that forgets nothing, fed each lane to its position, one lane after the other.
fn derive(world: &World, positions: [usize; 3]) -> (Engine, Derived) {
    let config = EngineConfig {
        keeps_all: true,
        ..world.bounds.config()
    };
    let mut engine = Engine::with_specs(0, &world.rule_sets, config).unwrap();
    let mut effects = Vec::new();
    for lane in [2, 0, 1] {
        for record in &world.lanes[lane][..positions[lane]] {
            let header = BatchHeader {
                tenant: TENANT,
                lateness_max: record.lateness,
                received_at_max: Timestamp(record.received_at),
            };
            engine.batch_start(Lane::ALL[lane], &header);
            match &record.event {
                Some(event) => engine.event(0, event, &mut effects),
                None => engine.tick(Timestamp(record.received_at)),
            }
            engine.batch_end(&mut effects);
        }
    }
    let escalations = effects.into_iter().map(|effect| match &effect {
        Effect::Escalate(escalation) => (escalation.escalation_id, Facts::of(escalation)),
        Effect::DeadLetter { .. }
        | Effect::BarrierOut { .. }
        | Effect::Rekey(_)
        | Effect::Promise { .. }
        | Effect::Repair(_) => {
            panic!("nothing is a straggler where nothing was forgotten: {effect:?}")
        }
    });
    (engine, escalations.collect())
}

type Published = Vec<(usize, EscalationId, Facts)>;

fn published<'e>(all: impl Iterator<Item = &'e Escalation>) -> Published {
    let told = all.filter(|one| one.kind != EscalationKind::Closed);
    told.enumerate()
        .map(|(at, one)| (at, one.escalation_id, Facts::of(one)))
        .collect()
}

fn of_owner(owner: &Owner<'_>) -> Published {
    published(owner.out.iter().map(|logged| &logged.escalation))
}

fn hazardous(seed: u64, bits: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let world = world::world(&mut rng, Hazards::of(bits), seed.is_multiple_of(2));
    (world, rng)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_live_state_is_never_blamed(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let mut owner = Owner::new(&world);
        let mut checkpoint = None;
        while !owner.done() {
            let ready = owner.ready();
            if ready.is_empty() || rng.chance(20) {
                owner.now += rng.between(1, 4);
            } else if rng.chance(10) {
                let (derived, ids) = derive(&world, owner.positions);
                prop_assert_eq!(owner.engine.first_difference(&derived, Timestamp::MIN), None);
                let compared = compare(&ids, &of_owner(&owner), Timestamp::MIN);
                prop_assert!(compared.is_same(), "{compared:?}");
                checkpoint = Some((owner.engine.snapshot(), owner.positions));
            } else if rng.chance(4) && let Some((state, positions)) = checkpoint.take() {
                owner.restore(&state, positions);
                // From here on it is behind its own escalations.
                owner.finish(&mut rng);
            } else {
                owner.consume(rng.pick(&ready));
            }
        }
        let (derived, ids) = derive(&world, owner.positions);
        prop_assert_eq!(owner.engine.first_difference(&derived, Timestamp::MIN), None);
        let compared = compare(&ids, &of_owner(&owner), Timestamp::MIN);
        prop_assert!(compared.is_same(), "{compared:?}");
        prop_assert_eq!(compared.same, ids.len() as u64);
    }

    #[test]
    fn an_escalation_that_lacks_or_is_altered_is_named(seed in any::<u64>(), bits in 0u64..256, which in 0usize..3) {
        let (world, mut rng) = hazardous(seed, bits);
        let mut owner = Owner::new(&world);
        owner.finish(&mut rng);
        let (_, ids) = derive(&world, owner.positions);
        let right = of_owner(&owner);
        prop_assume!(!right.is_empty());
        let place = usize::try_from(rng.below(right.len() as i64)).unwrap();
        let mut wrong = right.clone();
        match which {
            0 => {
                wrong.remove(place);
                let compared = compare(&ids, &wrong, Timestamp::MIN);
                prop_assert_eq!((compared.missing, compared.wrong), (1, 0));
                let named = matches!(&compared.first[0], Fault::Missing { id, .. } if *id == right[place].1);
                prop_assert!(named, "{compared:?}");
            }
            1 => {
                wrong[place].1.0[5] ^= 1;
                let compared = compare(&ids, &wrong, Timestamp::MIN);
                prop_assert_eq!((compared.missing, compared.wrong), (1, 1));
                let named = matches!(&compared.first[0], Fault::Unexpected { at, .. } if *at == place);
                prop_assert!(named, "{compared:?}");
            }
            _ => {
                let mut altered = owner.out.iter().map(|l| l.escalation.clone())
                    .filter(|one| one.kind != EscalationKind::Closed).collect::<Vec<_>>();
                altered[place].slot_start = altered[place].slot_start.plus(1);
                let compared = compare(&ids, &published(altered.iter()), Timestamp::MIN);
                prop_assert_eq!((compared.missing, compared.wrong), (0, 1));
                let named = matches!(&compared.first[0], Fault::Altered { at, field: "slot_start", .. } if *at == place);
                prop_assert!(named, "{compared:?}");
            }
        }
    }
}

/// The newest event that an owner has taken in and counted: its lane, and its place there.
fn newest(owner: &Owner<'_>) -> Option<(usize, usize)> {
    let taken = (0..3).flat_map(|lane| {
        let records = &owner.world.lanes[lane][..owner.positions[lane]];
        let events = records.iter().enumerate();
        events.filter_map(move |(at, record)| Some((lane, at, record.event.as_ref()?)))
    });
    let counted = taken.filter(|(_, _, event)| {
        event.user.is_some() && event.timing == balefire_event::Timing::OnTime
    });
    let newest = counted.max_by_key(|(_, _, event)| event.t)?;
    Some((newest.0, newest.1))
}

#[test]
fn an_input_less_or_more_is_named() {
    let mut named = 0;
    for seed in 0..400 {
        let (world, mut rng) = hazardous(seed, 0);
        let mut owner = Owner::new(&world);
        let steps = rng.between(20, 120);
        for _ in 0..steps {
            let ready = owner.ready();
            if ready.is_empty() || rng.chance(20) {
                owner.now += rng.between(1, 4);
            } else {
                owner.consume(rng.pick(&ready));
            }
        }
        let Some((lane, at)) = newest(&owner) else {
            continue;
        };
        let mut lanes = world.lanes.clone();
        lanes[lane][at].event = None;
        let less = World {
            lanes,
            rule_sets: world.rule_sets.clone(),
            ..world
        };
        let (derived, _) = derive(&less, owner.positions);
        if owner.engine.digest() == derived.digest() {
            // It has left memory already.
            continue;
        }
        let told = owner.engine.first_difference(&derived, Timestamp::MIN);
        let told = told.map(|difference| difference.to_string());
        let told = told.unwrap_or_default();
        assert!(
            told.contains("rule rule_1, tenant default, key "),
            "{told:?}"
        );
        named += 1;
    }
    assert!(named > 100, "{named} were named");
}
