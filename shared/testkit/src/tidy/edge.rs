//! Which crate may depend on which.

/// What one crate of ours may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Package name.
    pub name: &'static str,
    /// Crates of ours that it may use, without the prefix `balefire-`.
    pub ours: &'static [&'static str],
    /// Crates of ours that its tests may use besides.
    pub in_tests: &'static [&'static str],
    /// True: decides without time, transport, disk or chance ([`IMPURE`]).
    pub pure: bool,
}

/// What a pure crate never knows, tests included.
pub const IMPURE: [&str; 17] = [
    "async-nats",
    "axum",
    "bincode",
    "clap",
    "futures",
    "http",
    "metrics",
    "prost",
    "prost-types",
    "rand",
    "reqwest",
    "sled",
    "tokio",
    "tokio-util",
    "tonic",
    "tracing",
    "tracing-subscriber",
];

/// Crates of others that only these of ours may use.
pub const OWNERS: [(&str, &[&str]); 10] = [
    ("async-nats", &["balefire-bus"]),
    ("nkeys", &["balefire-bus"]),
    ("sled", &["balefire-store"]),
    ("bincode", &["balefire-store"]),
    ("rsigma-parser", &["balefire-rule"]),
    ("yaml_serde", &["balefire-rule"]),
    // The kit posts notices about Balefire itself: every process may have to.
    ("reqwest", &["balefire-kit", "balefire-notifier"]),
    ("tracing-subscriber", &["balefire-kit"]),
    ("metrics-exporter-prometheus", &["balefire-kit"]),
    (
        "prost",
        &[
            "balefire-wire",
            "balefire-testkit",
            // Terraform's own protocol, which nothing else speaks.
            "balefire-terraform-provider",
        ],
    ),
];

const HOW: &str = "if the arrow is meant, add it to the table in shared/testkit/tests/tidy.rs, \
                   in a commit of its own that says why";

/// Findings about one `Cargo.toml`.
#[must_use]
pub fn check(table: &[Row], path: &str, manifest: &str) -> Vec<String> {
    let Ok(manifest) = manifest.parse::<toml::Table>() else {
        return vec![format!("{path} is not TOML")];
    };
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let Some(row) = table.iter().find(|row| row.name == name) else {
        return vec![format!(
            "{path}: crate {name:?} is not in the table of edges; {HOW}"
        )];
    };
    let mut found = Vec::new();
    if !inherits_lints(&manifest) {
        found.push(format!("{path} does not say `[lints] workspace = true`"));
    }
    for dependency in dependencies(&manifest, &["dependencies", "build-dependencies"]) {
        edge(row, &dependency, row.ours, &mut found);
        foreign(row, &dependency, &mut found);
    }
    for dependency in dependencies(&manifest, &["dev-dependencies"]) {
        let allowed: Vec<&str> = [row.ours, row.in_tests, &["testkit"]].concat();
        edge(row, &dependency, &allowed, &mut found);
        if row.pure && IMPURE.contains(&dependency.as_str()) {
            found.push(impure(row, &dependency));
        }
    }
    found
}

/// Findings about rows that no crate has any more.
#[must_use]
pub fn stale(table: &[Row], manifests: &[&str]) -> Vec<String> {
    table
        .iter()
        .filter(|row| {
            let line = format!("name = \"{}\"", row.name);
            !manifests.iter().any(|manifest| manifest.contains(&line))
        })
        .map(|row| format!("the table of edges names {}, which is no member", row.name))
        .collect()
}

fn edge(row: &Row, dependency: &str, allowed: &[&str], found: &mut Vec<String>) {
    if let Some(ours) = dependency.strip_prefix("balefire-")
        && !allowed.contains(&ours)
    {
        let name = row.name;
        found.push(format!("new edge {name} -> {dependency}: {HOW}"));
    }
}

fn foreign(row: &Row, dependency: &str, found: &mut Vec<String>) {
    if row.pure && IMPURE.contains(&dependency) {
        found.push(impure(row, dependency));
    }
    for (name, owners) in OWNERS {
        if name == dependency && !owners.contains(&row.name) {
            let user = row.name;
            found.push(format!(
                "{user} uses {dependency}, which only {} may know: ask that crate for what you need",
                owners.join(", ")
            ));
        }
    }
}

fn impure(row: &Row, dependency: &str) -> String {
    format!(
        "{} is pure and may not use {dependency}: time, order and chance arrive in its input, \
         effects leave as data",
        row.name
    )
}

fn inherits_lints(manifest: &toml::Table) -> bool {
    manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool)
        == Some(true)
}

/// Package names in these sections, those of a target included.
fn dependencies(manifest: &toml::Table, sections: &[&str]) -> Vec<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets
        .into_iter()
        .flat_map(toml::Table::values)
        .filter_map(toml::Value::as_table)
        .chain([manifest]);
    let mut names = Vec::new();
    for table in tables {
        for section in sections {
            let entries = table.get(*section).and_then(toml::Value::as_table);
            for (key, value) in entries.into_iter().flatten() {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                names.push(renamed.unwrap_or(key).to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Row; 2] = [
        Row {
            name: "balefire-core",
            ours: &["event"],
            in_tests: &[],
            pure: true,
        },
        Row {
            name: "balefire-shell",
            ours: &["event", "core"],
            in_tests: &["kit"],
            pure: false,
        },
    ];

    fn found(name: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}");
        check(&TABLE, "x/Cargo.toml", &text)
    }

    #[test]
    fn an_edge_of_the_table_passes() {
        let rest = "[dependencies]\nbalefire-event.workspace = true\ntokio = \"1\"";
        assert_eq!(found("balefire-shell", rest), [""; 0]);
    }

    #[test]
    fn an_edge_outside_the_table_is_named_with_the_way_to_change_it() {
        let all = found(
            "balefire-core",
            "[dependencies]\nbalefire-bus.workspace = true",
        );
        let text = all.concat();
        assert!(text.contains("balefire-core -> balefire-bus"), "{text}");
        assert!(text.contains("tests/tidy.rs"), "{text}");
    }

    #[test]
    fn an_edge_of_a_target_or_a_build_script_or_under_another_name_counts() {
        for rest in [
            "[target.'cfg(unix)'.dependencies]\nbalefire-bus.workspace = true",
            "[build-dependencies]\nbalefire-bus.workspace = true",
            "[dependencies]\nbus = { package = \"balefire-bus\", path = \"x\" }",
        ] {
            assert_eq!(found("balefire-core", rest).len(), 1, "{rest}");
        }
    }

    #[test]
    fn a_pure_crate_may_not_know_the_runtime_even_in_tests() {
        for section in ["dependencies", "dev-dependencies"] {
            let all = found(
                "balefire-core",
                &format!("[{section}]\ntokio.workspace = true"),
            );
            assert!(all.concat().contains("is pure"), "{all:?}");
        }
    }

    #[test]
    fn only_the_owner_may_know_a_guarded_crate() {
        let all = found("balefire-shell", "[dependencies]\nsled.workspace = true");
        assert!(all.concat().contains("only balefire-store"), "{all:?}");
    }

    #[test]
    fn tests_may_use_what_the_row_says_and_no_more() {
        let kit = "[dev-dependencies]\nbalefire-kit.workspace = true";
        assert_eq!(found("balefire-shell", kit).len(), 0);
        assert_eq!(found("balefire-core", kit).len(), 1);
    }

    #[test]
    fn an_unknown_crate_and_a_stale_row_are_found() {
        assert_eq!(found("balefire-other", "").len(), 1);
        assert_eq!(stale(&TABLE, &["name = \"balefire-core\""]).len(), 1);
    }

    #[test]
    fn a_crate_without_the_workspace_lints_is_found() {
        let all = check(
            &TABLE,
            "x/Cargo.toml",
            "[package]\nname = \"balefire-core\"",
        );
        assert!(all.concat().contains("lints"), "{all:?}");
    }
}
