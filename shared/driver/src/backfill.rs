//! A stage that learns new rules has its partition read again beside the live path: what comes from
//! now on is taken at once, what came before it catches up with.

use std::collections::VecDeque;

use balefire_bus::{LaneReader, LaneStart, Message, Start};
use balefire_wire::BatchView;

use crate::error::Error;
use crate::outlog::first_at;
use crate::session::{Session, guard, unusable};
use crate::stage::{Backfill, Effects, Stage};

/// A reading under way: source after source, each up to the position it had when the reading began.
pub(crate) struct Reading {
    wanted: Backfill,
    sources: VecDeque<Source>,
}

struct Source {
    index: usize,
    end: u64,
    reader: LaneReader,
}

/// What a session takes next.
pub(crate) enum Next {
    /// A new input of a source.
    Input(usize, Message),
    /// One read again.
    Again(usize, Message),
}

/// The next input, or the next one of a reading, whichever is there first; where both are, either.
pub(crate) async fn next(
    live: &mut LaneReader,
    reading: &mut Option<Reading>,
) -> Result<Next, Error> {
    let Some(source) = reading.as_mut().and_then(|r| r.sources.front_mut()) else {
        let (index, message) = live.next().await?;
        return Ok(Next::Input(index, message));
    };
    tokio::select! {
        read = live.next() => {
            let (index, message) = read?;
            Ok(Next::Input(index, message))
        }
        read = source.reader.next_from(0) => Ok(Next::Again(source.index, read?)),
    }
}

impl<S: Stage> Session<'_, S> {
    /// Lets the stage learn new rules. Opens the reading that it wants, where it is another one than
    /// the one under way.
    pub(crate) async fn follow(&mut self, reading: &mut Option<Reading>) -> Result<(), Error> {
        guard(|| self.stage.refresh()).map_err(unusable)?;
        self.note_whole();
        let wanted = self.stage.backfill();
        if reading.as_ref().map(|reading| reading.wanted) == wanted {
            return Ok(());
        }
        *reading = None;
        let Some(wanted) = wanted else {
            return Ok(());
        };
        let context = self.context;
        tracing::info!(
            stage = context.plan.stage,
            partition = context.plan.partition,
            from = %wanted.from,
            "new rules warm up"
        );
        let mut sources = VecDeque::new();
        for (index, spec) in context.plan.sources.iter().enumerate() {
            let end = self.ledger.positions().get(index).copied().unwrap_or(0);
            let start = first_at(&context.bus, &context.log, &spec.stream, wanted.from).await?;
            if start > end {
                continue;
            }
            let lane = LaneStart {
                stream: spec.stream.clone(),
                start: Start::Sequence(start),
            };
            let reader = LaneReader::new(&context.bus, vec![lane]);
            sources.push_back(Source { index, end, reader });
        }
        *reading = Some(Reading { wanted, sources });
        self.end_reading(reading)
    }

    /// Takes one message of a reading.
    pub(crate) async fn take_again(
        &mut self,
        index: usize,
        message: &Message,
        reading: &mut Option<Reading>,
    ) -> Result<(), Error> {
        if let Ok(batch) = BatchView::parse(&message.payload)
            && !self.context.skipped.contains(&(index, message.sequence))
        {
            let mut effects = Effects::default();
            let input = self.input(index, message, &batch);
            if let Err(said) = guard(|| self.stage.backfill_batch(&input, &mut effects)) {
                return Err(self.panicked(index, message, said).await);
            }
            self.add(effects.outputs);
        }
        if let Some(reading) = reading
            && let Some(source) = reading.sources.front()
            && message.sequence >= source.end
        {
            reading.sources.pop_front();
        }
        self.end_reading(reading)
    }

    /// Nothing is left to read: the stage is told.
    fn end_reading(&mut self, reading: &mut Option<Reading>) -> Result<(), Error> {
        if reading.as_ref().is_none_or(|one| !one.sources.is_empty()) {
            return Ok(());
        }
        *reading = None;
        self.note_whole();
        let mut effects = Effects::default();
        guard(|| self.stage.backfill_end(&mut effects)).map_err(unusable)?;
        self.add(effects.outputs);
        let plan = &self.context.plan;
        tracing::info!(
            stage = plan.stage,
            partition = plan.partition,
            "rules are warm"
        );
        Ok(())
    }
}
