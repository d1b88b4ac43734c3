//! The commands.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use balefire_loadtest_core::file;
use balefire_loadtest_core::page::page;
use balefire_loadtest_core::report::{Report, Verdict};
use tokio_util::sync::CancellationToken;

use crate::baseline::Baseline;
use crate::between::{self, Fault};
use crate::error::Error;
use crate::options::{PlanArgs, RunArgs, report_of, targets, write};
use crate::product::Product;
use crate::receiver::{Receiver, secret};
use crate::suite::Suite;
use crate::{calibrate, machine, print, prove};

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
    /// Prove that the generator is not what limits: its rate on one core against a receiver that
    /// only counts; exit code 0 proved, 1 not
    Prove(prove::Asked),
    /// Calibrate, run scenarios, compare with the bare broker, write the report; the verdict is the
    /// exit code: 0 passed, 1 failed, 3 invalid
    Run(Box<RunArgs>),
    /// Write the page of a report again, and repeat its verdict
    Report {
        /// The JSON
        file: PathBuf,
    },
}

/// Runs the command; the exit code.
///
/// # Errors
/// What kept it from being run.
pub async fn run(cli: Cli) -> Result<u8, Error> {
    match cli.command {
        Command::Plan(args) => {
            plan(&args)?;
            Ok(0)
        }
        Command::Calibrate { rate } => {
            let checks = calibrate::run(rate).await?;
            print::checks("calibration", &checks);
            Ok(u8::from(!checks.iter().all(|check| check.passed)) * 3)
        }
        Command::Prove(asked) => {
            let checks = prove::run(asked).await?;
            print::checks("the generator, on one core", &checks);
            Ok(u8::from(!checks.iter().all(|check| check.passed)))
        }
        Command::Run(args) => load_test(&args).await,
        Command::Report { file } => {
            let report = report_of(&file)?;
            write(&file.with_extension("html"), &page(&report))?;
            Ok(tell(&report))
        }
    }
}

fn plan(args: &PlanArgs) -> Result<(), Error> {
    let base_ns = args.base_ns.unwrap_or_else(|| balefire_kit::clock::now().0);
    let plan = args.load.shape(args.scenario, None, base_ns).plan();
    let Some(path) = &args.out else {
        let mut out = print::Out::default();
        file::lines(&plan).for_each(|line| out.line(&line));
        return Ok(());
    };
    let failed = |source| Error::File {
        path: path.clone(),
        source,
    };
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    for line in file::lines(&plan) {
        writeln!(out, "{line}").map_err(failed)?;
    }
    out.flush().map_err(failed)
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

/// Calibrates unless it is stopped meanwhile: then the report has none, and is invalid.
async fn calibration(
    args: &RunArgs,
    stop: &CancellationToken,
) -> Result<Vec<balefire_loadtest_core::verdict::Check>, Error> {
    print::note("calibrating");
    let asked = async {
        if args.books_only {
            calibrate::books().await
        } else {
            calibrate::run(args.load.rate).await
        }
    };
    let checks = tokio::select! {
        checks = asked => checks?,
        () = stop.cancelled() => Vec::new(),
    };
    print::checks("calibration", &checks);
    Ok(checks)
}

async fn load_test(args: &RunArgs) -> Result<u8, Error> {
    let slo = targets(args.slo.as_deref())?;
    if args.books_only && slo.as_ref().is_some_and(|slo| !slo.latency.is_empty()) {
        return Err(Error::NeedsCalibration);
    }
    std::fs::create_dir_all(&args.out).map_err(|source| Error::File {
        path: args.out.clone(),
        source,
    })?;
    let stop = stopped_by_hand();
    let calibration = calibration(args, &stop).await?;
    let receiver = Receiver::start(args.listen).await?;
    let webhook = if args.fault == Some(Fault::Double) {
        format!("http://{}/hook", between::hook(receiver.addr()).await?)
    } else {
        receiver.url()
    };
    let product = match (&args.binary, &args.addr) {
        (Some(binary), _) => {
            let nats = (args.nats_server.as_path(), args.sync());
            Product::start(binary, nats, &webhook).await?
        }
        (None, addr) => {
            print::note(&format!("tell {webhook} signed with {}", secret()));
            Product::running(addr.as_deref().unwrap_or_default())
        }
    };
    let mut machine = machine::describe(
        args.binary.as_deref(),
        &args.nats_server,
        product.nats_settings().as_deref(),
    );
    if args.books_only {
        machine.generator.push_str("; times not calibrated");
    }
    if let Some(fault) = args.fault {
        let note = format!("; a fault on purpose: {fault:?}");
        machine.product.push_str(&note.to_lowercase());
    }
    let seconds = balefire_kit::clock::now().0 / 1_000_000_000;
    let mut test = Suite {
        args,
        product,
        receiver,
        webhook,
        stop,
        report: Report {
            machine,
            calibration,
            ..Report::default()
        },
        slo,
        stem: args.out.join(format!("{seconds}")),
    };
    // What ended it is in the report, beside what there was until then.
    if let Err(error) = test.all().await {
        test.report.ended = balefire_kit::process::chain(&error);
    }
    let Suite {
        product,
        report,
        stem,
        ..
    } = test;
    product.stop().await;
    keep(args, &report, &stem)
}

/// Writes the report down and tells its verdict.
fn keep(args: &RunArgs, report: &Report, stem: &Path) -> Result<u8, Error> {
    let json = serde_json::to_string(report).unwrap_or_default();
    write(&stem.with_extension("json"), &json)?;
    let html = stem.with_extension("html");
    write(&html, &page(report))?;
    if let Some(path) = &args.write_baseline {
        Baseline::of(report, path)?.write(path)?;
    }
    let code = tell(report);
    print::note(&format!("report: {}", html.display()));
    Ok(code)
}
