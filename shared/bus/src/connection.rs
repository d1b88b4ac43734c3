//! A connection of one role: [`Bus`].

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use balefire_event::Timestamp;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::credential::Credential;
use crate::error::Error;
use crate::message::StreamInfo;

/// Oldest server that does what is needed.
pub const SERVER_VERSION_MIN: (u32, u32) = (2, 14);
const SERVER_VERSION_NEEDED: &str = "2.14";
/// Smallest `max_payload` a server may have, bytes.
pub const MAX_PAYLOAD_MIN: usize = 1024 * 1024;
/// The first connection must be there within this time.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// An unacknowledged publish or an unanswered request is unknown after this time.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);

const CONNECT_ATTEMPT: Duration = Duration::from_secs(2);
const PING_INTERVAL: Duration = Duration::from_secs(2);
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(250);
const RECONNECT_DELAY_FIRST_MS: u64 = 20;
/// Publishes of this connection that may await their acknowledgement together.
const ACKS_IN_FLIGHT_MAX: usize = 4096;

/// A connected role. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Bus {
    pub(crate) context: Context,
    client: Client,
    connected: watch::Receiver<bool>,
    name: Arc<str>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("name", &self.name)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects to `urls` (separated by commas) and checks that the server is usable: version,
    /// JetStream, `max_payload`. Later losses of the connection are mended without end, every
    /// 250 ms at the latest.
    ///
    /// # Errors
    /// [`Error::Connect`] after [`CONNECT_DEADLINE`], [`Error::Unauthorized`] at once, and the
    /// reasons why a server is not usable.
    pub async fn connect(urls: &str, credential: &Credential, name: &str) -> Result<Self, Error> {
        Self::connect_within(urls, credential, name, CONNECT_DEADLINE).await
    }

    /// As [`Bus::connect`] with a deadline of its own.
    ///
    /// # Errors
    /// The same.
    pub async fn connect_within(
        urls: &str,
        credential: &Credential,
        name: &str,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let addresses = parse_addresses(urls, name)?;
        let (connected_tx, connected) = watch::channel(true);
        let connected_tx = Arc::new(connected_tx);
        let give_up = Instant::now() + deadline;
        let client = loop {
            let options = options(credential, name, Arc::clone(&connected_tx));
            let failed = match options.connect(addresses.clone()).await {
                Ok(client) => break client,
                Err(failed) => failed,
            };
            if matches!(
                failed.kind(),
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
            ) {
                return Err(Error::Unauthorized {
                    name: name.to_owned(),
                    source: failed.into(),
                });
            }
            if Instant::now() >= give_up {
                return Err(Error::Connect {
                    urls: shown(urls),
                    name: name.to_owned(),
                    source: failed.into(),
                });
            }
            tokio::time::sleep(RECONNECT_DELAY_MAX).await;
        };
        let context = jetstream::ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(ACKS_IN_FLIGHT_MAX)
            .build(client.clone());
        let bus = Self {
            context,
            client,
            connected,
            name: name.into(),
        };
        bus.check_server()?;
        Ok(bus)
    }

    fn check_server(&self) -> Result<(), Error> {
        let server = self.client.server_info();
        let mut numbers = server.version.split('.').map(|n| n.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < SERVER_VERSION_MIN {
            return Err(Error::ServerTooOld {
                found: server.version,
                needed: SERVER_VERSION_NEEDED,
            });
        }
        if server.max_payload < MAX_PAYLOAD_MIN {
            return Err(Error::MaxPayload {
                found: server.max_payload,
                needed: MAX_PAYLOAD_MIN,
            });
        }
        if !server.jetstream {
            return Err(Error::NoJetStream {
                server: server.server_name,
            });
        }
        Ok(())
    }

    /// True while the connection is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for a connection; false where there is none at `deadline`.
    pub async fn connected_by(&self, deadline: Instant) -> bool {
        let mut changes = self.connected.clone();
        while !self.is_connected() {
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            // Looks again by itself too: the client drops events nobody had time for.
            let look_again = deadline.min(now + RECONNECT_DELAY_MAX);
            let _ = timeout_at(look_again, changes.changed()).await;
        }
        true
    }

    /// Waits until the connection that is there now is lost.
    pub(crate) async fn lost(&self) {
        let mut changes = self.connected.clone();
        changes.mark_unchanged();
        loop {
            match changes.changed().await {
                Ok(()) if !*changes.borrow() => return,
                Ok(()) => {}
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Tells each change of [`Bus::is_connected`].
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// The name given to [`Bus::connect`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Largest message the server takes, headers included, bytes.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// The id of the server this is connected to.
    #[must_use]
    pub fn server_id(&self) -> String {
        self.client.server_info().server_id
    }

    /// The version of the server this is connected to.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// True where the server is one of several.
    pub(crate) fn clustered(&self) -> bool {
        self.client.server_info().cluster.is_some()
    }

    /// What `stream` holds now.
    ///
    /// # Errors
    /// [`Error::StreamMissing`], [`Error::Unavailable`].
    pub async fn stream_info(&self, stream: &str) -> Result<StreamInfo, Error> {
        let info = self.raw_stream_info(stream).await?;
        Ok(StreamInfo::of(stream, &info))
    }

    /// What the server's clock says: it stamps its answer to a question about `stream`. `None`
    /// where it does not.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn server_time(&self, stream: &str) -> Result<Option<Timestamp>, Error> {
        #[derive(serde::Deserialize)]
        struct Stamped {
            ts: Option<String>,
        }
        let answer: Stamped = self
            .context
            .request(format!("STREAM.INFO.{stream}"), &())
            .await
            .map_err(|e| Error::unavailable("asking for the time", e))?;
        Ok(answer.ts.and_then(|text| Timestamp::parse(&text).ok()))
    }

    pub(crate) async fn raw_stream_info(
        &self,
        stream: &str,
    ) -> Result<jetstream::stream::Info, Error> {
        use jetstream::response::Response;
        let doing = || format!("asking about stream {stream}");
        let answer: Response<jetstream::stream::Info> = self
            .context
            .request(format!("STREAM.INFO.{stream}"), &())
            .await
            .map_err(|e| Error::unavailable(doing(), e))?;
        match answer {
            Response::Ok(info) => Ok(info),
            Response::Err { error }
                if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
            {
                Err(Error::StreamMissing {
                    stream: stream.to_owned(),
                })
            }
            Response::Err { error } if error.code() >= 500 => {
                Err(Error::unavailable(doing(), error))
            }
            Response::Err { error } => Err(Error::Refused {
                doing: doing(),
                reason: error.to_string(),
            }),
        }
    }

    /// One request with any number of answers, ended by a status: 204, or 404 for none.
    pub(crate) async fn ask_many(
        &self,
        subject: String,
        payload: Bytes,
    ) -> Result<Vec<async_nats::Message>, Error> {
        let doing = format!("asking {subject}");
        let failed = |reason: String| Error::unavailable(doing.clone(), reason);
        let exchange = async {
            let inbox = self.client.new_inbox();
            let subscribed = self.client.subscribe(inbox.clone()).await;
            let mut answers = subscribed.map_err(|e| failed(e.to_string()))?;
            let asked = self.client.publish_with_reply(subject, inbox, payload);
            asked.await.map_err(|e| failed(e.to_string()))?;
            let mut found = Vec::new();
            while let Some(answer) = answers.next().await {
                match answer.status.map(|status| status.as_u16()) {
                    None => found.push(answer),
                    Some(204 | 404) => return Ok(found),
                    Some(code) => return Err(failed(format!("status {code}"))),
                }
            }
            Err(failed("the connection was closed".into()))
        };
        let answers = tokio::time::timeout(ACK_TIMEOUT, exchange).await;
        answers.unwrap_or_else(|_late| Err(failed("no answer in time".into())))
    }

    /// A name no other consumer has.
    pub(crate) fn unique_name(&self) -> String {
        let inbox = self.client.new_inbox();
        let unique = inbox.rsplit('.').next().unwrap_or_default();
        format!("r{unique}")
    }

    /// Sends what is buffered and closes the connection. Other clones are closed too.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(name = %self.name, %error, "connection was already closed");
        }
    }
}

/// Addresses, separated by commas, as they may be shown: without user and password.
#[must_use]
pub fn shown(urls: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        // An @ behind the host is part of a path.
        let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(host_end);
        let rest = format!(
            "{}{path}",
            host.rsplit_once('@').map_or(host, |(_, host)| host)
        );
        if scheme.is_empty() {
            rest
        } else {
            format!("{scheme}://{rest}")
        }
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// One address each: the client itself does not split them.
fn parse_addresses(urls: &str, name: &str) -> Result<Vec<ServerAddr>, Error> {
    urls.split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|url| {
            url.parse::<ServerAddr>().map_err(|e| Error::Connect {
                urls: shown(urls),
                name: name.to_owned(),
                source: e.into(),
            })
        })
        .collect()
}

fn options(
    credential: &Credential,
    name: &str,
    connected: Arc<watch::Sender<bool>>,
) -> ConnectOptions {
    let shown: Arc<str> = name.into();
    credential
        .apply(ConnectOptions::new())
        .name(name)
        .connection_timeout(CONNECT_ATTEMPT)
        .request_timeout(Some(ACK_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let attempts = u64::try_from(attempts).unwrap_or(u64::MAX);
            Duration::from_millis(RECONNECT_DELAY_FIRST_MS.saturating_mul(attempts))
                .min(RECONNECT_DELAY_MAX)
        })
        .event_callback(move |event| {
            let connected = Arc::clone(&connected);
            let name = Arc::clone(&shown);
            async move { note(&event, &name, &connected) }
        })
}

fn note(event: &Event, name: &str, connected: &watch::Sender<bool>) {
    match event {
        Event::Connected => {
            connected.send_replace(true);
            tracing::info!(name, "connected to nats");
        }
        // Only ever on our own wish.
        Event::Closed => {
            connected.send_replace(false);
            tracing::debug!(name, "nats connection closed");
        }
        Event::Disconnected => {
            connected.send_replace(false);
            tracing::warn!(name, %event, "nats connection lost");
        }
        Event::LameDuckMode | Event::Draining => tracing::info!(name, %event, "nats says"),
        Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(name, %event, "nats complains");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        assert_eq!(
            shown("nats://u:p@a:4222, tls://q:r@s@b:1,c:2"),
            "nats://a:4222, tls://b:1,c:2"
        );
        assert_eq!(shown("nats"), "nats");
        let refused = parse_addresses("nats://u:hunter2@a:99999", "x").unwrap_err();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}
