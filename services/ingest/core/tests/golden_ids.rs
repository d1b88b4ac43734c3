//! The ids of the committed records of every release, as literal hex: a formula that drifts would
//! page everybody again and count every copy twice.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::{Admitted, Door, Path, Provenance, Source, admit_json};
use serde_json::Value;

fn releases() -> Vec<PathBuf> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/releases");
    let entries = fs::read_dir(root).unwrap();
    let found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(found.iter().any(|dir| dir.ends_with("0.1.0")));
    found
}

fn door() -> Door {
    // As the recording was made: over HTTP, without a source of its own, two partitions.
    let source = Source::undeclared("native", ClockPolicy::default());
    Door::new("default", source, 2)
}

fn stream(admitted: &Admitted<'_>) -> String {
    let log = match admitted.path {
        Path::Straight { .. } => "EVENTS",
        Path::Detour { .. } => "INTAKE",
    };
    format!("{log}_g1_{}_{}", admitted.lane, admitted.path.partition())
}

#[test]
fn ids_lanes_and_partitions_are_the_recorded_ones() {
    let door = door();
    for dir in releases() {
        let events = fs::read(dir.join("events.ndjson")).unwrap();
        let ids = fs::read_to_string(dir.join("ids.ndjson")).unwrap();
        let lines: Vec<&[u8]> = events
            .trim_ascii_end()
            .split(|byte| *byte == b'\n')
            .collect();
        assert_eq!(lines.len(), ids.lines().count());
        assert!(lines.len() > 40, "it has some");
        for (line, recorded) in lines.iter().zip(ids.lines()) {
            let recorded: Value = serde_json::from_str(recorded).unwrap();
            let admitted = admit_json(&door, line, Provenance::default()).unwrap();
            let shown = String::from_utf8_lossy(line);
            let id = admitted.event.dedup_id.to_string();
            assert_eq!(recorded["dedup_id"], id.as_str(), "{shown}");
            assert_eq!(recorded["stream"], stream(&admitted).as_str(), "{shown}");
        }
    }
}

/// Written down by hand, so that no recording can carry a drift along.
#[test]
fn a_record_has_this_id_and_its_user_this_reference() {
    let door = door();
    let line = br#"{"event_type":"ai_security","event_id":"e-1","timestamp":"2026-02-11T14:30:00Z","category":"prompt_attack","severity":"high","user_id":"JGill@Example.com","request_id":"r-1"}"#;
    let admitted = admit_json(&door, line, Provenance::default()).unwrap();
    let user = admitted.event.user.as_ref().unwrap();
    assert_eq!(
        (
            admitted.event.dedup_id.to_string().as_str(),
            user.subject_ref.to_string().as_str(),
        ),
        (
            "40caf5f79af6f8a47d9031598dd7e88d",
            "bf5f9054e2050684d78df1ee6759fde0",
        )
    );
}
