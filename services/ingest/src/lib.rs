//! The door: takes events over gRPC and HTTP, and answers when they are durable.
//!
//! What is decided about a record is decided in `balefire-ingest-core`; this shell moves bytes,
//! waits for the log and keeps within its limits. It never knows a rule, a window or a receiver.

mod append;
mod budget;
pub mod config;
mod control;
mod convert;
mod declared;
mod error;
mod evidence;
mod former;
mod grpc;
mod heartbeat;
mod http;
mod http_body;
mod item;
mod lag;
mod letters;
mod memory;
mod metrics;
mod otlp;
mod otlp_grpc;
mod outcome;
mod plan;
mod request;
mod schemas;
mod sources;
mod status;
mod target;

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, GroupCommit, Limits, Topology};
use balefire_kit::Service;
use balefire_wire::ingest::v1::ingest_service_server::IngestServiceServer;
use balefire_wire::schema::v1::schema_service_server::SchemaServiceServer;
use tokio_util::sync::CancellationToken;

pub use config::{Config, IngestArgs};
pub use error::Error;

use append::Door;
use control::Control;
use former::Stamper;
use grpc::Grpc;
use item::Item;
use lag::Lags;
use target::Targets;

/// The name of this service.
pub const SERVICE: &str = "ingest";
/// Room beside the events of a request, bytes.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// Largest request for a schema, bytes.
const SCHEMA_BYTES_MAX: usize = 4 * 1024;
/// How long what is accepted may take to become durable once the shutdown began.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// What a running ingest needs from its process.
pub struct Deps {
    /// A connection with the ingest credential.
    pub bus: Bus,
    /// The shape of the log, verified.
    pub topology: Topology,
    /// Cancelled when the process stops.
    pub shutdown: CancellationToken,
}

/// Starts it. It is ready once it has caught up with the control log: see [`Service::status`].
///
/// # Errors
/// Where the configuration contradicts itself.
#[expect(clippy::unused_async, reason = "every service starts the same way")]
pub async fn start(config: Config, deps: Deps) -> Result<Service, Error> {
    config.check()?;
    let Deps {
        bus,
        topology,
        shutdown,
    } = deps;
    let control = Control::start(&bus, &shutdown);
    let targets = Targets::new(&topology);
    let stamper = Stamper::new(Arc::clone(&control.applied), config.clock().lateness);
    let limits = Limits {
        queue_bytes_max: config.queue_bytes_max,
        ..Limits::default()
    };
    let commit: GroupCommit<Item> = GroupCommit::start(&bus, targets.all(), limits, &stamper);
    let lags = Lags::new(topology.partitions, config.bulk_lag_max);
    let watching = lags
        .clone()
        .watch(bus.clone(), topology.generation, shutdown.clone());
    tokio::spawn(watching);
    let door = Arc::new(Door::new(
        &config,
        &bus,
        (targets, lags),
        commit,
        control.applied,
        &shutdown,
    ));
    let server = IngestServiceServer::new(Grpc::new(Arc::clone(&door)))
        .max_decoding_message_size(config::REQUEST_BYTES_MAX + ENVELOPE_BYTES)
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let time_max = config.upload_time_max + append::DEADLINE;
    let server = budget::Calls::new(server, config.calls_max, time_max);
    let ways = http::Http::new(Arc::clone(&door), &config);
    let sources = sources::Sources::new(&ways, letters::Letters::new(&bus));
    let traces = otlp_grpc::Export::new(&sources, otlp_grpc::Traces);
    let logs = otlp_grpc::Export::new(&sources, otlp_grpc::Logs);
    let traces = budget::Calls::new(traces, config.calls_max, time_max);
    let logs = budget::Calls::new(logs, config.calls_max, time_max);
    let schemas = SchemaServiceServer::new(schemas::Schemas::new(Arc::clone(&door.control)));
    let http = http::routes(ways, sources);
    if let Some(every) = config.heartbeat {
        tokio::spawn(heartbeat::beat(Arc::clone(&door), every, shutdown.clone()));
    }
    let task = tokio::spawn(drain(Arc::clone(&door), control.task, shutdown));
    Ok(Service {
        name: SERVICE,
        grpc: Box::new(move |routes| {
            routes.add_service(server);
            routes.add_service(traces);
            routes.add_service(logs);
            routes.add_service(schemas.max_decoding_message_size(SCHEMA_BYTES_MAX));
        }),
        http,
        status: door,
        task,
    })
}

async fn drain(
    door: Arc<Door>,
    mut control: tokio::task::JoinHandle<Result<(), balefire_bus::Error>>,
    shutdown: CancellationToken,
) -> Result<(), balefire_kit::server::TaskError> {
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = &mut control => ended??,
    }
    if tokio::time::timeout(DRAIN_MAX, door.drained())
        .await
        .is_err()
    {
        tracing::warn!("not everything that waits is durable: it was not acknowledged either");
    }
    control.abort();
    Ok(())
}
