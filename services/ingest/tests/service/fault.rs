//! The log goes away, the door is flooded, the process stops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balefire_bus::{InstanceId, Leases, Role};
use balefire_ingest::{Config, config};
use balefire_kit::Authenticator;
use balefire_wire::ingest::v1::{AppendResult, AppendStatus};
use rustix::process::Signal;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{DEADLINE, Harness, record, until};

/// Overload is answered within this time.
const ANSWER_MAX: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_a_kill_of_the_log() {
    let harness = Arc::new(Harness::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (harness, stop) = (Arc::clone(&harness), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut acknowledged = BTreeSet::new();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                let ids: Vec<String> = (number..number + 20).map(|i| i.to_string()).collect();
                let line = |id: &String| record(&format!(r#""event_id":"{id}","user_id":"u{id}""#));
                let lines: Vec<String> = ids.iter().map(line).collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                match harness.send(&lines).await {
                    Ok(results) => {
                        assert!(results.iter().all(|r| r.status() == AppendStatus::Accepted));
                        acknowledged.extend(ids);
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status}");
                        let details = status.get_error_details();
                        assert!(details.retry_info().unwrap().retry_delay.is_some());
                    }
                }
                number += 20;
            }
            acknowledged
        })
    };
    let accepted = || {
        let counters = harness.status.status().counters;
        counters
            .iter()
            .find(|c| c.name == "balefire_ingest_accepted_total")
            .unwrap()
            .value
    };
    for round in 1..=2 {
        until("events are accepted", || accepted() >= round * 200).await;
        harness.kill_and_come_back().await;
    }
    let before = accepted();
    until("events are accepted again", || accepted() > before + 100).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = timeout(DEADLINE, sender).await.unwrap().unwrap();
    let events = harness.events().await;
    let stored: BTreeSet<String> = events
        .into_iter()
        .map(|(.., event)| event.event_id.into_owned())
        .collect();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_of_reach_is_unavailable_and_comes_back_by_itself() {
    let harness = Harness::start().await;
    let line = record(r#""event_id":"during","user_id":"u""#);
    harness.signal(Signal::STOP);
    let refused = harness.send(&[&line]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_error_details().retry_info().is_some());
    harness.signal(Signal::CONT);
    let deadline = Instant::now() + DEADLINE;
    let accepted = loop {
        match harness.send(&[&line]).await {
            Ok(results) => break results,
            Err(status) => assert_eq!(status.code(), Code::Unavailable),
        }
        assert!(Instant::now() < deadline, "never accepted again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_ne!(accepted[0].status(), AppendStatus::Rejected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_answered_at_once_and_passes() {
    let config = Config {
        in_flight_bytes_max: 8 * 1024 * 1024,
        ..Config::default()
    };
    let harness = Arc::new(Harness::with(config, Authenticator::open()).await);
    let in_flight = || {
        let counters = harness.status.status().counters;
        counters
            .iter()
            .find(|c| c.name == "balefire_ingest_in_flight_bytes")
            .unwrap()
            .value
    };
    harness.signal(Signal::STOP);
    let waiting: Vec<_> = (0..2)
        .map(|number| {
            let harness = Arc::clone(&harness);
            tokio::spawn(async move {
                let text = "x".repeat(60 * 1024);
                let line =
                    |i: usize| record(&format!(r#""event_id":"{number}-{i}","reason":"{text}""#));
                let lines: Vec<String> = (0..66).map(line).collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                harness.send(&lines).await
            })
        })
        .collect();
    until("the budget is taken", || in_flight() > 7 * 1024 * 1024).await;
    let line = record(&format!(r#""reason":"{}""#, "y".repeat(60 * 1024)));
    let lines = vec![line.as_str(); 10];
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let asked = Instant::now();
        let refused = harness.send(&lines).await.unwrap_err();
        fastest = fastest.min(asked.elapsed());
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        let details = refused.get_error_details();
        assert!(details.retry_info().unwrap().retry_delay.is_some());
    }
    assert!(fastest < ANSWER_MAX, "{fastest:?}");
    harness.signal(Signal::CONT);
    for waited in waiting {
        if let Err(status) = timeout(DEADLINE, waited).await.unwrap().unwrap() {
            assert_eq!(status.code(), Code::Unavailable);
        }
    }
    until("the budget is free again", || in_flight() == 0).await;
    let again = harness.send(&lines).await.unwrap();
    assert!(
        again
            .iter()
            .all(|result| result.status() == AppendStatus::Accepted)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_after_what_was_taken_is_answered() {
    let harness = Harness::start().await;
    harness.send(&[&record(r#""user_id":"u""#)]).await.unwrap();
    harness.shutdown.cancel();
    assert!(!harness.status.status().ready);
    timeout(DEADLINE, harness.serving).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_is_turned_away_while_its_owners_are_behind() {
    let harness = Harness::start().await;
    let bus = harness.bus(Role::RuleEngine).await;
    let stop = CancellationToken::new();
    let instance = InstanceId([3; 16]);
    let (leases, keeper) = Leases::keep(
        &bus,
        &harness.topology,
        "rule-engine",
        instance,
        stop.clone(),
    );
    let keeper = tokio::spawn(keeper);
    let tenures = [leases.owned(0).await, leases.owned(1).await];
    let owners_lag = || {
        let counters = harness.status.status().counters;
        let lag = counters
            .iter()
            .find(|c| c.name == "balefire_ingest_owners_lag");
        lag.unwrap().value
    };
    let event = |category: &str, id: &str| {
        format!(
            r#"{{"event_type":"ai_security","timestamp":"2026-01-01T00:00:00Z","event_id":"{id}","category":"{category}","user_id":"u"}}"#
        )
    };
    tenures
        .iter()
        .for_each(|tenure| tenure.set_lag(config::BULK_LAG_MAX + 1));
    until("the lag is seen", || owners_lag() > config::BULK_LAG_MAX).await;
    let (bulk, urgent) = (event("telemetry", "1"), event("prompt_attack", "2"));
    let refused = harness.send(&[&bulk]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let details = refused.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    let accepted = |results: Vec<AppendResult>| {
        let all = results.iter();
        assert!(
            all.clone().all(|r| r.status() == AppendStatus::Accepted),
            "{results:?}"
        );
    };
    accepted(harness.send(&[&urgent]).await.unwrap());
    let third = event("prompt_attack", "3");
    accepted(harness.send(&[&bulk, &third]).await.unwrap());
    tenures.iter().for_each(|tenure| tenure.set_lag(0));
    until("they have caught up", || owners_lag() == 0).await;
    accepted(harness.send(&[&event("telemetry", "4")]).await.unwrap());
    drop(tenures);
    stop.cancel();
    timeout(DEADLINE, keeper).await.unwrap().unwrap();
}
