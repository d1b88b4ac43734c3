//! Averages, percentiles and absence are decided once, when a slot ends: where everything is on
//! time the set is the defined one, under any interleaving, crash and loss of the store.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "a test ends where it is wrong, and its numbers are small"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::{DedupId, EscalationKind, Event, Field, Timing};
use balefire_rule::{AtClose, CloseMeasure, Comparison, Measured, RuleKind};
use balefire_rule_engine_core::{Matcher, Replay, RuleSpec};
use proptest::prelude::*;
use world::{Hazards, Owner, Rng, TENANT, World};

/// The event's number is its value; of an absence even ones ask and odd ones answer.
struct Numbered {
    steps: bool,
}

fn value(id: &DedupId, steps: bool) -> u64 {
    let number = u64::from(id.0[0]);
    if steps {
        number % 2
    } else {
        number % 7 * 1_000
    }
}

impl Matcher for Numbered {
    fn matches(&self, _: &Event<'_>) -> bool {
        true
    }
    fn reads(&self, _: &Field) -> bool {
        false
    }
    fn measured(&self, event: &Event<'_>) -> Measured {
        let value = value(&event.dedup_id, self.steps);
        if self.steps {
            Measured::Steps([u8::try_from(value).unwrap()].into_iter().collect())
        } else {
            Measured::Value(value)
        }
    }
}

fn rule(rng: &mut Rng, base: &RuleSpec) -> RuleSpec {
    let field = || Field::parse("total_tokens");
    let measure = match rng.below(3) {
        0 => CloseMeasure::Average(field()),
        1 => CloseMeasure::Percentile {
            field: field(),
            percent: rng.pick(&[1, 50, 90, 100]),
        },
        _ => CloseMeasure::Absence,
    };
    let steps = measure == CloseMeasure::Absence;
    let comparison = rng.pick(&[
        Comparison::Greater,
        Comparison::GreaterOrEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
    ]);
    let RuleKind::Threshold(threshold) = &base.kind else {
        panic!("a world's rules count")
    };
    let close = AtClose {
        measure,
        condition: (comparison, rng.below(7) * 1_000),
        window: threshold.window,
        rearm: threshold.rearm,
        group_by: threshold.group_by.clone(),
    };
    RuleSpec {
        kind: RuleKind::AtClose(close),
        matcher: Arc::new(Numbered { steps }),
        ..base.clone()
    }
}

/// Nothing comes behind its slot's end: no dead letter replayed, no L raised.
fn punctual(seed: u64, bits: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let hazards = Hazards {
        other_lateness: false,
        raised_lateness: false,
        dead_letters: false,
        generations: false,
        ..Hazards::of(bits)
    };
    let mut world = world::world(&mut rng, hazards, seed.is_multiple_of(2));
    let spec = rule(&mut rng, &world.rule_sets[0].1[0]);
    world.rule_sets = vec![(0, vec![spec])];
    (world, rng)
}

fn related(comparison: Comparison, a: i64, b: i64) -> bool {
    match comparison {
        Comparison::Equal => a == b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
    }
}

/// (user, slot start) by the definition.
fn defined(world: &World) -> BTreeSet<(String, i64)> {
    let RuleKind::AtClose(rule) = &world.rule_sets[0].1[0].kind else {
        panic!("the rule is decided at close")
    };
    let steps = rule.measure == CloseMeasure::Absence;
    let mut keys: BTreeMap<String, BTreeMap<DedupId, i64>> = BTreeMap::new();
    for event in world.events().filter(|e| e.timing == Timing::OnTime) {
        if let Some(user) = &event.user {
            let name = user.readable().unwrap().to_owned();
            keys.entry(name)
                .or_default()
                .insert(event.dedup_id, event.t.0);
        }
    }
    let mut found = BTreeSet::new();
    for (user, entries) in keys {
        let within = |from: i64, to: i64| -> Vec<i64> {
            let inside = entries.iter().filter(|(_, t)| from <= **t && **t <= to);
            let mut values: Vec<i64> = inside.map(|(id, _)| value(id, steps) as i64).collect();
            values.sort_unstable();
            values
        };
        for (id, t) in &entries {
            let inside = within(t - rule.window, *t);
            let count = inside.len() as i64;
            let (comparison, than) = rule.condition;
            let point = match &rule.measure {
                CloseMeasure::Average(_) => {
                    related(comparison, inside.iter().sum(), than * count).then_some(*t)
                }
                CloseMeasure::Percentile { percent, .. } => {
                    let rank = (usize::from(*percent) * inside.len()).div_ceil(100);
                    related(comparison, inside[rank - 1], than).then_some(*t)
                }
                CloseMeasure::Absence => {
                    let asks = value(id, true) == 0;
                    let answered = within(*t, t + rule.window).contains(&1);
                    (asks && !answered).then_some(t + rule.window)
                }
            };
            if let Some(point) = point {
                found.insert((user.clone(), point.div_euclid(rule.rearm) * rule.rearm));
            }
        }
    }
    found
}

/// What was told, each slot once, and closed once behind that.
fn told(owner: &Owner<'_>) -> BTreeSet<(String, i64)> {
    let (mut raised, mut closed) = (BTreeMap::new(), BTreeSet::new());
    for logged in &owner.out {
        let escalation = &logged.escalation;
        assert!(escalation.at_close && !escalation.condition.is_empty());
        let id = escalation.escalation_id;
        if escalation.kind == EscalationKind::Closed {
            assert!(
                raised.contains_key(&id) && closed.insert(id),
                "{escalation:?}"
            );
            continue;
        }
        let end = escalation.slot_start.0 + escalation.rearm;
        assert!(end <= escalation.received_at.0, "decided before its end");
        assert!(!escalation.evidence.is_empty());
        let user = world::user("k").subject_ref;
        let name = if escalation.key[0].canonical == user.0 {
            "k"
        } else {
            "m"
        };
        let slot = (name.to_owned(), escalation.slot_start.0);
        assert!(raised.insert(id, slot).is_none(), "twice: {escalation:?}");
    }
    raised.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_interleaving_gives_the_defined_set(seed in any::<u64>(), bits in 0u64..16) {
        let (world, mut rng) = punctual(seed, bits);
        let mut owner = Owner::new(&world);
        owner.finish(&mut rng);
        prop_assert_eq!(told(&owner), defined(&world));
    }

    #[test]
    fn crashes_and_lost_stores_change_nothing(seed in any::<u64>(), bits in 0u64..16) {
        let (world, mut rng) = punctual(seed, bits);
        let mut owner = Owner::new(&world);
        let mut checkpoints = Vec::new();
        while !owner.done() {
            let ready = owner.ready();
            if ready.is_empty() || rng.chance(20) {
                owner.now += rng.between(1, 4);
            } else if rng.chance(10) {
                checkpoints.push((owner.engine.snapshot(), owner.positions));
            } else if rng.chance(3) {
                match checkpoints.pop() {
                    Some((state, positions)) if rng.chance(60) => owner.restore(&state, positions),
                    Some(_) | None => {
                        owner.rebuild();
                        checkpoints.clear();
                    }
                }
            } else {
                owner.consume(rng.pick(&ready));
            }
        }
        prop_assert_eq!(told(&owner), defined(&world));
    }

    #[test]
    fn replay_agrees_on_the_slots_that_ended(seed in any::<u64>(), bits in 0u64..16) {
        let (world, _) = punctual(seed, bits);
        let mut replay = Replay::new(world.engine());
        let mut last = i64::MIN;
        for event in world.events() {
            prop_assert!(replay.push(TENANT, event).is_empty());
            last = last.max(event.t.0);
        }
        let found: BTreeSet<i64> = replay.finish().iter().map(|e| e.slot_start.0).collect();
        let rearm = match &world.rule_sets[0].1[0].kind {
            RuleKind::AtClose(rule) => rule.rearm,
            RuleKind::Single | RuleKind::Threshold(_) => unreachable!("decided at close"),
        };
        let wanted = defined(&world).into_iter().map(|(_, start)| start);
        let wanted: BTreeSet<i64> = wanted.filter(|start| start + rearm <= last).collect();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn each_kind_escalates_and_each_is_quiet_sometimes() {
    let mut seen: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seed in 0..400 {
        let (world, _) = punctual(seed, 0xf);
        let RuleKind::AtClose(rule) = &world.rule_sets[0].1[0].kind else {
            panic!("the rule is decided at close")
        };
        let kind = match rule.measure {
            CloseMeasure::Average(_) => "average",
            CloseMeasure::Percentile { .. } => "percentile",
            CloseMeasure::Absence => "absence",
        };
        let count = seen.entry(kind).or_default();
        if defined(&world).is_empty() {
            count.0 += 1;
        } else {
            count.1 += 1;
        }
    }
    assert!(
        seen.len() == 3 && seen.values().all(|(a, b)| *a > 5 && *b > 20),
        "{seen:?}"
    );
}
