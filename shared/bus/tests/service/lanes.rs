//! Reading with priority.

use std::time::Duration;

use balefire_bus::{Error, LaneReader, LaneStart, Log, Role, Start};
use balefire_event::Lane;
use tokio::time::timeout;

use crate::harness::{DEADLINE, Harness, bytes};

async fn fill(harness: &Harness, lane: Lane, count: usize) {
    let log = Log::new(&harness.bus(Role::Ingest).await);
    let subject = harness.topology.events_door(lane, 0);
    for n in 0..count {
        log.append(&subject, bytes(format!("{lane} {n}")), None)
            .await
            .unwrap();
    }
}

async fn reader(harness: &Harness, start: Start) -> LaneReader {
    let lanes = Lane::ALL
        .iter()
        .map(|&lane| LaneStart {
            stream: harness.topology.events_stream(lane, 0),
            start,
        })
        .collect();
    LaneReader::new(&harness.bus(Role::RuleEngine).await, lanes)
}

#[tokio::test]
async fn every_lane_comes_whole_and_in_its_order() {
    let harness = Harness::partitions(1).await;
    // More than a pull and a queue take.
    fill(&harness, Lane::Urgent, 300).await;
    fill(&harness, Lane::Bulk, 300).await;
    let mut reader = reader(&harness, Start::Sequence(0)).await;
    let mut next = [1, 1, 1];
    for _ in 0..600 {
        let (lane, message) = timeout(DEADLINE, reader.next()).await.unwrap().unwrap();
        assert_eq!(message.sequence, next[lane], "lane {lane} has a hole");
        next[lane] += 1;
    }
    assert_eq!(next, [301, 1, 301]);
}

#[tokio::test]
async fn reading_goes_on_over_a_kill_without_hole_or_repeat() {
    let harness = Harness::partitions(1).await;
    fill(&harness, Lane::Urgent, 50).await;
    let mut reader = reader(&harness, Start::Sequence(1)).await;
    for sequence in 1..=50 {
        let (_, message) = timeout(DEADLINE, reader.next()).await.unwrap().unwrap();
        assert_eq!(message.sequence, sequence);
    }
    harness.kill_and_come_back().await;
    fill(&harness, Lane::Urgent, 50).await;
    for sequence in 51..=100 {
        let (lane, message) = timeout(DEADLINE, reader.next()).await.unwrap().unwrap();
        assert_eq!((lane, message.sequence), (0, sequence));
    }
    assert_eq!(reader.last_sequence(0).await.unwrap(), 100);
}

#[tokio::test]
async fn a_dropped_next_takes_nothing_with_it() {
    let harness = Harness::partitions(1).await;
    let mut reader = reader(&harness, Start::Earliest).await;
    assert!(
        timeout(Duration::from_millis(20), reader.next())
            .await
            .is_err()
    );
    fill(&harness, Lane::Normal, 3).await;
    for sequence in 1..=3 {
        let (lane, message) = timeout(DEADLINE, reader.next()).await.unwrap().unwrap();
        assert_eq!((lane, message.sequence), (1, sequence));
    }
}

#[tokio::test]
async fn a_start_by_time_begins_at_the_first_record_stored_since() {
    let harness = Harness::partitions(1).await;
    fill(&harness, Lane::Urgent, 10).await;
    let mut all = reader(&harness, Start::Earliest).await;
    let mut fifth = None;
    for _ in 0..5 {
        fifth = Some(timeout(DEADLINE, all.next()).await.unwrap().unwrap().1);
    }
    let fifth = fifth.unwrap();
    all.start_at(0, Start::Time(fifth.stored_at));
    let again = timeout(DEADLINE, all.next_from(0)).await.unwrap().unwrap();
    assert_eq!(again, fifth);
}

#[tokio::test]
async fn a_log_shorter_than_the_checkpoint_is_a_regression() {
    let harness = Harness::partitions(1).await;
    fill(&harness, Lane::Urgent, 3).await;
    let mut at_end = reader(&harness, Start::Sequence(1)).await;
    at_end.start_at(0, Start::Sequence(4));
    fill(&harness, Lane::Urgent, 1).await;
    let next = timeout(DEADLINE, at_end.next_from(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.sequence, 4);
    at_end.start_at(0, Start::Sequence(99));
    let error = timeout(DEADLINE, at_end.next_from(0))
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, Error::LogRegression { .. }), "{error}");
}
