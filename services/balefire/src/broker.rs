//! `balefire nats-config` and `balefire provision`: for a nats-server that somebody else runs.

use std::path::PathBuf;

use balefire_bus::{Credentials, Role, Topology, provision};
use balefire_kit::config::BrokerArgs;

use crate::Failure;
use crate::print::{Out, note};

/// Prints the configuration of a nats-server for Balefire, with a credential for each service.
///
/// Credentials that are not there yet are made, readable by their owner alone.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Folder of the credentials
    #[arg(long, env = "BALEFIRE_CREDENTIALS", value_name = "DIR")]
    credentials: PathBuf,
    /// Partitions of the log, a power of two
    #[arg(long, env = "BALEFIRE_PARTITIONS", default_value_t = 8)]
    partitions: u32,
    /// Address the nats-server listens on
    #[arg(long, default_value = "127.0.0.1:4222", value_name = "ADDR")]
    listen: String,
    /// Folder of its streams
    #[arg(long, default_value = "/var/lib/balefire/nats", value_name = "DIR")]
    store_dir: PathBuf,
}

/// Makes the streams of the log, with the provisioner's credential.
#[derive(Debug, clap::Args)]
pub struct ProvisionArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Partitions of the log, a power of two
    #[arg(long, env = "BALEFIRE_PARTITIONS", default_value_t = 8)]
    partitions: u32,
    /// Copies of each stream: 1, 3 or 5
    #[arg(long, env = "BALEFIRE_REPLICAS", default_value_t = 1)]
    replicas: u32,
}

fn quoted(path: &std::path::Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// Runs `nats-config`.
///
/// # Errors
/// Where the partitions are no power of two, or the credentials cannot be made.
pub fn config(args: &ConfigArgs) -> Result<(), Failure> {
    let topology = Topology::new(args.partitions).map_err(|e| Failure::chain(&e))?;
    let credentials = Credentials::of_dir(&args.credentials).map_err(|e| Failure::chain(&e))?;
    let mut out = Out::new();
    out.line(&format!(
        "listen: {}\nmax_payload: 1MB\njetstream {{\n  store_dir: {}\n  sync_interval: always\n}}\n{}",
        args.listen,
        quoted(&args.store_dir),
        credentials.authorization(&topology)
    ));
    out.flush();
    note(&format!(
        "credentials are in {}; start the nats-server with GOMAXPROCS=16, then run `balefire provision`",
        args.credentials.display()
    ));
    Ok(())
}

/// Runs `provision`.
///
/// # Errors
/// Where the server is not usable, or there are streams of another shape.
pub async fn make(args: &ProvisionArgs) -> Result<(), Failure> {
    let topology = Topology::new(args.partitions).and_then(|t| t.with_replicas(args.replicas));
    let topology = topology.map_err(|e| Failure::chain(&e))?;
    let bus = args
        .broker
        .connect(Role::Provisioner)
        .await
        .map_err(|e| Failure::chain(&e))?;
    provision::create(&bus, &topology)
        .await
        .map_err(|e| Failure::chain(&e))?;
    let checked = provision::verify(&bus, &topology, &args.broker.verification()).await;
    checked.map_err(|e| Failure::chain(&e))?;
    note(&format!(
        "{} streams are there and as they must be",
        topology.streams().len()
    ));
    Ok(())
}
