//! The pipeline: order, batches, backpressure, outages.

use std::time::Duration;

use balefire_client::{
    AppendOptions, AppendStatus, Error, NativeEvent, Options, Outcome, Outcomes,
};
use bytes::Bytes;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::server::{Reply, Server};
use crate::{connect, line, quick};

async fn all(mut outcomes: Outcomes) -> Vec<Outcome> {
    let mut told = Vec::new();
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while let Some(outcome) = tokio::time::timeout_at(until, outcomes.next())
        .await
        .expect("ends in 30 s")
    {
        told.push(outcome);
    }
    told
}

fn status(outcome: &Outcome) -> AppendStatus {
    outcome.result.as_ref().expect("answered").status()
}

/// The numbers in the ids of every record the server got, in the order it got them.
fn received(server: &Server) -> Vec<usize> {
    let calls = server.calls();
    let records = calls
        .iter()
        .flat_map(|call| &call.raw.as_ref().expect("raw").records);
    records
        .map(|record| {
            let text = std::str::from_utf8(record).expect("text");
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            digits.parse().expect("a number")
        })
        .collect()
}

#[tokio::test]
async fn outcomes_come_in_order_though_the_first_batch_is_answered_last() {
    let (go, wait) = watch::channel(false);
    let server = Server::start([Reply::AcceptAfter(wait)]).await;
    let options = Options {
        batch_max: 4,
        ..quick()
    };
    let client = connect(&server, options).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    for number in 0..20 {
        assert_eq!(sender.send_raw(line(number)).await.unwrap(), number as u64);
    }
    drop(sender);
    server.called(2).await;
    go.send(true).unwrap();
    let told = all(outcomes).await;
    let numbers: Vec<_> = told.iter().map(|outcome| outcome.number).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert!(
        told.iter()
            .all(|outcome| status(outcome) == AppendStatus::Accepted)
    );
    let mut received = received(&server);
    received.sort_unstable();
    assert_eq!(received, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_records_travel_in_full_batches() {
    let server = Server::start([]).await;
    let client = connect(&server, quick()).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    let reader = tokio::spawn(all(outcomes));
    for number in 0..20_000 {
        sender.send_raw(line(number)).await.unwrap();
    }
    drop(sender);
    assert_eq!(reader.await.unwrap().len(), 20_000);
    let sizes: Vec<_> = server
        .calls()
        .iter()
        .map(|c| c.raw.as_ref().unwrap().records.len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= 512));
    let mut received = received(&server);
    received.sort_unstable();
    assert_eq!(received, (0..20_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_more_batches_than_allowed_are_in_flight_and_the_sender_waits() {
    let (go, wait) = watch::channel(false);
    let held = std::iter::repeat_with(move || Reply::AcceptAfter(wait.clone()));
    let server = Server::start(held.take(100)).await;
    let options = Options {
        batch_max: 2,
        in_flight_max: 3,
        ..quick()
    };
    let client = connect(&server, options).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    let (progress, sent) = watch::channel(0);
    let producer = tokio::spawn(async move {
        for number in 0..40 {
            sender.send_raw(line(number)).await.unwrap();
            progress.send_replace(number + 1);
        }
    });
    server.called(3).await;
    let mut more = sent.clone();
    // In flight 3 × 2, open 2, waiting 1, queue 2: the rest must wait.
    let waits = tokio::time::timeout(Duration::from_millis(300), more.wait_for(|n| *n > 11)).await;
    assert!(waits.is_err(), "{} records were taken", *sent.borrow());
    assert_eq!(server.calls().len(), 3);
    go.send(true).unwrap();
    assert_eq!(all(outcomes).await.len(), 40);
    producer.await.unwrap();
}

#[tokio::test]
async fn the_sender_waits_for_memory() {
    let (go, wait) = watch::channel(false);
    let held = std::iter::repeat_with(move || Reply::AcceptAfter(wait.clone()));
    let server = Server::start(held.take(100)).await;
    let options = Options {
        pending_bytes_max: 0,
        ..quick()
    };
    let client = connect(&server, options).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    let (progress, sent) = watch::channel(0);
    let producer = tokio::spawn(async move {
        for _ in 0..10 {
            sender.send_raw(vec![b'1'; 1 << 20].into()).await.unwrap();
            progress.send_modify(|count| *count += 1);
        }
    });
    server.called(1).await;
    let mut more = sent.clone();
    // The least limit is one request, 4 MiB: three records of 1 MiB and their frames.
    let waits = tokio::time::timeout(Duration::from_millis(300), more.wait_for(|n| *n > 3)).await;
    assert!(waits.is_err(), "{} records were taken", *sent.borrow());
    go.send(true).unwrap();
    assert_eq!(all(outcomes).await.len(), 10);
    producer.await.unwrap();
}

#[tokio::test]
async fn a_refused_batch_is_told_for_each_of_its_records_only() {
    let server = Server::start([Reply::Refuse(Status::permission_denied("not yours"))]).await;
    let options = Options {
        batch_max: 2,
        in_flight_max: 1,
        ..quick()
    };
    let client = connect(&server, options).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    for number in 0..6 {
        sender.send_raw(line(number)).await.unwrap();
    }
    drop(sender);
    let told = all(outcomes).await;
    let first = server.calls()[0].raw.as_ref().unwrap().records.len();
    for (place, outcome) in told.iter().enumerate() {
        match &outcome.result {
            Err(error) => {
                assert!(place < first);
                assert_eq!(error.status().unwrap().code(), Code::PermissionDenied);
            }
            Ok(_) => assert!(place >= first),
        }
    }
    assert_eq!(told.len(), 6);
}

#[tokio::test]
async fn a_record_larger_than_a_request_is_rejected_and_touches_no_other() {
    let server = Server::start([]).await;
    let client = connect(&server, quick()).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    sender.send_raw(line(0)).await.unwrap();
    sender
        .send_raw(Bytes::from(vec![b' '; 5 << 20]))
        .await
        .unwrap();
    sender.send_raw(line(2)).await.unwrap();
    drop(sender);
    let told = all(outcomes).await;
    let statuses: Vec<_> = told.iter().map(status).collect();
    let (yes, no) = (AppendStatus::Accepted, AppendStatus::Rejected);
    assert_eq!(statuses, [yes, no, yes]);
    let violation = told[1].result.as_ref().unwrap().violation.clone().unwrap();
    assert_eq!(violation.reason, "too_large");
}

#[tokio::test]
async fn typed_and_raw_records_keep_their_order() {
    let server = Server::start([]).await;
    let client = connect(&server, quick()).await;
    let (mut sender, outcomes) = client.sender(AppendOptions {
        source: "app".to_owned(),
        ..AppendOptions::default()
    });
    for number in 0..10 {
        if number % 3 == 0 {
            sender.send(NativeEvent::default()).await.unwrap();
        } else {
            sender.send_raw(line(number)).await.unwrap();
        }
    }
    drop(sender);
    assert_eq!(all(outcomes).await.len(), 10);
    let mut typed = 0;
    let mut raw = 0;
    for call in server.calls() {
        assert!(call.typed.is_some() != call.raw.is_some());
        if let Some(request) = call.typed {
            assert_eq!(request.options.unwrap().source, "app");
            typed += request.events.len();
        }
        if let Some(request) = call.raw {
            assert_eq!(request.options.unwrap().source, "app");
            raw += request.records.len();
        }
    }
    assert_eq!((typed, raw), (4, 6));
}

#[tokio::test]
async fn occurrences_are_counted_over_the_whole_run() {
    let server = Server::start([]).await;
    let options = Options {
        batch_max: 3,
        ..quick()
    };
    let client = connect(&server, options).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    let reader = tokio::spawn(all(outcomes));
    for _ in 0..10 {
        sender.send_raw(Bytes::from_static(b"{}")).await.unwrap();
    }
    drop(sender);
    reader.await.unwrap();
    let calls = server.calls();
    let mut counted: Vec<_> = calls
        .iter()
        .flat_map(|c| c.raw.clone().unwrap().occurrences)
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_gets_everything() {
    let server = Server::start([Reply::Hang, Reply::Hang]).await;
    let addr = server.addr;
    let client = connect(&server, quick()).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    for number in 0..100 {
        sender.send_raw(line(number)).await.unwrap();
    }
    drop(sender);
    server.called(1).await;
    drop(server);
    let server = Server::start_at(addr, []).await;
    let told = all(outcomes).await;
    assert_eq!(told.len(), 100);
    assert!(
        told.iter()
            .all(|outcome| status(outcome) == AppendStatus::Accepted)
    );
    let mut received = received(&server);
    received.sort_unstable();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn nobody_sends_when_nobody_reads() {
    let server = Server::start([]).await;
    let client = connect(&server, quick()).await;
    let (mut sender, outcomes) = client.sender(AppendOptions::default());
    drop(outcomes);
    let closed = async {
        loop {
            if let Err(error) = sender.send_raw(line(1)).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), closed)
        .await
        .expect("closes");
    assert!(matches!(error, Error::Closed));
}
