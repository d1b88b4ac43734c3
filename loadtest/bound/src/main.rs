//! The bound: how fast this machine parses the records and counts, if it does nothing else. Nothing
//! is admitted, masked, stored or told, and of an event that comes late what counts is when it came.
//!
//! `balefire-bound write FILE [EVENTS] [USERS]` writes the reference workload as producers send it; `balefire-bound run
//! FILE THREADS` counts it. `make peers` runs both, beside Balefire and others, on the same file.

mod count;
mod record;
// The one that the engine alone is measured with.
#[path = "../../../services/rule-engine/core/benches/support/workload.rs"]
mod workload;

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use count::Counts;
use workload::Workload;

const EVENTS: usize = 1_000_000;
const USERS: usize = 100_000;
const THREADS_MAX: usize = 64;
const HELP: &str = "\
balefire-bound write FILE [EVENTS] [USERS]   the reference workload as NDJSON: 1000000 events of 100000 users
balefire-bound run FILE THREADS              parses it and counts by the four rules of the baseline pack

Both print one line of name=value. `make peers` runs them beside Balefire and others.";

fn write(path: &str, events: usize, users: usize) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut line, mut bytes) = (Vec::new(), 0);
    for (number, event) in Workload::new(events, users).enumerate() {
        line.clear();
        record::write(number, &event, &mut line)?;
        bytes += line.len();
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()?;
    let mean = bytes.checked_div(events).unwrap_or_default();
    println!("events={events} users={users} json_bytes_an_event={mean}");
    Ok(())
}

/// As many stretches of whole lines, of about the same length.
fn cut(mut bytes: &[u8], parts: usize) -> Vec<&[u8]> {
    let mut cut = Vec::with_capacity(parts);
    for left in (1..=parts).rev() {
        let about = bytes.len() / left;
        let rest = bytes.get(about..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).map_or(bytes.len(), |end| about + end + 1);
        let (part, rest) = bytes.split_at(end);
        cut.push(part);
        bytes = rest;
    }
    cut
}

/// The file is in memory before the clock starts: what reads it is not the question.
fn run(path: &str, threads: usize) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|e| format!("read {path}: {e}"))?;
    let begun = Instant::now();
    let counts = thread::scope(|scope| {
        let parts: Vec<_> = cut(&bytes, threads)
            .into_iter()
            .map(|part| scope.spawn(move || Counts::of(part)))
            .collect();
        let counts = parts.into_iter().map(|part| {
            let counted = part.join().map_err(|_| "a thread panicked".to_owned());
            counted.and_then(|counts| counts)
        });
        counts.collect::<Result<Vec<_>, _>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
    let (events, state) = (sum(|one| one.events), sum(|one| one.state_bytes()));
    println!(
        "threads={threads} events={events} seconds={seconds:.4} alerts={} state_bytes={state}",
        sum(|one| one.alerts),
    );
    Ok(())
}

fn number(word: Option<&&str>, otherwise: usize) -> Result<usize, String> {
    word.map_or(Ok(otherwise), |word| {
        let parsed = word.parse().ok().filter(|number| *number > 0);
        parsed.ok_or_else(|| format!("{word}: expected a whole number above 0"))
    })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["write", path, rest @ ..] if rest.len() <= 2 => number(rest.first(), EVENTS)
            .and_then(|events| Ok((events, number(rest.get(1), USERS)?)))
            .and_then(|(events, users)| {
                write(path, events, users).map_err(|e| format!("write {path}: {e}"))
            }),
        ["run", path, threads] => {
            number(Some(threads), 1).and_then(|threads| run(path, threads.min(THREADS_MAX)))
        }
        [] => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(HELP.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
