//! `balefire replay` over the committed records of every release: the same escalation ids, kinds,
//! episodes and slots.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn releases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/releases");
    let entries = std::fs::read_dir(root).unwrap();
    let found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(found.iter().any(|dir| dir.ends_with("0.1.0")));
    found
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn replay_of_recorded_records_gives_the_recorded_ids() {
    for dir in releases() {
        let done = Command::new(env!("CARGO_BIN_EXE_balefire"))
            .args(["replay", "--output", "ndjson"])
            .arg(dir.join("events.ndjson"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{told}");
        let recorded = lines(&std::fs::read(dir.join("escalations.ndjson")).unwrap());
        assert!(recorded.len() > 5, "it has some");
        let mut found = lines(&done.stdout);
        assert_eq!(found.len(), recorded.len());
        for (found, recorded) in found.iter_mut().zip(&recorded) {
            let Value::Object(fields) = found else {
                panic!("a line is an object");
            };
            fields.retain(|name, _| recorded.get(name).is_some());
            assert_eq!(found, recorded);
        }
    }
}
