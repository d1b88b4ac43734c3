//! What owners hold in memory against the log at the positions where they stand.

use balefire_bus::StreamInfo;
use balefire_event::Timestamp;
use balefire_rule_engine_core::STATE_VERSION;
use balefire_wire::escalation::v1::PartitionState;

use super::{Partition, Verdict};
use crate::control::Known;
use crate::held::from_wire;
use crate::{Error, stage::Reading};

impl Partition<'_> {
    /// Compares what every owner of the partition said that it holds.
    pub(super) async fn live(
        &self,
        ends: &[StreamInfo],
        known: &Known,
        since: Timestamp,
        verdict: &mut Verdict,
    ) -> Result<(), Error> {
        for (place, state) in &self.subject.live {
            if state.stage != self.plan.stage || state.partition != self.plan.partition {
                continue;
            }
            let place = format!("state held by {place}, after step {}", state.step);
            if state.stage_version != STATE_VERSION {
                let note = format!("{place}: of another version: not compared");
                verdict.notes.push(note);
                continue;
            }
            let Some(reading) = self.read_to(state, ends, known).await? else {
                let fault = format!("{place}: it stands where the log has nothing");
                verdict.faults.push(fault);
                continue;
            };
            match first_difference(state, &reading, since) {
                None => verdict.live += 1,
                Some(what) => verdict.faults.push(format!("{place}: {what}")),
            }
        }
        Ok(())
    }

    /// The log read up to where an owner stood; `None`: the log ends before.
    async fn read_to(
        &self,
        state: &PartitionState,
        ends: &[StreamInfo],
        known: &Known,
    ) -> Result<Option<Reading>, Error> {
        let mut to = Vec::with_capacity(self.plan.sources.len());
        for source in &self.plan.sources {
            let stands = |position: &&balefire_wire::escalation::v1::StatePosition| {
                position.stream == source.stream
            };
            let Some(position) = state.positions.iter().find(stands) else {
                return Ok(None);
            };
            // Asked again: it may have grown since the ends were looked up.
            let last = self.subject.bus.stream_info(&source.stream).await?;
            if position.sequence > last.last_sequence {
                return Ok(None);
            }
            to.push(position.sequence);
        }
        let mut reading = self.reading(&known.at(state.control_revision))?;
        let from: Vec<u64> = ends.iter().map(|end| end.first_sequence.max(1)).collect();
        let total = from
            .iter()
            .zip(&to)
            .map(|(from, to)| (to + 1).saturating_sub(*from));
        let total = total.sum();
        self.feed(&mut reading, (&from, &to), (0, total), &mut |_| {})
            .await?;
        Ok(Some(reading))
    }
}

/// The first part that the log gives otherwise. What lies before `since` the log does not have.
fn first_difference(state: &PartitionState, reading: &Reading, since: Timestamp) -> Option<String> {
    state.parts.iter().find_map(|part| {
        let Some(held) = from_wire(part) else {
            return Some("a part that this version cannot read".into());
        };
        if held.cut < since {
            return None;
        }
        let engine = reading.engine();
        let name = engine.name_of(&held.of);
        match engine.digest_of(&held.of, held.cut) {
            None => Some(format!("{name} are not known from the log")),
            Some(derived) if derived.digest == held.digest => None,
            Some(derived) => Some(format!(
                "{name} differ: {} are held behind {}, the log gives {}{}",
                held.count,
                held.cut,
                derived.count,
                if held.count == derived.count {
                    " others"
                } else {
                    ""
                }
            )),
        }
    })
}
