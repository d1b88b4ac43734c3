//! [`Ticker`]: lets time pass where no record comes, while the stage has something open.

use balefire_bus::Message;
use balefire_event::Timestamp;
use balefire_kit::clock;
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::limit::{TICK_INTERVAL_MIN, TICK_REPEAT};
use crate::plan::Plan;
use crate::session::Context;

pub(crate) struct Ticker {
    /// Tick subject of each source.
    subjects: Vec<Option<String>>,
    /// Where ticks go beside: none of them is read back here.
    further: Vec<String>,
    /// Which sources' last tick has not been read back.
    awaited: Vec<bool>,
    last_at: Option<Instant>,
    written: u64,
    publishing: Option<AbortOnDropHandle<()>>,
}

impl Ticker {
    pub(crate) fn new(plan: &Plan) -> Self {
        let subjects: Vec<_> = plan
            .sources
            .iter()
            .map(|s| s.tick_subject.clone())
            .collect();
        Self {
            awaited: vec![false; subjects.len()],
            subjects,
            further: plan.further_ticks.clone(),
            last_at: None,
            written: 0,
            publishing: None,
        }
    }

    /// An input was read; perhaps it is a tick.
    pub(crate) fn noticed(&mut self, source: usize, message: &Message) {
        let tick = self.subjects.get(source).and_then(Option::as_deref);
        if tick == Some(message.subject.as_str())
            && let Some(awaited) = self.awaited.get_mut(source)
        {
            *awaited = false;
        }
    }

    /// Publishes a tick where the deadline has passed: at most ten a second, and not before the
    /// last one was read back, for a partition that lags learns nothing from more of them.
    pub(crate) fn drive(&mut self, context: &Context, deadline: Option<Timestamp>, now: Instant) {
        let clock = clock::now();
        let due = deadline.is_some_and(|deadline| deadline <= clock);
        // What others answer is waited for as a tick that was not read back.
        let wait = if self.awaited.contains(&true) || !self.further.is_empty() {
            TICK_REPEAT
        } else {
            TICK_INTERVAL_MIN
        };
        let early = self.last_at.is_some_and(|last| now < last + wait);
        let busy = self
            .publishing
            .as_ref()
            .is_some_and(|task| !task.is_finished());
        if !due || early || busy {
            return;
        }
        self.last_at = Some(now);
        self.written += 1;
        let payload = tick(&context.plan, clock, self.written);
        let subjects = self.subjects.iter().flatten().chain(&self.further);
        let subjects: Vec<String> = subjects.cloned().collect();
        for (awaited, subject) in self.awaited.iter_mut().zip(&self.subjects) {
            *awaited = subject.is_some();
        }
        let log = context.log.clone();
        self.publishing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let appends = subjects
                .iter()
                .map(|subject| log.append(subject, payload.clone(), None));
            if let Err(error) = futures::future::try_join_all(appends).await {
                tracing::debug!(%error, "tick not written");
            }
        })));
    }
}

fn tick(plan: &Plan, at: Timestamp, written: u64) -> Bytes {
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Tick(at));
    let header = Header {
        writer_id: plan.owner_id,
        writer_seq: written,
        received_at_max: at,
        ..Header::default()
    };
    Bytes::from(writer.finish(&header, None))
}
