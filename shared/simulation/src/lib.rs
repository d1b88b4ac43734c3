//! The deterministic simulation: the cores of correlator and rule engine over a log in memory,
//! under the driver's protocol, in one thread, every choice from one seed.
//!
//! A run draws a world (periods, rules and their revisions, records with copies, disorder, late
//! and future times, untrusted clocks, dead letters replayed much later, stalled stages), lets
//! two owners for each partition act and crash at every step of the protocol, and judges what
//! ESCALATIONS holds against a brute force over what the door wrote. The broker's network is not
//! simulated: its promises (sequences, the fence) are; nor are the codec and the store's bytes.
//!
//! `sim --seed N --trace` shows a run again.

#![expect(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "every place is of the run's own making; a run that is wrong stops loudly"
)]

mod cluster;
mod count;
mod door;
mod fault;
mod grouping;
mod join;
mod lacking;
mod log;
mod oracle;
mod owner;
mod place;
mod reading;
mod rng;
mod rules;
mod shown;
mod stage;
mod start;
mod trace;
mod verdict;
mod world;

pub use fault::{Fault, SABOTAGE, Sabotage};
pub use verdict::Outcome;

use cluster::Cluster;
use rng::Rng;
use world::World;

/// One run. `trace` tells every step on standard error.
#[must_use]
pub fn run(seed: u64, fault: Option<Fault>, trace: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let world = World::of(&mut rng);
    if trace {
        say(&format!("{:?} {:?}", world.bounds, world.rule_sets));
        say(&format!("{:?} calm {}", world.stalls, world.calm));
    }
    let mut cluster = Cluster::new(&world, fault, trace);
    cluster.run(&mut rng);
    verdict::judge(&world, &mut cluster, fault)
}

/// The first seed from `seed0` on, of at most `seeds`, at which a fault is caught, and how.
#[must_use]
pub fn caught(fault: Fault, seed0: u64, seeds: u64) -> Option<(u64, Outcome)> {
    (seed0..seed0 + seeds)
        .map(|seed| (seed, run(seed, Some(fault), false)))
        .find(|(_, outcome)| !outcome.holds())
}

#[expect(clippy::print_stderr, reason = "the trace that was asked for")]
fn say(said: &str) {
    eprintln!("{said}");
}
