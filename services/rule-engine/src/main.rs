//! `balefire-rule-engine`: the rule engine as a process of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use balefire_bus::Role;
use balefire_kit::config::{BrokerArgs, ServerArgs};
use balefire_kit::process;
use balefire_kit::server::TaskError;
use balefire_rule_engine::{Config, Deps, Pace, start};
use clap::Parser as _;

/// Keeps windows over the events of a log and writes escalations.
#[derive(Debug, clap::Parser)]
#[command(name = "balefire-rule-engine", version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Folder of rule files to put in force; without it the baseline pack, where none is in force
    #[arg(long, env = "BALEFIRE_RULES", value_name = "DIR")]
    rules: Option<PathBuf>,
    #[command(flatten)]
    pace: Pace,
}

fn rules(dir: Option<&Path>) -> Result<Vec<(String, String)>, TaskError> {
    Ok(match dir {
        Some(dir) => balefire_rule_engine::rule_files(dir)?,
        None => balefire_rule_engine::baseline_files(),
    })
}

fn main() -> ExitCode {
    let args = Args::parse();
    process::run(
        &args.server,
        &args.broker,
        Role::RuleEngine,
        |bus, topology, shutdown| {
            let state_dir = args.broker.state_dir("rule-engine");
            let files = rules(args.rules.as_deref());
            let pace = args.pace;
            let instance = args.broker.instance("rule-engine", rand::random());
            async move {
                let config = Config {
                    rules: Some(files?),
                    state_dir,
                    owner_id: rand::random(),
                    instance: instance?,
                    pace,
                };
                start(
                    config,
                    Deps {
                        bus,
                        topology,
                        shutdown,
                    },
                )
                .await
                .map_err(TaskError::from)
            }
        },
    )
}
