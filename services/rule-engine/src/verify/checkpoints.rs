//! Stored states against the log at the positions where they stand.

use balefire_bus::{Log, StreamInfo};
use balefire_driver::{Error as DriverError, compare_with_log};
use balefire_event::Timestamp;
use balefire_rule_engine_core::{Error as CoreError, STATE_VERSION};
use balefire_store::{Checkpoint, Meta, Store};

use super::{Partition, Verdict};
use crate::Error;
use crate::control::Known;
use crate::stage::state_of;

/// Why a checkpoint is not compared, or is wrong.
enum Otherwise {
    /// Its owner would set it aside: no harm.
    Unused(String),
    /// It is wrong.
    Fault(String),
}

impl Partition<'_> {
    /// Compares every stored state of the partition.
    pub(super) async fn states(
        &self,
        ends: &[StreamInfo],
        known: &Known,
        since: Timestamp,
        verdict: &mut Verdict,
    ) -> Result<(), Error> {
        let name = self.plan.checkpoint_name();
        for (folder, store) in &self.subject.checkpoints {
            let Some((place, found)) = load(folder, &name, store).await else {
                continue;
            };
            let compared = match found {
                Ok(checkpoint) => self.state(checkpoint, ends, known, since).await?,
                Err(fault) => Err(Otherwise::Fault(fault)),
            };
            match compared {
                Ok(()) => verdict.checkpoints += 1,
                Err(Otherwise::Unused(why)) => verdict.notes.push(format!("{place}: {why}")),
                Err(Otherwise::Fault(what)) => verdict.faults.push(format!("{place}: {what}")),
            }
        }
        Ok(())
    }

    async fn state(
        &self,
        checkpoint: Checkpoint,
        ends: &[StreamInfo],
        known: &Known,
        since: Timestamp,
    ) -> Result<Result<(), Otherwise>, Error> {
        let Checkpoint { meta, state } = checkpoint;
        if let Err(otherwise) = self.stands(&meta, ends).await? {
            return Ok(Err(otherwise));
        }
        let state = match state_of(&state) {
            Ok(state) => state,
            Err(error) => return Ok(Err(Otherwise::Fault(error.to_string()))),
        };
        let known = known.at(state.known_revision());
        let mut reading = self.reading(&known)?;
        let from: Vec<u64> = ends.iter().map(|end| end.first_sequence.max(1)).collect();
        let to: Vec<u64> = meta.sources.iter().map(|mark| mark.sequence).collect();
        let total = from
            .iter()
            .zip(&to)
            .map(|(from, to)| (to + 1).saturating_sub(*from));
        let total = total.sum();
        self.feed(&mut reading, (&from, &to), (0, total), &mut |_| {})
            .await?;
        Ok(match reading.differs(state, &known, since) {
            Ok(None) => Ok(()),
            Ok(Some(difference)) => {
                let step = meta.step;
                Err(Otherwise::Fault(format!("after step {step}, {difference}")))
            }
            Err(Error::Engine(CoreError::Rules | CoreError::Version { .. })) => {
                let why =
                    "it is of other rules or of another version; its owner builds from the log";
                Err(Otherwise::Unused(why.into()))
            }
            Err(Error::Engine(error)) => Err(Otherwise::Fault(error.to_string())),
            Err(other) => return Err(other),
        })
    }

    /// Whether the log still is what the checkpoint was taken of.
    async fn stands(
        &self,
        meta: &Meta,
        ends: &[StreamInfo],
    ) -> Result<Result<(), Otherwise>, Error> {
        let (bus, plan) = (self.subject.bus, &self.plan);
        let mut targets = Vec::new();
        for target in &plan.targets {
            targets.push(bus.stream_info(&target.stream).await?);
        }
        let log = Log::new(bus);
        let stands = compare_with_log(&log, plan, STATE_VERSION, meta, ends, &targets).await;
        Ok(match stands {
            Ok(()) => Ok(()),
            Err(DriverError::Doubt { reason }) => Err(Otherwise::Unused(format!(
                "{reason}; its owner builds from the log"
            ))),
            Err(DriverError::Unavailable { source }) => return Err(source.into()),
            Err(other) => Err(Otherwise::Fault(balefire_kit::process::chain(&other))),
        })
    }
}

/// The checkpoint with its place in words; `None`: there is none.
async fn load(
    folder: &str,
    name: &str,
    store: &Store,
) -> Option<(String, Result<Checkpoint, String>)> {
    let place = format!("checkpoint {name} of {folder}");
    match store.load(name).await {
        Ok(None) => None,
        Ok(Some(checkpoint)) => Some((place, Ok(checkpoint))),
        Err(error) => Some((place, Err(balefire_kit::process::chain(&error)))),
    }
}
