//! Opens a session: checkpoint, claim, redo, past outputs.

use balefire_bus::{Bus, Fence, LaneReader, LaneStart, Start, StreamInfo};
use balefire_event::Timestamp;
use balefire_store::{Checkpoint, Meta};

use crate::error::Error;
use crate::ledger::{Ledger, Redo, RunList};
use crate::limit::SERVER_SKEW;
use crate::mark::{compare_with_log, ledger_of};
use crate::outlog::{Published, Reached, Span, first_at, read_steps, step_of};
use crate::part;
use crate::report::Phase;
use crate::session::{Context, Session, Tip, Way, guard, unusable};
use crate::stage::Stage;
use crate::step::publish_all;

/// What claiming gave.
struct Claim {
    fences: Vec<Fence>,
    /// Sequences of the claims, target by target.
    sequences: Vec<u64>,
    /// Highest step number that any target shows.
    last_step: u64,
}

impl<'s, S: Stage> Session<'s, S> {
    /// Up to the point where the next input is a new one.
    pub(crate) async fn open(context: &'s Context, stage: &'s mut S) -> Result<Self, Error> {
        context.reporter.phase(Phase::Starting);
        let plan = &context.plan;
        let sources = infos(&context.bus, plan.sources.iter().map(|s| &s.stream)).await?;
        let targets = infos(&context.bus, plan.targets.iter().map(|t| &t.stream)).await?;
        let restored = restore(context, stage, &sources, &targets).await?;
        let claim = claim(context).await?;
        context.reporter.phase(Phase::Rebuilding);

        let ledger = match &restored {
            Some(meta) => ledger_of(meta),
            None => ledger_of_log(context, stage, &sources).await?,
        };
        let spans = spans(context, stage, restored.as_ref(), &claim.sequences).await?;
        let after = restored.as_ref().map_or(0, |meta| meta.step);
        let published = read_steps(&context.log, plan, &spans, after).await?;
        let redo = match &restored {
            Some(_) => Redo::from_checkpoint(&ledger, &published.lists)?,
            None => Redo::from_log(ledger.positions(), claim.last_step, &published.lists)?,
        };
        check_reach(context, &redo, claim.last_step).await?;
        let ledger = if restored.is_some() {
            ledger
        } else {
            Ledger::new(ledger.positions().to_vec(), redo.base, RunList::default())
        };
        let mut session = Self {
            context,
            stage,
            reader: reader(context, &ledger),
            tips: tips(restored.as_ref(), plan.sources.len()),
            ledger,
            sources_created: sources.iter().map(|info| info.created).collect(),
            targets_created: targets.iter().map(|info| info.created).collect(),
            fences: claim.fences,
            target_sequences: claim.sequences,
            outputs: Vec::new(),
            output_bytes: 0,
            consumed: 0,
        };
        session
            .catch_up(redo, published, &spans, restored.is_none())
            .await?;
        Ok(session)
    }

    /// Past outputs before the redone steps, the redo, what targets lack, and the outputs of
    /// the redone steps.
    async fn catch_up(
        &mut self,
        redo: Redo,
        published: Published,
        spans: &[Span],
        rebuilt: bool,
    ) -> Result<(), Error> {
        let since = guard(|| self.stage.load_from())
            .map_err(unusable)?
            .unwrap_or(Timestamp::MIN);
        let shown = since != Timestamp::MAX;
        let first_redone = redo.base + 1;
        let behind = redo.last() + 1;
        if rebuilt && shown {
            for (target, span) in spans.iter().enumerate() {
                self.show_outputs(target, *span, 1..first_redone, since)
                    .await?;
            }
        }
        tracing::info!(
            stage = self.context.plan.stage,
            partition = self.context.plan.partition,
            from_step = redo.base,
            to_step = redo.last(),
            rebuilt,
            "going through recorded steps again"
        );
        self.redo(redo, &published).await?;
        if shown {
            for (target, span) in spans.iter().enumerate() {
                self.show_outputs(target, *span, first_redone..behind, Timestamp::MIN)
                    .await?;
            }
        }
        Ok(())
    }

    async fn redo(&mut self, redo: Redo, published: &Published) -> Result<(), Error> {
        let last = redo.last();
        for (step, list) in redo.steps {
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
            let outputs = self.take_outputs();
            if step == last {
                let list = published.lists.get(&step).cloned().unwrap_or_default();
                let parts = part::cut(&self.context.plan, step, &list, &outputs);
                let lacking = lacking(self.context, parts, step, &list, &published.reached);
                self.complete(lacking).await?;
            }
            self.ledger.cut();
            self.ledger.acknowledged();
        }
        Ok(())
    }

    /// Publishes what the targets lack of the last step.
    async fn complete(&mut self, lacking: part::Parts) -> Result<(), Error> {
        if lacking.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let fences = std::mem::take(&mut self.fences);
        let (fences, sent) = publish_all(fences, lacking, &self.context.reporter).await;
        self.fences = fences;
        for (known, sequence) in self.target_sequences.iter_mut().zip(sent?) {
            *known = sequence.unwrap_or(*known);
        }
        Ok(())
    }
}

/// The parts of step `number` that are not there yet.
fn lacking(
    context: &Context,
    parts: part::Parts,
    number: u64,
    list: &RunList,
    reached: &[Reached],
) -> part::Parts {
    parts
        .into_iter()
        .zip(reached)
        .map(|(mut derived, reached)| {
            if reached.step != number {
                return derived;
            }
            let there = usize::try_from(reached.parts).unwrap_or(usize::MAX);
            if reached.complete {
                if there != derived.len() && !derived.is_empty() {
                    tracing::warn!(
                        number,
                        there,
                        derived = derived.len(),
                        "step derived otherwise"
                    );
                }
                return Vec::new();
            }
            if derived.len() <= there {
                return vec![part::empty_part(&context.plan, number, list, reached.parts)];
            }
            derived.drain(..there);
            derived
        })
        .collect()
}

async fn infos<'a>(
    bus: &Bus,
    streams: impl Iterator<Item = &'a String>,
) -> Result<Vec<StreamInfo>, Error> {
    let mut infos = Vec::new();
    for stream in streams {
        infos.push(bus.stream_info(stream).await?);
    }
    Ok(infos)
}

/// The checkpoint's state goes into the stage where it can be trusted; anything else is set
/// aside and leaves the stage empty.
async fn restore<S: Stage>(
    context: &Context,
    stage: &mut S,
    sources: &[StreamInfo],
    targets: &[StreamInfo],
) -> Result<Option<Meta>, Error> {
    guard(|| stage.reset()).map_err(unusable)?;
    let name = context.plan.checkpoint_name();
    let found = match context.store.load(&name).await {
        Ok(None) => return Ok(None),
        Ok(Some(checkpoint)) => match_log(context, stage, checkpoint, sources, targets).await,
        Err(error) => Err(Error::Doubt {
            reason: error.to_string(),
        }),
    };
    match found {
        Ok(meta) => Ok(Some(meta)),
        Err(Error::Doubt { reason }) => {
            tracing::warn!(name, reason, "checkpoint set aside");
            context.set_aside().await;
            guard(|| stage.reset()).map_err(unusable)?;
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

async fn match_log<S: Stage>(
    context: &Context,
    stage: &mut S,
    checkpoint: Checkpoint,
    sources: &[StreamInfo],
    targets: &[StreamInfo],
) -> Result<Meta, Error> {
    let Checkpoint { meta, state } = checkpoint;
    let version = stage.version();
    compare_with_log(
        &context.log,
        &context.plan,
        version,
        &meta,
        sources,
        targets,
    )
    .await?;
    let doubt = |reason| Error::Doubt { reason };
    guard(|| stage.restore_records(&state))
        .map_err(doubt)?
        .map_err(|bad| doubt(bad.to_string()))?;
    Ok(meta)
}

impl Context {
    /// Sets the checkpoint aside; where even that fails it is only slower the next time.
    pub(crate) async fn set_aside(&self) {
        let name = self.plan.checkpoint_name();
        if let Err(error) = self.store.set_aside(&name).await {
            tracing::warn!(name, %error, "could not set the checkpoint aside");
        }
    }
}

/// Claims every target at once: every earlier owner is fenced when this returns.
async fn claim(context: &Context) -> Result<Claim, Error> {
    let plan = &context.plan;
    let mut fences: Vec<Fence> = plan
        .targets
        .iter()
        .map(|target| Fence::new(&context.bus, &target.stream, &target.subject))
        .collect();
    let lasts = futures::future::try_join_all(fences.iter().map(Fence::last)).await?;
    let last_step = lasts
        .iter()
        .flatten()
        .filter_map(step_of)
        .map(|step| step.number)
        .max()
        .unwrap_or(0);
    let payload = part::claim(plan, last_step);
    let claims = fences.iter_mut().map(|fence| fence.claim(payload.clone()));
    let sequences = futures::future::try_join_all(claims).await?;
    Ok(Claim {
        fences,
        sequences,
        last_step,
    })
}

/// Where a state without checkpoint begins: the positions before its first inputs.
async fn ledger_of_log<S: Stage>(
    context: &Context,
    stage: &S,
    sources: &[StreamInfo],
) -> Result<Ledger, Error> {
    let from = guard(|| stage.rebuild_from()).map_err(unusable)?;
    let mut positions = Vec::with_capacity(sources.len());
    for info in sources {
        let first = match from {
            Some(time) => first_at(&context.bus, &context.log, &info.stream, time).await?,
            None => info.first_sequence.max(1),
        };
        positions.push(first - 1);
    }
    Ok(Ledger::new(positions, 0, RunList::default()))
}

/// The part of each target's stream that holds the steps of interest, up to our claim.
async fn spans<S: Stage>(
    context: &Context,
    stage: &S,
    restored: Option<&Meta>,
    claims: &[u64],
) -> Result<Vec<Span>, Error> {
    let mut spans = Vec::with_capacity(claims.len());
    if let Some(meta) = restored {
        for (mark, to) in meta.targets.iter().zip(claims) {
            let from = mark.sequence + 1;
            spans.push(Span { from, to: *to });
        }
        return Ok(spans);
    }
    let (load, rebuild) = guard(|| (stage.load_from(), stage.rebuild_from())).map_err(unusable)?;
    // `None` is everything, so it is the earlier of two.
    let since = load.zip(rebuild).map(|(load, rebuild)| load.min(rebuild));
    for (target, to) in context.plan.targets.iter().zip(claims) {
        let from = match since {
            None => 1,
            Some(since) => {
                let since = since.minus(SERVER_SKEW);
                first_at(&context.bus, &context.log, &target.stream, since).await?
            }
        };
        spans.push(Span { from, to: *to });
    }
    Ok(spans)
}

/// The inputs that the lists name, and the steps that the targets showed, must be there.
async fn check_reach(context: &Context, redo: &Redo, last_step: u64) -> Result<(), Error> {
    let sources = &context.plan.sources;
    if redo.last() < last_step {
        return Err(Error::LogRegression {
            stream: "output log".into(),
            found: format!("steps end at {}, {last_step} was seen", redo.last()),
        });
    }
    for (source, highest) in sources.iter().zip(redo.highest(sources.len())) {
        // Asked again: the log may have grown since, and the lists with it.
        let last = context.bus.stream_info(&source.stream).await?.last_sequence;
        if last < highest {
            return Err(Error::LogRegression {
                stream: source.stream.clone(),
                found: format!("it ends at {last}, a step names {highest}"),
            });
        }
    }
    Ok(())
}

fn reader(context: &Context, ledger: &Ledger) -> LaneReader {
    let lanes = context
        .plan
        .sources
        .iter()
        .zip(ledger.positions())
        .map(|(source, position)| LaneStart {
            stream: source.stream.clone(),
            start: Start::Sequence(position + 1),
        })
        .collect();
    LaneReader::new(&context.bus, lanes)
}

fn tips(restored: Option<&Meta>, sources: usize) -> Vec<Tip> {
    restored.map_or_else(
        || vec![Tip::Unknown; sources],
        |meta| {
            meta.sources
                .iter()
                .map(|mark| mark.digest.map_or(Tip::Unknown, Tip::Digest))
                .collect()
        },
    )
}
