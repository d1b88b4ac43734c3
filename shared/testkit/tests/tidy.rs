//! The rules about this code that reading it can check, on the real tree. Each has a test of its
//! own in `src/tidy/` that shows it fail on a made-up one.

use std::sync::LazyLock;

use balefire_testkit::contract;
use balefire_testkit::tidy::edge::{self, Row};
use balefire_testkit::tidy::tree::File;
use balefire_testkit::tidy::{link, page, promise, proto, source, tree};

const fn pure(name: &'static str, ours: &'static [&'static str]) -> Row {
    Row {
        name,
        ours,
        in_tests: &[],
        pure: true,
    }
}

const fn shell(
    name: &'static str,
    ours: &'static [&'static str],
    in_tests: &'static [&'static str],
) -> Row {
    Row {
        name,
        ours,
        in_tests,
        pure: false,
    }
}

/// Arrows point down. A service never uses another; only the binary that users type uses all.
const EDGES: [Row; 27] = [
    pure("balefire-event", &[]),
    pure("balefire-rule", &["event"]),
    pure("balefire-control", &["event"]),
    pure("balefire-stream", &["event"]),
    pure("balefire-ingest-core", &["event"]),
    pure("balefire-correlator-core", &["event"]),
    pure("balefire-rule-engine-core", &["event", "rule", "stream"]),
    pure("balefire-notifier-core", &["control", "event"]),
    shell("balefire-wire", &["control", "event"], &["golden"]),
    shell("balefire-bus", &["event"], &[]),
    shell("balefire-store", &[], &[]),
    // The flags that reach the broker are the same in every main.
    shell("balefire-kit", &["bus", "event", "wire"], &[]),
    // A client of the control plane, as Terraform starts it.
    shell(
        "balefire-terraform-provider",
        &["control", "event", "wire"],
        &[],
    ),
    shell("balefire-client", &["event", "wire"], &[]),
    shell(
        "balefire-driver",
        &["bus", "event", "kit", "store", "wire"],
        &[],
    ),
    shell("balefire-testkit", &[], &[]),
    // A workspace of its own: bytes against what reads them.
    shell(
        "balefire-fuzz",
        &["event", "ingest-core", "rule", "wire"],
        &[],
    ),
    // A workspace of its own, too: what this machine can do if it does nothing else.
    shell("balefire-bound", &["event"], &[]),
    // Development only: all cores under the driver's bookkeeping, over a log in memory.
    shell(
        "balefire-simulation",
        &[
            "correlator-core",
            "driver",
            "event",
            "rule",
            "rule-engine-core",
            "stream",
        ],
        &["ingest-core"],
    ),
    // It judges the engine, so it shares nothing with it, not even the vocabulary.
    pure("balefire-loadtest-core", &[]),
    // What a producer and an operator can know: the contract and the client.
    shell(
        "balefire-loadtest",
        &["client", "kit", "loadtest-core", "wire"],
        &[],
    ),
    // Tests only: the log that each release left, read with what reads the log.
    shell("balefire-golden", &["bus", "driver", "event", "wire"], &[]),
    shell(
        "balefire-ingest",
        &["bus", "control", "event", "ingest-core", "kit", "wire"],
        &[],
    ),
    shell(
        "balefire-correlator",
        &[
            "bus",
            "correlator-core",
            "driver",
            "event",
            "kit",
            "store",
            "wire",
        ],
        &["golden"],
    ),
    shell(
        "balefire-rule-engine",
        &[
            "bus",
            "control",
            "driver",
            "event",
            "kit",
            "rule",
            "rule-engine-core",
            "store",
            "stream",
            "wire",
        ],
        &["golden"],
    ),
    shell(
        "balefire-notifier",
        &["bus", "control", "event", "kit", "notifier-core", "wire"],
        &["golden"],
    ),
    shell(
        "balefire",
        &[
            "bus",
            "client",
            "control",
            "correlator",
            "event",
            "ingest",
            // `replay` runs the engine alone: door and windows without services.
            "ingest-core",
            "kit",
            "notifier",
            "rule",
            "rule-engine",
            "rule-engine-core",
            "store",
            "wire",
        ],
        &[],
    ),
];

/// Pages of the errors of the log, by variant of `balefire_bus::Error`.
const BUS_PAGES: [(&str, &str); 23] = [
    ("Connect", "log_unavailable"),
    ("Unauthorized", "credential_refused"),
    ("ServerTooOld", "nats_server_unusable"),
    ("NoServerBinary", "nats_server_unusable"),
    ("MaxPayload", "nats_server_unusable"),
    ("NoJetStream", "nats_server_unusable"),
    ("Topology", "partitions"),
    ("Partitions", "partitions"),
    ("StreamMissing", "stream_missing"),
    ("Weak", "weak_stream"),
    ("SyncUnproven", "weak_stream"),
    ("Fenced", "fenced"),
    ("LogRegression", "log_regression"),
    ("Gap", "log_regression"),
    ("Full", "log_full"),
    ("TooLarge", "nats_server_unusable"),
    ("Refused", "log_unavailable"),
    ("Unavailable", "log_unavailable"),
    ("Ended", "log_unavailable"),
    ("Io", "data_dir"),
    ("Credential", "credential_refused"),
    ("Locked", "data_dir"),
    ("ServerNotReady", "nats_server_unusable"),
];

static TREE: LazyLock<Vec<File>> =
    LazyLock::new(|| tree::read(&contract::root()).expect("the checkout can be listed"));

fn ending(suffix: &str) -> impl Iterator<Item = &'static File> {
    TREE.iter().filter(move |file| file.path.ends_with(suffix))
}

fn text_of(path: &str) -> &'static str {
    let file = TREE.iter().find(|file| file.path == path);
    file.map_or("", |file| file.text.as_str())
}

#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn arrows_between_crates_are_those_of_the_table() {
    let manifests: Vec<&File> = ending("Cargo.toml")
        .filter(|file| file.path != "Cargo.toml")
        .collect();
    assert!(manifests.len() >= EDGES.len(), "the members were found");
    let mut found: Vec<String> = manifests
        .iter()
        .flat_map(|file| edge::check(&EDGES, &file.path, &file.text))
        .collect();
    let texts: Vec<&str> = manifests.iter().map(|file| file.text.as_str()).collect();
    found.extend(edge::stale(&EDGES, &texts));
    none(&found);
}

#[test]
fn sources_keep_their_size_and_hold_nothing_forbidden() {
    assert!(ending(".rs").count() > 100, "the sources were found");
    none(&TREE.iter().flat_map(source::check).collect::<Vec<_>>());
}

#[test]
fn every_part_of_the_contract_is_commented() {
    let protos = || ending(".proto").filter(|file| file.path.starts_with("proto/"));
    assert!(protos().count() >= 9, "the contract was found");
    none(
        &protos()
            .flat_map(|file| proto::check(&file.path, &file.text))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_code_that_an_operator_meets_has_a_runbook() {
    let pages: Vec<&str> = TREE
        .iter()
        .filter_map(|file| {
            file.path
                .strip_prefix("docs/runbooks/")?
                .strip_suffix(".md")
        })
        .collect();
    let rust = ending(".rs")
        .filter(|file| file.path.contains("/src/") && !file.path.contains("/generated/"))
        .filter(|file| !file.path.starts_with("shared/testkit/"));
    let mut codes: Vec<String> = rust.flat_map(|file| page::reasons(&file.text)).collect();
    codes.extend(ending(".proto").flat_map(|file| page::listed(&file.text)));
    for known in ["malformed_record", "rule_panicked", "delivery_refused"] {
        assert!(codes.iter().any(|code| code == known), "{known}: {codes:?}");
    }
    codes.extend(BUS_PAGES.iter().map(|(_, page)| (*page).to_owned()));
    codes.sort();
    codes.dedup();
    none(&page::missing(&codes, &pages));
    let errors = page::variants(text_of("shared/bus/src/error.rs"));
    none(&page::unassigned(&errors, &BUS_PAGES));
}

#[test]
fn files_that_the_documentation_names_are_there() {
    let paths = link::with_folders(TREE.iter().map(|file| file.path.as_str()));
    for needed in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/ARCHITECTURE.md",
        "docs/glossary.md",
    ] {
        assert!(paths.contains(needed), "{needed} is missing");
    }
    let documents =
        ending(".md").filter(|file| file.path.starts_with("docs/") || !file.path.contains('/'));
    none(
        &documents
            .flat_map(|file| link::check(&file.path, &file.text, &paths))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_promise_names_its_test_and_the_faults_that_break_it() {
    let promises = promise::promises(text_of("docs/guarantees.md"));
    let promises = promises.unwrap_or_else(|row| panic!("{row}"));
    assert!(promises.len() >= 12, "the table was found");
    let faults = promise::faults(text_of("shared/simulation/src/fault.rs"));
    assert!(faults.len() >= 26, "the faults were found");
    let mut found = promise::check(&promises, &faults);
    let functions: Vec<&str> = ending(".rs")
        .flat_map(|file| file.text.lines())
        .map(|line| line.trim().trim_start_matches("async "))
        .filter_map(|line| line.strip_prefix("fn ")?.split('(').next())
        .collect();
    let verdict = text_of("shared/simulation/src/verdict.rs");
    found.extend(promise::unknown_tests(&promises, |name| {
        functions.contains(&name)
            || TREE.iter().any(|file| file.path == name)
            || verdict.contains(&format!("(\"{name}\", self."))
    }));
    none(&found);
}
