//! Past outputs, shown to the stage: what the log has of earlier steps, and what waits in the step
//! being formed.

use balefire_event::Timestamp;
use balefire_wire::BatchView;
use bytes::Bytes;

use crate::error::Error;
use crate::outlog::{Outputs, Span, first_at};
use crate::part::{self, Cut};
use crate::session::{Context, Session, guard, unusable};
use crate::stage::{PastOutput, Stage};

impl<S: Stage> Session<'_, S> {
    /// Everything told before the repair that asks: outputs of the steps before `step`, stored at
    /// or after `from`, and those of `step` itself, which is being formed. The same in a redo.
    pub(crate) async fn show_told(&mut self, from: Timestamp, step: u64) -> Result<(), Error> {
        let Context { plan, bus, log, .. } = self.context;
        for (index, target) in plan.targets.iter().enumerate() {
            let span = Span {
                from: first_at(bus, log, &target.stream, from).await?,
                to: self.target_sequences.get(index).copied().unwrap_or(0),
            };
            self.show_outputs(index, span, 1..step, from).await?;
        }
        self.show_pending(step)
    }

    /// The outputs of the step being formed, as they will lie in the log.
    fn show_pending(&mut self, step: u64) -> Result<(), Error> {
        if self.outputs.is_empty() {
            return Ok(());
        }
        let cut = Cut {
            number: step,
            list: self.ledger.list(),
            whole_below: None,
        };
        let targets = part::cut(&self.context.plan, &cut, &self.outputs);
        for (target, parts) in targets.iter().enumerate() {
            for payload in parts {
                // Nothing is stored yet.
                self.show(target, 0, Timestamp::MAX, step, payload)?;
            }
        }
        Ok(())
    }

    /// Shows the stage past outputs of `steps` stored at or after `since`.
    pub(crate) async fn show_outputs(
        &mut self,
        target: usize,
        span: Span,
        steps: std::ops::Range<u64>,
        since: Timestamp,
    ) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        let mut outputs =
            Outputs::open(&self.context.log, &self.context.plan, target, span).await?;
        while let Some((message, step)) = outputs.next().await? {
            if steps.contains(&step.number) && message.stored_at >= since {
                let (sequence, stored_at) = (message.sequence, message.stored_at);
                self.show(target, sequence, stored_at, step.number, &message.payload)?;
            }
        }
        Ok(())
    }

    pub(crate) fn show(
        &mut self,
        target: usize,
        sequence: u64,
        stored_at: Timestamp,
        step: u64,
        payload: &Bytes,
    ) -> Result<(), Error> {
        let Ok(batch) = BatchView::parse(payload) else {
            return Ok(());
        };
        let past = PastOutput {
            target,
            sequence,
            stored_at,
            step,
            batch: &batch,
        };
        guard(|| self.stage.load_output(&past)).map_err(unusable)
    }
}
