//! Group commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use balefire_bus::commit::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, BULK_BATCH_BYTES_MAX};
use balefire_bus::{
    Bus, Error, Former, GroupCommit, Limits, Refused, Role, Target, Ticket, Topology, Weight,
};
use balefire_event::Lane;
use bytes::{Bytes, BytesMut};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::harness::{DEADLINE, Harness, read, until};

/// An item: its number and padding.
struct Item {
    number: u64,
    size: usize,
}

impl Weight for Item {
    fn weight(&self) -> usize {
        self.size
    }
}

/// `tenant 0 writer_seq(8) (number(8) padding)*`, one size an item in a test.
#[derive(Clone)]
struct Plain;

impl Former<Item> for Plain {
    fn form(&mut self, tenant: &str, items: &[Item], writer_seq: u64) -> Bytes {
        let mut record = BytesMut::new();
        record.extend_from_slice(tenant.as_bytes());
        record.extend_from_slice(&[0]);
        record.extend_from_slice(&writer_seq.to_le_bytes());
        for item in items {
            record.extend_from_slice(&item.number.to_le_bytes());
            record.resize(record.len() + item.size - 8, 0);
        }
        record.freeze()
    }
}

fn parse(record: &Bytes, size: usize) -> (String, Vec<u64>) {
    let end = record.iter().position(|&byte| byte == 0).unwrap();
    let tenant = String::from_utf8(record[..end].to_vec()).unwrap();
    let numbers = record[end + 9..]
        .chunks(size)
        .map(|chunk| u64::from_le_bytes(chunk[..8].try_into().unwrap()))
        .collect();
    (tenant, numbers)
}

fn targets(topology: &Topology) -> Vec<Target> {
    Lane::ALL
        .iter()
        .flat_map(|&lane| {
            (0..topology.partitions).map(move |partition| Target {
                stream: topology.events_stream(lane, partition),
                subject: topology.events_door(lane, partition),
                lane,
            })
        })
        .collect()
}

fn start(bus: &Bus, topology: &Topology, limits: Limits) -> GroupCommit<Item> {
    GroupCommit::start(bus, targets(topology), limits, &Plain)
}

fn items(numbers: std::ops::Range<u64>, size: usize) -> Vec<Item> {
    numbers.map(|number| Item { number, size }).collect()
}

type Submitted = (usize, Arc<str>, u64, Ticket);

/// Submits without a pause until the server was killed and is back.
async fn submit_until(commit: Arc<GroupCommit<Item>>, killed: Arc<AtomicBool>) -> Vec<Submitted> {
    let mut submitted = Vec::new();
    for n in 0_u64.. {
        if killed.load(Ordering::Relaxed) && n > 1000 {
            break;
        }
        let target = usize::try_from(n % 4).unwrap();
        let tenant: Arc<str> = if n % 3 == 0 { "acme" } else { "umbrella" }.into();
        let first = n * EACH;
        loop {
            let items = items(first..first + EACH, SIZE);
            match commit.submit(target, Arc::clone(&tenant), items) {
                Ok(ticket) => {
                    submitted.push((target, Arc::clone(&tenant), first, ticket));
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    submitted
}

const SIZE: usize = 100;
const EACH: u64 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_a_kill() {
    let harness = Harness::partitions(2).await;
    let bus = harness.bus(Role::Ingest).await;
    let limits = Limits {
        give_up: DEADLINE,
        ..Limits::default()
    };
    let commit = Arc::new(start(&bus, &harness.topology, limits));
    let killed = Arc::new(AtomicBool::new(false));
    let submit = tokio::spawn(submit_until(Arc::clone(&commit), Arc::clone(&killed)));
    until("something is on its way", || commit.waiting(0).0 > 0).await;
    harness.kill_and_come_back().await;
    killed.store(true, Ordering::Relaxed);
    let tickets = submit.await.unwrap();
    let submissions = tickets.len();

    let mut streams = Vec::new();
    let mut acknowledged = Vec::new();
    for (target, tenant, first, ticket) in tickets {
        let places = timeout(DEADLINE, ticket.places()).await.unwrap().unwrap();
        assert_eq!(places.len() as u64, EACH);
        acknowledged.push((target, tenant, first, places));
    }
    let operator = harness.bus(Role::Operator).await;
    let mut batches = 0;
    for target in targets(&harness.topology) {
        let records: BTreeMap<u64, (String, Vec<u64>)> = read(&operator, &target.stream)
            .await
            .into_iter()
            .map(|record| (record.sequence, parse(&record.payload, SIZE)))
            .collect();
        batches += records.len();
        for (_, numbers) in records.values() {
            assert!(numbers.len() <= BATCH_ITEMS_MAX);
            assert!(numbers.len() * SIZE <= BATCH_BYTES_MAX);
        }
        streams.push(records);
    }
    for (target, tenant, first, places) in acknowledged {
        for (number, place) in (first..).zip(places.iter()) {
            let (of, numbers) = &streams[target][&place.sequence];
            assert_eq!(**of, *tenant);
            assert_eq!(numbers[place.index as usize], number);
        }
    }
    assert!(
        batches * 2 < submissions,
        "{batches} batches for {submissions} submissions"
    );
}

#[tokio::test]
async fn one_submission_spans_batches_and_keeps_its_order() {
    const SIZE: usize = 1000;
    let harness = Harness::partitions(1).await;
    let bus = harness.bus(Role::Ingest).await;
    let commit = start(&bus, &harness.topology, Limits::default());
    // The third target is the bulk lane.
    let ticket = commit
        .submit(2, "acme".into(), items(0..100, SIZE))
        .unwrap();
    let places: Vec<_> = ticket.places().await.unwrap().iter().collect();
    assert_eq!(places.len(), 100);
    assert!(places.is_sorted());
    let stream = harness.topology.events_stream(Lane::Bulk, 0);
    let records = read(&harness.bus(Role::Operator).await, &stream).await;
    assert_eq!(
        records.len(),
        100_usize.div_ceil(BULK_BATCH_BYTES_MAX / SIZE)
    );
    let numbers: Vec<u64> = records
        .iter()
        .flat_map(|record| parse(&record.payload, SIZE).1)
        .collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    timeout(DEADLINE, commit.drained()).await.unwrap();
    let nothing = commit.submit(0, "acme".into(), Vec::new()).unwrap();
    assert!(nothing.places().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_silent_server_fills_the_queue_then_refuses_then_recovers() {
    let harness = Harness::partitions(1).await;
    let bus = harness.bus(Role::Ingest).await;
    let limits = Limits {
        queue_items_max: 50,
        give_up: Duration::from_secs(1),
        ..Limits::default()
    };
    let commit = start(&bus, &harness.topology, limits);
    harness.signal(Signal::STOP);
    let mut tickets = Vec::new();
    let refused = loop {
        match commit.submit(0, "acme".into(), items(0..10, 100)) {
            Ok(ticket) => tickets.push(ticket),
            Err(refused) => break refused,
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(refused, Refused::Overloaded { .. }), "{refused}");
    for ticket in tickets {
        let failed = timeout(DEADLINE, ticket.places())
            .await
            .unwrap()
            .unwrap_err();
        assert!(matches!(failed, Error::Unavailable { .. }), "{failed}");
    }
    let refused = commit
        .submit(0, "acme".into(), items(0..1, 100))
        .unwrap_err();
    assert!(matches!(refused, Refused::Unavailable { .. }), "{refused}");
    harness.signal(Signal::CONT);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Ok(ticket) = commit.submit(0, "acme".into(), items(0..1, 100))
            && ticket.places().await.is_ok()
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_full_stream_refuses_and_keeps_what_it_has() {
    let mut topology = Topology::new(1).unwrap();
    topology.retention.max_bytes = Some(64 * 1024);
    let harness = Harness::start(topology).await;
    let bus = harness.bus(Role::Ingest).await;
    let commit = start(&bus, &topology, Limits::default());
    let mut acknowledged = 0;
    let failed = loop {
        let ticket = commit.submit(0, "acme".into(), items(0..20, 1000)).unwrap();
        match ticket.places().await {
            Ok(places) => acknowledged += places.len(),
            Err(failed) => break failed,
        }
    };
    assert!(matches!(failed, Error::Full { .. }), "{failed}");
    let stream = topology.events_stream(Lane::Urgent, 0);
    let records = read(&harness.bus(Role::Operator).await, &stream).await;
    let stored: usize = records
        .iter()
        .map(|record| parse(&record.payload, 1000).1.len())
        .sum();
    assert_eq!(stored, acknowledged);
    assert!(acknowledged > 0);
}

#[tokio::test]
async fn tenants_take_turns_and_never_share_a_batch() {
    let harness = Harness::partitions(1).await;
    let bus = harness.bus(Role::Ingest).await;
    let commit = start(&bus, &harness.topology, Limits::default());
    let mut tickets = Vec::new();
    // A flood of one tenant in front of a single record of another.
    for n in 0..40 {
        tickets.push(
            commit
                .submit(0, "flood".into(), items(n * 512..(n + 1) * 512, 100))
                .unwrap(),
        );
    }
    let small = commit.submit(0, "small".into(), items(0..1, 100)).unwrap();
    let small = small.places().await.unwrap().get(0).unwrap();
    for ticket in tickets {
        ticket.places().await.unwrap();
    }
    assert!(small.sequence <= 3, "waited behind the flood: {small:?}");
}
