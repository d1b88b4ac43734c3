//! Flags that every service of its own has; each is also a `BALEFIRE_…` variable.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_bus::InstanceId;

use crate::caller::{Authenticator, Error};
use crate::self_alert::SelfAlertArgs;
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
    #[command(flatten)]
    pub self_alert: SelfAlertArgs,
    /// Send a heartbeat through the whole pipeline so often; 0: none, and none is awaited
    #[arg(
        long,
        env = "BALEFIRE_HEARTBEAT_SECONDS",
        default_value_t = HEARTBEAT_SECONDS,
        value_name = "SECONDS"
    )]
    pub heartbeat_seconds: u32,
}

/// How often a heartbeat goes through the pipeline, seconds.
pub const HEARTBEAT_SECONDS: u32 = 10;

impl ServerArgs {
    /// How often a heartbeat is placed and must come out; `None`: none is.
    #[must_use]
    pub const fn heartbeat(&self) -> Option<Duration> {
        match self.heartbeat_seconds {
            0 => None,
            seconds => Some(Duration::from_secs(seconds as u64)),
        }
    }

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

/// How a service of its own reaches the broker. Every service's main flattens these.
#[derive(Debug, Clone, clap::Args)]
pub struct BrokerArgs {
    /// Addresses of the nats-servers, separated by commas
    #[arg(long, env = "BALEFIRE_NATS_URL", value_name = "URL[,URL]")]
    pub nats_url: String,
    /// Folder with the credential of each role (`ingest.nk` …); without it none is used
    #[arg(long, env = "BALEFIRE_CREDENTIALS", value_name = "DIR")]
    pub credentials: Option<PathBuf>,
    /// Monitoring address of the nats-server, to see that it syncs before it acknowledges
    #[arg(long, env = "BALEFIRE_NATS_MONITORING_URL", value_name = "URL")]
    pub nats_monitoring_url: Option<String>,
    /// Take the operator's word that the nats-server runs with `sync_interval: always`
    #[arg(long, env = "BALEFIRE_NATS_SYNC_CONFIRMED")]
    pub nats_sync_confirmed: bool,
    /// Start on a log that may lose what it acknowledged
    #[arg(long, env = "BALEFIRE_ALLOW_LOSSY")]
    pub allow_lossy: bool,
    /// Folder of local state; what lies in it can be rebuilt from the log
    #[arg(
        long,
        env = "BALEFIRE_DATA_DIR",
        default_value = "balefire-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Where checkpoints are kept; the outputs are the same (ingest and notifier keep none)
    #[arg(long, env = "BALEFIRE_STORE", value_enum, default_value_t)]
    pub store: StoreKind,
}

/// Where a stage keeps its checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum StoreKind {
    /// In the data dir.
    #[default]
    Disk,
    /// Nowhere: every start and every take-over reads the log.
    None,
}

impl StoreKind {
    /// Its word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::None => "none",
        }
    }

    /// Folder of a service's checkpoints below a data dir; `None`: none are kept.
    #[must_use]
    pub fn dir(self, data_dir: &Path, service: &str) -> Option<PathBuf> {
        match self {
            Self::Disk => Some(data_dir.join(service)),
            Self::None => None,
        }
    }
}

impl BrokerArgs {
    /// Folder of a service's checkpoints below the data dir; `None`: none are kept.
    #[must_use]
    pub fn state_dir(&self, service: &str) -> Option<PathBuf> {
        self.store.dir(&self.data_dir, service)
    }

    /// Who this process is among those of its service: kept in its folder.
    ///
    /// # Errors
    /// Where it cannot be kept.
    pub fn instance(
        &self,
        service: &str,
        fresh: [u8; 16],
    ) -> Result<InstanceId, balefire_bus::Error> {
        InstanceId::of_dir(&self.data_dir.join("instances").join(service), fresh)
    }

    /// The credentials folder, where one is used.
    #[must_use]
    pub fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }
}
