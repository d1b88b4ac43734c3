//! What the state costs, counted by the allocator: bytes asked for, without the allocator's own.

#![expect(
    clippy::cast_possible_wrap,
    reason = "a workload counts to some hundred thousands"
)]

use std::alloc::System;

use balefire_correlator_core::{Config, Correlator, Record};
use balefire_event::time::SECOND;
use balefire_event::{
    Assurance, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind, Lane, Sealed,
    SubjectRef, Timestamp, stamp,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: usize = 300_000;
const EVENTS: usize = 100_000;
/// Records of one batch have one stamp.
const BATCH: usize = 256;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn session(number: usize) -> Vec<CorrelationKey<'static>> {
    vec![CorrelationKey {
        kind: KeyKind::Session,
        value: format!("s{number}").into(),
    }]
}

fn at(number: usize) -> Timestamp {
    Timestamp(1_770_820_200 * SECOND + (number / BATCH) as i64)
}

fn id(number: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id
}

/// A user of its own, what he called and from where.
fn hint(number: usize) -> Hint<'static> {
    Hint {
        keys: session(number),
        identity: Identity {
            subject_ref: SubjectRef(id(number)),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain(format!("user{number}@example.com").into())),
        },
        source: "native".into(),
        received_at: at(number),
        join_horizon: stamp::JOIN_HORIZON,
        authority: 0,
        facts: vec![
            ("model".into(), "gpt-4o".into()),
            ("endpoint".into(), "/v1/chat".into()),
            ("src_ip".into(), "203.0.113.7".into()),
        ],
        dedup_id: DedupId(id(number)),
    }
}

/// One that nobody names.
fn event(number: usize) -> Event<'static> {
    Event {
        dedup_id: DedupId(id(number)),
        event_id: format!("{number:036x}").into(),
        source: "native".into(),
        occurred_at: at(number),
        received_at: at(number),
        t: at(number),
        keys: session(number),
        model: "gpt-4o".into(),
        endpoint: "/v1/chat".into(),
        ..Event::default()
    }
}

/// Takes so many records in; bytes that a record costs, and the correlator.
fn cost(count: usize, mut take: impl FnMut(&mut Correlator, usize)) -> usize {
    let before = allocated();
    let mut core = Correlator::new(Config::new(0, 1));
    for number in 0..count {
        take(&mut core, number);
    }
    let usage = core.usage();
    assert_eq!(usage.claims + usage.events, count);
    (allocated() - before) / count
}

// One test: the allocator counts for the whole process.
#[test]
fn a_user_with_a_session_takes_340_bytes_and_an_event_that_nobody_names_900() {
    let mut effects = Vec::new();
    let session = cost(SESSIONS, |core, number| {
        core.apply(
            Lane::Bulk,
            "default",
            Record::Hint(&hint(number)),
            &mut effects,
        );
    });
    assert!(effects.is_empty());
    let event = cost(EVENTS, |core, number| {
        core.apply(
            Lane::Bulk,
            "default",
            Record::Event(&event(number)),
            &mut effects,
        );
        effects.clear();
    });
    println!("{session} bytes a session, {event} an event");
    assert!(session <= 340, "{session} bytes a user with a session");
    assert!(event <= 900, "{event} bytes an event that nobody names");
}
