#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the forms that differ"
)]

use std::collections::BTreeSet;

use super::*;
use crate::samples::{hostile, nasty};
use balefire_event::time::SECOND;
use balefire_event::{
    Assurance, CorrelationKey, DedupId, Identity, IdentityKind, Join, KeyKind, Sealed, SubjectRef,
    Timestamp,
};
use proptest::prelude::*;
use serde_json::Value;

fn event(user: &str, words: &str) -> Event<'static> {
    let trigger = hostile(user, words).trigger.unwrap();
    Event {
        dedup_id: DedupId([7; 16]),
        ..*trigger
    }
}

fn targets() -> Vec<Target> {
    let sentinel = sentinel::Config {
        dcr: "dcr-1".into(),
        stream: "Custom-AISecurity_CL".into(),
        ..Default::default()
    };
    vec![
        Target::Webhook,
        Target::Splunk(Default::default()),
        Target::Sentinel(sentinel),
        Target::Elastic(Default::default()),
        Target::Syslog(Default::default()),
    ]
}

/// An item at the end of a buffer.
fn item(target: &Target, out: &mut Vec<u8>, event: Event<'static>, index: u32) -> Item {
    let (id, start) = (ItemId::of(&event), out.len());
    target.feed_item(out, event, "default", Classification::Restricted);
    Item {
        id,
        tenant: "default".into(),
        sequence: 1,
        index,
        place: start..out.len(),
    }
}

fn body(target: &Target, buffer: &[u8], items: &[Item]) -> String {
    let posted = target.feed_call(buffer, items);
    String::from_utf8(posted.body.bytes(buffer).to_vec()).unwrap()
}

/// The JSON values of a batch, one an event.
fn values(target: &Target, text: &str) -> Vec<Value> {
    let all = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut all: Vec<Value> = all.map(Result::unwrap).collect();
    match target {
        Target::Webhook => all.remove(0)["data"]["events"].as_array().unwrap().clone(),
        Target::Sentinel(_) => all.remove(0).as_array().unwrap().clone(),
        Target::Elastic(_) => all.into_iter().skip(1).step_by(2).collect(),
        _ => all,
    }
}

/// Where each form keeps the user.
fn user(target: &Target, value: &Value) -> Value {
    match target {
        Target::Splunk(_) => value["event"]["user_id"].clone(),
        Target::Elastic(_) => value["balefire"]["user_id"].clone(),
        _ => value["user_id"].clone(),
    }
}

proptest! {
    #[test]
    fn of_every_event_in_a_batch_comes_back_what_was_said(users in prop::collection::vec(nasty(), 1..5)) {
        for target in targets() {
            let mut buffer = Vec::new();
            let items: Vec<_> = users
                .iter()
                .zip(0..)
                .map(|(user, index)| item(&target, &mut buffer, event(&format!("u{user}"), "w"), index))
                .collect();
            let text = body(&target, &buffer, &items);
            if matches!(target, Target::Syslog(_)) {
                let (mut rest, mut count) = (text.as_str(), 0);
                while let Some((length, behind)) = rest.split_once(' ') {
                    let (message, next) = behind.split_at(length.parse().unwrap());
                    prop_assert!(message.starts_with('<') && !message.chars().any(char::is_control));
                    (rest, count) = (next, count + 1);
                }
                prop_assert_eq!((rest, count), ("", users.len()));
                continue;
            }
            let seen = values(&target, &text);
            prop_assert_eq!(seen.len(), users.len(), "{}", target.name());
            for (value, said) in seen.iter().zip(&users) {
                prop_assert_eq!(user(&target, value), format!("u{said}"), "{}", target.name());
            }
        }
    }
}

fn actor(kind: IdentityKind, label: String) -> Identity<'static> {
    Identity {
        subject_ref: SubjectRef([1; 16]),
        kind,
        assurance: Assurance::Claimed,
        via: "".into(),
        label: Some(Sealed::plain(label.into())),
    }
}

fn key(kind: KeyKind, value: String) -> CorrelationKey<'static> {
    CorrelationKey {
        kind,
        value: value.into(),
    }
}

/// What an event may hold, in every field that is written.
fn any_event() -> impl Strategy<Value = Event<'static>> {
    let texts = prop::collection::vec(nasty(), 16);
    let labels = prop::collection::vec((nasty(), nasty()), 0..4);
    let numbers = (
        any::<i64>(),
        any::<i64>(),
        any::<Option<u64>>(),
        any::<Option<u32>>(),
    );
    let other = (
        any::<Option<f64>>(),
        any::<Option<bool>>(),
        any::<[bool; 5]>(),
    );
    (texts, labels, numbers, other).prop_map(|(texts, labels, numbers, other)| {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap();
        let (occurred_at, received_at, tokens, risk_tier) = numbers;
        let (judge_score, tool_allowed, [derived, partial, amendment, history, joined]) = other;
        Event {
            dedup_id: DedupId([0xf7; 16]),
            occurred_at: Timestamp(if derived {
                occurred_at
            } else {
                occurred_at / SECOND * SECOND
            }),
            received_at: Timestamp(received_at),
            severity_derived: derived,
            backfill: history,
            judge_score,
            tool_allowed,
            tokens_in: tokens,
            tokens_out: tokens,
            risk_tier,
            event_id: text().into(),
            source: text().into(),
            model: text().into(),
            judge_model: text().into(),
            judge_verdict: text().into(),
            policy_violated: text().into(),
            guardrail_result: text().into(),
            endpoint: text().into(),
            tool: text().into(),
            attack_type: text().into(),
            reason: text().into(),
            src_ip: text().into(),
            user: partial.then(|| actor(IdentityKind::User, text())),
            actors: vec![
                actor(IdentityKind::Agent, text()),
                actor(IdentityKind::ServicePrincipal, text()),
            ],
            keys: vec![
                key(KeyKind::Session, text()),
                key(KeyKind::Trace, "t".into()),
            ],
            labels: labels
                .into_iter()
                .map(|(a, b)| (a.into(), b.into()))
                .collect(),
            join: joined.then(|| Join {
                partial,
                amendment,
                filled: vec!["user_id".into(), "a\"b".into()],
            }),
            ..Event::default()
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_straight_is_what_serde_writes(event in any_event(), tenant in nasty()) {
        let mut out = b"what stood before".to_vec();
        write_document(&mut out, &event, &tenant);
        let want = [b"what stood before".as_slice(), &json(&document(&event, &tenant))].concat();
        prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(want).unwrap());
    }
}

/// A batch that was cut, or of which an item is gone, is put together; one that is whole is not
/// copied where nothing stands between.
#[test]
fn a_body_holds_its_items_in_their_order_and_nothing_else() {
    for target in targets() {
        let mut buffer = b"before".to_vec();
        let mut item = |n: u32| item(&target, &mut buffer, event(&format!("u{n}"), "w"), n);
        let items: Vec<_> = (0..4).map(&mut item).collect();
        let gap = [items[0].clone(), items[2].clone()];
        for items in [&items[..], &items[1..3], &gap[..], &items[..1]] {
            let posted = target.feed_call(&buffer, items);
            let mut rest = posted.body.bytes(&buffer);
            for item in items {
                let bytes = item.bytes(&buffer);
                let at = rest.windows(bytes.len()).position(|window| window == bytes);
                let (between, behind) = rest.split_at(at.unwrap());
                assert!(
                    between.len() < 40 && !between.contains(&b'u'),
                    "{between:?}"
                );
                rest = &behind[bytes.len()..];
            }
            assert!(rest.len() < 4);
            let copies = matches!(target, Target::Webhook | Target::Sentinel(_)) || *items == gap;
            assert_eq!(
                matches!(posted.body, Body::Made(_)),
                copies,
                "{}",
                target.name()
            );
        }
    }
}

#[test]
fn an_item_holds_the_events_id_and_an_amendment_has_its_own() {
    let amended = Event {
        join: Some(Join {
            amendment: true,
            ..Join::default()
        }),
        ..event("ann", "w")
    };
    let first = "07".repeat(16);
    assert_eq!(id(&event("ann", "w")), first);
    assert_eq!(id(&amended), format!("{first}-amended"));
    for target in targets() {
        let mut buffer = Vec::new();
        let one = item(&target, &mut buffer, amended.clone(), 0);
        let text = String::from_utf8(one.bytes(&buffer).to_vec()).unwrap();
        assert!(text.contains(&one.id.to_string()));
    }
}

/// Azure drops what the table lacks.
#[test]
fn the_template_has_a_column_for_everything_that_a_row_holds() {
    let template = include_str!("../../../../deploy/sentinel/template.json");
    let template: Value = serde_json::from_str(template).unwrap();
    let names = |value: &Value| -> BTreeSet<String> {
        let columns = value["columns"].as_array().unwrap().iter();
        columns
            .map(|column| column["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let table = names(&template["resources"][1]["properties"]["schema"]);
    let streams = &template["resources"][2]["properties"]["streamDeclarations"];
    assert_eq!(names(&streams["Custom-BalefireEvents_CL"]), table);
    let kinds = [IdentityKind::Agent, IdentityKind::ServicePrincipal];
    let all = [IdentityKind::ApiKey, IdentityKind::Session];
    let full = Event {
        event_id: "e".into(),
        tool: "t".into(),
        tool_allowed: Some(true),
        attack_type: "a".into(),
        labels: vec![("a".into(), "b".into())],
        actors: kinds
            .into_iter()
            .chain(all)
            .map(|kind| actor(kind, "x".into()))
            .collect(),
        keys: vec![key(KeyKind::Trace, "t".into())],
        ..event("ann", "w")
    };
    let target = &targets()[2];
    let mut row = Vec::new();
    target.feed_item(&mut row, full, "default", Classification::Restricted);
    let row: Value = serde_json::from_slice(&row).unwrap();
    let columns: BTreeSet<String> = row.as_object().unwrap().keys().cloned().collect();
    assert_eq!(columns, table);
}

#[test]
fn what_a_feed_may_not_see_is_in_no_item() {
    for target in targets() {
        let mut bytes = Vec::new();
        let told = event("ann@x.example", "words");
        target.feed_item(&mut bytes, told, "default", Classification::Public);
        let text = String::from_utf8(bytes).unwrap();
        for hidden in ["ann@x", "words", "192.0.2.10", "claude"] {
            assert!(!text.contains(hidden), "{}: {hidden}", target.name());
        }
        assert!(text.contains("judge_flag"));
    }
}

fn items(count: u32) -> Vec<Item> {
    let each = 0..count;
    each.map(|index| Item {
        id: ItemId::of(&Event::default()),
        tenant: "".into(),
        sequence: 1,
        index,
        place: 0..10,
    })
    .collect()
}

fn indexes(items: &[Item]) -> Vec<u32> {
    items.iter().map(|item| item.index).collect()
}

#[test]
fn a_batch_stays_within_its_limits() {
    let limits = Limits {
        items_max: 4,
        bytes_max: 25,
        batches_max: 1,
    };
    let cut = cut(items(5), limits);
    let sizes: Vec<_> = cut.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
    let tiny = Limits {
        bytes_max: 1,
        ..limits
    };
    assert_eq!(super::cut(items(2), tiny).len(), 2);
    assert!(super::cut(Vec::new(), limits).is_empty());
}

#[test]
fn what_is_refused_together_is_found_by_halves() {
    let (mut open, mut refused, mut calls) = (vec![items(64)], Vec::new(), 0);
    while let Some(batch) = open.pop() {
        calls += 1;
        let poisoned = batch.iter().any(|item| item.index == 41);
        let verdict = match poisoned {
            true => Verdict::Permanent,
            false => Verdict::Delivered,
        };
        let left = sort(&verdict, 400, batch);
        refused.extend(left.refused);
        open.extend(left.again.into_iter().rev());
    }
    assert_eq!(indexes(&refused), [41]);
    assert!(calls <= 13, "{calls}");
}

#[test]
fn refused_credentials_are_no_fault_of_the_events() {
    for status in [0, 401, 403, 404] {
        let left = sort(&Verdict::Permanent, status, items(2));
        assert_eq!(
            (left.refused.len(), left.again.len(), left.wait),
            (0, 1, Some(0))
        );
    }
}

#[test]
fn of_a_batch_that_went_in_parts_only_what_did_not_goes_again() {
    let fates = vec![
        Fate::Delivered,
        Fate::Permanent,
        Fate::Retry { after: Some(5) },
        Fate::Delivered,
    ];
    let left = sort(&Verdict::Partial(fates), 200, items(5));
    assert_eq!(left.delivered, 2);
    assert_eq!(indexes(&left.refused), [1]);
    assert_eq!(
        indexes(&left.again[0]),
        [2, 4],
        "and what was not spoken of"
    );
    assert_eq!(left.wait, Some(5));
}
