//! The schema of the native record: it is what the door reads, what the docs say, and it never loses
//! what a release had.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::schema::{self, FIELDS, VERSION};
use balefire_ingest_core::{Door, Provenance, Reason, Source, admit_json};
use serde_json::{Value, json};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn door() -> Door {
    let source = Source::undeclared("native", ClockPolicy::default());
    Door::new("default", source, 4)
}

fn record(more: Value) -> String {
    let mut record = json!({"timestamp": "2026-02-11T14:30:00Z", "category": "judge_flag"});
    record
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    record.to_string()
}

/// Fields by name, as `proto/native.schema.json` has them of the last release.
fn now() -> BTreeMap<String, Value> {
    let fields = FIELDS.iter();
    fields
        .map(|field| {
            let facts = json!({"form": field.form.as_str(), "required": field.required, "since_minor": field.since_minor,
                "words": schema::words(field.name)});
            (field.name.to_owned(), facts)
        })
        .collect()
}

#[test]
fn nothing_that_a_release_read_is_read_otherwise() {
    let released: Value = serde_json::from_str(&read("../../../proto/native.schema.json")).unwrap();
    let now = now();
    assert_eq!(
        released["major"], VERSION.0,
        "another major version refuses what is sent today"
    );
    for (name, before) in released["fields"].as_object().unwrap() {
        let after = now.get(name);
        let Some(after) = after else {
            panic!("{name} was read, and is not any more")
        };
        assert_eq!(after["form"], before["form"], "{name}");
        assert!(
            before["required"] == true || after["required"] == false,
            "{name} is needed now"
        );
        for word in before["words"].as_array().unwrap() {
            assert!(
                after["words"].as_array().unwrap().contains(word),
                "{name}: {word} is no word any more"
            );
        }
    }
    let minor = released["minor"].as_u64().unwrap();
    let new = now
        .keys()
        .filter(|name| released["fields"].get(name.as_str()).is_none());
    for name in new {
        let since = now[name]["since_minor"].as_u64().unwrap();
        assert!(
            since > minor && since <= VERSION.1.into(),
            "{name} is new: raise the minor version, and say so"
        );
    }
}

#[test]
fn every_field_is_read_as_one_and_stands_in_the_docs() {
    let door = door();
    let docs = read("../../../docs/events.md");
    for field in FIELDS.iter().filter(|field| field.name != "*") {
        assert!(
            docs.contains(&format!("`{}`", field.name)),
            "docs/events.md lacks {}",
            field.name
        );
        // As a number it is refused, or read: no field of ours ends among what is not known.
        let odd = record(json!({ field.name: 1 }));
        if let Ok(admitted) = admit_json(&door, odd.as_bytes(), Provenance::default()) {
            assert!(
                admitted.event.extensions.is_empty(),
                "{} is not read",
                field.name
            );
        }
    }
    let other = record(json!({"something": 1}));
    let admitted = admit_json(&door, other.as_bytes(), Provenance::default());
    assert_eq!(admitted.unwrap().event.extensions.len(), 1);
}

#[test]
fn a_newer_minor_version_passes_with_what_is_new_and_another_major_does_not() {
    let door = door();
    for version in [
        json!("1"),
        json!("1.0"),
        json!("1.99"),
        json!(1),
        json!(1.7),
        json!(""),
        json!(null),
    ] {
        let line = record(json!({"schema_version": version, "a_new_field": "x"}));
        let admitted = admit_json(&door, line.as_bytes(), Provenance::default()).unwrap();
        assert_eq!(admitted.event.extensions.len(), 1, "{version}");
    }
    for version in [
        json!("2.0"),
        json!("0.9"),
        json!(2),
        json!("one"),
        json!("1."),
        json!("1.x"),
        json!(true),
    ] {
        let line = record(json!({"schema_version": version}));
        let refused = admit_json(&door, line.as_bytes(), Provenance::default()).unwrap_err();
        assert_eq!(
            (&*refused.field, refused.reason),
            ("schema_version", Reason::UnknownValue),
            "{version}"
        );
    }
}
