//! Every kind of bad line, and what it is refused for.

use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::Reason::{Conflict, Malformed, OutOfRange, TooLarge, UnknownValue};
use balefire_ingest_core::{Door, Provenance, Reason, Source, Violation, admit_json};

fn door() -> Door {
    let source = Source::undeclared("native", ClockPolicy::default());
    Door::new("default", source, 4)
}

fn refusal(line: &[u8]) -> Violation {
    admit_json(&door(), line, Provenance::default())
        .map(|admitted| admitted.event.into_owned())
        .expect_err("a bad line")
}

/// A good record with one more field, or one field replaced.
fn with(field: &str) -> String {
    let mut fields = vec![
        r#""timestamp":"2026-02-11T14:30:00Z""#.to_owned(),
        r#""category":"judge_flag""#.to_owned(),
    ];
    let name = field.split(':').next().unwrap_or_default();
    fields.retain(|kept| !kept.starts_with(name));
    fields.push(field.to_owned());
    format!("{{{}}}", fields.join(","))
}

#[test]
fn a_line_that_is_no_record_is_malformed() {
    for line in [
        &b""[..],
        b"   ",
        b"null",
        b"[]",
        b"42",
        b"\"text\"",
        b"{",
        b"{\"timestamp\":",
        b"{\"timestamp\" \"2026\"}",
        b"{'timestamp':'2026-02-11T14:30:00Z'}",
        b"{} {}",
        b"{\"a\":1}}",
        b"{\"a\":1,}",
        b"{\"a\":NaN}",
        b"{\"a\":01}",
        b"{\"a\":\"\x01\"}",
        b"{\"a\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"not json at all",
    ] {
        let violation = refusal(line);
        assert_eq!(
            (&*violation.field, violation.reason),
            ("", Reason::Malformed),
            "{line:?}"
        );
    }
}

/// A field, the field that is named, and the reason.
const TABLE: &[(&str, &str, Reason)] = &[
    (r#""event_type":"other""#, "event_type", UnknownValue),
    (r#""event_type":7"#, "event_type", Malformed),
    (r#""tenant":"other""#, "tenant", Conflict),
    (r#""timestamp":"yesterday""#, "timestamp", Malformed),
    (
        r#""timestamp":"2026-02-11T14:30:00""#,
        "timestamp",
        Malformed,
    ),
    (
        r#""timestamp":"2026-02-30T14:30:00Z""#,
        "timestamp",
        Malformed,
    ),
    (r#""timestamp":"""#, "timestamp", Malformed),
    (r#""timestamp":1770820200"#, "timestamp", Malformed),
    (
        r#""timestamp":"0001-01-01T00:00:00Z""#,
        "timestamp",
        OutOfRange,
    ),
    (
        r#""timestamp":"1969-12-31T23:59:59Z""#,
        "timestamp",
        OutOfRange,
    ),
    (
        r#""timestamp":"2200-01-01T00:00:00Z""#,
        "timestamp",
        OutOfRange,
    ),
    (
        r#""timestamp":"9999-12-31T23:59:59Z""#,
        "timestamp",
        OutOfRange,
    ),
    (r#""timestamp":null"#, "timestamp", Reason::Missing),
    (r#""category":null"#, "category", Reason::Missing),
    (r#""category":"""#, "category", Reason::Missing),
    (r#""category":"judge""#, "category", UnknownValue),
    (r#""category":["judge_flag"]"#, "category", Malformed),
    (r#""severity":"urgent""#, "severity", UnknownValue),
    (r#""severity":3"#, "severity", Malformed),
    (r#""user_id":17"#, "user_id", Malformed),
    (r#""user_id":"a\u0000b""#, "user_id", Malformed),
    (r#""request_id":"a\nb""#, "request_id", Malformed),
    (r#""event_id":{"id":1}"#, "event_id", Malformed),
    (r#""reason":"\ud800""#, "reason", Malformed),
    (r#""judge_score":1.01"#, "judge_score", OutOfRange),
    (r#""judge_score":-0.5"#, "judge_score", OutOfRange),
    (r#""judge_score":1e999"#, "judge_score", OutOfRange),
    (r#""judge_score":"NaN""#, "judge_score", Malformed),
    (r#""judge_score":"0.5""#, "judge_score", Malformed),
    (r#""judge_score":true"#, "judge_score", Malformed),
    (r#""tokens_in":-1"#, "tokens_in", OutOfRange),
    (r#""tokens_in":1.5"#, "tokens_in", Malformed),
    (r#""tokens_in":1e3"#, "tokens_in", Malformed),
    (
        r#""tokens_out":18446744073709551616"#,
        "tokens_out",
        OutOfRange,
    ),
    (r#""risk_tier":0"#, "risk_tier", OutOfRange),
    (r#""risk_tier":4294967296"#, "risk_tier", OutOfRange),
    (r#""risk_tier":"high""#, "risk_tier", Malformed),
    (r#""tool_allowed":"no""#, "tool_allowed", Malformed),
    (r#""tool_allowed":0"#, "tool_allowed", Malformed),
    (r#""labels":["a"]"#, "labels", Malformed),
    (r#""labels":{"a":{"b":"c"}}"#, "labels", Malformed),
    (r#""labels":{"":"c"}"#, "labels", Malformed),
    (r#""labels":{"a":"1","a":"2"}"#, "labels", Conflict),
    (r#""user_id":"a","user_id":"b""#, "user_id", Conflict),
    (r#""user_id":"a","user\u005fid":"b""#, "user_id", Conflict),
    (r#""x":1,"x":1"#, "x", Conflict),
    (r#""x":{"y":1,"y":2}"#, "x.y", Conflict),
    (r#""x":{"y":1},"x.y":2"#, "x.y", Conflict),
    (r#""x":"\udc00""#, "x", Malformed),
    (r#""x":["\udc00"]"#, "x", Malformed),
    (r#""x\u0007":1"#, "extensions", Malformed),
    (r#""request":"\ud800""#, "request", Malformed),
];

#[test]
fn a_bad_field_is_named_with_its_reason() {
    let long = "x".repeat(257);
    let deep = format!("\"x\":{}{}", "[".repeat(64), "]".repeat(64));
    let labels = (0..33)
        .map(|i| format!("\"l{i}\":\"v\""))
        .collect::<Vec<_>>()
        .join(",");
    let owned = [
        (format!("\"user_id\":\"{long}\""), "user_id", TooLarge),
        (
            format!("\"labels\":{{\"{long}\":\"v\"}}"),
            "labels",
            TooLarge,
        ),
        (format!("\"labels\":{{{labels}}}"), "labels", TooLarge),
        (format!("\"{long}\":1"), "extensions", TooLarge),
        (
            format!("\"reason\":\"{}\"", "x".repeat(64 * 1024)),
            "",
            TooLarge,
        ),
        (deep, "", TooLarge),
    ];
    let owned = owned
        .iter()
        .map(|(line, field, reason)| (line.as_str(), *field, *reason));
    for (field, named, reason) in TABLE.iter().copied().chain(owned) {
        let violation = refusal(with(field).as_bytes());
        assert_eq!(
            (&*violation.field, violation.reason),
            (named, reason),
            "{field:.80}"
        );
        assert!(!violation.description.is_empty());
    }
    assert_eq!(
        refusal(br#"{"timestamp":"2026-02-11T14:30:00Z"}"#).field,
        "category"
    );
    assert_eq!(refusal(br#"{"category":"anomaly"}"#).field, "timestamp");
}

#[test]
fn a_violation_never_repeats_what_the_record_said() {
    let canary = "CANARY4711";
    for field in [
        format!(r#""timestamp":"{canary}""#),
        format!(r#""category":"{canary}""#),
        format!(r#""severity":"{canary}""#),
        format!(r#""event_type":"{canary}""#),
        format!(r#""tenant":"{canary}""#),
        format!(r#""user_id":["{canary}"]"#),
        format!(r#""{canary} is a secret":1,"{canary} is a secret":1"#),
        format!(r#""labels":{{"{canary}":[]}}"#),
        format!(r#""x":{canary}"#),
    ] {
        let violation = refusal(with(&field).as_bytes());
        assert!(!format!("{violation:?}").contains(canary), "{violation:?}");
    }
}

#[test]
fn what_is_merely_unusual_is_admitted() {
    for field in [
        r#""x":null"#,
        r#""user_id":null"#,
        r#""user_id":"""#,
        r#""severity":"HIGH""#,
        r#""severity":null"#,
        r#""tenant":"default""#,
        r#""event_type":"ai_security""#,
        r#""judge_score":0"#,
        r#""judge_score":1"#,
        r#""judge_score":-0.0"#,
        r#""tokens_in":18446744073709551615"#,
        r#""labels":{"a":1,"b":true,"c":null}"#,
        r#""reason":"line\none""#,
        r#""x":{"y":{"z":[{"a":"b"}]}}"#,
        r#""user_id":"\ud83d\ude00""#,
        r#""timestamp":"1970-01-01T00:00:00Z""#,
        r#""timestamp":"2026-02-11t15:30:00.123456789+01:00""#,
    ] {
        let line = with(field);
        let door = door();
        let admitted = admit_json(&door, line.as_bytes(), Provenance::default());
        assert!(admitted.is_ok(), "{field}: {:?}", admitted.err());
    }
}
