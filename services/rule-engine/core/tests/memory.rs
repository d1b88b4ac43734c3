//! What the state costs, counted by the allocator: bytes asked for, without the allocator's own.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    reason = "a workload counts to a million"
)]

#[path = "../benches/support/workload.rs"]
mod workload;

use std::alloc::System;
use std::sync::Arc;

use balefire_event::time::{HOUR, SECOND};
use balefire_event::{
    Assurance, Category, DedupId, Event, Identity, IdentityKind, Lane, SubjectRef, Timestamp,
};
use balefire_rule_engine_core::{BatchHeader, Engine, EngineConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use workload::Workload;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;
const BATCH: usize = 500;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn engine() -> Engine {
    let rules = balefire_rule::baseline().expect("the baseline compiles");
    let sets = [(0, Arc::new(rules))];
    Engine::new(0, &sets, EngineConfig::new(1)).expect("baseline periods are legal")
}

fn take(engine: &mut Engine, batch: &[Event<'_>]) {
    let received_at_max = batch.last().expect("never empty").received_at;
    for &lane in Lane::ALL {
        let header = BatchHeader {
            tenant: "default",
            lateness_max: HOUR,
            received_at_max,
        };
        engine.batch_start(lane, &header);
        if lane == Lane::Normal {
            for (index, event) in (0..).zip(batch) {
                engine.event(index, event, &mut Vec::new());
            }
        }
        engine.batch_end(&mut Vec::new());
    }
}

fn numbered(number: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id
}

/// An event of one of so many users.
fn block_of(number: usize, users: usize) -> Event<'static> {
    let mut event = block(number);
    if let Some(user) = &mut event.user {
        user.subject_ref = SubjectRef(numbered(number % users));
    }
    event
}

/// Bytes of a window with ten events.
fn window_of_ten() -> usize {
    const USERS: usize = 20_000;
    let (mut engine, before) = (engine(), allocated());
    for first in (0..10 * USERS).step_by(BATCH) {
        let batch = (first..first + BATCH).map(|number| block_of(number, USERS));
        let batch: Vec<_> = batch.collect();
        take(&mut engine, &batch);
    }
    assert_eq!(engine.key_count(), USERS);
    (allocated() - before) / USERS
}

fn block(number: usize) -> Event<'static> {
    let id = numbered(number);
    let at = Timestamp(1_770_820_200 * SECOND + number as i64);
    Event {
        dedup_id: DedupId(id),
        event_id: format!("{number:036x}").into(),
        occurred_at: at,
        received_at: at.plus(1),
        t: at,
        category: Category::GuardrailBlock,
        user: Some(Identity {
            subject_ref: SubjectRef(id),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: None,
        }),
        ..Event::default()
    }
}

// One test: the allocator counts for the whole process.
#[test]
fn a_key_takes_200_bytes_ten_entries_1150_a_million_keys_256_mib_and_the_reference_workload_40_mib()
{
    let ten = window_of_ten();
    println!("{ten} bytes a key with ten events");
    assert!(ten <= 1_150, "{ten} bytes a key with ten events");

    let (mut keys, before) = (engine(), allocated());
    for first in (0..1_000_000).step_by(BATCH) {
        let batch: Vec<_> = (first..first + BATCH).map(block).collect();
        take(&mut keys, &batch);
        drop(batch);
        let (number, bytes) = (first + BATCH, allocated() - before);
        let each = bytes / number;
        assert!(
            number < 10_000 || each <= 200,
            "{each} bytes a key with one event, {number} keys"
        );
    }
    assert_eq!(keys.key_count(), 1_000_000);
    let all = (allocated() - before) / MIB;
    assert!(all <= 256, "{all} MiB for a million keys");
    drop(keys);

    let mut workload = Workload::new(1_000_000, 100_000);
    let (users, mut most) = (allocated(), 0);
    let mut reference = engine();
    loop {
        let batch: Vec<_> = workload.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        take(&mut reference, &batch);
        drop(batch);
        most = most.max(allocated() - users);
    }
    assert!(reference.key_count() > 10_000);
    assert!(
        most <= 40 * MIB,
        "{} MiB for the reference workload",
        most / MIB
    );
    println!(
        "{} bytes a key, {all} MiB a million, {} MiB reference",
        all * MIB / 1_000_000,
        most / MIB
    );
}
