//! Flags that every service of its own has; each is also a `BALEFIRE_…` variable.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::caller::{Authenticator, Error};
use crate::telemetry::LogFormat;

/// How a server is reached and what it writes about itself.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// Address of the gRPC server; port 0 takes a free one, the `ready` line says which
    #[arg(long, env = "BALEFIRE_GRPC_ADDR", default_value = "127.0.0.1:7400")]
    pub grpc_addr: SocketAddr,
    /// Address of the HTTP server (events, /metrics, /healthz, /readyz)
    #[arg(long, env = "BALEFIRE_HTTP_ADDR", default_value = "127.0.0.1:7480")]
    pub http_addr: SocketAddr,
    /// File of bearer keys (TOML); without it everybody on this machine may call
    #[arg(long, env = "BALEFIRE_KEYS", value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Serve other machines without any authentication
    #[arg(long, env = "BALEFIRE_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
    /// What to log: a level, or target=level pairs separated by commas
    #[arg(
        long,
        env = "BALEFIRE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// How log lines look
    #[arg(long, env = "BALEFIRE_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl ServerArgs {
    /// Tells callers as configured; refuses an open address without keys.
    ///
    /// # Errors
    /// See [`Authenticator`].
    pub fn authenticator(&self) -> Result<Authenticator, Error> {
        let authenticator = match &self.keys {
            Some(path) => Authenticator::from_file(path)?,
            None => Authenticator::open(),
        };
        authenticator.check_bind(self.grpc_addr, self.insecure_no_auth)?;
        authenticator.check_bind(self.http_addr, self.insecure_no_auth)?;
        Ok(authenticator)
    }
}
