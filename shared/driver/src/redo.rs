//! A new owner goes through the recorded steps: their inputs in their order, and behind each step
//! what the log has of its outputs.

use balefire_bus::Message;
use balefire_event::Timestamp;

use crate::error::Error;
use crate::ledger::{Redo, least};
use crate::outlog::{Outputs, Published, Span};
use crate::part::{self, Cut, There};
use crate::session::{Context, Session, Way, guard, unusable};
use crate::stage::{Effects, Output, Recorded, Stage};
use crate::step::publish_all;

/// What the targets have.
pub(crate) struct Past {
    pub(crate) published: Published,
    /// Where in each target.
    pub(crate) spans: Vec<Span>,
    /// Targets that may have held outputs of redone steps which are not to be read any more.
    pub(crate) hidden: Vec<bool>,
    /// Without a checkpoint.
    pub(crate) rebuilt: bool,
}

impl Past {
    /// What the step says of rules; nothing where some of its outputs may not be in the log any
    /// more, so that nothing is taken for never told.
    fn whole_below(&self, step: u64) -> Option<u64> {
        let mut targets = self.hidden.iter().zip(&self.published.reached);
        let left = targets
            .any(|(hidden, reached)| *hidden && reached.first.is_none_or(|first| step < first));
        let said = self.published.whole_below.get(&step).copied();
        said.filter(|_| !left)
    }
}

/// The outputs of a target, step by step.
struct Cursor {
    outputs: Outputs,
    next: Option<(Message, u64)>,
}

impl Cursor {
    async fn open(context: &Context, target: usize, span: Span) -> Result<Self, Error> {
        let outputs = Outputs::open(&context.log, &context.plan, target, span).await?;
        let mut cursor = Self {
            outputs,
            next: None,
        };
        cursor.advance().await?;
        Ok(cursor)
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let next = self.outputs.next().await?;
        self.next = next.map(|(message, step)| (message, step.number));
        Ok(())
    }
}

impl<S: Stage> Session<'_, S> {
    /// Past outputs before the redone steps, the redo, what targets lack, and what was never told.
    pub(crate) async fn catch_up(&mut self, redo: Redo, past: Past) -> Result<(), Error> {
        let since = guard(|| self.stage.load_from())
            .map_err(unusable)?
            .unwrap_or(Timestamp::MIN);
        let shown = since != Timestamp::MAX;
        if shown && (past.rebuilt || past.published.late) {
            for (target, span) in past.spans.iter().enumerate() {
                self.show_outputs(target, *span, 1..redo.base + 1, since)
                    .await?;
            }
        }
        let Context { plan, .. } = self.context;
        tracing::info!(
            stage = plan.stage,
            partition = plan.partition,
            from_step = redo.base,
            to_step = redo.last(),
            rebuilt = past.rebuilt,
            "going through recorded steps again"
        );
        let mut cursors = Vec::new();
        for (target, span) in past.spans.iter().enumerate().filter(|_| shown) {
            cursors.push(Cursor::open(self.context, target, *span).await?);
        }
        guard(|| self.stage.redo_begin()).map_err(unusable)?;
        let last = redo.steps.back().map(|(number, _)| *number);
        let derived = self.redo(redo, &past, &mut cursors).await?;
        let mut effects = Effects::default();
        guard(|| self.stage.redo_end(&mut effects)).map_err(unusable)?;
        let owed = effects.outputs;
        let owed = match last {
            Some(last) => self.complete(last, derived, owed, &past.published).await?,
            None => owed,
        };
        self.note_owed(&owed);
        self.add(owed);
        self.note_whole();
        Ok(())
    }

    /// Gives what was derived for the last step.
    async fn redo(
        &mut self,
        redo: Redo,
        past: &Past,
        cursors: &mut [Cursor],
    ) -> Result<Vec<Output>, Error> {
        let last = redo.last();
        let mut derived = Vec::new();
        for (number, list) in redo.steps {
            let recorded = Recorded {
                number,
                whole_below: past.whole_below(number),
                partial: number == last,
            };
            guard(|| self.stage.redo_step(recorded)).map_err(unusable)?;
            for (source, sequence) in list.iter() {
                let message = tokio::select! {
                    message = self.reader.next_from(source) => message?,
                    () = self.context.shutdown.cancelled() => return Err(Error::Stopped),
                };
                debug_assert_eq!(message.sequence, sequence);
                if let Some(repair) = self.take(source, &message, Way::Redo).await? {
                    self.repair(repair).await?;
                }
            }
            for (target, cursor) in cursors.iter_mut().enumerate() {
                self.show_step(target, cursor, number).await?;
            }
            guard(|| self.stage.redo_step_end()).map_err(unusable)?;
            derived = self.take_outputs();
            self.ledger.cut();
            self.ledger.acknowledged();
        }
        self.whole_below = None;
        Ok(derived)
    }

    /// Shows the stage what a target has of a step.
    async fn show_step(
        &mut self,
        target: usize,
        cursor: &mut Cursor,
        number: u64,
    ) -> Result<(), Error> {
        while let Some((message, step)) = cursor.next.take_if(|(_, step)| *step <= number) {
            if step == number {
                let (sequence, stored_at) = (message.sequence, message.stored_at);
                self.show(target, sequence, stored_at, number, &message.payload)?;
            }
            cursor.advance().await?;
        }
        Ok(())
    }

    /// Publishes what the targets lack of the last step, and with it what was never told. Gives what
    /// is left for the next step.
    async fn complete(
        &mut self,
        number: u64,
        mut outputs: Vec<Output>,
        owed: Vec<Output>,
        published: &Published,
    ) -> Result<Vec<Output>, Error> {
        let list = published.lists.get(&number).cloned().unwrap_or_default();
        let said = published.whole_below.get(&number).copied();
        let own = guard(|| self.stage.whole_below()).map_err(unusable)?;
        let cut = Cut {
            number,
            list: &list,
            whole_below: least(said, own),
        };
        let reached = published.reached.iter();
        let there: Vec<There> = reached
            .map(|reached| match reached.step == number {
                true => reached.there.clone(),
                false => There::default(),
            })
            .collect();
        let (now, later) = part::divide(owed, &there);
        outputs.extend(now);
        // Who formed it may have found what this owner, for which rules warm up, cannot.
        let doubts = cut.whole_below != said;
        let lacking = part::lacking(&self.context.plan, &cut, &outputs, &there, doubts);
        if lacking.iter().all(Vec::is_empty) {
            return Ok(later);
        }
        let fences = std::mem::take(&mut self.fences);
        let (fences, sent) = publish_all(fences, lacking, &self.context.reporter).await;
        self.fences = fences;
        for (known, sequence) in self.target_sequences.iter_mut().zip(sent?) {
            *known = sequence.unwrap_or(*known);
        }
        Ok(later)
    }

    fn note_owed(&self, outputs: &[Output]) {
        if outputs.is_empty() {
            return;
        }
        let Context { plan, .. } = self.context;
        metrics::counter!("balefire_owed_outputs_total", "stage" => plan.stage)
            .increment(outputs.len() as u64);
        tracing::warn!(
            stage = plan.stage,
            partition = plan.partition,
            outputs = outputs.len(),
            "found in recorded steps and never told: told now"
        );
    }
}
