//! What masking costs: the share of admitting a record, over the samples of every source and over
//! the native record of the documents.
//!
//! `cargo bench -p balefire-ingest-core --bench redaction`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints what it measured"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use balefire_event::stamp::ClockPolicy;
use balefire_event::{Event, Timestamp};
use balefire_ingest_core::adapt::{self, Choice, Context};
use balefire_ingest_core::{Door, Provenance, Source, admit_json, redact};

const ROUNDS: u32 = 200;

fn samples(only: &str) -> Vec<Vec<u8>> {
    let context = Context::at(Timestamp(0));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.ends_with(".in.json") && name.starts_with(only)
        })
        .collect();
    paths.sort();
    let read = |path| adapt::read(Choice::Auto, &std::fs::read(path).unwrap(), &context);
    let records = paths.into_iter().flat_map(read).flatten();
    records.map(|adapted| adapted.json).collect()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn measure(told: &str, records: &[Vec<u8>]) {
    let source = Source::undeclared("bench", ClockPolicy::default());
    let door = Door::new("default", source, 2);
    let (mut whole, mut masking) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        for record in records {
            let begun = Instant::now();
            let admitted = admit_json(&door, black_box(record), Provenance::default());
            whole += begun.elapsed();
            // Masking what is masked already looks at every text again and changes none.
            let mut event: Event<'_> = admitted.unwrap().event;
            let begun = Instant::now();
            black_box(redact::event(black_box(&mut event)));
            masking += begun.elapsed();
        }
    }
    let count = ROUNDS * u32::try_from(records.len()).unwrap();
    println!(
        "{told}: {} records, {:?} to admit one, {:?} of it to look for what must be masked: {:.1} %",
        records.len(),
        whole / count,
        masking / count,
        100.0 * masking.as_secs_f64() / whole.as_secs_f64()
    );
}

fn main() {
    measure("native", &samples("native"));
    measure("every source", &samples(""));
}
