//! Opens a session: checkpoint, claim, redo, past outputs.

use balefire_bus::{Bus, Fence, LaneReader, LaneStart, Start, StreamInfo};
use balefire_store::{Checkpoint, Meta};

use crate::error::Error;
use crate::ledger::{Ledger, Redo, RunList};
use crate::limit::SERVER_SKEW;
use crate::mark::{compare_with_log, ledger_of};
use crate::outlog::{Span, first_at, read_steps, step_of};
use crate::part;
use crate::redo::Past;
use crate::report::Phase;
use crate::session::{Context, Session, Tip, guard, unusable};
use crate::stage::Stage;

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
            aside: Vec::new(),
            aside_bytes: 0,
            whole_below: None,
            consumed: 0,
        };
        let hidden = hidden(restored.as_ref(), &targets, &spans);
        let past = Past {
            published,
            spans,
            hidden,
            rebuilt: restored.is_none(),
        };
        session.catch_up(redo, past).await?;
        Ok(session)
    }
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

/// Which targets may have held outputs of redone steps that are not to be read any more.
fn hidden(restored: Option<&Meta>, targets: &[StreamInfo], spans: &[Span]) -> Vec<bool> {
    let starts = targets.iter().zip(spans);
    starts
        .map(|(info, span)| match restored {
            // The span begins behind what the checkpoint covers.
            Some(_) => info.first_sequence > span.from,
            None => info.first_sequence.max(span.from) > 1,
        })
        .collect()
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
