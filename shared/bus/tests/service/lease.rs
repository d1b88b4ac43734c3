//! Leases against a real server: start, stop, crash, an outage.

use std::time::Duration;

use balefire_bus::lease::lags;
use balefire_bus::{Bus, InstanceId, Leases, Role, Tenure};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::harness::{DEADLINE, Harness, until};

const STAGE: &str = "rule-engine";
const PARTITIONS: u32 = 4;

/// An instance that runs whatever it owns until it must not.
struct Instance {
    leases: Leases,
    shutdown: CancellationToken,
    keeper: JoinHandle<()>,
    tenants: Vec<JoinHandle<()>>,
    owned: std::sync::Arc<std::sync::Mutex<std::collections::BTreeSet<u32>>>,
}

impl Instance {
    fn start(harness: &Harness, bus: &Bus, id: u8) -> Self {
        let shutdown = CancellationToken::new();
        let (leases, keeper) = Leases::keep(
            bus,
            &harness.topology,
            STAGE,
            InstanceId([id; 16]),
            shutdown.clone(),
        );
        let owned = std::sync::Arc::default();
        let tenants = (0..PARTITIONS).map(|partition| {
            let (leases, owned) = (leases.clone(), std::sync::Arc::clone(&owned));
            tokio::spawn(tenant(leases, partition, owned))
        });
        Self {
            tenants: tenants.collect(),
            keeper: tokio::spawn(keeper),
            leases,
            shutdown,
            owned,
        }
    }

    fn owned_len(&self) -> usize {
        self.owned.lock().unwrap().len()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.keeper).await.unwrap().unwrap();
        self.tenants.iter().for_each(JoinHandle::abort);
    }

    /// Nothing is handed over; the leases run out.
    fn crash(&self) {
        self.keeper.abort();
        self.tenants.iter().for_each(JoinHandle::abort);
    }
}

async fn tenant(
    leases: Leases,
    partition: u32,
    owned: std::sync::Arc<std::sync::Mutex<std::collections::BTreeSet<u32>>>,
) {
    loop {
        let tenure: Tenure = leases.owned(partition).await;
        owned.lock().unwrap().insert(partition);
        tenure.set_lag(u64::from(partition) + 10);
        tenure.ended().cancelled().await;
        owned.lock().unwrap().remove(&partition);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_spread_handed_over_and_taken_over() {
    let harness = Harness::partitions(PARTITIONS).await;
    let bus = harness.bus(Role::RuleEngine).await;
    let first = Instance::start(&harness, &bus, 1);
    until("the first owns all", || first.owned_len() == 4).await;
    let second = Instance::start(&harness, &bus, 2);
    until("they share", || {
        first.owned_len() == 2 && second.owned_len() == 2
    })
    .await;
    let theirs = second.owned.lock().unwrap().clone();
    for partition in &theirs {
        assert!(!first.owned.lock().unwrap().contains(partition));
        until("the holder is known", || {
            first.leases.holder(*partition) == Some(InstanceId([2; 16]))
        })
        .await;
    }

    // A crash: the leases run out, the other takes over.
    second.crash();
    until("the first took over", || first.owned_len() == 4).await;
    // The door sees how far behind the owners are.
    let door = harness.bus(Role::Ingest).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while lags(&door, 1, STAGE).await.unwrap() != (0..4).map(|p| (p, u64::from(p) + 10)).collect() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // A stop: handed over at once, not run out.
    let third = Instance::start(&harness, &bus, 3);
    until("they share again", || {
        first.owned_len() == 2 && third.owned_len() == 2
    })
    .await;
    first.stop().await;
    until("the third has all", || third.owned_len() == 4).await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_instance_takes_its_own_back() {
    let harness = Harness::partitions(PARTITIONS).await;
    let bus = harness.bus(Role::RuleEngine).await;
    let first = Instance::start(&harness, &bus, 1);
    until("the first owns all", || first.owned_len() == 4).await;
    first.crash();
    let again = Instance::start(&harness, &bus, 1);
    until("it is back", || again.owned_len() == 4).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_server_moves_nothing() {
    let harness = Harness::partitions(PARTITIONS).await;
    let bus = harness.bus(Role::RuleEngine).await;
    let first = Instance::start(&harness, &bus, 1);
    let second = Instance::start(&harness, &bus, 2);
    until("they share", || {
        first.owned_len() == 2 && second.owned_len() == 2
    })
    .await;
    let before = first.owned.lock().unwrap().clone();
    for _ in 0..3 {
        harness.kill_and_come_back().await;
    }
    let stream = balefire_bus::lease::STREAM;
    let after = bus.stream_info(stream).await.unwrap().last_sequence;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while bus.stream_info(stream).await.unwrap().last_sequence < after + 20 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*first.owned.lock().unwrap(), before);
    assert_eq!(second.owned_len(), 2);
    first.stop().await;
    second.stop().await;
}
