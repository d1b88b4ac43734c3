//! `balefire-ingest`: the door as a process of its own, against an external NATS.

use std::process::ExitCode;

use balefire_bus::Role;
use balefire_ingest::{Deps, IngestArgs};
use balefire_kit::config::{BrokerArgs, ServerArgs};
use balefire_kit::process;
use clap::Parser;

/// Takes events over gRPC and HTTP, and answers when they are durable
#[derive(Debug, Parser)]
#[command(name = "balefire-ingest", version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    ingest: IngestArgs,
}

fn main() -> ExitCode {
    let Args {
        server,
        broker,
        ingest,
    } = Args::parse();
    let config = balefire_ingest::Config {
        heartbeat: server.heartbeat(),
        ..ingest.config()
    };
    process::run(&server, &broker, Role::Ingest, |bus, topology, shutdown| {
        let deps = Deps {
            bus,
            topology,
            shutdown,
        };
        balefire_ingest::start(config, deps)
    })
}
