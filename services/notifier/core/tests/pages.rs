//! Each kind of receiver has a page that says how to set it up there and here, what it is sent, how
//! it dedups, how it ends and who acknowledges; what it shows is what is sent.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use balefire_notifier_core::route::{Receiver, ReceiverEntry};
use serde::Deserialize;
use serde_json::Value;

/// Pages, and the kinds that each is about.
const PAGES: [(&str, &[&str]); 11] = [
    ("webhook", &["webhook"]),
    ("splunk", &["splunk"]),
    ("sentinel", &["sentinel"]),
    ("elastic", &["elastic"]),
    ("ocsf", &["ocsf"]),
    ("pagerduty", &["pagerduty"]),
    ("servicenow", &["servicenow_incident", "servicenow_event"]),
    ("jira", &["jira"]),
    ("slack", &["slack_webhook", "slack_bot"]),
    ("syslog", &["syslog"]),
    // What it is sent is held by the tests of its encoder, which read a message.
    ("email", &["email"]),
];

const HEADINGS: [&str; 4] = [
    "## Set-up there",
    "## Configuration",
    "## What is sent",
    "## Dedup and end",
];

#[derive(Deserialize)]
struct Configuration {
    receiver: Vec<ReceiverEntry>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(format!("docs/receivers/{name}.md"))).unwrap()
}

fn body(kind: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies");
    std::fs::read_to_string(folder.join(format!("{kind}.txt"))).unwrap()
}

/// What stands in the fences of a language.
fn fenced(page: &str, language: &str) -> Vec<String> {
    let fences = page.split("\n```").skip(1).step_by(2);
    let own = fences.filter_map(|fence| fence.strip_prefix(language)?.strip_prefix('\n'));
    own.map(str::to_owned).collect()
}

fn values(text: &str) -> Vec<Value> {
    let all = serde_json::Deserializer::from_str(text).into_iter();
    all.map(Result::unwrap).collect()
}

/// What an incoming webhook of Slack does not get of a bot's message.
fn without_bot(mut values: Vec<Value>) -> Vec<Value> {
    for value in &mut values {
        for name in ["channel", "unfurl_links", "unfurl_media"] {
            value.as_object_mut().unwrap().remove(name);
        }
    }
    values
}

#[test]
fn every_kind_has_a_page_that_says_all_there_is_to_know() {
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    for (name, of) in PAGES {
        kinds.extend(of);
        let page = page(name);
        let at: Vec<_> = HEADINGS.iter().map(|heading| page.find(heading)).collect();
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{name}");
        assert!(page.contains("cknowledge"), "{name}: who acknowledges?");
    }
    let readme = page("README");
    for kind in kinds.iter().filter(|kind| **kind != "webhook") {
        assert!(readme.contains(&format!("`{kind}`")), "{kind}");
    }
    let bodies = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies"));
    let names: Vec<_> = bodies.unwrap().map(|file| file.unwrap().path()).collect();
    for body in names {
        let kind = body.file_stem().unwrap().to_str().unwrap();
        assert!(kinds.contains(kind), "{kind} has no page");
    }
}

#[test]
fn a_page_shows_what_is_sent() {
    for (name, kinds) in PAGES {
        let page = page(name);
        for kind in kinds.iter().filter(|kind| **kind != "email") {
            if *kind == "syslog" {
                let shown = fenced(&page, "text").concat();
                assert_eq!(shown.trim_end(), body(kind).trim_end());
                continue;
            }
            let want = values(&body(kind));
            let shown: Vec<_> = fenced(&page, "json").iter().map(|t| values(t)).collect();
            let of_slack = *kind == "slack_webhook" && page.contains("without `channel`");
            let shows = shown.contains(&want)
                || (of_slack && shown.into_iter().map(without_bot).any(|one| one == want));
            assert!(
                shows,
                "docs/receivers/{name}.md shows another body of {kind}"
            );
        }
    }
}

#[test]
fn a_page_shows_a_configuration_that_is_taken() {
    for (name, kinds) in PAGES {
        let mut configured: BTreeSet<&str> = BTreeSet::new();
        for text in fenced(&page(name), "toml") {
            let Configuration { receiver } = toml::from_str(&text).unwrap();
            for entry in &receiver {
                let made = Receiver::of(entry).unwrap();
                assert_eq!(made.target.fault(), None, "{name}");
                configured.insert(made.target.name());
            }
        }
        assert_eq!(configured, kinds.iter().copied().collect(), "{name}");
    }
}
