//! `balefire-correlator`: the correlator as a process of its own.

use std::process::ExitCode;

use balefire_bus::Role;
use balefire_correlator::{Config, Deps, start};
use balefire_kit::config::{BrokerArgs, ServerArgs};
use balefire_kit::process;
use balefire_kit::server::TaskError;
use clap::Parser as _;

/// Joins events of a log to the identities that other records of it name.
#[derive(Debug, clap::Parser)]
#[command(name = "balefire-correlator", version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let state_dir = args.broker.state_dir("correlator");
    process::run(
        &args.server,
        &args.broker,
        Role::Correlator,
        |bus, topology, shutdown| {
            let instance = args.broker.instance("correlator", rand::random());
            async move {
                let config = Config {
                    state_dir,
                    owner_id: rand::random(),
                    instance: instance?,
                    ..Config::default()
                };
                let deps = Deps {
                    bus,
                    topology,
                    shutdown,
                };
                start(config, deps).await.map_err(TaskError::from)
            }
        },
    )
}
