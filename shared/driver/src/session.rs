//! [`Session`]: one run of a partition, from its claim to its end. Here: how one input is taken,
//! and repairs. `start` opens it, `live` drives it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use balefire_bus::deadletter::DeadLetters;
use balefire_bus::{Bus, Fence, LaneReader, LaneStart, Log, Message, Start};
use balefire_event::Timestamp;
use balefire_kit::clock;
use balefire_store::Store;
use balefire_wire::{BatchView, Error as WireError};
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::ledger::{Ledger, least};
use crate::letter::{self, Sealed};
use crate::limit::READINESS_POLL;
use crate::outlog::first_at;
use crate::plan::{Plan, Settings};
use crate::report::{Phase, Reporter};
use crate::stage::{DeadLetter, Effects, Input, Output, Readiness, Stage};

/// What every session of a partition needs.
pub(crate) struct Context {
    pub(crate) plan: Plan,
    pub(crate) settings: Settings,
    pub(crate) bus: Bus,
    pub(crate) log: Log,
    pub(crate) letters: DeadLetters,
    pub(crate) store: Store,
    pub(crate) reporter: Reporter,
    /// Rises when somebody asks what the stage holds.
    pub(crate) asked: watch::Receiver<u64>,
    pub(crate) shutdown: CancellationToken,
    /// Batches (source, sequence) on which the stage panicked.
    pub(crate) skipped: BTreeSet<(usize, u64)>,
}

/// What is known of the record at a source's position.
#[derive(Debug, Clone)]
pub(crate) enum Tip {
    Unknown,
    Digest([u8; 32]),
    Payload(Bytes),
}

pub(crate) struct Session<'s, S> {
    pub(crate) context: &'s Context,
    pub(crate) stage: &'s mut S,
    pub(crate) reader: LaneReader,
    pub(crate) ledger: Ledger,
    /// The record at each source's position.
    pub(crate) tips: Vec<Tip>,
    /// When each source's stream was created.
    pub(crate) sources_created: Vec<Timestamp>,
    /// When each target's stream was created.
    pub(crate) targets_created: Vec<Timestamp>,
    /// Empty while a step is in flight: the publishing task has them.
    pub(crate) fences: Vec<Fence>,
    /// Last own sequence of each target's subject.
    pub(crate) target_sequences: Vec<u64>,
    /// Outputs of the next step.
    pub(crate) outputs: Vec<Output>,
    pub(crate) output_bytes: usize,
    /// Dead letters of the next step: stored before it is.
    pub(crate) aside: Vec<Sealed>,
    pub(crate) aside_bytes: usize,
    /// Least [`Stage::whole_below`] since the last step was cut.
    pub(crate) whole_below: Option<u64>,
    pub(crate) consumed: u64,
}

/// A message, and what it says if it can be read.
type Read<'m> = (&'m Message, Option<&'m BatchView<'m>>);

/// First time through, or again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Dead letters are written.
    Live,
    /// They were published before the list was.
    Redo,
}

/// A repair that was asked for, and by which input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repair {
    pub(crate) from: Timestamp,
    pub(crate) source: usize,
    pub(crate) sequence: u64,
}

/// Runs a call into the stage; a panic becomes its words.
pub(crate) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()))
            .unwrap_or_else(|| "without a word".to_owned())
    })
}

pub(crate) fn unusable(said: String) -> Error {
    Error::Unusable {
        reason: format!("the stage panicked: {said}"),
    }
}

impl<S: Stage> Session<'_, S> {
    /// Takes the next input of a source. After [`Error::Stopped`] the state is not whole.
    pub(crate) async fn take(
        &mut self,
        source: usize,
        message: &Message,
        way: Way,
    ) -> Result<Option<Repair>, Error> {
        self.ledger.consume(source, message.sequence)?;
        self.consumed += 1;
        if let Some(tip) = self.tips.get_mut(source) {
            *tip = Tip::Payload(message.payload.clone());
        }
        if self.context.skipped.contains(&(source, message.sequence)) {
            return Ok(None);
        }
        let batch = match BatchView::parse(&message.payload) {
            Ok(batch) => batch,
            Err(error) => {
                if way == Way::Live {
                    self.lay_aside(source, (message, None), &[unreadable(error)]);
                }
                return Ok(None);
            }
        };
        self.wait_ready(batch.header.control_revision_max).await?;
        self.note_whole();
        let mut effects = Effects::default();
        let input = self.input(source, message, &batch);
        let applied = guard(|| self.stage.apply(&input, &mut effects));
        if let Err(said) = applied {
            return Err(self.panicked(source, message, said).await);
        }
        if way == Way::Live {
            self.lay_aside(source, (message, Some(&batch)), &effects.dead_letters);
        }
        self.add(effects.outputs);
        Ok(effects.repair_from.map(|from| Repair {
            from,
            source,
            sequence: message.sequence,
        }))
    }

    pub(crate) fn input<'a>(
        &self,
        source: usize,
        message: &'a Message,
        batch: &'a BatchView<'a>,
    ) -> Input<'a> {
        Input {
            source,
            lane: self.context.plan.sources.get(source).and_then(|s| s.lane),
            sequence: message.sequence,
            stored_at: message.stored_at,
            subject: &message.subject,
            batch,
        }
    }

    pub(crate) fn add(&mut self, outputs: Vec<Output>) {
        self.output_bytes += outputs.iter().map(|o| o.record.len()).sum::<usize>();
        self.outputs.extend(outputs);
    }

    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        self.output_bytes = 0;
        std::mem::take(&mut self.outputs)
    }

    /// What the step being formed says of rules.
    pub(crate) fn note_whole(&mut self) {
        let now = self.stage.whole_below();
        self.whole_below = least(self.whole_below, now);
    }

    /// Waits until the stage can take a batch of this control revision.
    async fn wait_ready(&mut self, revision: u64) -> Result<(), Error> {
        let mut waited = false;
        loop {
            let readiness = guard(|| self.stage.readiness(revision)).map_err(unusable)?;
            if readiness == Readiness::Ready {
                break;
            }
            if !waited {
                waited = true;
                let Context { plan, reporter, .. } = self.context;
                tracing::warn!(
                    stage = plan.stage,
                    partition = plan.partition,
                    revision,
                    "blocked until the control log delivers this revision"
                );
                reporter.phase(Phase::Blocked(format!("control revision {revision}")));
            }
            self.context.pause(READINESS_POLL).await?;
        }
        if waited {
            self.context.reporter.phase(Phase::Running);
        }
        Ok(())
    }

    /// Makes dead letters of a message. They are stored before the step that passes the originals over.
    fn lay_aside(&mut self, source: usize, of: Read<'_>, dead: &[DeadLetter]) {
        let sealed = self.sealed(source, of, dead);
        self.aside_bytes += sealed.iter().map(Sealed::bytes).sum::<usize>();
        self.aside.extend(sealed);
    }

    /// Without such a source there are none.
    fn sealed(&self, source: usize, of: Read<'_>, dead: &[DeadLetter]) -> Vec<Sealed> {
        let plan = &self.context.plan;
        match plan.sources.get(source) {
            Some(spec) if !dead.is_empty() => letter::seal(plan, spec, of, dead, clock::now()),
            Some(_) | None => Vec::new(),
        }
    }

    pub(crate) fn take_aside(&mut self) -> Vec<Sealed> {
        self.aside_bytes = 0;
        std::mem::take(&mut self.aside)
    }

    pub(crate) async fn panicked(&self, source: usize, message: &Message, said: String) -> Error {
        let dead = DeadLetter {
            index: None,
            reason: letter::RULE_PANICKED,
            detail: said.clone(),
        };
        let mut letters = self.aside.clone();
        let view = BatchView::parse(&message.payload).ok();
        letters.extend(self.sealed(source, (message, view.as_ref()), &[dead]));
        match letter::publish_all(&self.context.letters, &letters).await {
            Ok(()) => Error::Panicked {
                source_index: source,
                sequence: message.sequence,
                said,
            },
            Err(error) => error.into(),
        }
    }

    /// Reads the partition again from `repair.from` to the current positions. Everything told
    /// before is shown: a slot may be told, closed and forgotten within the step that asks.
    pub(crate) async fn repair(&mut self, repair: Repair) -> Result<(), Error> {
        let step = self.ledger.step() + 1;
        let blame = |said| Error::Panicked {
            source_index: repair.source,
            sequence: repair.sequence,
            said,
        };
        metrics::counter!("balefire_repairs_total", "stage" => self.context.plan.stage)
            .increment(1);
        guard(|| self.stage.repair_begin(repair.from)).map_err(blame)?;
        self.show_told(repair.from, step).await?;
        let mut effects = Effects::default();
        for source in 0..self.context.plan.sources.len() {
            self.reread(source, repair.from, &mut effects).await?;
        }
        guard(|| self.stage.repair_end(&mut effects)).map_err(blame)?;
        self.add(effects.outputs);
        Ok(())
    }

    /// One source again, up to its position.
    async fn reread(
        &mut self,
        source: usize,
        from: Timestamp,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Context { plan, bus, log, .. } = self.context;
        let stream = plan
            .sources
            .get(source)
            .map_or("", |s| &s.stream)
            .to_owned();
        let end = self.ledger.positions().get(source).copied().unwrap_or(0);
        let start = first_at(bus, log, &stream, from).await?;
        if start > end {
            return Ok(());
        }
        let lane = LaneStart {
            stream,
            start: Start::Sequence(start),
        };
        let mut reader = LaneReader::new(bus, vec![lane]);
        for _ in start..=end {
            let message = tokio::select! {
                message = reader.next_from(0) => message?,
                () = self.context.shutdown.cancelled() => return Err(Error::Stopped),
            };
            if self.context.skipped.contains(&(source, message.sequence)) {
                continue;
            }
            let Ok(batch) = BatchView::parse(&message.payload) else {
                continue;
            };
            let input = self.input(source, &message, &batch);
            if let Err(said) = guard(|| self.stage.repair_batch(&input, effects)) {
                return Err(self.panicked(source, &message, said).await);
            }
        }
        Ok(())
    }
}

impl Context {
    /// Waits, unless the partition is to stop.
    pub(crate) async fn pause(&self, time: std::time::Duration) -> Result<(), Error> {
        tokio::select! {
            () = self.shutdown.cancelled() => Err(Error::Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

fn unreadable(error: WireError) -> DeadLetter {
    let reason = match error {
        WireError::UnknownVersion { .. } => letter::UNKNOWN_SCHEMA,
        WireError::Malformed { .. } => letter::MALFORMED_RECORD,
    };
    DeadLetter {
        index: None,
        reason,
        detail: error.to_string(),
    }
}
