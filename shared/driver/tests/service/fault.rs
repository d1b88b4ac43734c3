//! Bad batches, panics, unknown revisions, and time that passes without records.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use balefire_driver::{MALFORMED_RECORD, Phase, RULE_PANICKED, UNKNOWN_SCHEMA};
use balefire_event::Lane;
use balefire_store::{Changes, Store};
use balefire_wire::deadletter::v1::DeadLetter;
use balefire_wire::log::v1::record::Kind;
use balefire_wire::{BatchView, BatchWriter, Header, RecordView};
use bytes::Bytes;

use crate::check::outputs_are_exact;
use crate::harness::{Harness, batch, read, until};
use crate::stage::{COUNT, OPEN, PANIC, Thirds};

async fn dead_letters(harness: &Harness) -> Vec<DeadLetter> {
    let messages = read(&harness.engine, "DEADLETTERS").await;
    messages
        .iter()
        .flat_map(|message| {
            let batch = BatchView::parse(&message.payload).unwrap();
            batch
                .records()
                .map(|record| {
                    let record = record.unwrap();
                    let RecordView::Other(Kind::DeadLetter(letter)) = record else {
                        panic!("no dead letter: {record:?}");
                    };
                    letter
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn of_a_later_version() -> Bytes {
    let header = Header {
        semantics_version: 99,
        ..Header::default()
    };
    BatchWriter::default().finish(&header, None).into()
}

async fn poison_is_laid_aside(keep: bool) {
    let harness = Harness::start().await;
    let mut wanted = Vec::new();
    for (payload, reason) in [
        (Bytes::from_static(b"\xff\xff no batch"), MALFORMED_RECORD),
        (of_a_later_version(), UNKNOWN_SCHEMA),
        (batch(1, PANIC, 0), RULE_PANICKED),
        (batch(2, PANIC, 0), RULE_PANICKED),
    ] {
        for key in 0..6 {
            harness.input(Lane::Normal, key, COUNT).await;
        }
        let sequence = harness.append(Lane::Normal, payload.clone()).await;
        wanted.push((sequence, reason.to_owned(), payload));
    }
    harness.mark().await;
    let dead: BTreeSet<_> = wanted.iter().map(|(sequence, ..)| (1, *sequence)).collect();
    for run in 1..3 {
        let store = if keep {
            harness.store().await
        } else {
            Store::none()
        };
        let running = harness.drive(store, Thirds::new());
        outputs_are_exact(&harness, run, &dead).await;
        running.stop().await;
        // A second owner goes through the same poison again.
        harness.mark().await;
    }
    // One that was found again, because what was read beside it was not passed over, is the same.
    let mut letters = dead_letters(&harness).await;
    letters.sort_by_key(|letter| letter.sequence);
    letters.dedup_by_key(|letter| letter.id.clone());
    let stream = harness.topology.events_stream(Lane::Normal, 0);
    let found: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.sequence,
                letter.reason.clone(),
                letter.payload.clone(),
            )
        })
        .collect();
    assert_eq!(found, wanted);
    for letter in &letters {
        assert_eq!(letter.stream, stream);
        assert_eq!(letter.stage, "rule-engine");
        assert_eq!(letter.id, format!("dl:{stream}:{}", letter.sequence));
        assert_eq!(
            letter.replay_subject,
            harness.topology.events_replay(Lane::Normal, 0)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_becomes_a_dead_letter_and_the_partition_goes_on() {
    poison_is_laid_aside(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_becomes_a_dead_letter_without_checkpoints_too() {
    poison_is_laid_aside(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_control_revision_blocks_until_it_is_known() {
    let harness = Harness::start().await;
    let stage = Thirds::new();
    let known = stage.known.clone();
    let mut running = harness.drive(Store::none(), stage);
    harness.append(Lane::Normal, batch(0, COUNT, 7)).await;
    running
        .reported(|report| matches!(&report.phase, Phase::Blocked(why) if why.contains('7')))
        .await;
    harness.mark().await;
    known.store(7, Ordering::SeqCst);
    running
        .reported(|report| report.phase == Phase::Running)
        .await;
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_passes_by_ticks_only_while_something_is_open() {
    let harness = Harness::start().await;
    let running = harness.drive(harness.store().await, Thirds::new());
    let bulk = harness.topology.events_stream(Lane::Bulk, 0);
    harness.input(Lane::Urgent, 1, OPEN).await;
    // The deadline has passed: one tick a lane comes, closes it, and is put out as a record.
    until("a tick closes it", async || {
        harness.last(&harness.topology.escalations_stream(0)).await >= 2
    })
    .await;
    harness.mark().await;
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.stop().await;
    let ticks = read(&harness.engine, &bulk)
        .await
        .iter()
        .filter(|m| m.subject == harness.topology.events_tick(Lane::Bulk, 0))
        .count();
    assert!((1..=3).contains(&ticks), "{ticks} ticks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_is_built_from_the_log() {
    let harness = Harness::start().await;
    for key in 0..7 {
        harness.input(Lane::Normal, key, COUNT).await;
    }
    harness.mark().await;
    let running = harness.drive(harness.store().await, Thirds::new());
    outputs_are_exact(&harness, 1, &BTreeSet::new()).await;
    running.stop().await;
    {
        let store = harness.store().await;
        let checkpoint = store.load("rule-engine.0").await.unwrap().unwrap();
        let other = Changes::sliced(b"another stage's bytes");
        let saved = store.save("rule-engine.0", checkpoint.meta, other).await;
        saved.unwrap();
    }
    harness.mark().await;
    let running = harness.drive(harness.store().await, Thirds::new());
    outputs_are_exact(&harness, 2, &BTreeSet::new()).await;
    running.stop().await;
}
