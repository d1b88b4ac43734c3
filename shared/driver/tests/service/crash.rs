//! Crashes, take-overs and zombies: every output once, in the same steps.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use balefire_bus::{Bus, Fence};
use balefire_driver::{Error, Phase};
use balefire_event::{Lane, Timestamp};
use balefire_store::Store;
use balefire_wire::log::v1::{InputRun, Step};
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use rand::Rng;

use crate::check::outputs_are_exact;
use crate::harness::{Harness, Running, open_store, read, until};
use crate::stage::{COUNT, REPAIR, Thirds};

const BATCHES: usize = 300;
const CRASHES: usize = 12;

/// Feeds random inputs over the lanes.
async fn feed(harness: &Harness, batches: usize) {
    for number in 0..batches {
        let (lane, key) = {
            let mut random = rand::rng();
            (
                Lane::ALL[random.random_range(0..3)],
                random.random_range(0..7),
            )
        };
        let command = if number % 20 == 19 { REPAIR } else { COUNT };
        harness.input(lane, key, command).await;
    }
}

/// Runs a driver while more is fed, and crashes it as soon as some more outputs are there.
async fn run_and_crash(harness: &Harness, store: Store) {
    let target = harness.topology.escalations_stream(0);
    let before = harness.last(&target).await;
    // The claim is one. Steps that were fed together come out as one, so fewer may come.
    let goal = before + rand::rng().random_range(1..9);
    let fed = Cell::new(false);
    let running = harness.drive(store, Thirds::new());
    let feeding = async {
        feed(harness, BATCHES / CRASHES).await;
        fed.set(true);
    };
    tokio::join!(feeding, async {
        until("more outputs", async || {
            let last = harness.last(&target).await;
            last >= goal || (fed.get() && last > before)
        })
        .await;
        running.crash().await;
    });
}

async fn exact_through_crashes(keep: bool) {
    let harness = Harness::start().await;
    let store = async || {
        if keep {
            harness.store().await
        } else {
            Store::none()
        }
    };
    for _ in 0..CRASHES {
        run_and_crash(&harness, store().await).await;
    }
    harness.mark().await;
    let running = harness.drive(store().await, Thirds::new());
    let steps = outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    assert!(steps > 3, "{steps} steps");
    running.stop().await;
    let claims = read(&harness.engine, &harness.topology.escalations_stream(0))
        .await
        .iter()
        .filter_map(|m| balefire_wire::BatchView::parse(&m.payload).unwrap().step)
        .filter(|step| step.claim)
        .count();
    assert!(claims > CRASHES / 2, "{claims} owners in all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_lose_and_repeat_nothing_with_checkpoints() {
    exact_through_crashes(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_lose_and_repeat_nothing_without_checkpoints() {
    exact_through_crashes(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_and_repeats_nothing() {
    let harness = Arc::new(Harness::start().await);
    let running = harness.drive(harness.store().await, Thirds::new());
    let feeding = tokio::spawn({
        let harness = Arc::clone(&harness);
        async move {
            feed(&harness, BATCHES).await;
            harness.mark().await;
        }
    });
    let target = harness.topology.escalations_stream(0);
    for goal in [5, 15] {
        until("outputs", async || {
            let info = harness.engine.stream_info(&target).await;
            info.is_ok_and(|info| info.last_sequence >= goal)
        })
        .await;
        harness.kill_server().await;
    }
    feeding.await.unwrap();
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_leaves_a_checkpoint_that_continues() {
    let harness = Harness::start().await;
    for round in 1..4 {
        feed(&harness, BATCHES).await;
        harness.mark().await;
        let mut running = harness.drive(harness.store().await, Thirds::new());
        outputs_are_exact(&harness, round, &BTreeSet::new()).await;
        running
            .reported(|report| report.phase == Phase::Running)
            .await;
        running.stop().await;
        let store = harness.store().await;
        let checkpoint = store.load("rule-engine.0").await.unwrap().unwrap();
        let last = harness
            .last(&harness.topology.events_stream(Lane::Bulk, 0))
            .await;
        assert_eq!(checkpoint.meta.sources[2].sequence, last);
    }
}

/// Inputs without output are in no list while it runs; else the next owner would list them in an order of
/// its own, which the checkpoint does not fit.
async fn listed_at_a_hand_over(late: bool) {
    let harness = Harness::start().await;
    for lane in [Lane::Bulk, Lane::Urgent] {
        harness.input(lane, 1, COUNT).await;
    }
    // A checkpoint behind them, without their list, may be there already, or not.
    let store = harness.store().await;
    let mut running = harness.drive(store.clone(), Thirds::new());
    running.reported(|report| report.consumed == 2).await;
    if late {
        let name = "rule-engine.0";
        let kept = async || store.load(name).await.unwrap();
        until("a checkpoint", async || kept().await.is_some()).await;
    }
    running.stop().await;
    let kept = store.load("rule-engine.0").await;
    drop(store);
    let meta = kept.unwrap().unwrap().meta;
    assert_eq!((meta.step, meta.tail.len()), (1, 0));

    harness.mark().await;
    let running = harness.drive(harness.store().await, Thirds::new());
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.crash().await;
    // The checkpoint stands before the next list, or in its middle.
    harness.mark().await;
    let running = harness.drive(harness.store().await, Thirds::new());
    outputs_are_exact(&harness, 2, &BTreeSet::new()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_without_output_are_listed_when_the_partition_is_handed_over() {
    listed_at_a_hand_over(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_of_a_checkpoint_are_listed_when_the_partition_is_handed_over() {
    listed_at_a_hand_over(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_taken_over_is_refused() {
    let harness = Harness::start().await;
    let mut zombie = harness.drive(Store::none(), Thirds::new());
    zombie
        .reported(|report| report.phase == Phase::Running)
        .await;
    feed(&harness, BATCHES).await;
    harness.mark().await;
    let mut heir: Running = harness.drive(Store::none(), Thirds::new());
    heir.reported(|report| report.phase == Phase::Running).await;
    // The zombie still reads and derives; its next step is refused.
    feed(&harness, BATCHES).await;
    harness.mark().await;
    zombie
        .reported(|report| matches!(&report.phase, Phase::Stopped(why) if why.contains("owner")))
        .await;
    outputs_are_exact(&harness, 2, &BTreeSet::new()).await;
    zombie.crash().await;
    heir.stop().await;
}

/// A step that reached one target only is completed on the other one, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_one_target_lacks_is_completed() {
    let harness = Harness::start().await;
    harness.mark().await;
    // A first owner derives step 1 from the urgent mark and dies after its first publish. What
    // it published is taken from another owner's run on a server of its own.
    let records = {
        let other = Harness::start().await;
        let urgent = read(
            &harness.engine,
            &harness.topology.events_stream(Lane::Urgent, 0),
        )
        .await;
        other.append(Lane::Urgent, urgent[0].payload.clone()).await;
        let running = other.drive(Store::none(), Thirds::new());
        let target = other.topology.escalations_stream(0);
        until("step 1", async || other.last(&target).await >= 2).await;
        running.stop().await;
        read(&other.engine, &target).await.pop().unwrap().payload
    };
    half_publish(&harness.engine, &harness, &records).await;
    let running = harness.drive(Store::none(), Thirds::new());
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.stop().await;
}

/// What a later owner finds in a step that a checkpoint covers, where a target lacked it, is shown to
/// whoever goes on from that checkpoint: it is not told again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_later_with_a_step_that_a_checkpoint_covers_is_shown() {
    let harness = Harness::start().await;
    harness.mark().await;
    let running = harness.drive(harness.store().await, Thirds::new());
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.stop().await;
    let kept = harness.store().await.load("rule-engine.0").await;
    let covered = kept.unwrap().unwrap().meta.step;

    let target = harness.plan().targets.remove(0);
    let mut fence = Fence::new(&harness.engine, &target.stream, &target.subject);
    let message = |step: &Step, records: usize| {
        let mut writer = BatchWriter::default();
        for _ in 0..records {
            writer.push(RecordRef::Tick(Timestamp(1)));
        }
        Bytes::from(writer.finish(&Header::default(), Some(step)))
    };
    let late = Step {
        number: covered,
        last_part: true,
        ..Step::default()
    };
    let claim = Step {
        claim: true,
        ..late.clone()
    };
    fence.claim(message(&claim, 0)).await.unwrap();
    fence.publish(message(&late, 3)).await.unwrap();

    let stage = Thirds::new();
    let shown = Arc::clone(&stage.shown);
    let mut running = harness.drive(harness.store().await, stage);
    running
        .reported(|report| report.phase == Phase::Running)
        .await;
    assert_eq!(shown.load(Ordering::SeqCst), 3);
    running.stop().await;
}

async fn half_publish(bus: &Bus, harness: &Harness, payload: &Bytes) {
    let target = harness.plan().targets.remove(0);
    let mut fence = Fence::new(bus, &target.stream, &target.subject);
    let step = Step {
        claim: true,
        last_part: true,
        ..Step::default()
    };
    let claim = BatchWriter::default().finish(&Header::default(), Some(&step));
    fence.claim(claim.into()).await.unwrap();
    let batch = balefire_wire::BatchView::parse(payload).unwrap();
    let step = batch.step.clone().unwrap();
    let run = InputRun {
        lane: Lane::Urgent.number(),
        first_sequence: 1,
        count: 1,
    };
    assert_eq!((step.number, step.inputs), (1, vec![run]));
    fence.publish(payload.clone()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_than_the_checkpoints_stops_the_partition_untouched() {
    let first = Harness::start().await;
    feed(&first, BATCHES).await;
    first.mark().await;
    let running = first.drive(first.store().await, Thirds::new());
    outputs_are_exact(&first, 1, &BTreeSet::new()).await;
    running.stop().await;

    let second = Harness::start().await;
    let running = second.drive(open_store(first.dir.path()).await, Thirds::new());
    let ended = tokio::time::timeout(crate::harness::DEADLINE, running.task).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::LogRegression { .. }), "{error}");
    for target in &second.plan().targets {
        assert_eq!(second.last(&target.stream).await, 0);
    }
    let kept = open_store(first.dir.path()).await;
    assert!(kept.load("rule-engine.0").await.unwrap().is_some());
}
