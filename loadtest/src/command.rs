//! The commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use balefire_loadtest_core::oracle::expected;
use balefire_loadtest_core::plan::{Scenario, Shape};
use balefire_loadtest_core::report::{Report, Verdict};
use balefire_loadtest_core::verdict::Slo;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::product::Product;
use crate::receiver::{Receiver, secret};
use crate::suite::Suite;
use crate::{calibrate, machine, print};

/// Finds out what Balefire does with synthetic traffic, and proves itself first.
#[derive(Debug, clap::Parser)]
#[command(name = "balefire-loadtest", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write what would be sent when, and what must come of it, as NDJSON
    Plan(PlanArgs),
    /// Measure the instrument against the null receiver
    Calibrate {
        /// Events a second of the report to come
        #[arg(long, default_value_t = 1000)]
        rate: u32,
    },
    /// Calibrate, run scenarios, compare with the bare broker, write the report; the verdict is the
    /// exit code: 0 passed, 1 failed, 3 invalid
    Run(Box<RunArgs>),
    /// Write the page of a report again, and repeat its verdict
    Report {
        /// The JSON
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// Kind of day
    #[arg(value_parser = scenario)]
    scenario: Scenario,
    #[command(flatten)]
    load: LoadArgs,
    /// The events' own time of the start, nanoseconds since 1970 [default: now]
    #[arg(long)]
    base_ns: Option<i64>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoadArgs {
    /// Events a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Seconds of each scenario
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u32,
    /// Of chance
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Kinds of days: steady, sla, burst, flood, join, attack; none: the pairs alone
    #[arg(value_parser = scenario)]
    pub(crate) scenarios: Vec<Scenario>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Start this `balefire up` on a temporary folder
    #[arg(long, value_name = "FILE", required_unless_present = "addr")]
    binary: Option<PathBuf>,
    /// Or use one that runs already (its gRPC address); it must tell --listen, signed
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "binary")]
    addr: Option<String>,
    /// Where the webhook receiver listens
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The bare broker's program
    #[arg(long, default_value = "nats-server", value_name = "FILE")]
    pub(crate) nats_server: PathBuf,
    /// Pairs of the product and the bare broker
    #[arg(long, default_value_t = 3)]
    pub(crate) pairs: usize,
    /// Targets of time; without them no figure of time fails a run
    #[arg(long, value_name = "FILE")]
    slo: Option<PathBuf>,
    /// An earlier report: fail if the median p50 ratio grew by more than 30 %
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Calibrate the books alone: fail on loss, doubles and what is unexpected; no time counts
    #[arg(long, conflicts_with = "slo")]
    books_only: bool,
    /// Folder of the report
    #[arg(long, default_value = "loadtest/reports", value_name = "DIR")]
    out: PathBuf,
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_path_buf(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::File {
        path: path.to_path_buf(),
        source,
    })
}

pub(crate) fn report_of(path: &Path) -> Result<Report, Error> {
    serde_json::from_str(&read(path)?).map_err(|error| Error::Malformed {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}

impl LoadArgs {
    pub(crate) fn shape(&self, scenario: Scenario, seconds: u32, seed: u64, base_ns: i64) -> Shape {
        Shape {
            scenario,
            arrival: Shape::usual_arrival(scenario),
            rate: self.rate,
            seconds,
            seed,
            base_ns,
        }
    }
}

/// Runs the command; the exit code.
///
/// # Errors
/// What kept it from being run.
pub async fn run(cli: Cli) -> Result<u8, Error> {
    match cli.command {
        Command::Plan(args) => {
            plan(&args);
            Ok(0)
        }
        Command::Calibrate { rate } => {
            let checks = calibrate::run(rate).await?;
            print::checks("calibration", &checks);
            Ok(u8::from(!checks.iter().all(|check| check.passed)) * 3)
        }
        Command::Run(args) => load_test(&args).await,
        Command::Report { file } => {
            let report = report_of(&file)?;
            write(
                &file.with_extension("html"),
                &balefire_loadtest_core::page::page(&report),
            )?;
            Ok(tell(&report))
        }
    }
}

fn plan(args: &PlanArgs) {
    let base_ns = args.base_ns.unwrap_or_else(|| balefire_kit::clock::now().0);
    let load = &args.load;
    let plan = load
        .shape(args.scenario, load.seconds, load.seed, base_ns)
        .plan();
    let mut out = print::Out::default();
    let due = expected(plan.events.iter());
    out.json(&serde_json::json!({
        "shape": plan.shape, "tag": plan.tag, "digest": plan.digest(),
        "events": plan.events.len(), "expected": due.len(),
    }));
    for event in &plan.events {
        out.json(&serde_json::json!({"event": event, "payload": event.payload(&plan.tag)}));
    }
    for (name, completion) in due {
        out.json(&serde_json::json!({"expected": name, "completed": completion}));
    }
}

const fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Passed => 0,
        Verdict::Failed => 1,
        Verdict::Invalid => 3,
    }
}

fn tell(report: &Report) -> u8 {
    print::report(report);
    code(report.verdict())
}

fn targets(args: &RunArgs) -> Result<Option<Slo>, Error> {
    let targets = args.slo.as_deref().map(|path| {
        Slo::parse(&read(path)?).map_err(|error| Error::Malformed {
            path: path.to_path_buf(),
            reason: balefire_kit::process::chain(&error),
        })
    });
    targets.transpose()
}

/// Ctrl-C ends the sending; what there is by then is reported.
fn stopped_by_hand() -> CancellationToken {
    let stop = CancellationToken::new();
    let interrupted = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    stop
}

async fn load_test(args: &RunArgs) -> Result<u8, Error> {
    let slo = targets(args)?;
    std::fs::create_dir_all(&args.out).map_err(|source| Error::File {
        path: args.out.clone(),
        source,
    })?;
    let stop = stopped_by_hand();
    print::note("calibrating");
    let calibration = if args.books_only {
        calibrate::books().await?
    } else {
        calibrate::run(args.load.rate).await?
    };
    print::checks("calibration", &calibration);
    let receiver = Receiver::start(args.listen).await?;
    let product = match (&args.binary, &args.addr) {
        (Some(binary), _) => Product::start(binary, &receiver).await?,
        (None, addr) => {
            print::note(&format!("tell {} signed with {}", receiver.url(), secret()));
            Product::running(addr.as_deref().unwrap_or_default())
        }
    };
    let mut machine = machine::describe(args.binary.as_deref(), &args.nats_server);
    if args.books_only {
        machine.generator.push_str("; times not calibrated");
    }
    let seconds = balefire_kit::clock::now().0 / 1_000_000_000;
    let mut test = Suite {
        args,
        product,
        receiver,
        stop,
        report: Report {
            machine,
            calibration,
            ..Report::default()
        },
        slo,
        stem: args.out.join(format!("{seconds}")),
    };
    let done = test.all().await;
    let Suite {
        product,
        report,
        stem,
        ..
    } = test;
    product.stop().await;
    done?;
    let json = serde_json::to_string(&report).unwrap_or_default();
    write(&stem.with_extension("json"), &json)?;
    write(
        &stem.with_extension("html"),
        &balefire_loadtest_core::page::page(&report),
    )?;
    let code = tell(&report);
    print::note(&format!(
        "report: {}",
        stem.with_extension("html").display()
    ));
    Ok(code)
}
