//! Runs seeds of the simulation, or its sabotage.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::process::ExitCode;

use balefire_simulation::{Outcome, SABOTAGE, caught, run};
use clap::Parser;

/// Most seeds that are named one by one.
const NAMED_MAX: usize = 20;

/// The whole way of an event, simulated: every fault the log must stand, from one seed each.
#[derive(Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    seed0: u64,
    /// One seed alone; says what it found.
    #[arg(long)]
    seed: Option<u64>,
    /// Tells every step of that seed.
    #[arg(long)]
    trace: bool,
    /// Makes this deliberate mistake.
    #[arg(long)]
    fault: Option<String>,
    /// Makes every deliberate mistake, one after the other; each must be caught.
    #[arg(long)]
    sabotage: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.sabotage {
        return sabotage(&options);
    }
    let fault = match &options.fault {
        None => None,
        Some(name) => match SABOTAGE.iter().find(|row| row.name == name) {
            Some(row) => Some(row.fault),
            None => {
                println!("no fault is called {name}");
                return ExitCode::from(2);
            }
        },
    };
    if let Some(seed) = options.seed {
        let outcome = run(seed, fault, options.trace);
        outcome.said.iter().for_each(|said| println!("{said}"));
        println!("{}", outcome.line(1));
        return code(&outcome);
    }
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let end = options.seed0 + options.seeds;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let first = options.seed0 + worker;
            let step = usize::try_from(threads).unwrap_or(1);
            std::thread::spawn(move || {
                let seeds = (first..end).step_by(step);
                seeds.map(|seed| (seed, run(seed, fault, false))).fold(
                    (Outcome::default(), Vec::new()),
                    |(mut total, mut failed), (seed, outcome)| {
                        total.add(&outcome);
                        if !outcome.holds() {
                            failed.push((seed, outcome.failures()));
                        }
                        (total, failed)
                    },
                )
            })
        })
        .collect();
    let mut total = Outcome::default();
    let mut failed = Vec::new();
    for worker in workers {
        let (outcome, seeds) = worker.join().expect("a run does not panic");
        total.add(&outcome);
        failed.extend(seeds);
    }
    failed.sort();
    for (seed, what) in failed.iter().take(NAMED_MAX) {
        println!("failed: --seed {seed} ({})", what.join(", "));
    }
    println!("{}", total.line(options.seeds));
    code(&total)
}

fn sabotage(options: &Options) -> ExitCode {
    let mut survivors = 0;
    println!("{:<30} {:<6} {:<34} breaks", "fault", "seed", "caught as");
    for row in SABOTAGE {
        // One too rare for so many seeds is looked for where it shows.
        let seed0 = match row.first_seed > options.seeds {
            true => row.first_seed,
            false => options.seed0,
        };
        match caught(row.fault, seed0, options.seeds) {
            Some((seed, outcome)) => {
                let how = outcome.failures().join(",");
                println!("{:<30} {seed:<6} {how:<34} {}", row.name, row.breaks);
            }
            None => {
                survivors += 1;
                println!(
                    "{:<30} {:<6} {:<34} {}",
                    row.name, "-", "SURVIVES", row.breaks
                );
            }
        }
    }
    println!("faults={} survivors={survivors}", SABOTAGE.len());
    ExitCode::from(u8::from(survivors > 0))
}

fn code(outcome: &Outcome) -> ExitCode {
    ExitCode::from(u8::from(!outcome.holds()))
}
