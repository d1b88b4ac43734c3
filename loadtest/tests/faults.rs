//! Faults put between generator and null receiver on purpose are found and named.

use balefire_loadtest::between::{DROP_EVERY, Fault};
use balefire_loadtest::calibrate::through;

#[tokio::test(flavor = "multi_thread")]
async fn one_event_dropped_in_ten_thousand_is_named() {
    let listed = through(Fault::Drop, 1_500, 7).await.unwrap();
    assert!(u64::try_from(listed.events).unwrap() > DROP_EVERY);
    assert_eq!(
        (listed.missing.len(), listed.again.len(), listed.unexpected),
        (1, 0, 0)
    );
    // Four streams side by side: the 10,000th at the door is about the 10,000th of the plan.
    assert!(u64::from(listed.missing[0]).abs_diff(DROP_EVERY) < 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_escalation_delivered_twice_is_named() {
    let listed = through(Fault::Double, 200, 2).await.unwrap();
    assert_eq!(
        (listed.missing.len(), listed.again.len(), listed.unexpected),
        (0, 1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_of_200_ms_each_second_is_named() {
    let listed = through(Fault::Stall, 400, 5).await.unwrap();
    let long = listed
        .standstills
        .iter()
        .filter(|one| one.length_ns > 150_000_000);
    assert!(long.count() >= 4, "{:?}", listed.standstills);
    assert!(listed.missing.is_empty() && listed.again.is_empty());
}
