//! Seeds of the simulation, few enough for every run of the tests; `make sim` does many more.

use balefire_simulation::{Outcome, SABOTAGE, caught, run};

/// Seeds of a run of the tests.
const SEEDS: u64 = 300;
/// Seeds within which every deliberate fault must show itself.
const SABOTAGE_SEEDS: u64 = 2000;
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

/// Seeds at which a build before failed, of which it takes some 20,000 to meet one: a barrier that
/// went to each target in another step; an escalation told again from an older checkpoint; one taken
/// for told in a step that another owner had completed without it; a copy told apart from one that
/// had arrived exactly when it said; a record forgotten before a copy of it was replayed and joined.
const FAILED: [u64; 10] = [
    712_848, 1_023_040, 1_025_552, 1_065_681, 1_066_958, 1_145_737, 1_172_103, 1_175_262,
    1_183_350, 1_253_908,
];

#[test]
fn what_failed_once_holds() {
    for seed in FAILED {
        let outcome = run(seed, None, false);
        assert!(outcome.holds(), "--seed {seed}: {:?}", outcome.said);
    }
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
        .filter(|row| caught(row.fault, row.first_seed, SABOTAGE_SEEDS).is_none())
        .map(|row| row.name)
        .collect();
    assert!(survivors.is_empty(), "{survivors:?}");
}
