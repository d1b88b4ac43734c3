//! What can be asked for, and files that people name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use balefire_loadtest_core::file;
use balefire_loadtest_core::plan::{FLOOD_FACTOR, Plan, Scenario, Shape};
use balefire_loadtest_core::report::Report;
use balefire_loadtest_core::schedule::Arrival;

use crate::between::Fault;
use crate::day::{self, Day};
use crate::error::Error;
use crate::nats::Sync;

/// Words of `plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Kind of day: steady, sla, burst, flood, join, attack, failover, soak, alarms, crowd
    #[arg(value_parser = day::scenario)]
    pub(crate) scenario: Scenario,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// The events' own time of the start, nanoseconds since 1970 [default: now]
    #[arg(long)]
    pub(crate) base_ns: Option<i64>,
    /// Write it here, for `run --plan` [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// How much is sent, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoadArgs {
    /// Events a second
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u32,
    /// Seconds of each scenario
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u32,
    /// Of chance
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How the rate runs: constant, poisson, burst, diurnal, ramp [default: the scenario's own]
    #[arg(long, value_parser = day::arrival)]
    arrival: Option<Arrival>,
    /// Events a second that the product can take, as `run max` finds; a flood is five times this
    /// [default: the rate]
    #[arg(long)]
    capacity: Option<u32>,
}

/// Words of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Kinds of days, NAME or NAME@RATE: steady, sla, burst, flood, join, attack, failover, soak,
    /// alarms (each event escalates: no loss can hide), crowd (one of 1,000 does), max (the highest
    /// rate); none: the pairs alone
    pub(crate) scenarios: Vec<Day>,
    /// Send what `plan --out` wrote, at today's time; before the scenarios
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Start this `balefire up` on a temporary folder; failover also starts the four services
    /// beside it
    #[arg(long, value_name = "FILE", required_unless_present = "addr")]
    pub(crate) binary: Option<PathBuf>,
    /// Or use one that runs already (its gRPC address); it must tell --listen, signed
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "binary")]
    pub(crate) addr: Option<String>,
    /// Where the webhook receiver listens
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The bare broker's program
    #[arg(long, default_value = "nats-server", value_name = "FILE")]
    pub(crate) nats_server: PathBuf,
    /// Pairs of the product and the bare broker
    #[arg(long, default_value_t = 3)]
    pub(crate) pairs: usize,
    /// Seconds of each half of a pair
    #[arg(long, default_value_t = 5)]
    pub(crate) pair_seconds: u32,
    /// Both nats-servers acknowledge before they sync, as many people run theirs; the product's
    /// own never does. For comparison alone
    #[arg(long, conflicts_with = "addr")]
    pub(crate) unsynced: bool,
    /// Targets; without them no figure of time fails a run
    #[arg(long, value_name = "FILE")]
    pub(crate) slo: Option<PathBuf>,
    /// A ratio kept earlier: fail if the median p50 ratio grew by more than 30 %
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Keep this run's ratio for `--baseline`
    #[arg(long, value_name = "FILE")]
    pub(crate) write_baseline: Option<PathBuf>,
    /// Calibrate the books alone: fail on loss, doubles and what is unexpected; no latency counts,
    /// so --slo may hold none
    #[arg(long)]
    pub(crate) books_only: bool,
    /// Put a fault between the load test and the product, to see that the report names it; with
    /// `alarms`, where no loss can hide
    #[arg(long, value_enum)]
    pub(crate) fault: Option<Fault>,
    /// Folder of the report
    #[arg(long, default_value = "loadtest/reports", value_name = "DIR")]
    pub(crate) out: PathBuf,
}

impl RunArgs {
    pub(crate) const fn sync(&self) -> Sync {
        if self.unsynced {
            Sync::Later
        } else {
            Sync::Always
        }
    }
}

impl LoadArgs {
    pub(crate) fn shape(&self, scenario: Scenario, rate: Option<u32>, base_ns: i64) -> Shape {
        let rate = rate.unwrap_or(self.rate);
        let usual = Shape::usual_arrival(scenario);
        Shape {
            scenario,
            arrival: self.arrival.unwrap_or(usual),
            rate,
            flood_rate: self.capacity.unwrap_or(rate).saturating_mul(FLOOD_FACTOR),
            seconds: self.seconds,
            seed: self.seed,
            base_ns,
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_path_buf(),
        source,
    })
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::File {
        path: path.to_path_buf(),
        source,
    })
}

fn malformed(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        reason: balefire_kit::process::chain(error),
    }
}

pub(crate) fn report_of(path: &Path) -> Result<Report, Error> {
    serde_json::from_str(&read(path)?).map_err(|error| malformed(path, &error))
}

pub(crate) fn read_plan(path: &Path) -> Result<Plan, Error> {
    file::read(&read(path)?).map_err(|error| malformed(path, &error))
}

pub(crate) fn targets(
    path: Option<&Path>,
) -> Result<Option<balefire_loadtest_core::verdict::Slo>, Error> {
    let read = |path: &Path| {
        balefire_loadtest_core::verdict::Slo::parse(&read(path)?)
            .map_err(|error| malformed(path, &error))
    };
    path.map(read).transpose()
}
