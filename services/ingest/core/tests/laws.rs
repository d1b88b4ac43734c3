//! What holds for every record.

use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::redact::{Depth, masked};
use balefire_ingest_core::{Admitted, Door, Provenance, Source, admit_json};
use proptest::prelude::*;

fn door() -> Door {
    let source = Source::undeclared("native", ClockPolicy::default());
    Door::new("default", source, 8)
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(serde_json::Value::from),
        ".{0,20}".prop_map(Into::into),
        "[a-z@.:0-9 +-]{0,30}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,8}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

const NAMES: [&str; 30] = [
    "event_type",
    "tenant",
    "timestamp",
    "severity",
    "category",
    "request_id",
    "user_id",
    "model",
    "judge_model",
    "judge_score",
    "judge_verdict",
    "policy_violated",
    "guardrail_result",
    "tokens_in",
    "tokens_out",
    "endpoint",
    "risk_tier",
    "event_id",
    "trace_id",
    "session_id",
    "src_ip",
    "api_key_id",
    "service_principal",
    "agent_id",
    "tool",
    "tool_allowed",
    "reason",
    "request",
    "response",
    "labels",
];

/// A good record with one to four of its fields replaced by anything.
fn mangled() -> impl Strategy<Value = String> {
    let fields = prop::collection::vec((prop::sample::select(NAMES.to_vec()), json()), 0..4);
    (fields, prop::collection::vec((".{1,8}", json()), 0..3)).prop_map(|(known, unknown)| {
        let mut record = serde_json::Map::new();
        record.insert("timestamp".into(), "2026-02-11T14:30:00Z".into());
        record.insert("category".into(), "anomaly".into());
        record.extend(unknown);
        record.extend(
            known
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        serde_json::Value::Object(record).to_string()
    })
}

fn place(admitted: &Admitted<'_>) -> (String, String, String) {
    (
        admitted.event.dedup_id.to_string(),
        admitted.lane.to_string(),
        format!("{:?}", admitted.path),
    )
}

proptest! {
    #[test]
    fn any_bytes_are_admitted_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = admit_json(&door(), &bytes, Provenance::default());
    }

    #[test]
    fn any_json_is_admitted_or_refused(value in json()) {
        let _ = admit_json(&door(), value.to_string().as_bytes(), Provenance::default());
    }

    #[test]
    fn copies_meet_in_one_place(record in mangled()) {
        let door = door();
        let first = admit_json(&door, record.as_bytes(), Provenance::default());
        let again = admit_json(&door, record.as_bytes(), Provenance::default());
        prop_assert_eq!(&first, &again);
        let Ok(first) = first else { return Ok(()) };
        if !first.id_said {
            return Ok(());
        }
        // Another spelling of the same record: other white space, fields in another order.
        let value: serde_json::Value = serde_json::from_str(&record).unwrap();
        // A number that reading rounds is another number when it is written again.
        let written = value.to_string();
        if written != record {
            return Ok(());
        }
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        if value.get("request").is_none_or(serde_json::Value::is_string)
            && value.get("response").is_none_or(serde_json::Value::is_string)
        {
            let spelt = admit_json(&door, pretty.as_bytes(), Provenance::default()).unwrap();
            prop_assert_eq!(place(&first), place(&spelt));
        }
    }

    #[test]
    fn masking_twice_is_masking_once(text in "[a-zA-Z0-9@.:+ ()_=/-]{0,80}|.{0,60}") {
        for depth in [Depth::Name, Depth::Text] {
            if let Some(once) = masked(&text, depth) {
                prop_assert_eq!(masked(&once, depth), None, "{} -> {}", text, once);
            }
        }
    }

    #[test]
    fn a_canary_is_masked_wherever_it_stands(
        before in "[a-z ,;]{0,20}",
        after in "[a-z ,;]{0,20}",
        canary in prop::sample::select(vec![
            "canary@example.com", "4111111111111111", "4111 1111 1111 1111", "378282246310005",
            "5555-5555-5555-4444", "+1 (555) 010-9999", "555-010-9999", "+4930123456789",
            "203.0.113.77", "2001:db8::77", "AKIAIOSFODNN7EXAMPLE",
            "sk-proj-abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        ]),
    ) {
        let text = format!("{before} {canary} {after}");
        let masked = masked(&text, Depth::Text);
        prop_assert!(masked.as_ref().is_some_and(|m| !m.contains(canary)), "{:?}", masked);
    }

    #[test]
    fn plain_words_are_untouched(text in "[a-zA-Zäöü ,;!?'()-]{0,200}") {
        prop_assert_eq!(masked(&text, Depth::Text), None);
    }
}

#[test]
fn text_without_personal_data_is_unchanged() {
    for text in [
        "blocked by policy 12 at 2026-02-11T14:30:00.123456789+01:00",
        "took 1770820200000 ms, 0.82 of 1.00, 99 %",
        "std::collections::HashMap in a::b at 12:30:45",
        "version 1.2.3, section 4.5.6.7.8",
        "550e8400-e29b-41d4-a716-446655440000",
        "a bearer of bad news, bearer instruments",
        "00:1b:44:11:3a:b7 is a MAC address",
        "4111111111111112 fails the check",
        "Wed, 11 Feb 2026 14:30:00 +0100",
        "sk-learn and skill-based, task-oriented",
        "jgill at example dot com, @handle, a@b",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
        "ratio 16:9, 10/12 checks, #1234567890123",
    ] {
        assert_eq!(masked(text, Depth::Text), None, "{text}");
    }
}

#[test]
fn tokens_and_keys_are_masked() {
    let pem = "key: -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end";
    for (text, expected) in [
        (
            "Authorization: Bearer abc123def456",
            "Authorization: Bearer [SECRET]",
        ),
        (pem, "key: [SECRET] end"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut of", "[SECRET]"),
        (
            "[2001:db8::1]:443 and fe80::1: down",
            "[[IP]]:443 and [IP]: down",
        ),
        ("müller@exämple.de, x%40example.com", "[EMAIL], [EMAIL]"),
        ("4111 1111 1111 1111 12/26", "[CC] 12/26"),
        ("10.0.0.1, 10.0.0.2.", "[IP], [IP]."),
        ("xoxb-123456789012-abcdef", "[SECRET]"),
    ] {
        assert_eq!(masked(text, Depth::Text).as_deref(), Some(expected));
    }
    let name = masked("10.0.0.1 4111111111111111", Depth::Name);
    assert_eq!(name.as_deref(), Some("10.0.0.1 [CC]"));
}
