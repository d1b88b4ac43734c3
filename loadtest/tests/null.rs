//! Generator, receiver and books together, against the null receiver: what it loses and doubles on
//! purpose is named, event by event. Times are left to `balefire-loadtest calibrate`.

use balefire_loadtest::calibrate::faults_are_listed;

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
