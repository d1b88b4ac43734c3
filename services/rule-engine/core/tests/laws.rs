//! The set of escalations is a function of the log: against a brute force that shares no code
//! with the engine, under every hazard of SEMANTICS.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_wrap,
    reason = "a test ends where it is wrong, and its numbers are small"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use balefire_event::{
    DedupId, Escalation, EscalationId, EscalationKind, Event, Lane, RuleId, Timestamp, Timing,
    partition,
};
use balefire_rule::RuleKind;
use balefire_rule_engine_core::{Backfill, Effect, Engine, Replay, RuleSpec};
use proptest::prelude::*;
use world::{Hazards, Logged, Owner, Rng, TENANT, World};

/// (rule, user, R, slot start).
type Slot = (RuleId, String, i64, i64);

fn floor(t: i64, r: i64) -> i64 {
    let toward_zero = t / r;
    if toward_zero * r > t {
        toward_zero - 1
    } else {
        toward_zero
    }
}

/// The definition, over all records of all lanes.
fn defined<'e>(
    events: impl Iterator<Item = &'e Event<'static>> + Clone,
    rule_sets: &[(u64, Vec<RuleSpec>)],
) -> BTreeSet<Slot> {
    let mut found = BTreeSet::new();
    for (index, (first, specs)) in rule_sets.iter().enumerate() {
        let end = rule_sets.get(index + 1).map_or(u64::MAX, |(next, _)| *next);
        for spec in specs {
            let RuleKind::Threshold(rule) = &spec.kind else {
                continue;
            };
            for ((_, user), entries) in by_key(events.clone(), *first, end) {
                for (t, may_breach) in entries.values() {
                    let inside = entries
                        .values()
                        .filter(|(u, _)| t - rule.window <= *u && u <= t);
                    if *may_breach && inside.count() as u64 > rule.n {
                        let slot = floor(*t, rule.rearm);
                        found.insert((spec.id, user.clone(), rule.rearm, slot * rule.rearm));
                    }
                }
            }
        }
    }
    found
}

type Entries = BTreeMap<DedupId, (i64, bool)>;

fn by_key<'e>(
    events: impl Iterator<Item = &'e Event<'static>>,
    first: u64,
    end: u64,
) -> BTreeMap<((), String), Entries> {
    let mut keys: BTreeMap<((), String), Entries> = BTreeMap::new();
    for event in events {
        let Some(user) = &event.user else { continue };
        if event.timing != Timing::OnTime {
            continue;
        }
        let name = user.readable().unwrap().to_owned();
        let entries = keys.entry(((), name)).or_default();
        let entry = entries.entry(event.dedup_id).or_insert((event.t.0, false));
        entry.1 |= first <= event.control_revision && event.control_revision < end;
    }
    keys
}

fn slot_of(escalation: &Escalation) -> Slot {
    (
        escalation.rule_id,
        escalation.key[0].readable.clone(),
        escalation.rearm,
        escalation.slot_start.0,
    )
}

fn is_closed(escalation: &Escalation) -> bool {
    escalation.kind == EscalationKind::Closed
}

fn slots<'e>(escalations: impl IntoIterator<Item = &'e Escalation>) -> BTreeSet<Slot> {
    let told = escalations.into_iter().filter(|one| !is_closed(one));
    told.map(slot_of).collect()
}

fn emitted(owner: &Owner<'_>) -> BTreeSet<Slot> {
    slots(owner.out.iter().map(|logged| &logged.escalation))
}

/// A slot is closed once, behind its escalation, and only when its last moment has passed.
fn check_closed(owner: &Owner<'_>) {
    let mut told = BTreeMap::new();
    for Logged { escalation, .. } in &owner.out {
        let id = escalation.escalation_id;
        if !is_closed(escalation) {
            told.insert(id, false);
            continue;
        }
        let closed = told.get_mut(&id);
        assert_eq!(closed.as_deref(), Some(&false), "{escalation:?}");
        told.insert(id, true);
        let start = escalation.slot_start.0;
        assert!(start + escalation.rearm <= escalation.received_at.0);
        assert!(escalation.breach_at.0 < start + escalation.rearm);
    }
}

/// Each record is what the fold over the records before it says; no id comes twice.
fn check_fold(owner: &Owner<'_>) {
    check_closed(owner);
    let mut seen: BTreeMap<(RuleId, String, i64), BTreeMap<i64, EscalationId>> = BTreeMap::new();
    let told = owner.out.iter().map(|logged| &logged.escalation);
    for escalation in told.filter(|one| !is_closed(one)) {
        let (rule, user, rearm, start) = slot_of(escalation);
        let known = seen.entry((rule, user, rearm)).or_default();
        let neighbour = known
            .get(&(start - rearm))
            .or_else(|| known.get(&(start + rearm)));
        let (kind, episode) = match neighbour {
            Some(episode) => (EscalationKind::Continued, *episode),
            None => (EscalationKind::Raised, escalation.escalation_id),
        };
        assert_eq!((escalation.kind, escalation.episode_id), (kind, episode));
        assert!(
            known.insert(start, episode).is_none(),
            "repeated: {escalation:?}"
        );
    }
}

fn hazardous(seed: u64, bits: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let world = world::world(&mut rng, Hazards::of(bits), seed.is_multiple_of(2));
    (world, rng)
}

/// What is read again for new rules, as a shell does beside the live path.
#[derive(Default)]
struct Again {
    wanted: Option<Backfill>,
    left: VecDeque<(Lane, Event<'static>)>,
}

impl Again {
    fn left(&self) -> usize {
        self.left.len()
    }

    fn follow(&mut self, owner: &Owner<'_>) {
        let wanted = owner.engine.backfill();
        if wanted == self.wanted {
            return;
        }
        self.wanted = wanted;
        self.left.clear();
        let Some(wanted) = wanted else { return };
        for (lane, records) in owner.world.lanes.iter().enumerate() {
            let read = records[..owner.positions[lane]].iter();
            let again = read.filter(|record| record.stored_at >= wanted.from.0);
            let events = again.filter_map(|record| record.event.clone());
            self.left
                .extend(events.map(|event| (Lane::ALL[lane], event)));
        }
    }

    fn read(&mut self, owner: &mut Owner<'_>) {
        let mut effects = Vec::new();
        if let Some((lane, event)) = self.left.pop_front() {
            owner
                .engine
                .backfill_event(lane, TENANT, &event, &mut effects);
        }
        for effect in effects {
            let Effect::Escalate(escalation) = effect else {
                panic!("{effect:?}")
            };
            owner.log(*escalation);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_interleaving_gives_the_defined_set(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let mut owner = Owner::new(&world);
        owner.finish(&mut rng);
        prop_assert_eq!(emitted(&owner), defined(world.events(), &world.rule_sets));
        check_fold(&owner);
    }

    #[test]
    fn crashes_and_lost_stores_change_nothing(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let mut owner = Owner::new(&world);
        let mut checkpoints = Vec::new();
        let mut crashes = 0;
        while !owner.done() {
            let ready = owner.ready();
            if ready.is_empty() || rng.chance(20) {
                owner.now += rng.between(1, 4);
            } else if rng.chance(10) {
                checkpoints.push((owner.engine.snapshot(), owner.positions));
            } else if crashes < 4 && rng.chance(6) {
                crashes += 1;
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
        prop_assert_eq!(emitted(&owner), defined(world.events(), &world.rule_sets));
        check_fold(&owner);
    }

    #[test]
    fn rules_learnt_beside_the_live_path_give_the_defined_set(
        seed in any::<u64>(),
        bits in 0u64..128,
    ) {
        let (world, mut rng) = hazardous(seed, bits | 1 << 7);
        let mut owner = Owner::new(&world);
        owner.engine = Engine::with_specs(0, &world.rule_sets[..1], world.bounds.config()).unwrap();
        let mut again = Again::default();
        let mut snapshot = None;
        loop {
            again.follow(&owner);
            if again.wanted.is_some() && again.left() == 0 {
                let mut left: Vec<Effect> = Vec::new();
                owner.engine.backfill_end(&mut left);
                assert_eq!(left, []);
                continue;
            }
            if again.left() > 0 && rng.chance(40) {
                again.read(&mut owner);
                continue;
            }
            let ready = owner.ready();
            if rng.chance(8) {
                snapshot = Some((owner.engine.snapshot(), owner.positions));
            } else if let Some((state, positions)) = snapshot.take_if(|_| rng.chance(4)) {
                owner.restore(&state, positions);
                again = Again::default();
            } else if ready.is_empty() && !owner.done() {
                owner.now += rng.between(1, 4);
            } else if let Some(lane) = (!ready.is_empty()).then(|| rng.pick(&ready)) {
                let next = &world.lanes[lane][owner.positions[lane]];
                let revision = next.event.as_ref().map_or(0, |event| event.control_revision);
                if owner.engine.needs(revision) {
                    owner.engine.adopt_specs(&world.rule_sets).unwrap();
                    continue;
                }
                owner.consume(lane);
            } else if owner.engine.backfill().is_none() {
                break;
            }
        }
        prop_assert_eq!(owner.engine.warming_count(), 0);
        prop_assert_eq!(emitted(&owner), defined(world.events(), &world.rule_sets));
        check_fold(&owner);
    }

    #[test]
    fn a_restored_snapshot_goes_on_as_the_live_engine(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let mut live = Owner::new(&world);
        let mut other = Owner::new(&world);
        while !live.done() {
            let ready = live.ready();
            if ready.is_empty() {
                live.now += 1;
                other.now += 1;
                continue;
            }
            if rng.chance(20) {
                let state = other.engine.snapshot();
                other.engine = world.engine();
                other.engine.restore(state).unwrap();
            }
            let lane = rng.pick(&ready);
            live.consume(lane);
            other.consume(lane);
            prop_assert_eq!(live.engine.snapshot(), other.engine.snapshot());
            prop_assert_eq!(live.engine.digest(), other.engine.digest());
        }
        let plain = |owner: &Owner<'_>| -> Vec<Escalation> {
            owner.out.iter().map(|logged| logged.escalation.clone()).collect()
        };
        prop_assert_eq!(plain(&live), plain(&other));
    }

    #[test]
    fn replay_agrees_whatever_the_order_of_the_file(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = hazardous(seed, bits);
        let mut events: Vec<_> = world.events().cloned().collect();
        for index in (1..events.len()).rev() {
            events.swap(index, usize::try_from(rng.below(index as i64 + 1)).unwrap());
        }
        let mut replay = Replay::new(world.engine());
        let found: Vec<Escalation> = events.iter().flat_map(|e| replay.push(TENANT, e)).collect();
        prop_assert_eq!(slots(&found), defined(world.events(), &world.rule_sets));
    }

    #[test]
    fn the_number_of_partitions_is_of_no_influence(seed in any::<u64>(), bits in 0u64..256) {
        let (world, _) = hazardous(seed, bits);
        let ids = |partitions: u32| -> BTreeSet<EscalationId> {
            let mut replays: Vec<Replay> =
                (0..partitions).map(|_| Replay::new(world.engine())).collect();
            let mut ids = BTreeSet::new();
            for event in world.events() {
                let place = match &event.user {
                    Some(user) => partition::of_subject(TENANT, &user.subject_ref, partitions),
                    None => partition::of_event(TENANT, &event.dedup_id, partitions),
                };
                let found = replays[place as usize].push(TENANT, event);
                ids.extend(found.iter().map(|escalation| escalation.escalation_id));
            }
            ids
        };
        let one = ids(1);
        for partitions in [2, 4, 8] {
            prop_assert_eq!(&ids(partitions), &one);
        }
    }

    #[test]
    fn a_rebuilt_state_has_the_digest_of_the_live_one(seed in any::<u64>(), bits in 0u64..16) {
        let (world, mut rng) = hazardous(seed, bits & !0b1100);
        let mut live = Owner::new(&world);
        live.finish(&mut rng);
        let mut rebuilt = Owner::new(&world);
        rebuilt.now = live.now;
        rebuilt.out = live.out.clone();
        rebuilt.engine = live.engine;
        let digest = rebuilt.engine.digest();
        rebuilt.rebuild();
        rebuilt.finish(&mut rng);
        prop_assert_eq!(rebuilt.engine.digest(), digest);
        let told = |out: &[Logged]| out.iter().filter(|one| !is_closed(&one.escalation)).count();
        prop_assert_eq!(told(&rebuilt.out), told(&live.out));
        check_closed(&rebuilt);
    }
}

#[test]
fn the_hazards_bite() {
    let (mut repairs, mut escalations) = (0, 0);
    for seed in 0..300 {
        let (world, mut rng) = hazardous(seed, 0xff);
        let mut owner = Owner::new(&world);
        owner.finish(&mut rng);
        repairs += owner.repairs;
        escalations += owner.out.len();
        assert!(owner.engine.low_watermark() > Some(Timestamp(0)));
    }
    assert!(
        repairs > 100 && escalations > 300,
        "{repairs} {escalations}"
    );
}
