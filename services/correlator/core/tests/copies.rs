//! All records of one event belong to whom any of them belongs to, those that come when the
//! others have left memory, too.

use balefire_correlator_core::{Config, Correlator, Effect, Record};
use balefire_event::{
    Assurance, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind, Lane,
    SubjectRef, Timestamp,
};

const TENANT: &str = "acme";

fn core() -> Correlator {
    Correlator::new(Config {
        partition: 0,
        partitions: 1,
        hold: 0,
        hold_urgent: 0,
        join_horizon: 8,
        skew: 0,
    })
}

fn key() -> CorrelationKey<'static> {
    CorrelationKey {
        kind: KeyKind::Request,
        value: "a".into(),
    }
}

/// A record of the one event; its revision tells it from the others.
fn copy(received: i64, revision: u64) -> Event<'static> {
    Event {
        dedup_id: DedupId([1; 16]),
        received_at: Timestamp(received),
        control_revision: revision,
        keys: vec![key()],
        ..Event::default()
    }
}

fn hint(received: i64, join_horizon: i64) -> Hint<'static> {
    Hint {
        keys: vec![key()],
        identity: Identity {
            subject_ref: SubjectRef([7; 16]),
            kind: IdentityKind::User,
            assurance: Assurance::Verified,
            via: "user_id".into(),
            label: None,
        },
        source: "gateway".into(),
        received_at: Timestamp(received),
        join_horizon,
        authority: 0,
        facts: Vec::new(),
        dedup_id: DedupId::default(),
    }
}

/// Feeds records in the order of the log, with the repairs they ask for; the revisions of the
/// records that were told a user.
fn named(records: &[(Lane, Record<'_>)]) -> Vec<u64> {
    let mut core = core();
    let mut effects = Vec::new();
    for (index, (lane, record)) in records.iter().enumerate() {
        core.apply(*lane, TENANT, *record, &mut effects);
        let Some(from) = core.repair_wanted() else {
            continue;
        };
        core.repair_begin();
        for (lane, record) in records.iter().take(index + 1) {
            let at = match record {
                Record::Event(event) => event.received_at,
                Record::Hint(hint) => hint.received_at,
                Record::Stub(stub) => stub.received_at,
                Record::Tick(at) | Record::Barrier(_, at) => *at,
            };
            if at >= from {
                core.repair_record(*lane, TENANT, *record);
            }
        }
        core.repair_end(&mut effects);
    }
    let mut named: Vec<u64> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit { event, .. } if event.user.is_some() => Some(event.control_revision),
            Effect::Emit { .. }
            | Effect::Forward { .. }
            | Effect::BarrierOut { .. }
            | Effect::Watermark { .. }
            | Effect::Repair { .. } => None,
        })
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

fn later(at: i64) -> [(Lane, Record<'static>); 3] {
    [Lane::Urgent, Lane::Normal, Lane::Bulk].map(|lane| (lane, Record::Tick(Timestamp(at))))
}

#[test]
fn a_copy_replayed_when_the_others_are_forgotten_is_named_as_they_are() {
    // The identity reaches the second record alone, and is still kept when the first one comes.
    let (first, second) = (copy(12, 1), copy(17, 2));
    let hint = hint(25, 9);
    let mut log = vec![
        (Lane::Normal, Record::Event(&second)),
        (Lane::Bulk, Record::Hint(&hint)),
    ];
    log.extend(later(30));
    log.push((Lane::Normal, Record::Event(&first)));
    assert_eq!(named(&log), [1, 2]);
}

#[test]
fn a_late_identity_of_one_copy_names_the_older_ones() {
    let (first, second) = (copy(1, 1), copy(5, 2));
    let hint = hint(6, 2);
    let mut log = vec![
        (Lane::Normal, Record::Event(&first)),
        (Lane::Normal, Record::Event(&second)),
    ];
    log.extend(later(40));
    log.push((Lane::Bulk, Record::Hint(&hint)));
    assert_eq!(named(&log), [1, 2]);
}

#[test]
fn a_replayed_copy_is_named_by_what_reached_an_older_one() {
    let (first, second) = (copy(20, 1), copy(26, 2));
    let hint = hint(13, 8);
    let mut log = vec![
        (Lane::Bulk, Record::Hint(&hint)),
        (Lane::Normal, Record::Event(&first)),
    ];
    log.extend(later(60));
    log.push((Lane::Normal, Record::Event(&second)));
    assert_eq!(named(&log), [1, 2]);
}

#[test]
fn a_copy_is_named_by_what_reached_the_first_and_was_forgotten_since() {
    // The identity reaches the first record alone, and leaves memory before the second comes;
    // the first record is still kept, as another source's J is longer.
    let (first, second) = (copy(10, 1), copy(17, 2));
    let (short, long) = (hint(9, 2), hint(1, 8));
    let mut log = vec![
        (Lane::Bulk, Record::Hint(&short)),
        (Lane::Normal, Record::Event(&first)),
    ];
    log.extend(later(16));
    log.push((Lane::Normal, Record::Event(&second)));
    assert_eq!(named(&log), [1, 2]);
    let mut elsewhere = vec![(Lane::Bulk, Record::Hint(&long))];
    elsewhere.extend(log);
    assert_eq!(named(&elsewhere), [1, 2]);
}

#[test]
fn an_identity_behind_a_replayed_copy_names_the_ones_that_were_forgotten_before_it() {
    // The first record has left memory when the second is replayed; the identity comes after both
    // and reaches the second alone.
    let (first, second) = (copy(2, 1), copy(10, 2));
    let hint = hint(17, 8);
    let mut log = vec![(Lane::Normal, Record::Event(&first))];
    log.extend(later(11));
    log.push((Lane::Normal, Record::Event(&second)));
    log.push((Lane::Bulk, Record::Hint(&hint)));
    assert_eq!(named(&log), [1, 2]);
}
