//! The engine's state as records in a real store: base and changes make exactly the state that the
//! live engine has, whatever happens in between.
#![expect(clippy::unwrap_used, reason = "a test ends where it is wrong")]

#[path = "../core/tests/support/world.rs"]
mod world;

use std::collections::BTreeSet;

use balefire_event::EscalationId;
use balefire_rule_engine_core::{Decode, EngineState, Sink};
use balefire_store::{Changes, Meta, Options, Records, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use world::{Hazards, Owner, Rng, World};

struct Taker(Changes);

impl Sink for Taker {
    fn put(&mut self, key: &[u8], value: &impl Serialize) {
        self.0.put(key, value).unwrap();
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
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, String> {
        balefire_store::decode(bytes).map_err(|error| error.to_string())
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
    // Rules of other names in place of all of them.
    let mut others = world.rule_sets.last().unwrap().1.clone();
    for spec in &mut others {
        spec.id.0[0] ^= 0x55;
    }
    owner.engine.adopt_specs(&[(9, others)]).unwrap();
    let gone = changes(&mut owner);
    assert!(!gone.is_whole());
    store.save("a", meta(2), gone).await.unwrap();
    let found = store.load("a").await.unwrap().unwrap();
    assert_eq!(assembled(&found.state), owner.engine.snapshot());
    assert!(found.state.len() < before && before > 3, "{before}");
}
