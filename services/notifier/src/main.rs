//! `balefire-notifier`: the notifier as a process of its own, against an external NATS.

use std::process::ExitCode;

use balefire_bus::Role;
use balefire_kit::config::{BrokerArgs, ServerArgs};
use balefire_kit::process;
use balefire_notifier::{Deps, Error, ReceiverArgs};
use clap::Parser;

/// Tells receivers of escalations and keeps the dead letters
#[derive(Debug, Parser)]
#[command(name = "balefire-notifier", version)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    receivers: ReceiverArgs,
}

fn main() -> ExitCode {
    let Args {
        server,
        broker,
        receivers,
    } = Args::parse();
    let heartbeat = server.heartbeat();
    let instance = broker.instance(balefire_notifier::NAME, rand::random());
    process::run(
        &server,
        &broker,
        Role::Notifier,
        async move |bus, topology, shutdown| {
            let mut config = receivers.load()?;
            config.pulse.heartbeat = heartbeat;
            let deps = Deps {
                bus,
                topology,
                instance: instance?,
                shutdown,
            };
            Ok::<_, Error>(balefire_notifier::start(&config, deps))
        },
    )
}
