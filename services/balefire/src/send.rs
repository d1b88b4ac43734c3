//! `balefire send`: events from a file or standard input.

mod feed;
mod follow;
mod lanes;
mod tail;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balefire_client::{AppendOptions, Client, Options, Outcome};
use balefire_event::{Timestamp, Timing};
use balefire_ingest_core::adapt::Context;
use balefire_wire::escalation::v1::AwaitBarrierRequest;
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::ingest::v1::AppendStatus;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::connect::Target;
use crate::print::{Out, note};
use crate::source::Records;
use crate::{Failure, sources, span};

use feed::{Fed, Reading};
use lanes::Lanes;
use tail::Tail;

/// Records read ahead of the sender.
const READ_AHEAD: usize = 1024;
/// Above this share of late events the way out is named.
const LATE_WARNING: f64 = 0.01;
/// How much later than the last event a backfill may arrive and still count: an hour.
const BACKFILL_SLACK: i64 = balefire_event::time::HOUR;

/// Sends events: NDJSON, a JSON array or one object, gzip too.
///
/// Prints a JSON summary {accepted, duplicate, rejected, late, seconds}. Each rejected line is named
/// on standard error as `line N: field: reason: what to do`; the exit code is then 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File, or - for standard input; with --follow a folder too
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Whose records these are: a source of docs/sources, `auto` to recognise each, or `native`, the JSON event
    #[arg(long, default_value = "native")]
    source: String,
    /// A field map (TOML) of your own JSON instead; `balefire sources check` shows what it makes
    #[arg(long, conflicts_with = "source", value_name = "FILE")]
    map: Option<PathBuf>,
    /// Wait until everything accepted is evaluated
    #[arg(long)]
    wait: bool,
    /// How long --wait waits
    #[arg(long, default_value = "60s", value_parser = span::parse, value_name = "SPAN")]
    timeout: Duration,
    /// History: counts in windows by its own time; nobody is told, nothing is recommended
    #[arg(long)]
    backfill: bool,
    /// Go on sending what is written to the file or the folder, until Ctrl-C; a renamed file (log rotation) is read
    /// to its end first, packed files are read whole. Nothing is sent twice after a restart, nothing is left out
    #[arg(long, conflicts_with_all = ["wait", "backfill"])]
    follow: bool,
    /// Where --follow keeps how far it has come [default: a hidden file beside FILE, or in the folder]
    #[arg(long, requires = "follow", value_name = "FILE")]
    cursor: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    late: u64,
}

impl Tally {
    const fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.late += other.late;
    }

    fn take(&mut self, outcome: &Outcome, line: u64) -> Result<(), Failure> {
        let result = match &outcome.result {
            Ok(result) => result,
            Err(error) => return Err(Failure::chain(error.as_ref())),
        };
        match result.status() {
            AppendStatus::Accepted => self.accepted += 1,
            AppendStatus::Duplicate => self.duplicate += 1,
            AppendStatus::Rejected | AppendStatus::Unspecified => {
                self.rejected += 1;
                let violation = result.violation.clone().unwrap_or_default();
                let field = if violation.field.is_empty() {
                    "record"
                } else {
                    &violation.field
                };
                note(&format!(
                    "line {line}: {field}: {}: {}",
                    violation.reason, violation.description
                ));
                return Ok(());
            }
        }
        if result.timing == Timing::Late.number() || result.timing == Timing::Future.number() {
            self.late += 1;
        }
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    let reading = match &args.map {
        Some(map) => Reading::Mapped(Arc::new(sources::map_of(map)?), Context::at(written(&args))),
        None => Reading::of(&args.source, written(&args))?,
    };
    let begun = Instant::now();
    let options = AppendOptions {
        source: String::new(),
        backfill: args.backfill,
        backfill_span_ns: if args.backfill {
            file_span(&args, &reading)?
        } else {
            0
        },
    };
    if args.follow {
        return following(&args, &reading, options, begun).await;
    }
    let opened = Records::open(&args.file).map_err(|e| unreadable(&args, &e))?;
    let client = connect(&args).await?;
    let (records_out, records) = mpsc::channel(READ_AHEAD);
    let feeding = tokio::task::spawn_blocking(move || read(opened, reading, &records_out));
    let tally = send(Lanes::new(&client, options), records).await?;
    let joined = |e: tokio::task::JoinError| Failure::Failed(format!("a task failed: {e}"));
    feeding
        .await
        .map_err(joined)?
        .map_err(|e| unreadable(&args, &e))?;
    let waited = if args.wait {
        wait(&args, &client).await
    } else {
        Ok(())
    };
    summarise(&tally, begun);
    warn_of_late(&tally, args.backfill);
    // What was accepted is said in any case.
    waited?;
    if tally.rejected > 0 {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

/// Follows until it is told to stop.
async fn following(
    args: &Args,
    reading: &Reading,
    options: AppendOptions,
    begun: Instant,
) -> Result<(), Failure> {
    if args.file == std::path::Path::new("-") {
        let message =
            "--follow needs a file or a folder; standard input is read to its end without it";
        return Err(Failure::Usage(message.into()));
    }
    let cursor = args.cursor.clone();
    let cursor = cursor.unwrap_or_else(|| follow::cursor_of(&args.file));
    let tail = Tail::open(&args.file, &cursor).map_err(|e| unreadable(args, &e))?;
    let client = connect(args).await?;
    let tally = follow::follow(&client, &options, reading, tail).await?;
    summarise(&tally, begun);
    Ok(())
}

fn summarise(tally: &Tally, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    let summary = json!({
        "accepted": tally.accepted, "duplicate": tally.duplicate, "rejected": tally.rejected,
        "late": tally.late, "seconds": (seconds * 1000.0).round() / 1000.0,
    });
    Out::new().line(&summary.to_string());
}

async fn connect(args: &Args) -> Result<Client, Failure> {
    let client_options = Options {
        token: args.target.token.clone(),
        ..Options::default()
    };
    Client::connect(&args.target.addr, client_options)
        .await
        .map_err(|error| {
            if matches!(error, balefire_client::Error::Connect { .. }) {
                return Failure::Failed(format!(
                    "no Balefire answers at {}; is `balefire up` running, or is --addr another?",
                    args.target.addr
                ));
            }
            Failure::chain(&error)
        })
}

fn unreadable(args: &Args, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("read {}: {error}", args.file.display()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of counts far below 2^52"
)]
fn warn_of_late(tally: &Tally, backfill: bool) {
    let all = (tally.accepted + tally.duplicate).max(1);
    let share = tally.late as f64 / all as f64;
    if share > LATE_WARNING && !backfill {
        note(&format!(
            "warning: {} of {all} events are LATE or FUTURE: they are in the log and met rules without a \
             window, but count in none. For history say --backfill; for a slow source start `up` with a \
             longer --allowed-lateness.",
            tally.late
        ));
    }
}

/// When the file was written; of standard input, now. A replayed file has the same time again.
fn written(args: &Args) -> Timestamp {
    let modified = std::fs::metadata(&args.file).and_then(|file| file.modified());
    let since = modified
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let nanos = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
    nanos.map_or_else(balefire_kit::clock::now, Timestamp)
}

fn read(mut records: Records, reading: Reading, out: &mpsc::Sender<Fed>) -> std::io::Result<()> {
    while let Some(record) = records.next()? {
        for fed in reading.feed(record) {
            if out.blocking_send(fed).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn send(mut lanes: Lanes<'_>, mut records: mpsc::Receiver<Fed>) -> Result<Tally, Failure> {
    let mut refused = 0;
    while let Some(fed) = records.recv().await {
        match offered(&mut lanes, fed).await? {
            Some(true) => {}
            Some(false) => break,
            None => refused += 1,
        }
    }
    let mut tally = lanes.finish().await?;
    tally.rejected += refused;
    Ok(tally)
}

/// Sends a record. `Some(false)`: its lane has ended, and [`Lanes::finish`] says why; `None`: it is
/// refused here, and told.
async fn offered(lanes: &mut Lanes<'_>, fed: Fed) -> Result<Option<bool>, Failure> {
    let Fed { line, record } = fed;
    match record {
        Ok((source, json)) => lanes.send(&source, line, json).await.map(Some),
        Err(why) => {
            let said = format!("line {line}: record: unknown_value: {why}");
            lanes.bar().suspend(|| note(&said));
            Ok(None)
        }
    }
}

async fn wait(args: &Args, client: &Client) -> Result<(), Failure> {
    let barrier = client
        .place_barrier()
        .await
        .map_err(|e| Failure::chain(&e))?;
    let mut escalations = EscalationServiceClient::new(args.target.connect().await?);
    let request = AwaitBarrierRequest {
        barrier_id: bytes::Bytes::copy_from_slice(barrier.as_bytes()),
    };
    let waited = tokio::time::timeout(args.timeout, escalations.await_barrier(request)).await;
    match waited {
        Ok(answer) => {
            answer?;
            Ok(())
        }
        Err(_) => Err(Failure::Failed(format!(
            "everything is accepted, but not evaluated within {:?}; `balefire status` shows the lag",
            args.timeout
        ))),
    }
}

/// The span of a file's times up to now: L of its events.
fn file_span(args: &Args, reading: &Reading) -> Result<i64, Failure> {
    if args.file == std::path::Path::new("-") {
        return Err(Failure::Usage(
            "--backfill needs a file: its span is read first".into(),
        ));
    }
    let mut records = Records::open(&args.file).map_err(|e| unreadable(args, &e))?;
    let mut oldest: Option<Timestamp> = None;
    while let Some(record) = records.next().map_err(|e| unreadable(args, &e))? {
        // A bad line is named when it is sent.
        let times = reading
            .feed(record)
            .into_iter()
            .filter_map(|fed| fed.time());
        oldest = times.chain(oldest).min();
    }
    let now = balefire_kit::clock::now();
    Ok(oldest
        .map_or(0, |oldest| now.since(oldest).max(0))
        .saturating_add(BACKFILL_SLACK))
}
