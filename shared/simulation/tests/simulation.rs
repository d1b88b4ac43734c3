//! Seeds of the simulation, few enough for every run of the tests; `make sim` does many more.

use balefire_simulation::{Outcome, SABOTAGE, caught, run};

/// Seeds of a run of the tests.
const SEEDS: u64 = 300;
/// Seeds within which every deliberate fault must show itself.
const SABOTAGE_SEEDS: u64 = 2000;
/// Seeds shortly before those at which the rare ones show, so that a build with debug checks soon
/// finds them; `make sabotage` begins at 0.
const RARE: [(&str, u64); 7] = [
    ("backfill-dropped", 115),
    ("consumer-watermark", 200),
    ("faster-lane", 75),
    ("promise-ahead-of-matches", 505),
    ("straggler-not-kept", 4530),
    ("trim-without-lateness", 1125),
    ("warming-unsaid", 185),
];

fn first_seed(name: &str) -> u64 {
    let rare = RARE.iter().find(|(rare, _)| *rare == name);
    rare.map_or(0, |(_, seed)| *seed)
}

#[test]
fn what_is_escalated_is_what_the_log_defines() {
    let mut total = Outcome::default();
    for seed in 0..SEEDS {
        let outcome = run(seed, None, false);
        assert!(outcome.holds(), "--seed {seed}: {:?}", outcome.said);
        total.add(&outcome);
    }
    // The hazards bite.
    assert!(total.escalations > 5 * SEEDS, "{}", total.line(SEEDS));
    assert!(total.repairs > SEEDS && total.crashes > SEEDS);
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..10 {
        assert_eq!(run(seed, None, false), run(seed, None, false));
    }
}

#[test]
fn no_deliberate_fault_survives() {
    let survivors: Vec<&str> = SABOTAGE
        .iter()
        .filter(|row| caught(row.fault, first_seed(row.name), SABOTAGE_SEEDS).is_none())
        .map(|row| row.name)
        .collect();
    assert!(survivors.is_empty(), "{survivors:?}");
}
