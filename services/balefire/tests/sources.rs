//! `balefire sources`, as users run it: without a server.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn balefire(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_balefire"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const MAP: &str = r#"
source = "acme-chat"
[match]
kind = "guard"
[fields]
timestamp = "ts"
category = "what"
user_id = ["actor.mail", "actor.id"]
request_id = "ids.request"
[words.category]
blocked = "guardrail_block"
"#;

/// The same as the file of a source object.
const OBJECT: &str = r#"
lateness = "6h"
[matches]
kind = "guard"
[fields]
timestamp = "ts"
category = "what"
user_id = "actor.mail|actor.id"
request_id = "ids.request"
[words]
"category.blocked" = "guardrail_block"
"#;

const RECORDS: &str = r#"{"kind":"guard","ts":1795343400,"what":"blocked","actor":{"id":"u-1"},"ids":{"request":"r-1"},"score":0.7}
{"kind":"guard","ts":1795343401,"what":"unheard of","actor":{"mail":"ada@example.com"}}
{"kind":"access","ts":1795343402}
"#;

#[test]
fn a_field_map_is_tried_on_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("source")).unwrap();
    write("map.toml", MAP);
    write("source/acme-chat.toml", OBJECT);
    write("records.ndjson", RECORDS);
    for map in ["map.toml", "source/acme-chat.toml"] {
        let done = balefire(&["sources", "check", map, "records.ndjson"], dir.path());
        let (out, told) = (text(&done.stdout), text(&done.stderr));
        assert_eq!(done.status.code(), Some(1), "two are refused: {told}");
        let event: Value = serde_json::from_str(out.trim()).unwrap();
        assert_eq!(event["category"], "guardrail_block");
        assert_eq!(
            (&event["user_id"], &event["request_id"]),
            (&"u-1".into(), &"r-1".into())
        );
        assert_eq!(event["acme-chat"]["score"], 0.7, "kept under the source");
        for part in [
            "line 2: record: says no category",
            "line 3: record",
            "1 events, 2 refused",
            "score",
        ] {
            assert!(told.contains(part), "{map}: {part}: {told}");
        }
        assert!(
            !told.contains("unheard of") && !told.contains("ada@"),
            "{told}"
        );
    }
    let first = RECORDS.lines().next().unwrap();
    write("good.json", first);
    let done = balefire(&["sources", "check", "map.toml", "good.json"], dir.path());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    write("bad.toml", "source = \"x\"\n[fields]\nno_such = \"a\"\n");
    let done = balefire(&["sources", "check", "bad.toml", "good.json"], dir.path());
    assert_ne!(done.status.code(), Some(0));
    assert!(
        text(&done.stderr).contains("no_such"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn every_source_of_the_list_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let done = balefire(&["sources", "list"], dir.path());
    let out = text(&done.stdout);
    let names: Vec<&str> = out
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.len() >= 25, "{names:?}");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sources");
    let readme = std::fs::read_to_string(docs.join("README.md")).unwrap();
    for name in names {
        let page = std::fs::read_to_string(docs.join(format!("{name}.md"))).unwrap();
        assert!(readme.contains(&format!("[{name}]({name}.md)")), "{name}");
        for part in [
            "## Connect",
            "## What is read",
            "## Identity",
            "## Lateness",
        ] {
            assert!(page.contains(part), "{name}: {part}");
        }
    }
}
