//! What checkpoints of the engine cost: how long the engine stands still, how long the disk takes,
//! how many bytes lie there, and how long it takes to read them back.
//!
//! `make bench-checkpoint`, or `… -- USERS…`. The disk is that of the folder for temporary files.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench ends where it is wrong, and prints what it measured"
)]

#[path = "../core/benches/support/workload.rs"]
mod workload;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balefire_event::time::HOUR;
use balefire_event::{Event, Lane};
use balefire_rule_engine_core::{BatchHeader, Decode, Engine, EngineConfig, EngineState, Sink};
use balefire_store::{Changes, Meta, Options, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use workload::Workload;

const BATCH: usize = 512;
const CHECKPOINTS: usize = 200;
/// Different users between two checkpoints of the second kind, and how many of those there are.
const CHANGED: usize = 1_000;
const OF_CHANGED: usize = 20;
/// Records of a part, where every window is to be told: as the stage has it.
const PART: usize = 8 * 1024;

struct Taker(Changes);

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

fn take(engine: &mut Engine, batch: &[Event<'_>]) {
    let mut effects = Vec::new();
    let last = batch.last().unwrap().received_at;
    for &lane in Lane::ALL {
        let header = BatchHeader {
            tenant: "default",
            lateness_max: HOUR,
            received_at_max: last,
        };
        engine.batch_start(lane, &header);
        if lane == Lane::Normal {
            for (index, event) in (0u32..).zip(batch) {
                engine.event(index, event, &mut effects);
            }
        }
        engine.batch_end(&mut effects);
    }
}

fn engine() -> Engine {
    let sets = [(0, Arc::new(balefire_rule::baseline().unwrap()))];
    Engine::new(0, &sets, EngineConfig::new(1)).unwrap()
}

fn changes(engine: &mut Engine) -> (Changes, Duration) {
    let begun = Instant::now();
    let mut taker = Taker(match engine.is_told() {
        true => Changes::since(),
        false => Changes::whole(),
    });
    engine.take_changes(&mut taker);
    (taker.0, begun.elapsed())
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

fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap();
    let sizes = entries.map(|entry| {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            bytes_of(&entry.path())
        } else {
            meta.len()
        }
    });
    sizes.sum()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn said(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| ms(times[(times.len() - 1) * percent / 100]);
    format!(
        "p50 {:.2} ms, p90 {:.2}, max {:.2}",
        at(50),
        at(90),
        at(100)
    )
}

fn batches(users: usize, events: usize) -> Vec<Vec<Event<'static>>> {
    let mut workload = Workload::new(events, users);
    let mut batches = Vec::new();
    loop {
        let batch: Vec<_> = workload.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return batches;
        }
        batches.push(batch);
    }
}

/// Checkpoints after one event each of [`CHANGED`] users, all different.
async fn different(
    engine: &mut Engine,
    store: &Store,
    batches: &[Vec<Event<'static>>],
    mut step: u64,
) {
    let (mut stood, mut saved, mut records, mut bytes) = (vec![], vec![], 0, 0);
    let (mut users, mut events) = (BTreeSet::new(), Vec::new());
    for event in batches.iter().flatten() {
        let user = event.user.as_ref().map(|user| user.subject_ref);
        if engine.heeds(event.category) && users.insert(user) {
            events.push(event.clone());
        }
        if users.len() < CHANGED || stood.len() >= OF_CHANGED {
            continue;
        }
        take(engine, &events);
        users.clear();
        events.clear();
        let (changes, time) = changes(engine);
        stood.push(time);
        records += changes.len();
        bytes += changes.byte_len();
        step += 1;
        let begun = Instant::now();
        store.save("engine", meta(step), changes).await.unwrap();
        saved.push(begun.elapsed());
    }
    let count = stood.len();
    println!(
        "  {count} checkpoints after {CHANGED} different users: {} changed records, {:.0} KB each: the engine stood {}; saved {}",
        records / count,
        bytes as f64 / count as f64 / 1e3,
        said(stood),
        said(saved)
    );
}

/// All of the state again, in parts, with a batch between two of them.
async fn in_parts(engine: &mut Engine, store: &Store, batches: &[Vec<Event<'static>>]) {
    engine.untold();
    let (mut stood, mut taker) = (vec![], Taker(Changes::whole()));
    for batch in batches {
        let begun = Instant::now();
        if engine.changed_len() <= PART {
            break;
        }
        assert!(engine.take_ahead(PART, &mut taker), "no rule is new");
        stood.push(begun.elapsed());
        take(engine, batch);
    }
    let begun = Instant::now();
    engine.take_changes(&mut taker);
    stood.push(begun.elapsed());
    println!(
        "  all of the state in {} parts, a batch between two: {:.1} MB, the engine stood {}",
        stood.len(),
        taker.0.byte_len() as f64 / 1e6,
        said(stood)
    );
    store.save("engine", meta(0), taker.0).await.unwrap();
}

async fn round(users: usize, events: usize) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Store::open(&dir, Options::default()).await.unwrap();
    let mut engine = engine();
    let batches = batches(users, events);
    let (first, later) = batches.split_at(batches.len() * 3 / 5);
    let (later, last) = later.split_at(later.len() / 2);
    let mut busy = Duration::ZERO;
    for batch in first {
        let begun = Instant::now();
        take(&mut engine, batch);
        busy += begun.elapsed();
    }
    let (whole, stood) = changes(&mut engine);
    let whole_bytes = whole.byte_len();
    let begun = Instant::now();
    store.save("engine", meta(1), whole).await.unwrap();
    println!(
        "{users} users, {} keys, {} entries: all of the state {:.1} MB, told in {:.1} ms, saved in {:.1} ms",
        engine.key_count(),
        engine.entry_count(),
        whole_bytes as f64 / 1e6,
        ms(stood),
        ms(begun.elapsed())
    );
    let (mut stood, mut saved, mut records, mut bytes, mut step) = (vec![], vec![], 0, 0, 1);
    let every = later.len().div_ceil(CHECKPOINTS).max(1);
    for batches in later.chunks(every) {
        let begun = Instant::now();
        batches.iter().for_each(|batch| take(&mut engine, batch));
        busy += begun.elapsed();
        let (changes, time) = changes(&mut engine);
        stood.push(time);
        records += changes.len();
        bytes += changes.byte_len();
        step += 1;
        let begun = Instant::now();
        store.save("engine", meta(step), changes).await.unwrap();
        saved.push(begun.elapsed());
    }
    let count = stood.len();
    println!(
        "  {count} checkpoints of {} changed records, {:.0} KB each, every {} events: the engine stood {}; saved {}",
        records / count,
        bytes as f64 / count as f64 / 1e3,
        every * BATCH,
        said(stood),
        said(saved)
    );
    let counted: usize = [first, later]
        .map(|part| part.iter().map(Vec::len).sum::<usize>())
        .iter()
        .sum();
    different(&mut engine, &store, last, step).await;
    in_parts(&mut engine, &store, last).await;
    read_back(&store, &dir, &engine, whole_bytes).await;
    println!(
        "  engine alone {:.0} events/s",
        counted as f64 / busy.as_secs_f64()
    );
}

async fn read_back(store: &Store, dir: &Path, engine: &Engine, whole_bytes: usize) {
    let begun = Instant::now();
    let found = store.load("engine").await.unwrap().unwrap();
    let read = begun.elapsed();
    let begun = Instant::now();
    let state = EngineState::assemble(found.state.iter(), &Reader).unwrap();
    assert!(state == engine.snapshot(), "what was read is not what is");
    println!(
        "  read in {:.1} ms, put together and compared in {:.1} ms; {:.1} MB on disk, {:.0} bytes a key, {:.1} times the state",
        ms(read),
        ms(begun.elapsed()),
        bytes_of(dir) as f64 / 1e6,
        bytes_of(dir) as f64 / engine.key_count() as f64,
        bytes_of(dir) as f64 / whole_bytes as f64
    );
}

fn main() {
    let users: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let users = if users.is_empty() {
        vec![100_000, 1_000_000]
    } else {
        users
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for users in users {
        runtime.block_on(round(users, (users * 10).clamp(500_000, 2_000_000)));
    }
}
