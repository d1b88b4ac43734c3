//! `balefire rules`: checks rule files, lists the rules in force.

use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_event::{RuleId, Severity};
use balefire_rule::{Diagnostic, RuleSet};
use balefire_wire::rule::v1::ListRulesRequest;
use balefire_wire::rule::v1::rule_service_client::RuleServiceClient;
use serde_json::json;

use crate::connect::Target;
use crate::print::{Listing, Out, note, table};
use crate::silences::{self, Switch};
use crate::{Failure, span, whatif};

/// Checks rule files, tries them out, lists the rules in force, switches a rule off for a while.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks every .yml and .yaml file below a folder; exit 1 if one has a fault
    Check {
        /// The folder
        dir: PathBuf,
        /// How the rules are printed
        #[arg(long, value_enum, default_value_t)]
        output: Listing,
    },
    /// Puts a rule out of force for a while; then it is in force again by itself
    Disable {
        #[command(flatten)]
        switch: Switch,
        /// For how long, from now
        #[arg(long = "for", value_parser = span::parse, value_name = "SPAN")]
        span: Duration,
    },
    /// Puts a disabled rule into force again
    Enable {
        #[command(flatten)]
        switch: Switch,
    },
    /// Tries rule files out on the recorded log: escalations added, removed, unchanged
    #[command(name = "whatif")]
    WhatIf(whatif::Args),
    /// Lists the rules in force
    List {
        #[command(flatten)]
        target: Target,
        /// How they are printed
        #[arg(long, value_enum, default_value_t)]
        output: Listing,
    },
}

/// Name and YAML of every rule file below a folder, sorted by name.
///
/// # Errors
/// Where a file cannot be read, or there is none.
pub fn files(dir: &Path) -> Result<Vec<(String, String)>, Failure> {
    balefire_rule_engine::rule_files(dir).map_err(|error| Failure::chain(&error))
}

/// Compiles files; every fault is told on standard error.
///
/// # Errors
/// Where there is one.
pub fn compile(files: &[(String, String)]) -> Result<RuleSet, Failure> {
    RuleSet::parse(files).map_err(|faults: Vec<Diagnostic>| {
        for fault in &faults {
            note(&fault.to_string());
        }
        Failure::Failed(format!("{} fault(s) in the rules", faults.len()))
    })
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Disable { switch, span } => silences::switch(switch, Some(span)).await,
        Command::WhatIf(args) => whatif::run(args).await,
        Command::Enable { switch } => silences::switch(switch, None).await,
        Command::Check { dir, output } => {
            let set = compile(&files(&dir)?)?;
            let rows = set.rules().iter().map(|rule| Row {
                name: rule.name.clone(),
                id: rule.id.to_uuid(),
                severity: rule.severity.to_string(),
                group_by: rule
                    .group_by()
                    .iter()
                    .map(|f| f.name().into_owned())
                    .collect(),
                window: match &rule.kind {
                    balefire_rule::RuleKind::Single => 0,
                    balefire_rule::RuleKind::Threshold(t) => t.window,
                    balefire_rule::RuleKind::AtClose(c) => c.window,
                },
                condition: rule.kind.words(),
                title: rule.title.clone(),
            });
            print(rows.collect(), output);
            note(&format!("{} rule(s), no faults", set.rules().len()));
            Ok(())
        }
        Command::List { target, output } => {
            let mut client = RuleServiceClient::new(target.connect().await?);
            let answer = client.list_rules(ListRulesRequest {}).await?.into_inner();
            let rows = answer.rules.into_iter().map(|rule| Row {
                id: RuleId::from_slice(&rule.rule_id)
                    .unwrap_or_default()
                    .to_uuid(),
                severity: Severity::from_number(rule.severity)
                    .map_or("-", Severity::as_str)
                    .to_owned(),
                window: rule.window_ns,
                condition: rule.condition,
                group_by: rule.group_by,
                name: rule.name,
                title: rule.title,
            });
            print(rows.collect(), output);
            Ok(())
        }
    }
}

struct Row {
    name: String,
    id: String,
    severity: String,
    group_by: Vec<String>,
    /// W, nanoseconds; 0 windowless.
    window: i64,
    condition: String,
    title: String,
}

fn print(rows: Vec<Row>, output: Listing) {
    let mut out = Out::new();
    match output {
        Listing::Ndjson => {
            for row in &rows {
                let line = json!({
                    "name": row.name, "rule_id": row.id, "severity": row.severity, "group_by": row.group_by,
                    "condition": row.condition,
                    "within_seconds": (row.window > 0).then_some(row.window / balefire_event::time::SECOND),
                    "title": row.title,
                });
                if !out.line(&line.to_string()) {
                    return;
                }
            }
        }
        Listing::Table => {
            let rows: Vec<Vec<String>> = rows
                .into_iter()
                .map(|row| {
                    let when = if row.group_by.is_empty() {
                        row.condition
                    } else {
                        format!("{} by {}", row.condition, row.group_by.join(", "))
                    };
                    vec![row.name, row.severity, when, row.title]
                })
                .collect();
            out.line(&table(&["RULE", "SEVERITY", "ESCALATES", "TITLE"], &rows));
        }
    }
    out.flush();
}
