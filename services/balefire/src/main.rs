//! `balefire`: the platform in one process, and the commands of those who run it.

mod ack;
mod apply;
mod broker;
mod connect;
mod coverage;
mod deadletters;
mod deliveries;
mod difference;
mod escalations;
mod explain;
mod folder;
mod line;
mod print;
mod receivers;
mod replay;
mod routes;
mod rules;
mod schemas;
mod send;
mod settings;
mod silences;
mod source;
mod sources;
mod span;
mod status;
mod trace;
mod up;
mod verify;
mod whatif;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

/// Event-sourced alerting for AI-security events.
///
/// `balefire up` runs everything; `balefire send FILE` gives it events; `balefire escalations`
/// shows what must be acted on. Every flag is also a BALEFIRE_… variable.
#[derive(Debug, clap::Parser)]
#[command(
    name = "balefire",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run all services in this process, with a nats-server of their own unless --nats-url names one
    Up(Box<up::Args>),
    /// Send events from a file or standard input
    Send(send::Args),
    /// List escalations, follow them, explain one
    Escalations(escalations::Args),
    /// Say that you are on an escalation: what continues it does not page again
    Ack(ack::Args),
    /// Evaluate a file of events with a set of rules, offline
    Replay(replay::Args),
    /// List, show, replay or discard dead letters
    Deadletters(deadletters::Args),
    /// Show who was told what, with which answer, and who was not and why
    Deliveries(deliveries::Args),
    /// Show receivers and try them out
    Receivers(receivers::Args),
    /// Say who would be told of an escalation, and why
    Routes(routes::Args),
    /// Make the platform be as the files of a folder say
    Apply(apply::ApplyArgs),
    /// Show what `apply` would do
    Diff(apply::DiffArgs),
    /// Write every control object as a file
    Export(apply::ExportArgs),
    /// Delete what the files of a folder name
    Delete(apply::DeleteArgs),
    /// Show who changed what, when and why
    Changes(silences::ChangesArgs),
    /// Add and list silences
    Silences(silences::Args),
    /// Check rule files, try them out on the log, list the rules in force, switch one off for a while
    Rules(rules::Args),
    /// List the sources that are read; try a field map of your own JSON
    Sources(sources::Args),
    /// Show which records are accepted, and in which version
    Schemas(schemas::Args),
    /// Show everything that one request left, and what is missing
    Trace(trace::Args),
    /// Show how the platform is
    Status(status::Args),
    /// Read the log again and compare it with what was stored and escalated
    Verify(verify::Args),
    /// Show the configuration that `up` would run with
    Config(settings::Args),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the configuration of a nats-server for Balefire, with a credential for each service
    #[command(name = "nats-config")]
    NatsConfig(broker::ConfigArgs),
    /// Make the streams of the log on a nats-server that somebody else runs
    Provision(broker::ProvisionArgs),
    /// Start a nats-server that ends with this process (used by `up`)
    #[command(hide = true, name = "nats-child")]
    NatsChild {
        /// Command and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Why a command ends with another code than 0.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong use: exit 2.
    #[error("{0}")]
    Usage(String),
    /// It did not succeed: exit 1.
    #[error("{0}")]
    Failed(String),
    /// It did not succeed, and all is said already: exit 1.
    #[error("")]
    Told,
    /// The way to the server.
    #[error(transparent)]
    Connect(#[from] connect::Error),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Connect(status.into())
    }
}

impl Failure {
    /// What is said on standard error, with all causes.
    fn told(&self) -> String {
        match self {
            Self::Connect(error) => balefire_kit::process::chain(error),
            Self::Usage(text) | Self::Failed(text) => text.clone(),
            Self::Told => String::new(),
        }
    }

    /// A failure with the whole chain of its causes in words.
    pub fn chain(error: &dyn std::error::Error) -> Self {
        Self::Failed(balefire_kit::process::chain(error))
    }
}

fn main() -> ExitCode {
    balefire_kit::install_crypto();
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.told();
            if !text.is_empty() {
                print::note(&format!("balefire: {text}"));
            }
            ExitCode::from(if matches!(failure, Failure::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::NatsChild { command } => {
            let error = balefire_bus::become_child(&command);
            Err(Failure::Failed(format!("start the nats-server: {error}")))
        }
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "balefire",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        Command::Config(args) => settings::run(&args),
        Command::Sources(args) => sources::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::NatsConfig(args) => broker::config(&args),
        Command::Up(args) => on_runtime(up::run(*args)),
        Command::Send(args) => on_runtime(send::run(args)),
        Command::Escalations(args) => on_runtime(escalations::run(args)),
        Command::Ack(args) => on_runtime(ack::run(args)),
        Command::Deadletters(args) => on_runtime(deadletters::run(args)),
        Command::Deliveries(args) => on_runtime(deliveries::run(args)),
        Command::Receivers(args) => on_runtime(receivers::run(args)),
        Command::Routes(args) => on_runtime(routes::run(args)),
        Command::Apply(args) => on_runtime(apply::apply(args)),
        Command::Diff(args) => on_runtime(apply::diff(args)),
        Command::Export(args) => on_runtime(apply::export(args)),
        Command::Delete(args) => on_runtime(apply::delete(args)),
        Command::Changes(args) => on_runtime(silences::changes(args)),
        Command::Silences(args) => on_runtime(silences::run(args)),
        Command::Rules(args) => on_runtime(rules::run(args)),
        Command::Schemas(args) => on_runtime(schemas::run(args)),
        Command::Trace(args) => on_runtime(trace::run(args)),
        Command::Status(args) => on_runtime(status::run(args)),
        Command::Verify(args) => on_runtime(verify::run(args)),
        Command::Provision(args) => on_runtime(async move { broker::make(&args).await }),
    }
}

fn on_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|e| Failure::Failed(format!("start the runtime: {e}")))?
        .block_on(command)
}
