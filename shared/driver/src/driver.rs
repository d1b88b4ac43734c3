//! [`Driver`]: runs sessions one after the other and decides what each end means.

use std::collections::BTreeSet;
use std::time::Duration;

use balefire_bus::deadletter::DeadLetters;
use balefire_bus::{Bus, Log};
use balefire_event::Severity;
use balefire_kit::self_alert::{self, Notice};
use balefire_store::Store;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::limit::{RETRY_FIRST, RETRY_MAX, SKIPPED_MAX};
use crate::plan::{Plan, Settings};
use crate::report::{Phase, Report, Reporter};
use crate::session::{Context, Session};
use crate::stage::Stage;

/// A fenced owner doubles its wait up to this many times the first one.
const RECLAIM_FACTOR_MAX: u32 = 16;

/// A session that lasted this long ends all earlier back-off.
const SESSION_SOUND: Duration = Duration::from_secs(60);

/// Drives one partition of a stage.
pub struct Driver {
    context: Context,
}

/// What follows the end of a session.
enum Next {
    Stop(Result<(), Error>),
    Again(Duration),
}

/// Waits that grow with each failure.
struct Backoff {
    retry: Duration,
    reclaim: Duration,
}

impl Driver {
    /// Wires a partition; nothing happens before [`Driver::run`]. `bus` must hold the credential
    /// of the stage's service.
    #[must_use]
    pub fn new(bus: Bus, store: Store, plan: Plan, settings: Settings) -> Self {
        let sender = watch::Sender::new(Report::of(plan.partition));
        let reporter = Reporter {
            stage: plan.stage,
            partition: plan.partition,
            sender,
        };
        let context = Context {
            log: Log::new(&bus),
            letters: DeadLetters::new(&bus, plan.stage),
            bus,
            plan,
            settings,
            store,
            reporter,
            asked: watch::Sender::new(0).subscribe(),
            shutdown: CancellationToken::new(),
            skipped: BTreeSet::new(),
        };
        Self { context }
    }

    /// Reports to `sender`, which outlives this driver.
    #[must_use]
    pub fn reporting_to(mut self, sender: watch::Sender<Report>) -> Self {
        self.context.reporter.sender = sender;
        self
    }

    /// Answers in its report what the stage holds, whenever `asked` rises.
    #[must_use]
    pub fn asked_by(mut self, asked: watch::Receiver<u64>) -> Self {
        self.context.asked = asked;
        self
    }

    /// How the partition is, for as long as it runs.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<Report> {
        self.context.reporter.sender.subscribe()
    }

    /// Runs until `shutdown`, then drains: publishes what is pending and takes a checkpoint.
    /// Mends by itself what can be mended: a log that is away, an owner that fenced it, a panic
    /// of the stage, a doubtful checkpoint. Dropping the future is a crash, and as safe as one.
    ///
    /// # Errors
    /// [`Error::LogRegression`] and [`Error::Unusable`] at once: the partition stays stopped
    /// and touches nothing until somebody acts. The other partitions go on.
    pub async fn run<S: Stage>(
        mut self,
        mut stage: S,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        check(&self.context.plan)?;
        self.context.shutdown = shutdown;
        let mut backoff = Backoff::new(&self.context.settings);
        loop {
            let ended = self.session(&mut stage, &mut backoff).await;
            match self.after(ended, &mut backoff).await {
                Next::Stop(result) => return result,
                Next::Again(wait) => {
                    if self.context.pause(wait).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn session<S: Stage>(&self, stage: &mut S, backoff: &mut Backoff) -> Result<(), Error> {
        let opening = Session::open(&self.context, stage);
        let session = tokio::select! {
            session = opening => session?,
            () = self.context.shutdown.cancelled() => return Err(Error::Stopped),
        };
        let opened = Instant::now();
        let ended = session.live().await;
        // Two owners that take a partition from each other both open it each time: only a
        // session that lasted shows that the trouble is over.
        if opened.elapsed() >= SESSION_SOUND {
            *backoff = Backoff::new(&self.context.settings);
        }
        ended
    }

    async fn after(&mut self, ended: Result<(), Error>, backoff: &mut Backoff) -> Next {
        let Plan {
            stage, partition, ..
        } = self.context.plan;
        let error = match ended {
            Ok(()) | Err(Error::Stopped) => return Next::Stop(Ok(())),
            Err(error) => error,
        };
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let source = source.unwrap_or_default();
        let reporter = self.context.reporter.clone();
        match error {
            Error::LogRegression { .. } | Error::Unusable { .. } => {
                tracing::error!(stage, partition, %error, "partition stopped; nothing was touched");
                let mut said = error.to_string();
                if matches!(error, Error::LogRegression { .. }) {
                    self_alert::raise(&log_regression(stage, partition, &error));
                    said.push_str("; see docs/runbooks/log_regression.md");
                }
                reporter.phase(Phase::Stopped(said));
                Next::Stop(Err(error))
            }
            Error::Fenced { .. } => {
                tracing::error!(stage, partition, %error, source, "partition stopped");
                reporter.phase(Phase::Stopped(error.to_string()));
                Next::Again(backoff.reclaim(&self.context.settings))
            }
            Error::Panicked {
                source_index,
                sequence,
                ..
            } => {
                tracing::error!(stage, partition, %error, "batch skipped, state restored");
                self.context.skipped.insert((source_index, sequence));
                if self.context.skipped.len() > SKIPPED_MAX {
                    return Next::Stop(Err(Error::Unusable {
                        reason: format!("the stage panicked on {SKIPPED_MAX} batches"),
                    }));
                }
                Next::Again(Duration::ZERO)
            }
            Error::Doubt { .. } => {
                tracing::warn!(stage, partition, %error, "building from the log");
                self.context.set_aside().await;
                Next::Again(backoff.retry())
            }
            Error::Unavailable { .. } | Error::Stopped => {
                tracing::warn!(stage, partition, %error, source, "partition waits");
                reporter.phase(Phase::Blocked(error.to_string()));
                Next::Again(backoff.retry())
            }
        }
    }
}

/// What people must hear at once: events may be lost, and nobody counts in this partition.
fn log_regression(stage: &'static str, partition: u32, error: &Error) -> Notice {
    Notice {
        reason: "log_regression",
        severity: Severity::Critical,
        service: stage,
        partition: Some(partition),
        title: format!(
            "The log lost records that {stage} partition {partition} had read; it stopped and touches nothing"
        ),
        detail: error.to_string(),
    }
}

impl Backoff {
    const fn new(settings: &Settings) -> Self {
        Self {
            retry: RETRY_FIRST,
            reclaim: settings.reclaim_delay,
        }
    }

    fn retry(&mut self) -> Duration {
        let wait = self.retry;
        self.retry = (wait * 2).min(RETRY_MAX);
        wait
    }

    fn reclaim(&mut self, settings: &Settings) -> Duration {
        let wait = self.reclaim;
        self.reclaim = (wait * 2).min(settings.reclaim_delay * RECLAIM_FACTOR_MAX);
        wait
    }
}

fn check(plan: &Plan) -> Result<(), Error> {
    let unusable = |reason: &str| {
        Err(Error::Unusable {
            reason: reason.to_owned(),
        })
    };
    if plan.sources.is_empty() || plan.targets.is_empty() {
        return unusable("a plan needs a source and a target");
    }
    let lanes: BTreeSet<_> = plan.sources.iter().map(|source| source.lane).collect();
    if lanes.len() != plan.sources.len() {
        return unusable("two sources share a lane");
    }
    Ok(())
}
