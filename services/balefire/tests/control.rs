//! The commands over control objects, as users run them, against `balefire up`.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

struct Up {
    child: Child,
    addr: String,
    /// Kept until the end.
    _dir: tempfile::TempDir,
}

impl Up {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_balefire"))
            .args([
                "up",
                "--grpc-addr",
                "127.0.0.1:0",
                "--http-addr",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let grpc = line
            .split("grpc=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let addr = format!("http://{}", grpc.expect("a ready line"));
        Self {
            child,
            addr,
            _dir: dir,
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_balefire"));
        command.args(args).env("BALEFIRE_ADDR", &self.addr);
        command.output().unwrap()
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        format!(
            "{}{}",
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap()
        )
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _stopped = Command::new("kill").args(["-TERM", &pid]).status();
        let _ended = self.child.wait();
    }
}

fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for kind in std::fs::read_dir(dir).unwrap() {
        let kind = kind.unwrap();
        for file in std::fs::read_dir(kind.path()).unwrap() {
            let file = file.unwrap();
            let name = format!(
                "{}/{}",
                kind.file_name().display(),
                file.file_name().display()
            );
            found.insert(name, std::fs::read_to_string(file.path()).unwrap());
        }
    }
    found
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

const RULE: &str = "title: Mine\nid: 11111111-2222-4333-8444-555555555555\nname: mine\nlogsource:\n  product: ai_security\n\
                    detection:\n  selection:\n    category: model_drift\n  condition: selection\nlevel: high\n";

#[test]
fn an_export_applied_to_an_empty_system_is_exported_again_the_same() {
    let first = Up::start();
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    write(
        &temp.path().join("soc"),
        &[
            ("rule/mine.yml", RULE),
            ("rule/mine.toml", "[labels]\nteam = \"soc\"\n"),
            (
                "receiver/soc.toml",
                "url = \"https://soc.example/hook\"\naudiences = [\"soc\", \"ai\"]\nconcurrency = 2\n",
            ),
            (
                "route/high.toml",
                "receivers = [\"soc\"]\nseverity_min = \"high\"\n",
            ),
            (
                "severity_map/gw.toml",
                "source = \"gw\"\n[words]\n\"sev 1\" = \"critical\"\n",
            ),
            ("tenant/acme.toml", "title = \"Acme\"\n"),
        ],
    );
    let told = first.refused(&["diff", &path("soc")]);
    for line in ["+ rule mine", "+ receiver soc", "would be: 5 created"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    first.done(&["apply", &path("soc"), "--dry-run"]);
    assert!(
        !first.done(&["rules", "list"]).contains("mine"),
        "a dry run changes nothing"
    );
    first.done(&["apply", &path("soc"), "--reason", "first"]);
    assert!(first.done(&["rules", "list"]).contains("mine"));
    first.done(&["diff", &path("soc")]);
    first.done(&["export", &path("a")]);
    let second = Up::start();
    second.done(&["apply", &path("a")]);
    second.done(&["export", &path("b")]);
    let exported = files(&temp.path().join("a"));
    assert_eq!(exported, files(&temp.path().join("b")));
    assert_eq!(exported["rule/mine.yml"], RULE);
    // The four of the baseline, and six files of ours.
    assert_eq!(exported.len(), 10, "{:?}", exported.keys());
}

#[test]
fn what_another_tool_owns_is_refused_and_an_override_and_every_reason_are_in_the_audit() {
    let up = Up::start();
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    write(
        temp.path(),
        &[("receiver/soc.toml", "url = \"https://soc.example\"\n")],
    );
    up.done(&["apply", dir, "--managed-by", "terraform:soc"]);
    write(
        temp.path(),
        &[("receiver/soc.toml", "url = \"https://other.example\"\n")],
    );
    let told = up.refused(&["apply", dir]);
    assert!(told.contains("managed by \"terraform:soc\""), "{told}");
    up.done(&[
        "apply",
        dir,
        "--override",
        "--reason",
        "outage of the first",
    ]);
    let changes = up.done(&["changes", "--kind", "receiver", "--output", "ndjson"]);
    let last: serde_json::Value = serde_json::from_str(changes.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["overridden"], &last["reason"]),
        (&true.into(), &"outage of the first".into())
    );
    up.done(&[
        "rules",
        "disable",
        "prompt_attack",
        "--for",
        "1h",
        "--reason",
        "red team",
    ]);
    assert!(!up.done(&["rules", "list"]).contains("prompt_attack"));
    up.done(&["rules", "enable", "prompt_attack", "--reason", "over"]);
    assert!(up.done(&["rules", "list"]).contains("prompt_attack"));
    let name = up.done(&["silences", "add", "--for", "2h", "--reason", "maintenance"]);
    assert!(up.done(&["silences", "list"]).contains(name.trim()));
    up.done(&["delete", dir, "--override"]);
    let refused = up.refused(&[
        "rules", "disable", "nothing", "--for", "1h", "--reason", "r",
    ]);
    assert!(
        refused.contains("there is no rule \"nothing\""),
        "{refused}"
    );
}
