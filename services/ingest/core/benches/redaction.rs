//! What masking costs: the same records admitted by two doors, one of which masks nothing, by turns.
//! Nothing else of ingest's work is in it (no sealing of evidence on disk, no encoding, no log), so
//! the share of ingest's throughput is smaller.
//!
//! `make bench-redaction`; exit code 1 where the records of a source lose more than 15 %. `redaction write
//! FILE COUNT` writes what the adapters make, over and over, each with an id of its own, for `make masking`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench prints what it measured"
)]

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use balefire_event::Timestamp;
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::adapt::{self, Choice, Context};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};

/// Most of throughput that masking may cost, per cent.
const COST_MAX: f64 = 15.0;
/// Pairs of turns.
const PAIRS: usize = 301;
/// Least time of a turn: over shorter ones the clock would be measured.
const TURN_MIN: Duration = Duration::from_millis(2);

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources")
}

/// Bodies as vendors send them, of every source or of those that begin so.
fn bodies(only: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.ends_with(".in.json") && name.starts_with(only)
        })
        .collect();
    paths.sort();
    let read = |path| std::fs::read(path).unwrap();
    paths.into_iter().map(read).collect()
}

fn adapted(body: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let context = Context::at(Timestamp(0));
    let records = adapt::read(Choice::Auto, body, &context).into_iter();
    records.flatten().map(|adapted| adapted.json)
}

/// Native records, as their door gets them.
fn records(only: &str) -> Vec<Vec<u8>> {
    bodies(only).iter().flat_map(|body| adapted(body)).collect()
}

/// Every third word of their texts is somebody's: what masking costs where it has to mask.
fn full(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let reason =
        "told ada@example.com on +1 555-010-9999 about card 4111 1111 1111 1111, host 203.0.113.77";
    let mut full = Vec::new();
    for record in records {
        let mut record: serde_json::Value = serde_json::from_slice(record).unwrap();
        record["reason"] = reason.into();
        full.push(record.to_string().into_bytes());
    }
    full
}

/// One turn of a door: all records, so many times.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn turn(times: usize, mut once: impl FnMut()) -> Duration {
    let begun = Instant::now();
    for _ in 0..times {
        once();
    }
    begun.elapsed()
}

/// Per cent of throughput that masking costs. Pairs of turns, each begun by the other door; of each
/// door's turns the fastest is compared, which nothing else on the machine held up.
fn measure(told: &str, count: usize, mut admit: impl FnMut(&Door)) -> f64 {
    let source = Source::undeclared("bench", ClockPolicy::default());
    let masking = Door::new("default", source, 2);
    let mut plain = masking.clone();
    plain.unmasked = true;
    let mut times = 1;
    while turn(times, || admit(&masking)) < TURN_MIN {
        times *= 2;
    }
    let (mut masked, mut unmasked) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let (with, without) = if pair % 2 == 0 {
            let with = turn(times, || admit(&masking));
            (with, turn(times, || admit(&plain)))
        } else {
            let without = turn(times, || admit(&plain));
            (turn(times, || admit(&masking)), without)
        };
        masked.push(with);
        unmasked.push(without);
    }
    let each = u32::try_from(times * count).unwrap();
    let fast = |mut turns: Vec<Duration>| {
        turns.sort();
        turns.first().copied().unwrap_or_default() / each
    };
    let (masked, unmasked) = (fast(masked), fast(unmasked));
    let cost = 100.0 * (1.0 - unmasked.as_secs_f64() / masked.as_secs_f64());
    println!(
        "{told}: {count} records, {masked:?} a record with masking, {unmasked:?} without: costs {cost:.1} % of throughput"
    );
    cost
}

/// Native records through the door for them.
fn native(told: &str, records: &[Vec<u8>]) -> f64 {
    measure(told, records.len(), |door| {
        for record in records {
            black_box(admit_json(door, black_box(record), Provenance::default())).unwrap();
        }
    })
}

/// Vendors' bodies through their adapters and the door.
fn vendors(told: &str, bodies: &[Vec<u8>]) -> f64 {
    let count = bodies.iter().flat_map(|body| adapted(body)).count();
    measure(told, count, |door| {
        for body in bodies {
            for record in adapted(black_box(body)) {
                black_box(admit_json(door, &record, Provenance::default())).unwrap();
            }
        }
    })
}

/// What the adapters make, over and over, a line each.
fn write(path: &str, count: usize) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let records: Vec<serde_json::Value> = records("")
        .iter()
        .map(|record| serde_json::from_slice(record).unwrap())
        .collect();
    for (number, record) in records.iter().cycle().take(count).enumerate() {
        let mut record = record.clone();
        record["event_id"] = format!("{number}").into();
        writeln!(out, "{record}").unwrap();
    }
    out.flush().unwrap();
}

fn main() -> ExitCode {
    let said: Vec<String> = std::env::args().collect();
    if let Some(["write", path, count]) = said
        .get(1..4)
        .map(|words| [&*words[0], &*words[1], &*words[2]])
    {
        write(path, count.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let costs = [
        native("the documents' record", &records("native")),
        vendors("bodies of every source, with their adapters", &bodies("")),
        native("the door alone, with what adapters make", &records("")),
    ];
    // Shown, and held to nothing: what has to be masked costs more.
    native("the same, five masked in each", &full(&records("")));
    if costs.iter().all(|cost| *cost <= COST_MAX) {
        return ExitCode::SUCCESS;
    }
    println!("over {COST_MAX} %");
    ExitCode::FAILURE
}
