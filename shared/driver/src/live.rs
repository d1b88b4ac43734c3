//! The live loop: read, apply, publish, tick, checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use balefire_bus::Fence;
use balefire_kit::clock;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use crate::backfill::{self, Next, Reading};
use crate::error::Error;
use crate::letter;
use crate::limit::{
    CHECKPOINT_PARTS_MAX, DRAIN_MAX, LIST_RUNS_MAX, PENDING_BYTES_MAX, PENDING_INPUTS_MAX,
    REPORT_INTERVAL, TICK_POLL,
};
use crate::part::{self, Cut};
use crate::report::{Inspection, Phase};
use crate::session::{Context, Repair, Session, Way, guard, unusable};
use crate::stage::Stage;
use crate::step::{Sent, publish_all};
use crate::tick::Ticker;

type Publishing = AbortOnDropHandle<(Vec<Fence>, Result<Sent, Error>)>;
type Saving = AbortOnDropHandle<Result<u64, balefire_store::Error>>;

/// What the loop keeps beside the session.
struct Live {
    publishing: Option<Publishing>,
    saving: Option<Saving>,
    repair: Option<Repair>,
    /// For new rules, beside the live path.
    reading: Option<Reading>,
    ticker: Ticker,
    next_checkpoint: Instant,
    /// Parts given of the one that is due, and whether the rest is little.
    parts: u32,
    all_given: bool,
    next_report: Instant,
    /// Inputs consumed when the newest checkpoint was taken, and the step that it stands behind.
    covered: (u64, u64),
    /// Asked to stop: reads nothing more; ends when all is published and saved, or here.
    drain_until: Option<Instant>,
    lag: Lag,
}

impl Live {
    fn new<S: Stage>(session: &Session<'_, S>) -> Self {
        let now = Instant::now();
        let settings = &session.context.settings;
        Self {
            publishing: None,
            saving: None,
            repair: None,
            reading: None,
            ticker: Ticker::new(&session.context.plan),
            next_checkpoint: now + settings.checkpoint_interval,
            parts: 0,
            all_given: false,
            next_report: now,
            covered: (0, session.ledger.step()),
            drain_until: None,
            lag: Lag::watch(session.context),
        }
    }

    const fn draining(&self) -> bool {
        self.drain_until.is_some()
    }
}

/// Waits until it rises.
async fn rise(asked: &mut watch::Receiver<u64>) -> u64 {
    if asked.changed().await.is_err() {
        // Nobody can ask.
        return std::future::pending().await;
    }
    *asked.borrow_and_update()
}

/// Waits for a task that may not be there.
async fn finished<T>(task: &mut Option<AbortOnDropHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(running) => {
            let result = running.await;
            *task = None;
            result
        }
        None => std::future::pending().await,
    }
}

impl<S: Stage> Session<'_, S> {
    /// Drives the partition until it fails or, asked to stop, has published and saved what it
    /// had.
    pub(crate) async fn live(mut self) -> Result<(), Error> {
        let context = self.context;
        context.reporter.phase(Phase::Running);
        let mut live = Live::new(&self);
        let mut asked = context.asked.clone();
        // Who asked before has given up.
        asked.mark_unchanged();
        let mut timer = tokio::time::interval(TICK_POLL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.advance(&mut live).await?;
            if !live.draining() && live.repair.is_none() {
                self.follow(&mut live.reading).await?;
            }
            if live.draining() && self.drained(&live) {
                return Ok(());
            }
            let reading = self.may_read(&live);
            tokio::select! {
                biased;
                done = finished(&mut live.publishing) => self.published(done)?,
                saved = finished(&mut live.saving) => self.saved(saved)?,
                () = context.shutdown.cancelled(), if !live.draining() => {
                    live.drain_until = Some(Instant::now() + DRAIN_MAX);
                }
                _ = timer.tick() => self.timer(&mut live)?,
                // What a repair would add belongs to what was consumed.
                number = rise(&mut asked), if live.repair.is_none() => self.inspect(number)?,
                next = backfill::next(&mut self.reader, &mut live.reading), if reading => match next? {
                    Next::Input(source, message) => {
                        live.ticker.noticed(source, &message);
                        live.repair = self.take(source, &message, Way::Live).await?;
                    }
                    Next::Again(source, message) => {
                        self.take_again(source, &message, &mut live.reading).await?;
                    }
                },
            }
        }
    }

    /// Whatever can be done without waiting for an input.
    async fn advance(&mut self, live: &mut Live) -> Result<(), Error> {
        if !live.draining() && live.repair.is_none() && self.is_due(live) && !live.all_given {
            self.give_part(live)?;
        }
        if live.publishing.is_some() {
            return Ok(());
        }
        // The repair belongs to the step that is being formed, so nothing is cut before it.
        if let Some(repair) = live.repair.take() {
            self.repair(repair).await?;
        }
        let runs = self.ledger.list().runs().len();
        // At a hand-over what was consumed is listed, too: else the next owner would list it in an
        // order of its own, and this checkpoint would fit nothing when the partition comes back.
        let whole = runs >= LIST_RUNS_MAX || (live.draining() && runs > 0);
        if !self.outputs.is_empty() || !self.aside.is_empty() || whole {
            live.publishing = self.publish();
        } else if self.checkpoint_due(live) {
            self.save(live)?;
        }
        Ok(())
    }

    /// Reading stops while a step is awaited and enough is pending, while a repair waits for
    /// the step, and before a checkpoint.
    fn may_read(&self, live: &Live) -> bool {
        let full = live.publishing.is_some()
            && (self.output_bytes + self.aside_bytes >= PENDING_BYTES_MAX
                || self.ledger.list().inputs() >= PENDING_INPUTS_MAX as u64);
        !full && live.repair.is_none() && !live.draining() && !self.checkpoint_due(live)
    }

    fn checkpoint_due(&self, live: &Live) -> bool {
        // At a hand-over nothing comes between parts of it.
        self.is_due(live) && (live.all_given || live.draining())
    }

    /// Whether it is time for a checkpoint or the next part of it.
    fn is_due(&self, live: &Live) -> bool {
        let (inputs, step) = live.covered;
        // What is listed at a hand-over is behind the last checkpoint, were its inputs in it or not.
        let listed = live.draining() && self.ledger.step() > step;
        let changed = self.consumed > inputs || listed;
        let due = live.draining() || Instant::now() >= live.next_checkpoint;
        changed && due && live.saving.is_none() && self.context.store.keeps()
    }

    /// Gives a part of the checkpoint that is due, where it is much; the next one when inputs had as
    /// much time as that took.
    fn give_part(&mut self, live: &mut Live) -> Result<(), Error> {
        let begun = Instant::now();
        live.all_given = live.parts >= CHECKPOINT_PARTS_MAX
            || !guard(|| self.stage.changes_ahead()).map_err(unusable)?;
        if !live.all_given {
            live.parts += 1;
            live.next_checkpoint = Instant::now() + self.stood(begun);
        }
        Ok(())
    }

    /// It stood still for a checkpoint since then.
    fn stood(&self, begun: Instant) -> Duration {
        let took = begun.elapsed();
        let stage = self.context.plan.stage;
        metrics::histogram!("balefire_checkpoint_stall_seconds", "stage" => stage)
            .record(took.as_secs_f64());
        took
    }

    fn drained(&self, live: &Live) -> bool {
        let idle = live.publishing.is_none()
            && live.saving.is_none()
            && self.outputs.is_empty()
            && self.aside.is_empty();
        let late = live
            .drain_until
            .is_some_and(|until| Instant::now() >= until);
        (idle && live.repair.is_none() && !self.checkpoint_due(live)) || late
    }

    /// Cuts the next step and publishes it beside the loop.
    fn publish(&mut self) -> Option<Publishing> {
        let (number, list) = self.ledger.cut()?;
        let outputs = self.take_outputs();
        let (aside, letters) = (self.take_aside(), self.context.letters.clone());
        self.note_whole();
        let cut = Cut {
            number,
            list: &list,
            whole_below: self.whole_below.take(),
        };
        let parts = part::cut(&self.context.plan, &cut, &outputs);
        let fences = std::mem::take(&mut self.fences);
        let stage = self.context.plan.stage;
        metrics::counter!("balefire_steps_total", "stage" => stage).increment(1);
        let reporter = self.context.reporter.clone();
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            // First what cannot go on, then the step that goes on without it.
            if let Err(error) = letter::publish_all(&letters, &aside).await {
                return (fences, Err(error.into()));
            }
            publish_all(fences, parts, &reporter).await
        })))
    }

    fn published(
        &mut self,
        done: Result<(Vec<Fence>, Result<Sent, Error>), JoinError>,
    ) -> Result<(), Error> {
        let (fences, sent) = done.map_err(|error| Error::Unusable {
            reason: format!("publishing ended: {error}"),
        })?;
        self.fences = fences;
        for (known, sequence) in self.target_sequences.iter_mut().zip(sent?) {
            *known = sequence.unwrap_or(*known);
        }
        self.ledger.acknowledged();
        Ok(())
    }

    /// Takes the checkpoint now, writes it beside the loop.
    fn save(&mut self, live: &mut Live) -> Result<(), Error> {
        let begun = Instant::now();
        let (meta, changes) = guard(|| self.checkpoint(clock::now().0)).map_err(unusable)?;
        self.stood(begun);
        (live.parts, live.all_given) = (0, false);
        live.covered = (self.consumed, self.ledger.step());
        live.next_checkpoint = Instant::now() + self.context.settings.checkpoint_interval;
        let store = self.context.store.clone();
        let name = self.context.plan.checkpoint_name();
        live.saving = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let step = meta.step;
            store.save(&name, meta, changes).await.map(|()| step)
        })));
        Ok(())
    }

    fn saved(
        &mut self,
        saved: Result<Result<u64, balefire_store::Error>, JoinError>,
    ) -> Result<(), Error> {
        let Context { plan, reporter, .. } = self.context;
        let failed = match saved {
            Ok(Ok(step)) => {
                reporter.update(|report| report.checkpoint_step = step);
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        metrics::counter!("balefire_checkpoint_failures_total", "stage" => plan.stage).increment(1);
        tracing::warn!(
            stage = plan.stage,
            partition = plan.partition,
            failed,
            "no checkpoint"
        );
        guard(|| self.stage.unsaved()).map_err(unusable)
    }

    fn inspect(&self, asked: u64) -> Result<(), Error> {
        let held = guard(|| self.stage.inspect()).map_err(unusable)?;
        let plan = &self.context.plan;
        let streams = plan.sources.iter().map(|source| source.stream.clone());
        let inspection = Inspection {
            asked,
            stage: plan.stage,
            stage_version: self.stage.version(),
            partition: plan.partition,
            step: self.ledger.step(),
            positions: streams
                .zip(self.ledger.positions().iter().copied())
                .collect(),
            held,
        };
        let inspection = Some(Arc::new(inspection));
        self.context
            .reporter
            .update(|report| report.inspection = inspection);
        Ok(())
    }

    fn timer(&mut self, live: &mut Live) -> Result<(), Error> {
        let now = Instant::now();
        if !live.draining() {
            let deadline = guard(|| self.stage.next_deadline()).map_err(unusable)?;
            live.ticker.drive(self.context, deadline, now);
        }
        if now < live.next_report {
            return Ok(());
        }
        live.next_report = now + REPORT_INTERVAL;
        let away = !self.context.bus.is_connected();
        self.context.reporter.block("nats is away", away);
        let stage = guard(|| self.stage.status()).map_err(unusable)?;
        let lag = live.lag.behind(self.ledger.positions());
        let Context { plan, reporter, .. } = self.context;
        let labels = [
            ("stage", plan.stage.to_owned()),
            ("partition", plan.partition.to_string()),
        ];
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("balefire_partition_lag", &labels).set(lag as f64);
        reporter.update(|report| {
            report.step = self.ledger.step();
            report.lag = lag;
            report.consumed = self.consumed;
            report.stage = stage;
        });
        Ok(())
    }
}

/// Ends of the sources, looked up beside the loop.
struct Lag {
    lasts: Arc<[AtomicU64]>,
    _watching: AbortOnDropHandle<()>,
}

impl Lag {
    fn watch(context: &Context) -> Self {
        let streams: Vec<String> = context
            .plan
            .sources
            .iter()
            .map(|s| s.stream.clone())
            .collect();
        let lasts: Arc<[AtomicU64]> = streams.iter().map(|_| AtomicU64::new(0)).collect();
        let bus = context.bus.clone();
        let shared = Arc::clone(&lasts);
        let watching = tokio::spawn(async move {
            loop {
                for (stream, last) in streams.iter().zip(shared.iter()) {
                    // Away for the moment: the old figure stays.
                    if let Ok(info) = bus.stream_info(stream).await {
                        last.store(info.last_sequence, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(REPORT_INTERVAL).await;
            }
        });
        Self {
            lasts,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    fn behind(&self, positions: &[u64]) -> u64 {
        self.lasts
            .iter()
            .zip(positions)
            .map(|(last, position)| last.load(Ordering::Relaxed).saturating_sub(*position))
            .sum()
    }
}
