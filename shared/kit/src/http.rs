//! The HTTP server: so many connections at once, and none that waits for ever for a request.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Headers of a request are there within this time of the connection's last answer.
const HEADER_TIME_MAX: Duration = Duration::from_secs(15);
/// Pause after a connection that could not be accepted: mostly, no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    connections_max: usize,
    header_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            header_time_max: HEADER_TIME_MAX,
        }
    }
}

/// Serves until `stop`, then until the open requests are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    // HTTP/1 alone: telling the versions apart waits for bytes without a limit of time.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time_max);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let open = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(error, "HTTP connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Never closed: there is a place in the end.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer in two pieces does not wait for an acknowledgement between them.
                let _closed = stream.set_nodelay(true);
                return (stream, place);
            }
            Err(error) => {
                tracing::debug!(%error, "HTTP connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    const DEADLINE: Duration = Duration::from_secs(30);

    async fn started(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(serve(listener, router, limits, stopped));
        (address, stop)
    }

    async fn asked(connection: &mut TcpStream) -> String {
        let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await.unwrap();
        ended(connection).await
    }

    async fn ended(connection: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let read = timeout(DEADLINE, connection.read_to_end(&mut text)).await;
        read.expect("the connection ends").unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_a_header_is_shown_out() {
        let limits = Limits {
            header_time_max: Duration::from_millis(100),
            ..Limits::default()
        };
        let (address, _stop) = started(limits).await;
        for said in ["", "P", "GET / HTTP/1.1\r\nx: "] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(said.as_bytes()).await.unwrap();
            ended(&mut connection).await;
        }
    }

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_for_a_place() {
        let limits = Limits {
            connections_max: 1,
            ..Limits::default()
        };
        let (address, stop) = started(limits).await;
        let holding = TcpStream::connect(address).await.unwrap();
        let mut waiting = TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        waiting.write_all(request.as_bytes()).await.unwrap();
        drop(holding);
        assert!(ended(&mut waiting).await.ends_with("here"));
        stop.cancel();
        let refused = async { while TcpStream::connect(address).await.is_ok() {} };
        timeout(DEADLINE, refused).await.unwrap();
    }

    #[tokio::test]
    async fn a_request_is_answered() {
        let (address, _stop) = started(Limits::default()).await;
        let mut connection = TcpStream::connect(address).await.unwrap();
        let answer = asked(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
