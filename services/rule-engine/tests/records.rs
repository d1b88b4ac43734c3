//! The engine's state as records in a real store: base and changes make exactly the state that the
//! live engine has, whatever happens in between.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

#[path = "../core/tests/support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{Category, DedupId, EscalationId, Event, Timestamp};
use balefire_rule_engine_core::{Decode, EngineState, Sink, Unfit};
use balefire_store::{Changes, Meta, Options, Records, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use world::{Bounds, Hazards, Owner, Record, Rng, World, spec, user};

struct Taker(Changes);

/// What one checkpoint says of one record.
#[derive(Debug, Clone)]
enum Said {
    Put(Vec<u8>),
    Append(Vec<u8>),
    Gone,
    Dropped,
}

/// What a checkpoint says, in its order.
#[derive(Debug, Default)]
struct Tape(Vec<(Vec<u8>, Said)>);

impl Sink for Tape {
    fn put(&mut self, key: &[u8], value: &impl Serialize) {
        let value = balefire_store::encode(value).unwrap();
        self.0.push((key.to_vec(), Said::Put(value)));
    }

    fn append(&mut self, key: &[u8], value: &impl Serialize) {
        let value = balefire_store::encode(value).unwrap();
        self.0.push((key.to_vec(), Said::Append(value)));
    }

    fn gone(&mut self, key: &[u8]) {
        self.0.push((key.to_vec(), Said::Gone));
    }

    fn dropped(&mut self, prefix: &[u8]) {
        self.0.push((prefix.to_vec(), Said::Dropped));
    }
}

/// Records as a plain map of what lies behind one another: what the store makes of tapes.
type Plain = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

fn play(plain: &mut Plain, tape: &Tape) {
    for (prefix, said) in &tape.0 {
        if matches!(said, Said::Dropped) {
            plain.retain(|key, _| !key.starts_with(prefix));
        }
    }
    for (key, said) in &tape.0 {
        match said {
            Said::Put(value) => drop(plain.insert(key.clone(), vec![value.clone()])),
            Said::Append(value) => plain.get_mut(key).unwrap().push(value.clone()),
            Said::Gone => drop(plain.remove(key)),
            Said::Dropped => {}
        }
    }
}

fn assembled_plain(plain: &Plain) -> Result<EngineState, Unfit> {
    let joined: Vec<(&[u8], Vec<u8>)> = plain
        .iter()
        .map(|(key, values)| (key.as_slice(), values.concat()))
        .collect();
    EngineState::assemble(joined.iter().map(|(k, v)| (*k, v.as_slice())), &Reader)
}

impl Sink for Taker {
    fn put(&mut self, key: &[u8], value: &impl Serialize) {
        self.0.put(key, value).unwrap();
    }

    fn append(&mut self, key: &[u8], value: &impl Serialize) {
        self.0.append(key, value).unwrap();
    }

    fn gone(&mut self, key: &[u8]) {
        self.0.gone(key).unwrap();
    }

    fn dropped(&mut self, prefix: &[u8]) {
        self.0.dropped(prefix).unwrap();
    }
}

struct Reader;

impl Decode for Reader {
    fn decode_next<T: DeserializeOwned>(&self, bytes: &mut &[u8]) -> Result<T, String> {
        balefire_store::decode_next(bytes).map_err(|error| error.to_string())
    }
}

fn meta(step: u64) -> Meta {
    Meta {
        stage_version: 1,
        partition: 0,
        step,
        sources: Vec::new(),
        targets: Vec::new(),
        tail: Vec::new(),
        taken_at_ns: 0,
    }
}

fn changes(owner: &mut Owner<'_>) -> Changes {
    let mut taker = Taker(match owner.engine.is_told() {
        true => Changes::since(),
        false => Changes::whole(),
    });
    owner.engine.take_changes(&mut taker);
    taker.0
}

fn assembled(records: &Records) -> EngineState {
    EngineState::assemble(records.iter(), &Reader).unwrap()
}

fn hazardous(seed: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let hazards = Hazards::of(seed.wrapping_mul(37) % 256);
    let world = world::world(&mut rng, hazards, seed.is_multiple_of(2));
    (world, rng)
}

/// What a run came to.
#[derive(Default)]
struct Count {
    whole: usize,
    since: usize,
    restored: usize,
}

/// One owner to its end, with checkpoints, restarts and lost checkpoints; and the ids it gave.
async fn run(seed: u64, store: &Store, count: &mut Count) -> BTreeSet<EscalationId> {
    let (world, mut rng) = hazardous(seed);
    let mut owner = Owner::new(&world);
    let name = format!("run-{seed}");
    let mut step = 0;
    while !owner.done() {
        let ready = owner.ready();
        if ready.is_empty() {
            owner.now += rng.between(1, 4);
            continue;
        }
        owner.consume(rng.pick(&ready));
        if !rng.chance(15) {
            continue;
        }
        step += 1;
        let changes = changes(&mut owner);
        count.whole += usize::from(changes.is_whole());
        count.since += usize::from(!changes.is_whole());
        if rng.chance(10) {
            // It never came to the disk.
            owner.engine.untold();
            continue;
        }
        store.save(&name, meta(step), changes).await.unwrap();
        if rng.chance(40) {
            let found = store.load(&name).await.unwrap().unwrap();
            assert_eq!(found.meta, meta(step));
            let state = assembled(&found.state);
            assert_eq!(state, owner.engine.snapshot(), "seed {seed} step {step}");
            count.restored += 1;
            owner.engine = world.engine();
            owner.engine.restore(state).unwrap();
            owner.engine.told();
        }
    }
    let ids = owner.out.iter().map(|out| out.escalation.escalation_id);
    ids.collect()
}

#[tokio::test]
async fn base_and_changes_are_the_state_of_the_live_engine() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Store::open(&dir, Options::default()).await.unwrap();
    let mut count = Count::default();
    let mut escalations = 0;
    for seed in 0..120 {
        let ids = run(seed, &store, &mut count).await;
        let (world, mut rng) = hazardous(seed);
        let mut plain = Owner::new(&world);
        plain.finish(&mut rng);
        let expected: BTreeSet<EscalationId> = plain
            .out
            .iter()
            .map(|out| out.escalation.escalation_id)
            .collect();
        assert_eq!(ids, expected, "seed {seed}");
        escalations += ids.len();
    }
    let Count {
        whole,
        since,
        restored,
    } = count;
    assert!(
        whole > 120 && since > 500 && restored > 200 && escalations > 200,
        "{whole} whole, {since} changes, {restored} restored, {escalations} escalations"
    );
}

/// An owner that keeps a few windows right now.
fn with_keys(world: &World, mut rng: Rng) -> Option<Owner<'_>> {
    let mut owner = Owner::new(world);
    while owner.engine.key_count() < 2 {
        match owner.ready() {
            _ if owner.done() => return None,
            ready if ready.is_empty() => owner.now += 1,
            ready => owner.consume(rng.pick(&ready)),
        }
    }
    Some(owner)
}

#[tokio::test]
async fn records_of_a_rule_that_is_gone_leave_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Store::open(&dir, Options::default()).await.unwrap();
    let mut seeds = 0..200;
    let world = seeds.find_map(|seed| {
        let (world, rng) = hazardous(seed);
        with_keys(&world, rng).is_some().then_some((world, seed))
    });
    let (world, seed) = world.expect("some log fills a few windows");
    let mut owner = with_keys(&world, hazardous(seed).1).unwrap();
    let all = changes(&mut owner);
    store.save("a", meta(1), all).await.unwrap();
    let before = store.load("a").await.unwrap().unwrap().state.len();
    let mut ahead = Tape::default();
    assert!(owner.engine.take_ahead(1, &mut ahead));
    assert!(owner.engine.is_ahead_sound());
    // Rules of other names in place of all of them.
    let mut others = world.rule_sets.last().unwrap().1.clone();
    for spec in &mut others {
        spec.id.0[0] ^= 0x55;
    }
    owner.engine.adopt_specs(&[(9, others)]).unwrap();
    assert!(
        !owner.engine.is_ahead_sound(),
        "it is of rules that are gone"
    );
    assert!(!owner.engine.take_ahead(1, &mut ahead));
    let gone = changes(&mut owner);
    assert!(!gone.is_whole());
    store.save("a", meta(2), gone).await.unwrap();
    let found = store.load("a").await.unwrap().unwrap();
    assert_eq!(assembled(&found.state), owner.engine.snapshot());
    assert!(found.state.len() < before && before > 3, "{before}");
}

/// A few users who are loud enough that their windows are told in short; late ones, copies, and
/// windows that are trimmed and swept.
fn loud(seed: u64) -> (World, Rng) {
    let mut rng = Rng::new(seed);
    let lateness = 20;
    let mut lanes = [Vec::new(), Vec::new(), Vec::new()];
    let mut events: Vec<Event<'static>> = Vec::new();
    for at in 0..800i64 {
        let event = if rng.chance(15) && !events.is_empty() {
            let copied = events[events.len() - events.len().min(10)].clone();
            Event {
                received_at: Timestamp(at),
                control_revision: u64::from(rng.chance(50)),
                ..copied
            }
        } else {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&at.to_le_bytes());
            let t = Timestamp(at - rng.below(lateness / 2));
            Event {
                dedup_id: DedupId(id),
                event_id: format!("e{at}").into(),
                occurred_at: t,
                received_at: Timestamp(at),
                t,
                control_revision: u64::from(rng.chance(70)),
                category: Category::GuardrailBlock,
                user: Some(user(rng.pick(&["a", "a", "b", "c"]))),
                lateness,
                ..Event::default()
            }
        };
        events.push(event.clone());
        let tick = Record {
            stored_at: at,
            lateness,
            received_at: at,
            event: None,
        };
        lanes[1].push(Record {
            event: Some(event),
            ..tick.clone()
        });
        for lane in [0, 2] {
            lanes[lane].push(tick.clone());
        }
    }
    let rules = vec![spec(1, 6, 30, 50), spec(2, 60, 200, 300)];
    let others = vec![spec(1, 12, 50, 50), spec(2, 60, 200, 300)];
    let world = World {
        bounds: Bounds {
            skew: 2,
            ahead: 2,
            memory: 0,
        },
        lanes,
        rule_sets: vec![(0, rules), (1, others)],
        lateness,
    };
    (world, rng)
}

/// Takes in the next record of the lane that is furthest behind.
fn next(owner: &mut Owner<'_>) {
    let behind = |lane: &usize| owner.positions[*lane];
    let lane = (0..3).min_by_key(behind).unwrap();
    owner.now = i64::try_from(owner.positions[lane]).unwrap();
    owner.consume(lane);
}

/// A tape as the store takes it.
fn changes_of(tape: &Tape, whole: bool) -> Changes {
    let mut changes = if whole {
        Changes::whole()
    } else {
        Changes::since()
    };
    for (key, said) in &tape.0 {
        match said {
            Said::Put(value) => changes.put_encoded(key, value).unwrap(),
            Said::Append(value) => changes.append_encoded(key, value).unwrap(),
            Said::Gone => changes.gone(key).unwrap(),
            Said::Dropped => changes.dropped(key).unwrap(),
        }
    }
    changes
}

#[tokio::test]
async fn windows_told_in_short_are_those_of_the_live_engine() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Store::open(&dir, Options::default()).await.unwrap();
    let (mut restored, mut ahead, mut appended, mut put) = (0, 0, 0, 0);
    for seed in 0..6 {
        let (world, mut rng) = loud(seed);
        let mut owner = Owner::new(&world);
        let name = format!("loud-{seed}");
        let mut plain = Plain::new();
        while !owner.done() {
            for _ in 0..rng.between(3, 40) {
                if !owner.done() {
                    next(&mut owner);
                }
            }
            let mut tape = Tape::default();
            let whole = !owner.engine.is_told();
            // Some of it ahead, with inputs behind it.
            for _ in 0..rng.below(4) {
                let most = usize::try_from(rng.between(1, 5)).unwrap();
                ahead += usize::from(owner.engine.take_ahead(most, &mut tape));
                for _ in 0..rng.below(12) {
                    if !owner.done() {
                        next(&mut owner);
                    }
                }
            }
            assert!(owner.engine.is_ahead_sound());
            owner.engine.take_changes(&mut tape);
            assert_eq!(owner.engine.changed_len(), 0);
            if rng.chance(3) {
                owner.engine.untold();
                continue;
            }
            if whole {
                plain.clear();
            }
            let changes = changes_of(&tape, whole);
            for (_, said) in &tape.0 {
                appended += usize::from(matches!(said, Said::Append(_)));
                put += usize::from(matches!(said, Said::Put(_)));
            }
            play(&mut plain, &tape);
            store.save(&name, meta(1), changes).await.unwrap();
            let live = owner.engine.snapshot();
            assert_eq!(assembled_plain(&plain).unwrap(), live, "seed {seed}");
            if rng.chance(20) {
                let found = store.load(&name).await.unwrap().unwrap();
                let state = assembled(&found.state);
                assert_eq!(state, live, "seed {seed}");
                let digest = owner.engine.digest();
                owner.engine = world.engine();
                owner.engine.restore(state).unwrap();
                owner.engine.told();
                assert_eq!(owner.engine.digest(), digest);
                restored += 1;
            }
        }
    }
    assert!(
        restored > 30 && ahead > 100 && appended > 500 && put > 500,
        "{restored} restored, {ahead} ahead, {appended} appended, {put} put"
    );
}

#[test]
fn what_became_of_a_window_is_taken_once_and_in_its_order() {
    let (world, mut rng) = loud(7);
    let mut owner = Owner::new(&world);
    let mut plain = Plain::new();
    let (mut refused, mut other) = (0, 0);
    while !owner.done() {
        for _ in 0..rng.between(3, 12) {
            if !owner.done() {
                next(&mut owner);
            }
        }
        let mut tape = Tape::default();
        owner.engine.take_changes(&mut tape);
        play(&mut plain, &tape);
        let live = owner.engine.snapshot();
        for (key, values) in &plain {
            let Some(last) = values.len().checked_sub(1).filter(|last| *last > 1) else {
                continue;
            };
            let latest = i64::try_from(last - 1).unwrap();
            let at = usize::try_from(rng.between(1, latest)).unwrap();
            let with = |values: Vec<Vec<u8>>| {
                let mut plain = plain.clone();
                plain.insert(key.clone(), values);
                assembled_plain(&plain)
            };
            let mut doubled = values.clone();
            doubled.insert(at, values[at].clone());
            assert!(with(doubled).is_err());
            let mut swapped = values.clone();
            swapped.swap(at, at + 1);
            assert!(with(swapped).is_err());
            let mut lost = values.clone();
            lost.remove(at);
            match with(lost) {
                Err(_) => refused += 1,
                Ok(state) => other += usize::from(state != live),
            }
            let mut cut = values.clone();
            cut.truncate(last);
            other += usize::from(with(cut).unwrap() != live);
        }
    }
    assert!(
        refused > 100 && other > 100,
        "{refused} refused, {other} others"
    );
}
