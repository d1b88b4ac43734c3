//! `balefire up`: every service in this process, beside a nats-server.

mod shown;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use balefire_bus::{
    Bus, Credential, Credentials, DirLock, InstanceId, Role, Server, ServerOptions, SyncProof,
    Topology, Verification, provision,
};
use balefire_kit::config::{ServerArgs, StoreKind};
use balefire_kit::server::{Listeners, Service, serve};
use balefire_kit::{install_crypto, self_alert, shutdown, telemetry, watch};
use balefire_notifier::ReceiverArgs;
use balefire_rule_engine::Pace;
use tokio_util::sync::CancellationToken;

use crate::{Failure, rules, span};

/// Runs all services in this process.
///
/// Without --nats-url it starts, watches and stops a nats-server of its own below the data dir. When
/// it can serve it prints one line, `ready grpc=ADDR http=ADDR nats=URL`; SIGTERM and SIGINT drain.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of everything that is kept: the log, credentials, checkpoints
    #[arg(
        long,
        env = "BALEFIRE_DATA_DIR",
        default_value = "balefire-data",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    /// Use this nats-server instead of starting one; several addresses separated by commas
    #[arg(long, env = "BALEFIRE_NATS_URL", value_name = "URL[,URL]")]
    nats_url: Option<String>,
    /// With --nats-url: folder with the credential of each role; without it none is used
    #[arg(
        long,
        env = "BALEFIRE_CREDENTIALS",
        value_name = "DIR",
        requires = "nats_url"
    )]
    credentials: Option<PathBuf>,
    /// With --nats-url: monitoring address, to see that it syncs before it acknowledges
    #[arg(
        long,
        env = "BALEFIRE_NATS_MONITORING_URL",
        value_name = "URL",
        requires = "nats_url"
    )]
    nats_monitoring_url: Option<String>,
    /// With --nats-url: take your word that it runs with `sync_interval: always`
    #[arg(long, env = "BALEFIRE_NATS_SYNC_CONFIRMED", requires = "nats_url")]
    nats_sync_confirmed: bool,
    /// Start on a log that may lose what it acknowledged
    #[arg(long, env = "BALEFIRE_ALLOW_LOSSY")]
    allow_lossy: bool,
    /// Folder of rule files; without it the baseline pack
    #[arg(long, env = "BALEFIRE_RULES", value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Partitions of the log, a power of two; fixed once the log exists [default: 2]
    #[arg(long, env = "BALEFIRE_PARTITIONS")]
    partitions: Option<u32>,
    /// How late an event may come and still count in windows, for sources without their own
    #[arg(long, env = "BALEFIRE_ALLOWED_LATENESS", default_value = "1h", value_parser = span::parse, value_name = "SPAN")]
    allowed_lateness: Duration,
    #[command(flatten)]
    receivers: ReceiverArgs,
    /// Where checkpoints are kept; the outputs are the same
    #[arg(long, env = "BALEFIRE_STORE", value_enum, default_value_t)]
    store: StoreKind,
    #[command(flatten)]
    pace: Pace,
}

impl Args {
    fn state_dir(&self, service: &str) -> Option<PathBuf> {
        self.store.dir(&self.data_dir, service)
    }
}

/// The log that the services use.
struct Log {
    url: String,
    topology: Topology,
    verification: Verification,
    credentials: Option<Credentials>,
    credentials_dir: Option<PathBuf>,
    /// The child server; dropped last.
    server: Option<Server>,
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::chain(&error)
}

impl Log {
    async fn open(args: &Args) -> Result<Self, Failure> {
        match &args.nats_url {
            Some(url) => Self::external(args, url).await,
            None => Self::child(args).await,
        }
    }

    async fn child(args: &Args) -> Result<Self, Failure> {
        let topology = Topology::of_data_dir(&args.data_dir, args.partitions).map_err(failed)?;
        let credentials =
            Credentials::of_dir(&args.data_dir.join("credentials")).map_err(failed)?;
        let mut options = ServerOptions::new(args.data_dir.join("nats"));
        options.authorization = credentials.authorization(&topology);
        let program = std::env::current_exe();
        let program = program.map_err(|e| Failure::Failed(format!("find this program: {e}")))?;
        options.launcher = Some(vec![
            program.into(),
            OsString::from("nats-child"),
            OsString::from("--"),
        ]);
        let server = Server::start(options).await.map_err(failed)?;
        tracing::info!(url = server.url(), dir = %server.dir().display(), "nats-server of our own");
        let sync = server.sync_proof();
        Ok(Self {
            url: server.url().to_owned(),
            topology,
            verification: Verification {
                sync,
                allow_lossy: args.allow_lossy,
            },
            credentials: Some(credentials),
            credentials_dir: None,
            server: Some(server),
        })
    }

    async fn external(args: &Args, url: &str) -> Result<Self, Failure> {
        let sync = match &args.nats_monitoring_url {
            Some(url) => SyncProof::Monitoring(url.clone()),
            None if args.nats_sync_confirmed => SyncProof::Confirmed,
            None => SyncProof::Unknown,
        };
        let mut log = Self {
            url: url.to_owned(),
            topology: Topology::new(args.partitions.unwrap_or(2)).map_err(failed)?,
            verification: Verification {
                sync,
                allow_lossy: args.allow_lossy,
            },
            credentials: None,
            credentials_dir: args.credentials.clone(),
            server: None,
        };
        let bus = log.connect(Role::Provisioner).await?;
        if let Some(found) = provision::discover(&bus).await.map_err(failed)? {
            found.agrees_with(args.partitions, url).map_err(failed)?;
            log.topology = found;
        }
        bus.close().await;
        Ok(log)
    }

    fn credential(&self, role: Role) -> Result<Credential, Failure> {
        match (&self.credentials, &self.credentials_dir) {
            (Some(credentials), _) => Ok(credentials.of(role)),
            (None, Some(dir)) => Credential::from_dir(dir, role).map_err(failed),
            (None, None) => Ok(Credential::none(role)),
        }
    }

    async fn connect(&self, role: Role) -> Result<Bus, Failure> {
        let name = format!("balefire-{}", role.as_str());
        Bus::connect(&self.url, &self.credential(role)?, &name)
            .await
            .map_err(failed)
    }

    /// Makes the streams that are missing, and looks at each.
    async fn provision(&self) -> Result<(), Failure> {
        let bus = self.connect(Role::Provisioner).await?;
        provision::create(&bus, &self.topology)
            .await
            .map_err(failed)?;
        provision::verify(&bus, &self.topology, &self.verification)
            .await
            .map_err(failed)?;
        bus.close().await;
        Ok(())
    }
}

/// What is read from files: looked at before anything is started or written.
struct Loaded {
    /// Name and YAML of each.
    rules: Vec<(String, String)>,
    receivers: balefire_notifier::Config,
}

impl Loaded {
    fn of(args: &Args) -> Result<Self, Failure> {
        let rules = match &args.rules {
            Some(dir) => rules::files(dir)?,
            None => balefire_rule_engine::baseline_files(),
        };
        rules::compile(&rules)?;
        let mut receivers = args.receivers.load().map_err(failed)?;
        receivers.pulse.heartbeat = args.server.heartbeat();
        Ok(Self { rules, receivers })
    }
}

async fn services(
    args: &Args,
    loaded: Loaded,
    log: &Log,
    shutdown: &CancellationToken,
) -> Result<Vec<Service>, Failure> {
    let owner_id: [u8; 16] = rand::random();
    let instance = InstanceId::of_dir(&args.data_dir, rand::random()).map_err(failed)?;
    let topology = log.topology;
    let shutdown = || shutdown.clone();
    let config = balefire_rule_engine::Config {
        rules: Some(loaded.rules),
        state_dir: args.state_dir(balefire_rule_engine::NAME),
        owner_id,
        instance,
        pace: args.pace,
    };
    let bus = log.connect(Role::RuleEngine).await?;
    let deps = balefire_rule_engine::Deps {
        bus,
        topology,
        shutdown: shutdown(),
    };
    // First: it puts the rule set in force that ingest stamps events with.
    let rule_engine = balefire_rule_engine::start(config, deps)
        .await
        .map_err(failed)?;
    let config = balefire_correlator::Config {
        state_dir: args.state_dir(balefire_correlator::NAME),
        owner_id,
        instance,
        ..balefire_correlator::Config::default()
    };
    let bus = log.connect(Role::Correlator).await?;
    let deps = balefire_correlator::Deps {
        bus,
        topology,
        shutdown: shutdown(),
    };
    let correlator = balefire_correlator::start(config, deps)
        .await
        .map_err(failed)?;
    let config = balefire_ingest::Config {
        lateness: span::nanos(args.allowed_lateness),
        heartbeat: args.server.heartbeat(),
        ..balefire_ingest::Config::default()
    };
    let bus = log.connect(Role::Ingest).await?;
    let deps = balefire_ingest::Deps {
        bus,
        topology,
        shutdown: shutdown(),
    };
    let ingest = balefire_ingest::start(config, deps).await.map_err(failed)?;
    let bus = log.connect(Role::Notifier).await?;
    // All four of them lose and find the same server.
    tokio::spawn(watch::connection("up", bus.clone(), shutdown()));
    let deps = balefire_notifier::Deps {
        bus,
        topology,
        instance,
        shutdown: shutdown(),
    };
    let notifier = balefire_notifier::start(&loaded.receivers, deps);
    Ok(vec![ingest, correlator, rule_engine, notifier])
}

/// Runs the command.
///
/// # Errors
/// What keeps it from starting, or ended it.
pub async fn run(args: Args) -> Result<(), Failure> {
    install_crypto();
    telemetry::init(&args.server.log, args.server.log_format);
    let authenticator = args.server.authenticator().map_err(failed)?;
    let loaded = Loaded::of(&args)?;
    let stop = shutdown::on_signal().map_err(failed)?;
    let metrics = telemetry::metrics().map_err(failed)?;
    self_alert::install(&args.server.self_alert).map_err(failed)?;
    let _lock = DirLock::acquire(&args.data_dir).map_err(failed)?;
    let listeners = Listeners::bind(args.server.grpc_addr, args.server.http_addr)
        .await
        .map_err(failed)?;
    let log = Log::open(&args).await?;
    let url = log.url.clone();
    let run = async {
        log.provision().await?;
        let services = services(&args, loaded, &log, &stop).await?;
        serve(
            listeners,
            services,
            authenticator,
            Some(metrics),
            &url,
            stop.clone(),
        )
        .await
        .map_err(failed)
    };
    let ended = run.await;
    if let Some(server) = log.server {
        server.shutdown().await;
    }
    ended
}
