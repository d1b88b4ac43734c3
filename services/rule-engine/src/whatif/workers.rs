//! The threads of a what-if: each evaluates partitions of its own, one after the other, behind the
//! live path.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use balefire_bus::{Bus, Error};
use balefire_rule_engine_core::{Found, Share};
use balefire_wire::event_codec::{self, Kept};
use balefire_wire::record::kind;
use balefire_wire::{BatchView, RecordView};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::stretch::Stretch;

/// Threads of a what-if; fewer where there are fewer cores or partitions.
pub const WORKERS_MAX: usize = 8;
/// Messages that a thread is handed at once.
pub const BATCH_MESSAGES_MAX: usize = 64;
/// Their bytes, where there is more than one message.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Batches that wait for a thread.
pub const BATCHES_MAX: usize = 2;
/// Reports of all threads that wait to be taken.
pub const REPORTS_MAX: usize = 64;
/// How far behind every other thread of the process these stand, by the kernel's own measure: the
/// live path has the cores whenever it wants them.
#[cfg(target_os = "linux")]
const NICE: i32 = 19;

/// A partition to be evaluated: its share of the candidate, and what is read of the log for it.
pub(super) struct Part {
    pub(super) partition: u32,
    pub(super) share: Share,
    pub(super) stretches: Vec<Stretch>,
}

/// What a thread is handed.
enum Job {
    /// The partition before is done, and this one begins.
    Begin(u32, Box<Share>),
    /// What comes next of it.
    Messages(Vec<Bytes>),
}

/// What a thread did.
pub(super) struct Report {
    /// The partition.
    pub(super) partition: u32,
    /// Messages read since the last report.
    pub(super) messages: u64,
    /// What they came to.
    pub(super) found: Option<Found>,
    /// No more of this partition comes.
    pub(super) ended: bool,
}

/// How many threads there are for so many partitions.
pub(super) fn count(partitions: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    partitions.min(cores).clamp(1, WORKERS_MAX)
}

/// Starts a thread; what it is to do comes from [`Feed::feed`], and it ends with that.
pub(super) fn start(
    number: usize,
    tenant: Arc<str>,
    reports: mpsc::Sender<Report>,
) -> io::Result<Feed> {
    let (to, jobs) = mpsc::channel(BATCHES_MAX);
    let thread = thread::Builder::new().name(format!("what-if-{number}"));
    thread.spawn(move || {
        stand_behind();
        work(&tenant, jobs, &reports);
    })?;
    Ok(Feed { to })
}

fn stand_behind() {
    // Of the calling thread alone. Where the system refuses it is as any other thread.
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::nice(NICE);
}

/// Where a thread gets its work from.
pub(super) struct Feed {
    to: mpsc::Sender<Job>,
}

impl Feed {
    /// Reads every partition for the thread, in batches: nobody waits for one, but at the end.
    pub(super) async fn feed(self, bus: &Bus, parts: Vec<Part>) -> Result<(), Error> {
        for part in parts {
            if !self
                .send(Job::Begin(part.partition, Box::new(part.share)))
                .await
            {
                return Ok(());
            }
            for stretch in &part.stretches {
                if !self.stretch(bus, stretch).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False: the thread is gone.
    async fn stretch(&self, bus: &Bus, stretch: &Stretch) -> Result<bool, Error> {
        let mut reading = stretch.read(bus).await?;
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH_MESSAGES_MAX), 0);
        while let Some(message) = reading.next().await? {
            bytes += message.payload.len();
            batch.push(message.payload);
            if batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
                continue;
            }
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_MESSAGES_MAX));
            bytes = 0;
            if !self.send(Job::Messages(full)).await {
                return Ok(false);
            }
        }
        Ok(batch.is_empty() || self.send(Job::Messages(batch)).await)
    }

    async fn send(&self, job: Job) -> bool {
        self.to.send(job).await.is_ok()
    }
}

/// Takes jobs until no more come, or nobody wants to know any more.
fn work(tenant: &str, mut jobs: mpsc::Receiver<Job>, reports: &mpsc::Sender<Report>) {
    let mut at: Option<Evaluation> = None;
    loop {
        let report = match jobs.blocking_recv() {
            Some(Job::Messages(messages)) => at.as_mut().map(|at| at.take(tenant, &messages)),
            Some(Job::Begin(partition, share)) => {
                let before = at.replace(Evaluation::new(partition, *share));
                before.map(|before| before.end())
            }
            None => {
                // Nobody waits for what comes behind the last.
                let _left = at.map(|last| reports.blocking_send(last.end()));
                return;
            }
        };
        if let Some(report) = report
            && reports.blocking_send(report).is_err()
        {
            return;
        }
    }
}

/// A partition being evaluated.
struct Evaluation {
    partition: u32,
    share: Share,
    kept: Kept,
}

impl Evaluation {
    fn new(partition: u32, share: Share) -> Self {
        let kept = Kept::of(|field| share.looks_at(field), share.looks_at_extensions());
        Self {
            partition,
            share,
            kept,
        }
    }

    fn take(&mut self, tenant: &str, messages: &[Bytes]) -> Report {
        for payload in messages {
            self.message(tenant, payload);
        }
        Report {
            partition: self.partition,
            messages: messages.len() as u64,
            found: self.share.found(),
            ended: false,
        }
    }

    fn end(mut self) -> Report {
        Report {
            partition: self.partition,
            messages: 0,
            found: self.share.found(),
            ended: true,
        }
    }

    /// What cannot be read is a dead letter of the live path, and counts on neither side.
    fn message(&mut self, tenant: &str, payload: &[u8]) {
        let Ok(batch) = BatchView::parse(payload) else {
            return;
        };
        if batch.header.tenant != *tenant {
            return;
        }
        let share = &mut self.share;
        share.batch(tenant);
        for raw in batch.raw_records().flatten() {
            if raw.kind == kind::EVENT {
                let category = event_codec::category(raw.message);
                if category.is_some_and(|category| !share.heeds(category)) {
                    share.passed();
                } else if let Ok(event) = event_codec::decode_kept(raw.message, self.kept) {
                    share.event(&event);
                }
            } else if raw.kind == kind::ESCALATION
                && let Ok(RecordView::Escalation(escalation)) = raw.view()
                && escalation.tenant == *tenant
            {
                share.escalated(*escalation);
            }
        }
    }
}
