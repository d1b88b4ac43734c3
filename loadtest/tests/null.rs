//! Generator, receiver and books together, against the null receiver: what it loses and doubles on
//! purpose is named, event by event. Times are left to `balefire-loadtest calibrate`.

use balefire_loadtest::calibrate::faults_are_listed;
use balefire_loadtest::prove::{Asked, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_escalation_is_named() {
    let check = faults_are_listed(true).await.unwrap();
    assert!(check.passed, "{}", check.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_escalation_is_named() {
    let check = faults_are_listed(false).await.unwrap();
    assert!(check.passed, "{}", check.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_the_generator_counts_every_event() {
    let asked = Asked {
        rate: 5_000,
        seconds: 2,
        lag_max: 1_000.0,
    };
    let checks = run(asked).await.unwrap();
    let first = checks.first().unwrap();
    assert_eq!(first.detail, "10000 of 10000");
    assert!(first.passed);
}
