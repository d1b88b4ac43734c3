//! Low-rate logs and dead letters.

use balefire_bus::deadletter::Origin;
use balefire_bus::topology::{CONTROL, CONTROL_RULES, DEADLETTERS};
use balefire_bus::{DeadLetters, Error, Log, Role};
use tokio::time::timeout;

use crate::harness::{DEADLINE, Harness, bytes, read};

#[tokio::test]
async fn a_tail_goes_on_where_read_all_ends() {
    let harness = Harness::partitions(1).await;
    let log = Log::new(&harness.bus(Role::RuleEngine).await);
    assert!(
        read(&harness.bus(Role::Ingest).await, CONTROL)
            .await
            .is_empty()
    );
    for n in 1..=3 {
        let place = log
            .append(CONTROL_RULES, bytes(n.to_string()), None)
            .await
            .unwrap();
        assert_eq!(place.sequence, n);
    }
    let records = read(&harness.bus(Role::Ingest).await, CONTROL).await;
    assert_eq!(records.len(), 3);
    let mut tail = log.tail(CONTROL, 3);
    let third = timeout(DEADLINE, tail.next()).await.unwrap().unwrap();
    assert_eq!(third.unwrap(), records[2]);
    log.append(CONTROL_RULES, bytes("4"), None).await.unwrap();
    let fourth = timeout(DEADLINE, tail.next()).await.unwrap().unwrap();
    assert_eq!(fourth.unwrap().payload, bytes("4"));
    assert_eq!(log.get(CONTROL, 2).await.unwrap().unwrap(), records[1]);
    assert_eq!(log.get(CONTROL, 99).await.unwrap(), None);
    let last = log.get_last(CONTROL, CONTROL_RULES).await.unwrap().unwrap();
    assert_eq!(last.sequence, 4);
    assert!(matches!(
        log.append(CONTROL_RULES, vec![0; 2 * 1024 * 1024].into(), None)
            .await,
        Err(Error::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_dead_letter_is_stored_once() {
    let harness = Harness::partitions(1).await;
    let bus = harness.bus(Role::Correlator).await;
    let dead = DeadLetters::new(&bus, Role::Correlator.as_str());
    let origin = Origin {
        stream: "INTAKE_g1_normal_0",
        sequence: 7,
        index: 0,
    };
    let first = dead.publish(origin, bytes("why")).await.unwrap();
    let again = dead.publish(origin, bytes("why")).await.unwrap();
    assert_eq!(first, again);
    let next = Origin { index: 1, ..origin };
    dead.publish(next, bytes("why")).await.unwrap();
    let operator = harness.bus(Role::Operator).await;
    assert_eq!(read(&operator, DEADLETTERS).await.len(), 2);
}
