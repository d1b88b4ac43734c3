//! Talking to a running Balefire: address, token, and errors in words.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Largest answer, bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A call that is too much waits for so long altogether.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes a call, again where it was too much and the server says when to come again.
///
/// # Errors
/// The last answer.
pub async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let mut waited = Duration::ZERO;
    loop {
        let status = match call().await {
            Err(status) if status.code() == Code::ResourceExhausted => status,
            done => return done,
        };
        let told = status.get_details_retry_info();
        let Some(wait) = told.and_then(|info| info.retry_delay) else {
            return Err(status);
        };
        waited = waited.saturating_add(wait);
        if waited > PATIENCE {
            return Err(status);
        }
        tokio::time::sleep(wait).await;
    }
}

/// Where Balefire is. Every client command takes these.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Address of the gRPC server
    #[arg(
        long,
        env = "BALEFIRE_ADDR",
        default_value = "http://127.0.0.1:7400",
        value_name = "URL"
    )]
    pub addr: String,
    /// Bearer token, where the server has a keys file
    #[arg(long, env = "BALEFIRE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Adds the token to each call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A connection that authenticates.
pub type Connection = InterceptedService<Channel, Bearer>;

/// What went wrong between here and the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("--addr {0:?} is no address; write it like http://127.0.0.1:7400")]
    Address(String),
    /// The token holds a character that a header cannot.
    #[error("--token holds a character that cannot be sent")]
    Token,
    /// Nobody answers.
    #[error("no Balefire answers at {addr}; is `balefire up` running, or is --addr another?")]
    Unreachable {
        /// The address.
        addr: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The server said no.
    #[error("{}", said(.0))]
    Refused(Box<Status>),
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn said(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let details = status.get_error_details();
    if let Some(bad) = details.bad_request() {
        for violation in &bad.field_violations {
            text.push_str(&format!(
                "\n  {}: {}",
                violation.field, violation.description
            ));
        }
    }
    text
}

impl Target {
    /// Connects.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn connect(&self) -> Result<Connection, Error> {
        let with_scheme = if self.addr.contains("://") {
            self.addr.clone()
        } else {
            format!("http://{}", self.addr)
        };
        let endpoint =
            Endpoint::from_shared(with_scheme).map_err(|_| Error::Address(self.addr.clone()))?;
        let endpoint = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true);
        let channel = endpoint
            .connect()
            .await
            .map_err(|source| Error::Unreachable {
                addr: self.addr.clone(),
                source,
            })?;
        let token = self
            .token
            .as_ref()
            .map(|token| format!("Bearer {token}").parse());
        let token = token.transpose().map_err(|_| Error::Token)?;
        Ok(InterceptedService::new(channel, Bearer(token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn refused(after: Option<Duration>) -> Status {
        let details = ErrorDetails::with_retry_info(after);
        match after {
            Some(_) => Status::with_error_details(Code::ResourceExhausted, "no", details),
            None => Status::resource_exhausted("no"),
        }
    }

    #[tokio::test]
    async fn what_is_too_much_is_asked_again_where_the_server_says_when() {
        let soon = Duration::from_millis(5);
        let mut calls = 0;
        let done = patiently(async || {
            calls += 1;
            match calls {
                1..=9 => Err(refused(Some(soon))),
                _ => Ok(()),
            }
        });
        assert!(done.await.is_ok());
        assert_eq!(calls, 10);
        for hopeless in [None, Some(PATIENCE + soon)] {
            let mut calls = 0;
            let done = patiently(async || {
                calls += 1;
                Err::<(), _>(refused(hopeless))
            });
            assert_eq!(done.await.unwrap_err().code(), Code::ResourceExhausted);
            assert_eq!(calls, 1);
        }
    }
}
