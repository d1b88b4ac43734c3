//! Fenced steps.

use balefire_bus::{Error, Fence, Role};

use crate::harness::{Harness, bytes, read};

#[tokio::test]
async fn a_stale_owner_is_refused() {
    let harness = Harness::partitions(1).await;
    let stream = harness.topology.escalations_stream(0);
    let subject = harness.topology.escalations_step(0, 0);
    let bus = harness.bus(Role::RuleEngine).await;
    let mut old = Fence::new(&bus, &stream, &subject);
    assert!(matches!(
        old.publish(bytes("unclaimed")).await,
        Err(Error::Fenced { .. })
    ));
    assert_eq!(old.last().await.unwrap(), None);
    old.claim(bytes("claim old")).await.unwrap();
    old.publish(bytes("step 1")).await.unwrap();

    let mut new = Fence::new(&bus, &stream, &subject);
    assert_eq!(new.last().await.unwrap().unwrap().payload, bytes("step 1"));
    new.claim(bytes("claim new")).await.unwrap();
    assert!(matches!(
        old.publish(bytes("step 2 of the old")).await,
        Err(Error::Fenced { .. })
    ));
    new.publish(bytes("step 2")).await.unwrap();

    // Another source's subject in the same stream does not disturb.
    let other = harness.topology.escalations_step(0, 1);
    let mut beside = Fence::new(&bus, &stream, &other);
    beside.claim(bytes("claim beside")).await.unwrap();
    new.publish(bytes("step 3")).await.unwrap();

    let stored: Vec<_> = read(&bus, &stream)
        .await
        .into_iter()
        .filter(|record| record.subject == subject)
        .map(|record| record.payload)
        .collect();
    let wanted = ["claim old", "step 1", "claim new", "step 2", "step 3"];
    assert_eq!(stored, wanted.map(bytes));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_stored_once_over_kills() {
    let harness = Harness::partitions(1).await;
    let stream = harness.topology.escalations_stream(0);
    let subject = harness.topology.escalations_step(0, 0);
    let bus = harness.bus(Role::RuleEngine).await;
    let steps = {
        let mut fence = Fence::new(&bus, &stream, &subject);
        fence.claim(bytes("claim")).await.unwrap();
        tokio::spawn(async move {
            for step in 0..1500 {
                fence.publish(bytes(step.to_string())).await.unwrap();
            }
        })
    };
    for _ in 0..2 {
        harness.kill_and_come_back().await;
    }
    steps.await.unwrap();
    let stored: Vec<_> = read(&bus, &stream)
        .await
        .into_iter()
        .skip(1)
        .map(|record| record.payload)
        .collect();
    let wanted: Vec<_> = (0..1500).map(|step: u32| bytes(step.to_string())).collect();
    assert_eq!(stored, wanted);
}
