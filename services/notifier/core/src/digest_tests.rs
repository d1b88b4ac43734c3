use super::*;
use crate::Notice;
use crate::route::ReceiverEntry;
use crate::samples::nasty;
use balefire_event::{Assurance, Category, Identity, Sealed, SubjectRef};
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn receiver(max: Classification) -> Receiver {
    let entry = ReceiverEntry {
        name: "soc".into(),
        max_classification: max,
        weekly_digest: true,
        ..ReceiverEntry::default()
    };
    Receiver::of(&entry).unwrap()
}

/// One of low severity in the middle of the week.
fn event(id: u8, user: &str, source: &str) -> Event<'static> {
    Event {
        dedup_id: DedupId([id; 16]),
        severity: Severity::Low,
        category: Category::GuardrailBlock,
        t: at("2026-02-11T14:30:00Z"),
        source: source.to_owned().into(),
        user: Some(Identity {
            subject_ref: SubjectRef([1; 16]),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "".into(),
            label: Some(Sealed::plain(user.to_owned().into())),
        }),
        ..Event::default()
    }
}

/// The week of that event, by its number.
fn week() -> u64 {
    let Some(Due::Begin(week)) = Calendar::default().due(None, at("2026-02-16T02:00:00Z")) else {
        panic!("no week has settled");
    };
    week
}

fn tally() -> Tally {
    Tally::new(Calendar::default().span(week()))
}

fn intent(digest: &Digest) -> Intent {
    let id = digest_id("default", "soc", digest.from);
    Intent {
        escalation_id: id,
        receiver: "soc".into(),
        escalation_sequence: 0,
        severity: Severity::Low,
        decided_at: at("2026-02-16T02:00:01Z"),
        route: DIGEST_RULE.into(),
        notice: Notice::First,
        episode_id: id,
        withheld: None,
        withheld_by: "".into(),
        tier: "".into(),
        group: 0,
        control_revision: 0,
        summary: None,
        digest: Some(Arc::new(digest.clone())),
    }
}

#[test]
fn weeks_begin_on_monday_and_settle_two_hours_after_their_end() {
    let calendar = Calendar::default();
    let span = calendar.span(week());
    assert_eq!(span.from, at("2026-02-09T00:00:00Z"));
    assert_eq!(span.until, at("2026-02-16T00:00:00Z"));
    assert_eq!(span.stored_until, at("2026-02-16T02:00:00Z"));
    let before = at("2026-02-16T01:59:59.999999999Z");
    assert_eq!(calendar.due(None, before), Some(Due::Begin(week() - 1)));
}

#[test]
fn each_week_is_due_once_in_order_and_a_new_receiver_hears_of_none_before_it() {
    let calendar = Calendar::default();
    // Time is the test's: five weeks, looked at every hour, with a fortnight in which nobody ran.
    let (mut now, mut had, mut told) = (at("2026-02-18T12:00:00Z"), None, Vec::new());
    while now < at("2026-03-25T12:00:00Z") {
        let away = (at("2026-03-01T00:00:00Z")..at("2026-03-17T00:00:00Z")).contains(&now);
        match calendar.due(had, now).filter(|_| !away) {
            Some(Due::Begin(week)) => had = Some(week),
            Some(Due::Tell(week)) => {
                told.push((day(calendar.span(week).from), day(now)));
                had = Some(week);
            }
            None => {}
        }
        now = now.plus(HOUR);
    }
    let want = [
        ("2026-02-16", "2026-02-23"),
        ("2026-02-23", "2026-03-17"),
        ("2026-03-02", "2026-03-17"),
        ("2026-03-09", "2026-03-17"),
        ("2026-03-16", "2026-03-23"),
    ];
    let want = want.map(|(week, told)| (week.to_owned(), told.to_owned()));
    assert_eq!(told, want);
}

#[test]
fn the_clock_may_stand_anywhere() {
    for now in [Timestamp::MIN, Timestamp(0), Timestamp::MAX] {
        let _due = Calendar::default().due(Some(7), now);
    }
    assert_eq!(Calendar::default().due(None, Timestamp(0)), None);
    let _span = Calendar::default().span(u64::MAX);
}

#[test]
fn what_is_of_the_week_and_low_is_counted_once() {
    let span = Calendar::default().span(week());
    let mut tally = tally();
    let stored = at("2026-02-11T14:30:01Z");
    tally.take("default", &event(1, "ann", "app"), stored);
    tally.take("default", &event(1, "ann", "app"), stored);
    tally.take("default", &event(2, "bob", "app"), stored);
    let other = |change: &dyn Fn(&mut Event<'static>)| {
        let mut other = event(9, "eve", "app");
        change(&mut other);
        other
    };
    for (wrong, stored) in [
        (other(&|e| e.severity = Severity::Medium), stored),
        (other(&|e| e.t = span.until), stored),
        (other(&|e| e.t = span.from.minus(1)), stored),
        (other(&|_| ()), span.stored_until),
        (other(&|_| ()), span.stored_from.minus(1)),
    ] {
        tally.take("default", &wrong, stored);
    }
    // At the edges.
    let first = other(&|e| (e.dedup_id, e.t) = (DedupId([3; 16]), span.from));
    tally.take("default", &first, span.stored_from);
    let last = other(&|e| (e.dedup_id, e.t) = (DedupId([4; 16]), span.until.minus(1)));
    tally.take("default", &last, span.stored_until.minus(1));
    tally.take("other", &event(5, "zoe", "app"), stored);
    let digests = tally.digests(&receiver(Classification::Restricted));
    let events: Vec<_> = digests.iter().map(|(of, d)| (&**of, d.events)).collect();
    assert_eq!(events, [("default", 4), ("other", 1)]);
    let users = [("eve", 2), ("ann", 1), ("bob", 1)];
    let users: Vec<Named> = users.map(|(name, count)| (name.into(), count)).into();
    assert_eq!(digests[0].1.users, users);
    let mine = Receiver {
        tenant: Some("other".into()),
        ..receiver(Classification::Restricted)
    };
    assert_eq!(tally.digests(&mine).len(), 1);
}

#[test]
fn it_is_told_in_plain_words() {
    let mut tally = tally();
    let stored = at("2026-02-11T14:30:01Z");
    for id in 0..30_u8 {
        let user = format!("user-{:02}", id % 13);
        tally.take("default", &event(id, &user, "chat"), stored);
    }
    let (_, digest) = tally
        .digests(&receiver(Classification::Restricted))
        .remove(0);
    let record = record("default", &intent(&digest), &digest);
    assert!(is_digest(&record));
    assert_eq!(
        record.title,
        "Weekly digest: 30 events of low severity in the week of 2026-02-09"
    );
    let users = "user-00 3, user-01 3, user-02 3, user-03 3, user-04 2, user-05 2, user-06 2, \
                 user-07 2, user-08 2, user-09 2 and 3 more";
    assert_eq!(
        record.condition,
        format!(
            "30 event(s) of low severity from 2026-02-09 to 2026-02-15 (UTC). By category: \
             guardrail_block 30. By application: chat 30. By user: {users}"
        )
    );
    assert_eq!(crate::body::seen(&record, ""), record.condition);
}

#[test]
fn a_receiver_is_told_no_more_than_it_may_see() {
    let mut tally = tally();
    tally.take(
        "default",
        &event(1, "ann", "chat"),
        at("2026-02-11T15:00:00Z"),
    );
    for (max, sees) in [
        (Classification::Public, (false, false)),
        (Classification::Internal, (true, false)),
        (Classification::Confidential, (true, true)),
    ] {
        let (_, digest) = tally.digests(&receiver(max)).remove(0);
        let words = record("default", &intent(&digest), &digest).condition;
        assert_eq!((words.contains("chat"), words.contains("ann")), sees);
        assert!(words.contains("guardrail_block 1"));
    }
}

proptest! {
    #[test]
    fn the_order_in_which_events_are_read_changes_nothing(
        users in prop::collection::vec(nasty(), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let stored = at("2026-02-11T14:30:01Z");
        let events: Vec<_> = users.iter().zip(0..).map(|(user, id)| event(id, user, user)).collect();
        let digests = |events: &[Event<'static>]| {
            let mut tally = tally();
            events.iter().for_each(|event| tally.take("default", event, stored));
            tally.digests(&receiver(Classification::Restricted))
        };
        let mut mixed = events.clone();
        for (at, with) in order.iter().enumerate().take(mixed.len()) {
            let with = with.index(mixed.len());
            mixed.swap(at, with);
        }
        prop_assert_eq!(digests(&events), digests(&mixed));
    }
}

#[test]
fn its_id_is_of_tenant_receiver_and_week() {
    let from = at("2026-02-09T00:00:00Z");
    let id = digest_id("default", "soc", from);
    assert_eq!(id, digest_id("default", "soc", from));
    for other in [
        digest_id("other", "soc", from),
        digest_id("default", "siem", from),
        digest_id("default", "soc", from.plus(1)),
    ] {
        assert_ne!(id, other);
    }
}
