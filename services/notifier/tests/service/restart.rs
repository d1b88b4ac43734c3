use std::collections::BTreeMap;
use std::time::Duration;

use balefire_notifier::Config;
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::queue::unlogged_max;
use balefire_notifier_core::route::ReceiverEntry;
use balefire_wire::deadletter::v1::ReplayDeadLettersRequest;

use crate::receiver::{Act, Receiver};
use crate::world::{Notifier, Oddity, World, config, entry, escalation, until};

const MANY: u8 = 40;

async fn escalate_many(world: &mut World) {
    for id in 0..MANY {
        world.escalate(usize::from(id % 2), &[escalation(id)]).await;
    }
}

/// How often each id was taken, and that each id always had one body.
fn counts(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for request in receiver.requests() {
        let id = request.id().to_owned();
        let body = bodies.entry(id).or_insert_with(|| request.body.clone());
        assert_eq!(*body, request.body);
    }
    let mut counts = BTreeMap::new();
    for id in receiver.taken() {
        *counts.entry(id).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_nothing_and_repeats_at_most_what_was_in_flight() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Slow(Duration::from_millis(5))).await;
    let settings = config(&[("soc", &receiver.url)]);
    let mut notifier = world.notifier(&settings).await;
    escalate_many(&mut world).await;
    let mut kills = 0;
    for reached in [3, 9, 15, 30] {
        until("some are delivered", async || {
            (receiver.taken().len() >= reached).then_some(())
        })
        .await;
        notifier.kill();
        kills += 1;
        notifier = world.notifier(&settings).await;
    }
    notifier.settled(&world).await;
    let counts = counts(&receiver);
    assert_eq!(counts.len(), usize::from(MANY));
    let repeated: usize = counts.values().map(|count| count - 1).sum();
    assert!(repeated <= kills, "{repeated} repeated by {kills} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_stands_still_no_more_is_told_than_a_kill_may_repeat() {
    stands_still(1).await;
    stands_still(2).await;
}

async fn stands_still(places: usize) {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Held).await;
    let most = unlogged_max(places);
    let entries = [ReceiverEntry {
        concurrency: Some(places),
        ..entry("soc", &receiver.url)
    }];
    let patient = Duration::from_secs(60);
    let settings = Config::of(&entries, &[None], Backoff::default(), patient).unwrap();
    let notifier = world.notifier(&settings).await;
    escalate_many(&mut world).await;
    until("all are decided", async || {
        let pending = notifier.counter("deliveries_pending").await;
        (pending == u64::from(MANY)).then_some(())
    })
    .await;
    world.signal_server("-STOP");
    receiver.otherwise(Act::Status(200));
    // It answers at once: only that bound holds the others back.
    until("nothing more is told", async || {
        let unlogged = notifier.counter("deliveries_unlogged").await;
        let under_way = notifier.counter("deliveries_under_way").await;
        (unlogged == u64::try_from(most).unwrap() && under_way == 0).then_some(())
    })
    .await;
    assert_eq!(receiver.taken().len(), most);
    notifier.kill();
    world.signal_server("-CONT");
    let notifier = world.notifier(&settings).await;
    notifier.settled(&world).await;
    let counts = counts(&receiver);
    assert_eq!(counts.len(), usize::from(MANY));
    let repeated: usize = counts.values().map(|count| count - 1).sum();
    assert!(repeated <= most, "{repeated}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_begin_later_are_read_from_there() {
    let odd = Oddity {
        first: 4,
        ..Oddity::default()
    };
    let mut world = World::start_odd(odd).await;
    let receiver = Receiver::good().await;
    let settings = config(&[("soc", &receiver.url)]);
    let notifier = world.notifier(&settings).await;
    world.escalate(0, &[escalation(1)]).await;
    world
        .write(0, bytes::Bytes::from_static(b"\xff\xff rubbish"))
        .await;
    notifier.settled(&world).await;
    assert_eq!(notifier.await_letters(1).await.len(), 1);
    notifier.kill();
    let notifier = world.notifier(&settings).await;
    world.escalate(0, &[escalation(2)]).await;
    notifier.settled(&world).await;
    let taken = counts(&receiver);
    let want = [1, 2].map(|n| (format!("{n:02}").repeat(16), 1));
    assert_eq!(taken, BTreeMap::from(want));
    assert_eq!(notifier.await_letters(1).await.len(), 1, "the same one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_repeats_nothing() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Slow(Duration::from_millis(5))).await;
    let settings = config(&[("soc", &receiver.url)]);
    let notifier = world.notifier(&settings).await;
    escalate_many(&mut world).await;
    until("some are delivered", async || {
        (receiver.taken().len() >= 5).then_some(())
    })
    .await;
    notifier.stop().await;
    let notifier = world.notifier(&settings).await;
    notifier.settled(&world).await;
    let counts = counts(&receiver);
    assert_eq!(counts.len(), usize::from(MANY));
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_server_loses_and_repeats_nothing() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Slow(Duration::from_millis(5))).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    escalate_many(&mut world).await;
    until("some are delivered", async || {
        (receiver.taken().len() >= 5).then_some(())
    })
    .await;
    world.signal_server("-9");
    notifier.settled(&world).await;
    let counts = counts(&receiver);
    assert_eq!(counts.len(), usize::from(MANY));
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_and_dead_letters_outlive_a_kill() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Status(500)).await;
    let settings = config(&[("soc", &receiver.url)]);
    let notifier = world.notifier(&settings).await;
    world.escalate(0, &[escalation(1), escalation(2)]).await;
    notifier.await_letters(2).await;
    notifier.settled(&world).await;
    let before = receiver.requests().len();
    notifier.kill();
    receiver.otherwise(Act::Status(200));
    let notifier = world.notifier(&settings).await;
    notifier.settled(&world).await;
    assert_eq!(
        receiver.requests().len(),
        before,
        "dead letters wait for people"
    );
    assert_eq!(notifier.await_letters(2).await.len(), 2);
    let all = ReplayDeadLettersRequest {
        all: true,
        ..ReplayDeadLettersRequest::default()
    };
    let answer = notifier.letters().replay_dead_letters(all).await.unwrap();
    assert_eq!(answer.into_inner().replayed.len(), 2);
    notifier.settled(&world).await;
    notifier.kill();
    let notifier = world.notifier(&settings).await;
    notifier.settled(&world).await;
    assert_eq!(counts(&receiver).values().sum::<usize>(), 2);
    assert!(notifier.open_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_notifiers_share_the_partitions_and_tell_once() {
    let mut world = World::start().await;
    let receiver = Receiver::good().await;
    let settings = config(&[("soc", &receiver.url)]);
    let first = world.notifier(&settings).await;
    let second = world.second_notifier(&settings).await;
    let running = async |notifier: &Notifier| {
        let partitions = notifier.status().await.partitions;
        partitions.iter().filter(|p| p.state == "running").count()
    };
    until("both have one", async || {
        let shared = running(&first).await == 1 && running(&second).await == 1;
        shared.then_some(())
    })
    .await;
    world.escalate(0, &[escalation(1)]).await;
    world.escalate(1, &[escalation(2)]).await;
    until("both are told", async || {
        (receiver.taken().len() >= 2).then_some(())
    })
    .await;
    // What was told and not yet written down is told again after a kill.
    until("both wrote it down", async || {
        let pending = async |one: &Notifier| one.counter("deliveries_pending").await;
        (pending(&first).await + pending(&second).await == 0).then_some(())
    })
    .await;
    first.kill();
    until("the second has both", async || {
        (running(&second).await == 2).then_some(())
    })
    .await;
    world.escalate(0, &[escalation(3)]).await;
    world.escalate(1, &[escalation(4)]).await;
    second.settled(&world).await;
    let mut taken = receiver.taken();
    taken.sort();
    assert_eq!(taken, [1, 2, 3, 4].map(|n| format!("{n:02}").repeat(16)));
}
