//! Rules that group by something else than the user: engines of EVENTS partitions send matches,
//! engines of REKEYED partitions count them. However the sources interleave, and however many
//! partitions there are, the escalations are those of the definition and of one whole engine.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test ends where it is wrong, and its numbers are small"
)]

#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{
    DedupId, Escalation, EscalationId, EscalationKind, Event, Field, Lane, RuleId, Timestamp,
    Timing, partition,
};
use balefire_rule::RuleKind;
use balefire_rule_engine_core::{
    BatchHeader, Effect, Engine, EngineConfig, EngineState, Part, Rekeyed, Replay,
};
use proptest::prelude::*;
use world::{Hazards, Rng, TENANT, World};

/// (rule, model, R, slot start).
type Slot = (RuleId, String, i64, i64);

/// The world of the other laws, its rules grouped by model, its events spread over two models.
fn by_model(seed: u64, bits: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let mut world = world::world(&mut rng, Hazards::of(bits), seed.is_multiple_of(2));
    for spec in world.rule_sets.iter_mut().flat_map(|(_, specs)| specs) {
        let RuleKind::Threshold(threshold) = &mut spec.kind else {
            panic!("{spec:?}");
        };
        threshold.group_by = vec![Field::Model];
        spec.key_fields = vec![Field::Model];
    }
    for record in world.lanes.iter_mut().flatten() {
        if let Some(event) = &mut record.event {
            let [id, ..] = event.dedup_id.0;
            event.model = ["a", "a", "b", ""][usize::from(id % 4)].into();
        }
    }
    (world, rng)
}

/// The definition, over all records.
fn defined(world: &World) -> BTreeSet<Slot> {
    let mut found = BTreeSet::new();
    for (index, (first, specs)) in world.rule_sets.iter().enumerate() {
        let next = world.rule_sets.get(index + 1);
        let end = next.map_or(u64::MAX, |(next, _)| *next);
        for spec in specs {
            let RuleKind::Threshold(rule) = &spec.kind else {
                panic!("{spec:?}");
            };
            for (model, entries) in by_key(world, *first, end) {
                for (t, may_breach) in entries.values() {
                    let inside = entries
                        .values()
                        .filter(|(u, _)| t - rule.window <= *u && u <= t);
                    if *may_breach && inside.count() as u64 > rule.n {
                        let start = t.div_euclid(rule.rearm) * rule.rearm;
                        found.insert((spec.id, model.clone(), rule.rearm, start));
                    }
                }
            }
        }
    }
    found
}

fn by_key(world: &World, first: u64, end: u64) -> BTreeMap<String, BTreeMap<DedupId, (i64, bool)>> {
    let mut keys: BTreeMap<String, BTreeMap<DedupId, (i64, bool)>> = BTreeMap::new();
    let counts = |event: &&Event<'_>| event.timing == Timing::OnTime && !event.model.is_empty();
    for event in world.events().filter(counts) {
        let entries = keys.entry(event.model.to_string()).or_default();
        let entry = entries.entry(event.dedup_id).or_insert((event.t.0, false));
        entry.1 |= first <= event.control_revision && event.control_revision < end;
    }
    keys
}

fn slots<'e>(escalations: impl Iterator<Item = &'e Escalation>) -> BTreeSet<Slot> {
    let slot = |one: &Escalation| {
        let model = one.key[0].readable.clone();
        (one.rule_id, model, one.rearm, one.slot_start.0)
    };
    escalations.map(slot).collect()
}

#[derive(Debug, Clone)]
enum Sent {
    Match(Box<Rekeyed>),
    Promise(Timestamp),
}

/// A record of a REKEYED partition.
#[derive(Debug, Clone)]
struct Stored {
    at: i64,
    source: u32,
    lateness: i64,
    sent: Sent,
}

struct Source {
    engine: Engine,
    positions: [usize; 3],
}

#[derive(Default)]
struct Log {
    records: Vec<Stored>,
    out: Vec<(i64, Escalation)>,
}

struct Owner {
    engine: Engine,
    position: usize,
    kept: Option<(EngineState, usize)>,
}

struct Cluster<'w> {
    world: &'w World,
    partitions: u32,
    now: i64,
    sources: Vec<Source>,
    logs: Vec<Log>,
    owners: Vec<Owner>,
    repairs: usize,
}

impl<'w> Cluster<'w> {
    fn new(world: &'w World, partitions: u32) -> Self {
        let source = |_| Source {
            engine: world.engine().of_part(Part::Events),
            positions: [0; 3],
        };
        let owner = |_| Owner {
            engine: rekeyed(world, partitions),
            position: 0,
            kept: None,
        };
        Self {
            world,
            partitions,
            now: 0,
            sources: (0..partitions).map(source).collect(),
            logs: (0..partitions).map(|_| Log::default()).collect(),
            owners: (0..partitions).map(owner).collect(),
            repairs: 0,
        }
    }

    fn lies_in(&self, event: &Event<'_>) -> u32 {
        match &event.user {
            Some(user) => partition::of_subject(TENANT, &user.subject_ref, self.partitions),
            None => partition::of_event(TENANT, &event.dedup_id, self.partitions),
        }
    }

    /// The next record of a lane that is stored by now: each partition has its events and every tick.
    fn feed(&mut self, source: u32, lane: usize) -> bool {
        let place = self.sources[source as usize].positions[lane];
        let Some(record) = self.world.lanes[lane].get(place) else {
            return false;
        };
        if record.stored_at > self.now {
            return false;
        }
        self.sources[source as usize].positions[lane] += 1;
        if record
            .event
            .as_ref()
            .is_some_and(|event| self.lies_in(event) != source)
        {
            return true;
        }
        let engine = &mut self.sources[source as usize].engine;
        let mut effects = Vec::new();
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
        for effect in effects {
            self.send(source, record.lateness, effect);
        }
        true
    }

    fn send(&mut self, source: u32, lateness: i64, effect: Effect) {
        let at = self.now;
        let stored = |sent| Stored {
            at,
            source,
            lateness,
            sent,
        };
        match effect {
            Effect::Rekey(found) => {
                let to = partition::of_match(TENANT, &found.rule, &found.key, self.partitions);
                self.logs[to as usize]
                    .records
                    .push(stored(Sent::Match(found)));
            }
            Effect::Promise { at } => {
                for log in &mut self.logs {
                    log.records.push(stored(Sent::Promise(at)));
                }
            }
            Effect::Escalate(_)
            | Effect::BarrierOut { .. }
            | Effect::DeadLetter { .. }
            | Effect::Repair(_) => panic!("{effect:?}"),
        }
    }

    /// The next record of a REKEYED partition.
    fn count(&mut self, partition: usize) -> bool {
        let owner = &mut self.owners[partition];
        let Some(stored) = self.logs[partition].records.get(owner.position).cloned() else {
            return false;
        };
        owner.position += 1;
        let mut effects = Vec::new();
        let (tenant, received) = match &stored.sent {
            Sent::Match(found) => (TENANT, found.event.received_at),
            Sent::Promise(_) => ("", Timestamp(0)),
        };
        let header = BatchHeader {
            tenant,
            lateness_max: if tenant.is_empty() {
                0
            } else {
                stored.lateness
            },
            received_at_max: received,
        };
        owner.engine.batch_start(Lane::Normal, &header);
        match &stored.sent {
            Sent::Match(found) => {
                let Rekeyed {
                    rule, generation, ..
                } = **found;
                let event = &found.event;
                assert!(owner.engine.matched(rule, generation, event, &mut effects));
            }
            Sent::Promise(at) => owner.engine.watermark(stored.source, *at),
        }
        owner.engine.batch_end(&mut effects);
        self.act(partition, effects);
        true
    }

    fn act(&mut self, partition: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Escalate(found) => self.logs[partition].out.push((self.now, *found)),
                Effect::Repair(request) => {
                    self.repairs += 1;
                    self.repair(partition, request.events_from, request.slots_from);
                }
                Effect::Rekey(_)
                | Effect::Promise { .. }
                | Effect::BarrierOut { .. }
                | Effect::DeadLetter { .. } => panic!("{effect:?}"),
            }
        }
    }

    fn repair(&mut self, partition: usize, from: Timestamp, slots_from: Timestamp) {
        let (owner, log) = (&mut self.owners[partition], &self.logs[partition]);
        owner.engine.repair_begin();
        for (_, escalation) in log.out.iter().filter(|(at, _)| *at >= slots_from.0) {
            owner.engine.load_escalation(escalation);
        }
        let mut effects = Vec::new();
        let read = log.records.iter().take(owner.position);
        for stored in read.filter(|stored| stored.at >= from.0) {
            if let Sent::Match(found) = &stored.sent {
                let (rule, since) = (found.rule, found.generation);
                let engine = &mut owner.engine;
                engine.repair_matched(TENANT, rule, since, &found.event, &mut effects);
            }
        }
        owner.engine.repair_end();
        self.act(partition, effects);
    }

    fn crash(&mut self, partition: usize) {
        let owner = &mut self.owners[partition];
        owner.engine = rekeyed(self.world, self.partitions);
        owner.position = 0;
        if let Some((state, position)) = &owner.kept {
            owner.engine.restore(state.clone()).unwrap();
            owner.position = *position;
        }
        let from = owner.engine.load_from();
        for (at, escalation) in &self.logs[partition].out {
            if from.is_none_or(|from| *at >= from.0) {
                owner.engine.load_escalation(escalation);
            }
        }
    }

    fn step(&mut self, rng: &mut Rng, hazards: bool) -> bool {
        let partition = rng.below(i64::from(self.partitions)) as u32;
        let place = partition as usize;
        match rng.below(20) {
            0..8 => self.feed(partition, rng.below(3) as usize),
            8..16 => self.count(place),
            16 if hazards => {
                let owner = &mut self.owners[place];
                owner.kept = Some((owner.engine.snapshot(), owner.position));
                false
            }
            17 if hazards && rng.chance(30) => {
                self.crash(place);
                true
            }
            _ => {
                self.now += rng.below(3);
                false
            }
        }
    }

    fn done(&self) -> bool {
        let mut owners = self.owners.iter().zip(&self.logs);
        owners.all(|(owner, log)| owner.position == log.records.len())
            && self.sources.iter().all(|source| {
                let mut lanes = source.positions.iter().zip(&self.world.lanes);
                lanes.all(|(position, lane)| *position == lane.len())
            })
    }

    fn run(&mut self, rng: &mut Rng, hazards: bool) {
        let mut steps = 0;
        while !self.done() {
            steps += 1;
            self.step(rng, hazards && steps < 3_000);
        }
    }

    /// What was raised or continued.
    fn out(&self) -> impl Iterator<Item = &Escalation> {
        let out = self.logs.iter().flat_map(|log| &log.out);
        out.map(|(_, escalation)| escalation)
            .filter(|one| one.kind != EscalationKind::Closed)
    }
}

fn rekeyed(world: &World, partitions: u32) -> Engine {
    let config = EngineConfig {
        barrier_sources: BTreeSet::new(),
        ..world.bounds.config()
    };
    let engine = Engine::with_specs(0, &world.rule_sets, config).unwrap();
    engine.of_part(Part::Rekeyed {
        sources: partitions,
    })
}

fn whole(world: &World) -> BTreeSet<EscalationId> {
    let mut replay = Replay::new(world.engine());
    let found = world.events().flat_map(|event| replay.push(TENANT, event));
    found.map(|escalation| escalation.escalation_id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_number_of_partitions_gives_the_defined_set(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = by_model(seed, bits);
        let defined = defined(&world);
        let whole = whole(&world);
        for partitions in [1, 2, 4] {
            let mut cluster = Cluster::new(&world, partitions);
            cluster.run(&mut rng, false);
            prop_assert_eq!(&slots(cluster.out()), &defined);
            let ids: Vec<EscalationId> = cluster.out().map(|one| one.escalation_id).collect();
            prop_assert_eq!(ids.len(), defined.len(), "none comes twice");
            prop_assert_eq!(&ids.into_iter().collect::<BTreeSet<_>>(), &whole);
        }
    }

    #[test]
    fn crashes_of_the_counting_engines_change_nothing(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = by_model(seed, bits);
        let mut cluster = Cluster::new(&world, 2);
        cluster.run(&mut rng, true);
        prop_assert_eq!(&slots(cluster.out()), &defined(&world));
    }

    #[test]
    fn where_nobody_is_late_nothing_is_read_again(seed in any::<u64>(), bits in 0u64..4) {
        let (world, mut rng) = by_model(seed, bits);
        let mut cluster = Cluster::new(&world, 4);
        cluster.run(&mut rng, false);
        prop_assert_eq!(cluster.repairs, 0, "each source's promise holds the watermark");
        let moved = cluster.owners.iter().all(|owner| owner.engine.low_watermark().is_some());
        prop_assert!(moved);
    }

    #[test]
    fn a_source_sends_the_same_from_a_snapshot(seed in any::<u64>(), bits in 0u64..256) {
        let (world, mut rng) = by_model(seed, bits);
        let (mut live, mut other) = (Cluster::new(&world, 1), Cluster::new(&world, 1));
        while !live.done() {
            live.now += 1;
            other.now += 1;
            let lane = rng.below(3) as usize;
            if live.feed(0, lane) {
                let state = other.sources[0].engine.snapshot();
                other.sources[0].engine = world.engine().of_part(Part::Events);
                other.sources[0].engine.restore(state).unwrap();
                other.feed(0, lane);
            }
            while live.count(0) {}
        }
        let plain = |cluster: &Cluster<'_>| format!("{:?}", cluster.logs[0].records);
        prop_assert_eq!(plain(&live), plain(&other));
    }
}

#[test]
fn the_hazards_bite() {
    let (mut repairs, mut escalations, mut spread) = (0, 0, 0);
    for seed in 0..300 {
        let (world, mut rng) = by_model(seed, 0xff);
        let mut cluster = Cluster::new(&world, 2);
        cluster.run(&mut rng, true);
        repairs += cluster.repairs;
        escalations += cluster.out().count();
        spread += usize::from(cluster.logs.iter().all(|log| !log.out.is_empty()));
        let kept = cluster
            .owners
            .iter()
            .map(|owner| owner.engine.entry_count());
        assert!(kept.sum::<usize>() < world.events().count());
    }
    assert!(
        repairs > 50 && escalations > 300 && spread > 5,
        "{repairs} {escalations} {spread}"
    );
}
