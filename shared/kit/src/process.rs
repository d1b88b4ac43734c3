//! A service as a process of its own: the wiring that every main shares.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use balefire_bus::{Bus, Role, Topology};
use tokio_util::sync::CancellationToken;

use crate::config::{BrokerArgs, ServerArgs};
use crate::server::{Listeners, Service, TaskError, serve};
use crate::{self_alert, shutdown, telemetry, watch};

/// Runs one service until SIGTERM or SIGINT: telemetry → keys → sockets → broker → `start` →
/// serve → drain. What goes wrong is said on standard error, with its causes; the exit code is 1.
pub fn run<S, F, E>(server: &ServerArgs, broker: &BrokerArgs, role: Role, start: S) -> ExitCode
where
    S: FnOnce(Bus, Topology, CancellationToken) -> F,
    F: Future<Output = Result<Service, E>>,
    E: Into<TaskError>,
{
    crate::install_crypto();
    telemetry::init(&server.log, server.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(&error),
    };
    match runtime.block_on(serve_one(server, broker, role, start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(error.as_ref()),
    }
}

async fn serve_one<S, F, E>(
    server: &ServerArgs,
    broker: &BrokerArgs,
    role: Role,
    start: S,
) -> Result<(), TaskError>
where
    S: FnOnce(Bus, Topology, CancellationToken) -> F,
    F: Future<Output = Result<Service, E>>,
    E: Into<TaskError>,
{
    let authenticator = server.authenticator()?;
    let shutdown = shutdown::on_signal()?;
    let metrics = telemetry::metrics()?;
    self_alert::install(&server.self_alert)?;
    let listeners = Listeners::bind(server.grpc_addr, server.http_addr).await?;
    let (bus, topology) = broker.connect_verified(role).await?;
    let connection = watch::connection(role.as_str(), bus.clone(), shutdown.clone());
    tokio::spawn(connection);
    let service = start(bus, topology, shutdown.clone())
        .await
        .map_err(Into::into)?;
    serve(
        listeners,
        vec![service],
        authenticator,
        Some(metrics),
        &broker.nats_url,
        shutdown,
    )
    .await?;
    Ok(())
}

/// An error with all its causes on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

fn report(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    // Nothing sensible is left to do where even stderr is closed.
    let _closed = writeln!(std::io::stderr(), "balefire: {}", chain(error));
    ExitCode::FAILURE
}
