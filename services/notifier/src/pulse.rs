//! Watches the platform from its end: whether heartbeats come out, receivers answer and dead letters
//! stay few. What is wrong is told straight to people, by a way that needs neither the log nor a
//! receiver; an external dead man's switch is kept quiet only by heartbeats that came out.
//!
//! Reads ESCALATIONS and DELIVERIES of every partition, whoever owns it, so that a partition that
//! nobody owns shows too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balefire_bus::{Bus, Log, Message, Topology};
use balefire_event::time::SECOND;
use balefire_event::{Severity, Timestamp};
use balefire_kit::clock;
use balefire_kit::dead_man::DeadMan;
use balefire_kit::self_alert::{self, Notice};
use balefire_notifier_core::breaker::Mood;
use balefire_notifier_core::pulse::{Out, Pulse};
use balefire_notifier_core::reach::{Reach, reach};
use balefire_notifier_core::tenant_pulse::TenantPulse;
use balefire_notifier_core::watch::{Seen, Trouble, Watch};
use balefire_wire::{BatchView, RecordView};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::Desk;
use crate::dispatch::Board;
use crate::feed::Feeds;
use crate::letters::Letters;
use crate::{NAME, codec};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So many heartbeats may be missing.
const MISSING_MAX: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What is awaited, and who hears that it came.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How often ingest places a heartbeat; `None`: none is awaited.
    pub heartbeat: Option<Duration>,
    /// How long one may take.
    pub late_after: Duration,
    /// Who is told of each that came out.
    pub dead_man: Option<DeadMan>,
}

/// What a watcher works with.
pub struct Watcher {
    settings: Settings,
    topology: Topology,
    desk: Arc<Desk>,
    board: Arc<Board>,
    letters: Arc<Letters>,
    feeds: Arc<Feeds>,
    pulse: Mutex<Pulse>,
    tenants: Mutex<TenantPulse>,
    watch: Mutex<Watch>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    /// Before the first heartbeat.
    #[must_use]
    pub fn new(
        settings: Settings,
        topology: Topology,
        desk: Arc<Desk>,
        (board, feeds): (Arc<Board>, Arc<Feeds>),
        letters: Arc<Letters>,
    ) -> Arc<Self> {
        let now = clock::now();
        Arc::new(Self {
            settings,
            topology,
            desk,
            board,
            letters,
            feeds,
            pulse: Mutex::new(Pulse::new(topology.partitions, now)),
            tenants: Mutex::new(TenantPulse::new(now)),
            watch: Mutex::default(),
        })
    }

    /// How long the last heartbeat that came out took, and how long ago that was, nanoseconds.
    #[must_use]
    pub fn last(&self) -> Option<(i64, i64)> {
        let last = held(&self.pulse).last()?;
        Some((last.took(), clock::now().since(last.at)))
    }

    /// Whether a heartbeat is awaited.
    #[must_use]
    pub fn awaits(&self) -> bool {
        self.settings.heartbeat.is_some()
    }

    /// Receivers that do not answer: of escalations by their breakers, of the feed by what waits to
    /// go again.
    #[must_use]
    pub fn unanswering(&self) -> BTreeSet<Arc<str>> {
        let mut all = self.feeds.failing();
        let queue = self.board.queue();
        let away = queue
            .lines()
            .filter(|(_, line)| line.breaker != Mood::Closed);
        all.extend(away.map(|(name, _)| Arc::clone(name)));
        all
    }

    /// Watches until `stop`.
    pub async fn run(self: Arc<Self>, bus: Bus, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        if self.awaits() {
            for partition in 0..self.topology.partitions {
                let escalations = Arc::clone(&self).follow(bus.clone(), partition, false);
                let deliveries = Arc::clone(&self).follow(bus.clone(), partition, true);
                tasks.spawn(stop.clone().run_until_cancelled_owned(escalations));
                tasks.spawn(stop.clone().run_until_cancelled_owned(deliveries));
            }
        }
        tasks.close();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => self.look(),
            }
        }
        tasks.wait().await;
    }

    /// Follows one stream from its present end, for ever.
    async fn follow(self: Arc<Self>, bus: Bus, partition: u32, deliveries: bool) {
        let stream = match deliveries {
            true => self.topology.deliveries_stream(partition),
            false => self.topology.escalations_stream(partition),
        };
        let mut next = None;
        loop {
            let from = match next {
                Some(next) => Some(next),
                None => {
                    let info = bus.stream_info(&stream).await;
                    info.ok().map(|info| info.last_sequence + 1)
                }
            };
            if let Some(from) = from {
                let mut tail = Log::new(&bus).tail(&stream, from);
                next = Some(from);
                loop {
                    match tail.next().await {
                        Ok(Some(message)) => {
                            next = Some(message.sequence + 1);
                            self.take(partition, deliveries, &message);
                        }
                        Ok(None) => break,
                        Err(error) => {
                            next = error.begins_at().or(next);
                            break;
                        }
                    }
                }
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// A message that cannot be read is a dead letter of the partition's own.
    fn take(&self, partition: u32, deliveries: bool, message: &Message) {
        let Ok(view) = BatchView::parse(&message.payload) else {
            return;
        };
        let now = clock::now();
        if deliveries {
            let covered = view.step.as_ref().map_or(0, codec::covered);
            let out = held(&self.pulse).covered(partition, covered, now);
            out.into_iter().for_each(|out| self.out(out));
            return;
        }
        let place = (partition, codec::is_rekeyed(&message.subject));
        for record in view.records() {
            if let Ok(RecordView::Barrier { id, at }) = record
                && id.is_heartbeat()
            {
                let out = held(&self.pulse).read(place, message.sequence, (id, at), now);
                out.into_iter().for_each(|out| self.out(out));
            }
        }
    }

    fn out(&self, out: Out) {
        #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
        let seconds = out.took() as f64 / SECOND as f64;
        metrics::histogram!("balefire_heartbeat_seconds").record(seconds);
        metrics::counter!("balefire_heartbeats_out_total").increment(1);
        let late_after = nanos(self.settings.late_after);
        held(&self.watch).out(out, late_after);
        let reach = self.reach();
        held(&self.tenants).out(out.at, &reach);
        if let Some(dead_man) = &self.settings.dead_man {
            dead_man.ping();
        }
    }

    /// Who can be told at this moment.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let plan = self.desk.plan();
        let faults = self.desk.faults();
        let queue = self.board.queue();
        let lines: Vec<(&Arc<str>, bool)> = queue
            .lines()
            .map(|(name, line)| (name, line.breaker == Mood::Closed))
            .collect();
        let is_up = |name: &str| {
            let mut up = lines.iter().filter(|(_, closed)| *closed);
            up.any(|(one, _)| ***one == *name)
        };
        reach(&plan, |name| is_up(name) && !faults.contains_key(name))
    }

    fn look(&self) {
        let now = clock::now();
        let reach = self.reach();
        if self.awaits() {
            for (tenant, silent) in held(&self.tenants).silent(now, &reach) {
                #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
                let seconds = silent as f64 / SECOND as f64;
                metrics::gauge!("balefire_tenant_heartbeat_age_seconds", "tenant" => tenant)
                    .set(seconds);
            }
        }
        let found = held(&self.watch).look(&self.seen(now, reach), now);
        for (trouble, detail) in found {
            let detail = match trouble {
                Trouble::Silent => format!("{detail}: {}", held(&self.pulse).stuck()),
                Trouble::Late
                | Trouble::Unanswered
                | Trouble::Shut
                | Trouble::Growing
                | Trouble::Old => detail,
            };
            self_alert::raise(&notice(trouble, detail));
        }
    }

    fn seen(&self, now: Timestamp, reach: Reach) -> Seen {
        let silent = self.settings.heartbeat.map(|every| {
            let silent = held(&self.pulse).silent(now);
            (silent, nanos(every * MISSING_MAX))
        });
        let unanswering = self.unanswering();
        let (open, oldest) = {
            let letters = self.letters.folded();
            let open = u64::try_from(letters.open_len()).unwrap_or(u64::MAX);
            (open, letters.oldest_open())
        };
        // Of a log that is being read at the start nothing can be said yet.
        let known = self.letters.is_ready();
        Seen {
            silent,
            unanswering: unanswering.into_iter().collect(),
            shut: reach.shut,
            open: if known { open } else { 0 },
            oldest: oldest.filter(|_| known),
        }
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn notice(trouble: Trouble, detail: String) -> Notice {
    let (reason, severity, title) = match trouble {
        Trouble::Silent => (
            "heartbeat_silent",
            Severity::Critical,
            "Nothing comes out of the pipeline: escalations may be stuck",
        ),
        Trouble::Late => (
            "heartbeat_late",
            Severity::High,
            "The pipeline is slower than promised",
        ),
        Trouble::Unanswered => (
            "receiver_unanswered",
            Severity::High,
            "Receivers do not answer: what they should be told waits",
        ),
        Trouble::Shut => (
            "tenant_unreachable",
            Severity::Critical,
            "Nobody can be told of a tenant's escalations: none of its receivers answers",
        ),
        Trouble::Growing => (
            "dead_letters_growing",
            Severity::High,
            "Dead letters grow: something cannot go on",
        ),
        Trouble::Old => (
            "dead_letters_old",
            Severity::Medium,
            "Dead letters wait for a decision",
        ),
    };
    Notice {
        reason,
        severity,
        service: NAME,
        partition: None,
        title: title.into(),
        detail,
    }
}
