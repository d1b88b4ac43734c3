//! A checkpoint against the log: does it stand where it says?

use balefire_bus::{Log, StreamInfo};
use balefire_store::{Changes, LaneRun, Meta, SourceMark, TargetMark};

use crate::error::Error;
use crate::ledger::{Ledger, Run, RunList};
use crate::outlog::step_of;
use crate::plan::Plan;
use crate::session::{Session, Tip};
use crate::stage::Stage;

/// Compares a checkpoint with the log: whether it stands where it says. `sources` and `targets` are
/// the plan's streams as they are now.
///
/// # Errors
/// [`Error::Doubt`] where it is of another plan or version, or the log no longer reaches back to
/// it; [`Error::LogRegression`] where the log is shorter than it, or another.
pub async fn compare_with_log(
    log: &Log,
    plan: &Plan,
    stage_version: u32,
    meta: &Meta,
    sources: &[StreamInfo],
    targets: &[StreamInfo],
) -> Result<(), Error> {
    let doubt = |reason: &str| {
        Err(Error::Doubt {
            reason: reason.to_owned(),
        })
    };
    if meta.stage_version != stage_version {
        return doubt("checkpoint of another version of the stage");
    }
    let same_sources = meta.sources.iter().map(|m| &m.stream);
    let same_targets = meta.targets.iter().map(|m| &m.subject);
    if meta.partition != plan.partition
        || !same_sources.eq(plan.sources.iter().map(|s| &s.stream))
        || !same_targets.eq(plan.targets.iter().map(|t| &t.subject))
    {
        return doubt("checkpoint of another plan");
    }
    for (mark, info) in meta.sources.iter().zip(sources) {
        compare_source(log, mark, info).await?;
    }
    for (mark, info) in meta.targets.iter().zip(targets) {
        compare_target(log, mark, info, meta.step).await?;
    }
    Ok(())
}

fn regression(stream: &str, found: String) -> Error {
    Error::LogRegression {
        stream: stream.to_owned(),
        found,
    }
}

fn compare_stream(
    stream: &str,
    created_ns: i64,
    sequence: u64,
    info: &StreamInfo,
) -> Result<(), Error> {
    if created_ns != info.created.0 {
        let found = format!("the stream was made anew at {}", info.created);
        return Err(regression(stream, found));
    }
    if info.last_sequence < sequence {
        let last = info.last_sequence;
        let found = format!("it ends at {last}, the checkpoint stands at {sequence}");
        return Err(regression(stream, found));
    }
    Ok(())
}

async fn compare_source(log: &Log, mark: &SourceMark, info: &StreamInfo) -> Result<(), Error> {
    compare_stream(&mark.stream, mark.created_ns, mark.sequence, info)?;
    if mark.sequence + 1 < info.first_sequence {
        return Err(Error::Doubt {
            reason: format!(
                "{} begins at {}, behind the checkpoint's {}",
                mark.stream, info.first_sequence, mark.sequence
            ),
        });
    }
    let (Some(digest), true) = (mark.digest, mark.sequence >= info.first_sequence) else {
        return Ok(());
    };
    let found = log.get(&mark.stream, mark.sequence).await?;
    let same = found.is_some_and(|m| *blake3::hash(&m.payload).as_bytes() == digest);
    if same {
        return Ok(());
    }
    let found = format!("another record at {}", mark.sequence);
    Err(regression(&mark.stream, found))
}

async fn compare_target(
    log: &Log,
    mark: &TargetMark,
    info: &StreamInfo,
    step: u64,
) -> Result<(), Error> {
    compare_stream(&mark.stream, mark.created_ns, mark.sequence, info)?;
    if mark.sequence < info.first_sequence {
        return Ok(());
    }
    let found = log.get(&mark.stream, mark.sequence).await?;
    let fits = found.is_some_and(|message| {
        message.subject == mark.subject && step_of(&message).is_some_and(|s| s.number <= step)
    });
    if fits {
        return Ok(());
    }
    let found = format!("another record at {}", mark.sequence);
    Err(regression(&mark.stream, found))
}

/// The ledger that a checkpoint stands at.
pub(crate) fn ledger_of(meta: &Meta) -> Ledger {
    let positions = meta.sources.iter().map(|mark| mark.sequence).collect();
    let tail: RunList = meta
        .tail
        .iter()
        .map(|run| Run {
            source: usize::try_from(run.source).unwrap_or(usize::MAX),
            first: run.first,
            count: run.count,
        })
        .collect();
    Ledger::new(positions, meta.step, tail)
}

impl<S: Stage> Session<'_, S> {
    /// The state as it stands; only where nothing is pending and nothing in flight.
    pub(crate) fn checkpoint(&mut self, taken_at_ns: i64) -> (Meta, Changes) {
        let plan = &self.context.plan;
        let positions = self.ledger.positions();
        let sources = plan
            .sources
            .iter()
            .zip(positions)
            .zip(self.tips.iter().zip(&self.sources_created))
            .map(|((source, sequence), (tip, created))| SourceMark {
                stream: source.stream.clone(),
                created_ns: created.0,
                sequence: *sequence,
                digest: match tip {
                    Tip::Unknown => None,
                    Tip::Digest(digest) => Some(*digest),
                    Tip::Payload(payload) => Some(*blake3::hash(payload).as_bytes()),
                },
            })
            .collect();
        let targets = plan
            .targets
            .iter()
            .zip(self.target_sequences.iter().zip(&self.targets_created))
            .map(|(target, (sequence, created))| TargetMark {
                stream: target.stream.clone(),
                created_ns: created.0,
                subject: target.subject.clone(),
                sequence: *sequence,
            })
            .collect();
        let tail = self.ledger.list().runs().iter().map(|run| LaneRun {
            source: u32::try_from(run.source).unwrap_or(u32::MAX),
            first: run.first,
            count: run.count,
        });
        let meta = Meta {
            stage_version: self.stage.version(),
            partition: plan.partition,
            step: self.ledger.step(),
            sources,
            targets,
            tail: tail.collect(),
            taken_at_ns,
        };
        (meta, self.stage.changes())
    }
}
