//! The records that the documentation shows are admitted.

use balefire_event::Lane;
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::{Door, Provenance, Source, admit_json};

const EVENTS: &str = include_str!("../../../../docs/events.md");

/// The contents of every block that is marked as JSON.
fn blocks(text: &str) -> Vec<&str> {
    let rest = text.split("\n```json\n").skip(1);
    rest.filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn every_record_of_the_documentation_is_admitted() {
    let source = Source::undeclared("native", ClockPolicy::default());
    let door = Door::new("default", source, 2);
    let blocks = blocks(EVENTS);
    assert!(!blocks.is_empty(), "events.md shows a record");
    for record in blocks {
        let admitted = match admit_json(&door, record.as_bytes(), Provenance::default()) {
            Ok(admitted) => admitted,
            Err(violation) => panic!("{violation}\n{record}"),
        };
        assert!(admitted.event.user.is_some() && admitted.id_said);
        assert_eq!(admitted.lane, Lane::Urgent);
        assert!(admitted.evidence.is_some(), "its bodies are split off");
        let extensions = &admitted.event.extensions;
        assert!(extensions.is_empty(), "a field is misspelt: {extensions:?}");
    }
}

#[test]
fn every_field_of_the_documentation_is_one_of_the_record() {
    // No field of the record is a list, but a body; `other` shows that the check can fail.
    let source = Source::undeclared("native", ClockPolicy::default());
    let door = Door::new("default", source, 2);
    let known = |field: &str| {
        let record = format!(r#"{{"{field}":[{{"a":1}}]}}"#);
        let refused = admit_json(&door, record.as_bytes(), Provenance::default());
        refused.is_err_and(|violation| violation.field == field)
    };
    assert!(!known("other"));
    let table = EVENTS.split("## Fields").nth(1).unwrap_or_default();
    let rows = table.split("\n## ").next().unwrap_or_default().lines();
    let cells = rows.filter_map(|row| row.strip_prefix("| `")?.split(" |").next());
    let fields: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .filter(|field| !field.is_empty())
        .collect();
    assert_eq!(fields.len(), 32, "18 texts and 14 others: {fields:?}");
    for field in fields {
        assert!(
            known(field) || matches!(field, "request" | "response"),
            "{field}"
        );
    }
}
