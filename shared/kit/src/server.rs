//! The gRPC and HTTP servers of a process, made of the services it runs.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use axum::extract::State;
use axum::routing::get;
use balefire_wire::status::v1::status_service_server::StatusServiceServer;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;

use crate::caller::{Authenticator, CallerLayer};
use crate::http;
use crate::status::{StatusSource, Statuses};

/// How long open calls may take to end after the shutdown began.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Deadline of a call that names none.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(600);
/// How often readiness is looked at until it is there.
const READY_POLL: Duration = Duration::from_millis(5);
/// Most HTTP/2 streams of one connection.
const STREAMS_MAX: u32 = 1024;
/// A connection that is silent for so long is asked whether it is still there: what a client that
/// is gone holds is free again.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// It has so long to answer.
const KEEPALIVE_MAX: Duration = Duration::from_secs(20);
/// HTTP/2 flow-control windows, bytes.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// Any error of a service's task.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// A running service: what it serves, how it is, and its background task.
pub struct Service {
    /// ingest, correlator, rule-engine or notifier.
    pub name: &'static str,
    /// Adds its gRPC services.
    pub grpc: Box<dyn FnOnce(&mut RoutesBuilder) + Send>,
    /// Its HTTP routes; `axum::Router::new()` where it has none.
    pub http: axum::Router,
    /// How it is.
    pub status: Arc<dyn StatusSource>,
    /// Its background work: ends after the shutdown token is cancelled and all is drained, or with
    /// an error that ends the process.
    pub task: tokio::task::JoinHandle<Result<(), TaskError>>,
}

/// For a service without HTTP routes of its own.
pub fn no_http() -> axum::Router {
    axum::Router::new()
}

/// Waits for the tasks of a service. The first that fails ends the others through `shutdown`.
///
/// # Errors
/// The first failure.
pub async fn supervise<E>(
    mut tasks: JoinSet<Result<(), E>>,
    shutdown: CancellationToken,
) -> Result<(), TaskError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut outcome: Result<(), TaskError> = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let failed: Option<TaskError> = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Box::new(error)),
            Err(panicked) => Some(Box::new(panicked)),
        };
        if let Some(error) = failed {
            shutdown.cancel();
            outcome = outcome.and(Err(error));
        }
    }
    outcome
}

/// Bound sockets of a process.
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
    /// HTTP.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds both; port 0 takes a free one.
    ///
    /// # Errors
    /// Where an address is taken or not of this machine.
    pub async fn bind(grpc: SocketAddr, http: SocketAddr) -> Result<Self, Error> {
        let bind = |addr| async move {
            TcpListener::bind(addr)
                .await
                .map_err(|source| Error::Bind { addr, source })
        };
        Ok(Self {
            grpc: bind(grpc).await?,
            http: bind(http).await?,
        })
    }
}

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be bound.
    #[error("listen on {addr}; is another balefire running there?")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The gRPC server.
    #[error("serve gRPC")]
    Grpc(#[source] TaskError),
    /// A service's task.
    #[error("{name} ended")]
    Task {
        /// Which.
        name: &'static str,
        /// Why.
        source: TaskError,
    },
}

async fn ready(State(statuses): State<Statuses>) -> (StatusCode, String) {
    let waiting: Vec<String> = statuses
        .all()
        .into_iter()
        .filter(|service| !service.ready)
        .map(|service| format!("{}: {}\n", service.service, service.reason))
        .collect();
    if waiting.is_empty() {
        return (StatusCode::OK, "ready\n".into());
    }
    (StatusCode::SERVICE_UNAVAILABLE, waiting.concat())
}

fn http_routes(
    services: axum::Router,
    statuses: Statuses,
    metrics: Option<PrometheusHandle>,
) -> axum::Router {
    let own = axum::Router::new()
        .route("/readyz", get(ready))
        .with_state(statuses);
    let render = move || {
        let text = metrics
            .as_ref()
            .map(PrometheusHandle::render)
            .unwrap_or_default();
        std::future::ready(text)
    };
    services
        .merge(own)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(render))
}

/// Prints the one line that says that a process can serve, on standard output:
/// `ready grpc=ADDR http=ADDR nats=URL`.
async fn announce(
    line: String,
    statuses: Statuses,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut pace = tokio::time::interval(READY_POLL);
    while !statuses.ready() {
        tokio::select! {
            _ = pace.tick() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    let mut out = std::io::stdout();
    // Who started us may have closed the pipe: serving goes on.
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
    Ok(())
}

/// Serves until `shutdown` is cancelled, then drains under [`DRAIN_MAX`]. Ends early, cancelling
/// `shutdown` itself, when a service's task fails. Once every service is ready, says so on
/// standard output: `ready grpc=ADDR http=ADDR nats=URL`; `nats_url` is only shown, without user
/// and password.
///
/// # Errors
/// The first failure of a server or a task.
pub async fn serve(
    listeners: Listeners,
    services: Vec<Service>,
    authenticator: Authenticator,
    metrics: Option<PrometheusHandle>,
    nats_url: &str,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let statuses = Statuses::default();
    let mut routes = RoutesBuilder::default();
    let mut router = axum::Router::new();
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    for service in services {
        (service.grpc)(&mut routes);
        router = router.merge(service.http);
        statuses.add(service.status);
        let name = service.name;
        tasks.spawn(async move {
            let ended = service.task.await.map_err(|e| Box::new(e) as TaskError);
            ended
                .and_then(|result| result)
                .map_err(|source| Error::Task { name, source })
        });
    }
    routes.add_service(StatusServiceServer::new(statuses.clone()));
    let (_reporter, health) = tonic_health::server::health_reporter();
    routes.add_service(health);
    if let Ok(reflection) = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(balefire_wire::FILE_DESCRIPTOR_SET)
        .build_v1()
    {
        routes.add_service(reflection);
    }
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string());
    let (grpc_addr, http_addr) = (address(&listeners.grpc), address(&listeners.http));
    let line = format!(
        "ready grpc={} http={} nats={}",
        grpc_addr.unwrap_or_default(),
        http_addr.unwrap_or_default(),
        balefire_bus::connection::shown(nats_url)
    );
    tasks.spawn(announce(line, statuses.clone(), shutdown.clone()));
    let layer = CallerLayer { authenticator };
    let grpc = tonic::transport::Server::builder()
        .timeout(DEADLINE_DEFAULT)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(2 * STREAM_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_MAX))
        .layer(layer.clone())
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(incoming(listeners.grpc), shutdown.clone().cancelled_owned());
    tasks.spawn(async move { grpc.await.map_err(|e| Error::Grpc(Box::new(e))) });
    let router = http_routes(router, statuses, metrics).layer(layer);
    let stop = shutdown.clone().cancelled_owned();
    tasks.spawn(async move {
        http::serve(listeners.http, router, http::Limits::default(), stop).await;
        Ok(())
    });
    drain(tasks, shutdown).await
}

/// The builder's own `tcp_nodelay` holds only for what the builder binds. Without it the trailers of
/// an answer wait for the peer's delayed acknowledgement of what came before them, 40 ms.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

async fn drain(
    mut tasks: JoinSet<Result<(), Error>>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::pin!(deadline);
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            () = &mut deadline => {
                tracing::warn!(open = tasks.len(), "not drained in time: stopping");
                tasks.abort_all();
                break;
            }
        };
        match ended {
            None => break,
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => {
                if outcome.is_ok() {
                    outcome = Err(error);
                }
                shutdown.cancel();
            }
            Some(Err(_panicked)) => shutdown.cancel(),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    #[tokio::test]
    async fn what_is_answered_leaves_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _peer = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = incoming(listener).next().await.unwrap().unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
