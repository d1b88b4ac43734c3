//! `balefire verify`: whether what was stored and told is what the log gives.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_bus::{
    Bus, Credential, Credentials, DirLock, Role, Server, ServerOptions, Topology, provision,
};
use balefire_rule_engine::verify::{Subject, Verdict, verify};
use balefire_store::{Copy, Error as StoreError, Options};
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::escalation::v1::{DigestStateRequest, PartitionState};
use indicatif::{ProgressBar, ProgressStyle};

use crate::connect::{ANSWER_BYTES_MAX, Target};
use crate::print::{Out, note};
use crate::{Failure, span};

/// Whether the rule engine's state and the escalations are what the log gives.
///
/// Reads the whole log of every partition again, with an engine that forgets nothing, and compares:
/// the escalation ids that the log gives with those in ESCALATIONS (id, tenant, rule, key, slot); the
/// matches sent through REKEYED; and the entries, escalated slots and watermark of every stored
/// checkpoint with those at the same positions of the log. It changes nothing, and memory grows with
/// the log.
///
/// With --rule-engine also the windows and slots that a running rule-engine holds, by digests that it
/// takes at a position of its own.
///
/// A line a partition: OK, or FAIL and the first thing that differs, with its place. Exit 0: all the
/// same. Exit 1: something differs, or could not be read. Exit 2: wrong use.
///
/// `balefire verify --data-dir DIR` is enough for a log that `balefire up` keeps. Where `up` runs, its
/// nats-server is asked, and checkpoints, which it has open, are left out; where it does not, a
/// nats-server is started for as long as this takes. With --nats-url, --data-dir names the data dirs
/// of stopped rule-engines, whose checkpoints are compared.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data dir of `up`; with --nats-url that of a stopped rule-engine, may be given again
    #[arg(long, env = "BALEFIRE_DATA_DIR", value_name = "DIR")]
    data_dir: Vec<PathBuf>,
    /// Addresses of the nats-servers that somebody else runs, separated by commas
    #[arg(long, env = "BALEFIRE_NATS_URL", value_name = "URL[,URL]")]
    nats_url: Option<String>,
    /// With --nats-url: folder with the operator's credential; without it none is used
    #[arg(
        long,
        env = "BALEFIRE_CREDENTIALS",
        value_name = "DIR",
        requires = "nats_url"
    )]
    credentials: Option<PathBuf>,
    /// Also compare what the rule-engine at this gRPC address holds in memory now; may be given again
    #[arg(long, value_name = "URL")]
    rule_engine: Vec<String>,
    /// Bearer token for it (scope operate), where it has a keys file
    #[arg(long, env = "BALEFIRE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long escalations that lack may still come while somebody may be at work
    #[arg(long, default_value = "10s", value_parser = span::parse, value_name = "SPAN")]
    patience: Duration,
}

/// Where `up` keeps things that nobody says.
const DATA_DIR: &str = "balefire-data";

fn failed(error: impl std::error::Error) -> Failure {
    Failure::chain(&error)
}

/// The log, and what keeps it reachable.
struct Log {
    bus: Bus,
    topology: Topology,
    /// Somebody may be at work on it.
    live: bool,
    /// Started for this; dropped last.
    _own: Option<(Server, DirLock)>,
}

impl Log {
    async fn open(args: &Args) -> Result<Self, Failure> {
        if let Some(url) = &args.nats_url {
            let credential = match &args.credentials {
                Some(dir) => Credential::from_dir(dir, Role::Operator).map_err(failed)?,
                None => Credential::none(Role::Operator),
            };
            return Self::at(url, &credential, true, None).await;
        }
        let default = [PathBuf::from(DATA_DIR)];
        let dirs = if args.data_dir.is_empty() {
            &default[..]
        } else {
            &args.data_dir[..]
        };
        match dirs {
            [dir] => Self::of_data_dir(dir).await,
            _ => Err(Failure::Usage(
                "without --nats-url there is one --data-dir, that of `balefire up`".into(),
            )),
        }
    }

    async fn of_data_dir(dir: &Path) -> Result<Self, Failure> {
        let nats = dir.join("nats");
        if !nats.is_dir() {
            return Err(Failure::Usage(format!(
                "--data-dir {}: there is no log of `balefire up`; name its data dir, or --nats-url",
                dir.display()
            )));
        }
        let credentials = Credentials::of_dir(&dir.join("credentials")).map_err(failed)?;
        let operator = credentials.of(Role::Operator);
        let lock = match DirLock::acquire(dir) {
            Ok(lock) => lock,
            Err(balefire_bus::Error::Locked { .. }) => {
                let url = Server::running_in(&nats).ok_or_else(|| {
                    let dir = dir.display();
                    Failure::Failed(format!(
                        "{dir} is in use, and no nats-server of it answers; is `balefire up` just starting?"
                    ))
                })?;
                return Self::at(&url, &operator, true, None).await;
            }
            Err(error) => return Err(failed(error)),
        };
        let topology = Topology::of_data_dir(dir, None).map_err(failed)?;
        let mut options = ServerOptions::new(nats);
        options.authorization = credentials.authorization(&topology);
        let program = std::env::current_exe();
        let program = program.map_err(|e| Failure::Failed(format!("find this program: {e}")))?;
        options.launcher = Some(vec![
            program.into(),
            OsString::from("nats-child"),
            OsString::from("--"),
        ]);
        let server = Server::start(options).await.map_err(failed)?;
        let url = server.url().to_owned();
        Self::at(&url, &operator, false, Some((server, lock))).await
    }

    async fn at(
        url: &str,
        credential: &Credential,
        live: bool,
        own: Option<(Server, DirLock)>,
    ) -> Result<Self, Failure> {
        let bus = Bus::connect(url, credential, "balefire-verify")
            .await
            .map_err(failed)?;
        let found = provision::discover(&bus).await.map_err(failed)?;
        let topology = found
            .ok_or_else(|| Failure::Failed("there are no streams yet: nothing to verify".into()))?;
        Ok(Self {
            bus,
            topology,
            live,
            _own: own,
        })
    }
}

/// Copies of the stores to compare.
#[derive(Default)]
struct Stores {
    copies: Vec<(String, Copy)>,
    /// What cannot be read.
    faults: Vec<String>,
}

impl Stores {
    async fn of(args: &Args) -> Result<Self, Failure> {
        let default = [PathBuf::from(DATA_DIR)];
        let dirs = match (&args.data_dir[..], &args.nats_url) {
            ([], None) => &default[..],
            (dirs, _) => dirs,
        };
        let mut stores = Self::default();
        for dir in dirs {
            let folder = dir.join(balefire_rule_engine::NAME);
            let name = folder.display().to_string();
            match Copy::of(&folder, Options::default()).await {
                Ok(Some(copy)) => stores.copies.push((name, copy)),
                Ok(None) => note(&format!("no checkpoints in {name}")),
                Err(StoreError::Locked { .. }) => note(&format!(
                    "checkpoints in {name} are in use: not compared; stop their owner for that"
                )),
                Err(error @ StoreError::Io { .. }) => return Err(failed(error)),
                Err(error) => stores.faults.push(format!(
                    "checkpoints in {name} cannot be read ({}); at its start their owner sets them aside and builds from the log",
                    balefire_kit::process::chain(&error)
                )),
            }
        }
        Ok(stores)
    }
}

/// What the rule-engines hold, each partition with the address.
async fn held(args: &Args) -> Result<Vec<(String, PartitionState)>, Failure> {
    let mut held = Vec::new();
    for addr in &args.rule_engine {
        let target = Target {
            addr: addr.clone(),
            token: args.token.clone(),
        };
        let client = EscalationServiceClient::new(target.connect().await?);
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = client.digest_state(DigestStateRequest {}).await?;
        let answer = answer.into_inner();
        for silent in answer.silent {
            note(&format!("{addr}: {silent}: what it holds is not compared"));
        }
        let states = answer.partitions.into_iter();
        held.extend(states.map(|state| (addr.clone(), state)));
    }
    Ok(held)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style =
        ProgressStyle::with_template("{msg}: {human_pos} of {human_len} batches {wide_bar}");
    // Hidden by itself where standard error is no terminal.
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn lines(verdict: &Verdict) -> Vec<String> {
    let Verdict {
        name,
        inputs,
        escalations,
        checkpoints,
        live,
        notes,
        faults,
    } = verdict;
    let compared = match checkpoints {
        0 => String::new(),
        1 => ", 1 checkpoint".into(),
        more => format!(", {more} checkpoints"),
    };
    let held = if *live > 0 { ", state in memory" } else { "" };
    let head = format!("{name}: {inputs} batches, {escalations} escalations{compared}{held}");
    let mut lines = match faults.is_empty() {
        true => vec![format!("OK    {head}")],
        false => vec![format!("FAIL  {head}")],
    };
    lines.extend(faults.iter().map(|fault| format!("      {fault}")));
    lines.extend(notes.iter().map(|note| format!("      ({note})")));
    lines
}

/// Runs the command.
///
/// # Errors
/// Something differs, or cannot be read.
pub async fn run(args: Args) -> Result<(), Failure> {
    let log = Log::open(&args).await?;
    let Stores { copies, faults } = Stores::of(&args).await?;
    let live = held(&args).await?;
    let checkpoints = copies.iter();
    let bar = bar();
    let progress = |name: &str, done: u64, total: u64| {
        bar.set_message(name.to_owned());
        bar.set_length(total);
        bar.set_position(done);
    };
    let subject = Subject {
        bus: &log.bus,
        topology: log.topology,
        checkpoints: checkpoints
            .map(|(folder, copy)| (folder.clone(), copy.store.clone()))
            .collect(),
        live,
        patience: if log.live {
            args.patience
        } else {
            Duration::ZERO
        },
        progress: &progress,
    };
    let mut out = Out::new();
    for fault in &faults {
        out.line(&format!("FAIL  {fault}"));
    }
    let verdicts = verify(&subject, |verdict| {
        bar.suspend(|| {
            for line in lines(verdict) {
                out.line(&line);
            }
            out.flush();
        });
    });
    let verdicts = verdicts.await.map_err(failed)?;
    bar.finish_and_clear();
    match verdicts.iter().filter(|v| !v.faults.is_empty()).count() {
        0 if faults.is_empty() => Ok(()),
        bad => Err(Failure::Failed(format!(
            "{bad} of {} partitions are not what the log gives; see docs/runbooks/verify_differs.md",
            verdicts.len()
        ))),
    }
}
