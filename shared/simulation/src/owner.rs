//! [`Session`]: the driver's protocol for one owner of a partition: take, cut, publish part by
//! part, acknowledge, checkpoint, repair. Every call is one step between which a crash can fall.

use std::collections::VecDeque;
use std::rc::Rc;

use balefire_driver::ledger::{Ledger, RunList};
use balefire_event::Timestamp;

use crate::fault::Fault;
use crate::log::{Batch, Log, Origin, Step, StreamId};
use crate::place::{ESCALATIONS, Place};
use crate::reading::Reading;
use crate::rng::Rng;
use crate::stage::{Effects, Output, Stage, State};
use crate::world::{UNIT, World};

/// Runs of a list at which a step is cut though nothing came out.
const LIST_RUNS_MAX: usize = 6;
/// Inputs taken while a step is in flight.
const PENDING_INPUTS_MAX: u64 = 4;

/// What the store keeps.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) positions: Vec<u64>,
    pub(crate) step: u64,
    /// Consumed since that step.
    pub(crate) tail: RunList,
    /// Last own sequence of ESCALATIONS.
    pub(crate) told: u64,
}

/// What every part says of its step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut<'s> {
    pub(crate) number: u64,
    pub(crate) list: &'s RunList,
    pub(crate) whole_below: Option<u64>,
}

/// Parts of the step in flight that are not published yet, target by target.
pub(crate) type Parts = Vec<VecDeque<Batch>>;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Another owner claimed.
    Fenced,
}

pub(crate) struct Session<'w> {
    pub(crate) world: &'w World,
    pub(crate) fault: Option<Fault>,
    pub(crate) place: Place,
    pub(crate) stage: Stage<'w>,
    pub(crate) ledger: Ledger,
    pub(crate) sources: Vec<StreamId>,
    pub(crate) targets: Vec<StreamId>,
    /// Last own sequence of each target.
    pub(crate) fences: Vec<u64>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) in_flight: Option<Parts>,
    pub(crate) repair: Option<Timestamp>,
    pub(crate) reading: Option<Reading>,
    /// Least that the stage said since the last step was cut.
    pub(crate) whole_below: Option<u64>,
    /// Of [`Fault::IdleBatchesUnlisted`]: inputs with output.
    pub(crate) active: RunList,
    pub(crate) consumed: u64,
    pub(crate) saved: u64,
}

impl Session<'_> {
    /// One step of the loop. False: nothing to do.
    pub(crate) fn advance(
        &mut self,
        log: &mut Log,
        rng: &mut Rng,
        sets: usize,
    ) -> Result<bool, End> {
        if self.repair.is_none() {
            if sets > self.stage.sets() && rng.chance(10) {
                self.stage.adopt(sets);
            }
            self.follow(log);
        }
        self.note_whole();
        if let Some(parts) = &mut self.in_flight {
            let open: Vec<usize> = (0..parts.len()).filter(|i| !parts[*i].is_empty()).collect();
            if open.is_empty() {
                self.in_flight = None;
                self.ledger.acknowledged();
                return Ok(true);
            }
            let may_read =
                self.repair.is_none() && self.ledger.list().inputs() < PENDING_INPUTS_MAX;
            if may_read && rng.chance(40) && self.read_any(log, rng, sets) {
                return Ok(true);
            }
            return self
                .publish_one(open[rng.index(open.len())], log)
                .map(|()| true);
        }
        if let Some(from) = self.repair.take() {
            self.mend(log, from);
            return Ok(true);
        }
        let long = self.ledger.list().runs().len() >= LIST_RUNS_MAX;
        if !self.outputs.is_empty() || long {
            let Some((number, list)) = self.ledger.cut() else {
                return Ok(false);
            };
            let outputs = std::mem::take(&mut self.outputs);
            let active = std::mem::take(&mut self.active);
            let list = self.listed(list, active);
            let cut = Cut {
                number,
                list: &list,
                whole_below: self.whole_below.take(),
            };
            self.in_flight = Some(self.parts(&cut, &outputs));
            return Ok(true);
        }
        if self.read_any(log, rng, sets) {
            return Ok(true);
        }
        // Nothing comes: what the control log has is learnt all the same.
        let learns = sets > self.stage.sets();
        if learns {
            self.stage.adopt(sets);
        }
        Ok(learns)
    }

    fn listed(&self, list: RunList, active: RunList) -> RunList {
        if self.fault == Some(Fault::IdleBatchesUnlisted) {
            active
        } else {
            list
        }
    }

    fn publish_one(&mut self, target: usize, log: &mut Log) -> Result<(), End> {
        let parts = self
            .in_flight
            .as_mut()
            .and_then(|parts| parts[target].pop_front());
        if let Some(batch) = parts {
            let expected = self.fences[target];
            let sent = log.publish(self.targets[target], self.place, expected, batch);
            self.fences[target] = sent.map_err(|_| End::Fenced)?;
        }
        Ok(())
    }

    pub(crate) fn take_any(&mut self, log: &Log, rng: &mut Rng, sets: usize) -> bool {
        let now = log.now;
        let open: Vec<usize> = (0..self.sources.len())
            .filter(|lane| {
                let unread = log.len(self.sources[*lane]) > self.ledger.positions()[*lane];
                unread && !self.world.stalled(self.place, *lane, now)
            })
            .collect();
        if open.is_empty() {
            return false;
        }
        // What a correlator promises comes in the bulk lane, behind what it emits in the others
        // for a reader that drains those first.
        let first = if self.world.calm {
            0
        } else {
            rng.index(open.len())
        };
        let lane = open[first];
        let sequence = self.ledger.positions()[lane] + 1;
        let Some(batch) = log.read(self.sources[lane], sequence) else {
            return false;
        };
        if !self.stage.ready(batch.revision_max) && sets > self.stage.sets() {
            self.stage.adopt(sets);
            self.note_whole();
        }
        if !self.stage.ready(batch.revision_max) {
            return false;
        }
        self.ledger
            .consume(lane, sequence)
            .expect("the next of its lane");
        self.consumed += 1;
        let repair = self.take(lane, sequence, &batch, now);
        self.repair = match (self.repair, repair) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, None) | (None, one) => one,
        };
        true
    }

    /// Takes an input in; the server time of the repair it asks for.
    pub(crate) fn take(
        &mut self,
        lane: usize,
        sequence: u64,
        batch: &Rc<Batch>,
        now: i64,
    ) -> Option<Timestamp> {
        let before = (self.fault == Some(Fault::StragglerNotKept)).then(|| self.stage.snapshot());
        let mut effects = Effects::default();
        self.stage.apply(lane, batch, now, &mut effects);
        if !effects.outputs.is_empty() || effects.repair_from.is_some() {
            self.active.push(lane, sequence);
        }
        self.outputs.extend(effects.outputs);
        if let (Some(before), Some(_), false) = (before, effects.repair_from, self.place.joins()) {
            // The repair still has what it was asked for; the state goes back behind it.
            self.stage.restore(&before);
        }
        effects.repair_from
    }

    /// Takes what a live owner took behind its last step.
    pub(crate) fn go_through(&mut self, log: &Log, tail: &RunList) {
        for (lane, sequence) in tail.iter() {
            let batch = log.read(self.sources[lane], sequence).expect("it was read");
            if self.ledger.consume(lane, sequence).is_ok()
                && let Some(from) = self.take(lane, sequence, &batch, log.now)
            {
                self.mend(log, from);
            }
        }
    }

    /// Reads the partition again from `from` to the current positions.
    pub(crate) fn mend(&mut self, log: &Log, from: Timestamp) {
        let dropped = if self.place.joins() {
            Fault::JoinRepairDropped
        } else {
            Fault::RepairDropped
        };
        log.tell(|| format!("repair of {:?} from {from}", self.place));
        self.stage.repair_begin();
        let mut effects = Effects::default();
        let before = self.ledger.step() + 1;
        if self.fault != Some(Fault::SlotsNotLoaded) {
            let since = if self.fault == Some(Fault::SlotsByServerTime) {
                log.now - 3 * UNIT
            } else {
                from.0
            };
            self.show(log, 1..before, since);
            // What waits in the step being formed was told, too.
            let told = self.outputs.iter();
            for output in told.filter(|output| output.target == ESCALATIONS) {
                self.stage.load_record(&output.record);
            }
        }
        if self.fault != Some(dropped) {
            for lane in 0..self.sources.len() {
                for sequence in 1..=self.ledger.positions()[lane] {
                    let batch = log.read(self.sources[lane], sequence).expect("it was read");
                    if batch.stored_at >= from.0 {
                        self.stage.repair_batch(lane, &batch, &mut effects);
                    }
                }
            }
        }
        self.stage.repair_end(&mut effects);
        if self.fault != Some(dropped) {
            self.outputs.extend(effects.outputs);
        }
    }

    /// Cuts a step into messages: by target, tenant and size.
    pub(crate) fn parts(&self, cut: &Cut<'_>, outputs: &[Output]) -> Parts {
        let mut parts: Parts = (0..self.targets.len())
            .map(|target| {
                let mine = outputs.iter().filter(|output| output.target == target);
                self.parts_of(cut, mine.collect(), 0)
            })
            .collect();
        if parts.iter().all(VecDeque::is_empty) {
            parts[0].push_back(self.message(cut, 0, true, &[]));
        }
        parts
    }

    /// The parts of one target, from part `first` on.
    pub(crate) fn parts_of(
        &self,
        cut: &Cut<'_>,
        mut mine: Vec<&Output>,
        first: usize,
    ) -> VecDeque<Batch> {
        let mut groups: Vec<Vec<&Output>> = Vec::new();
        // Tenants follow one another; nobody's records come last.
        let ahead = self.fault == Some(Fault::PromiseAheadOfMatches);
        mine.sort_by_key(|output| (output.tenant.is_empty() != ahead, output.tenant));
        for output in mine {
            match groups.last_mut() {
                Some(group)
                    if group[0].tenant == output.tenant
                        && group.len() < self.world.part_records_max =>
                {
                    group.push(output);
                }
                Some(_) | None => groups.push(vec![output]),
            }
        }
        let count = groups.len();
        let messages = groups.iter().enumerate();
        messages
            .map(|(part, group)| self.message(cut, first + part, part + 1 == count, group))
            .collect()
    }

    pub(crate) fn message(
        &self,
        cut: &Cut<'_>,
        part: usize,
        last_part: bool,
        outputs: &[&Output],
    ) -> Batch {
        let received = outputs.iter().filter_map(|output| output.received_at).max();
        Batch {
            origin: Origin::Stage(self.place),
            tenant: outputs.first().map_or("", |output| output.tenant),
            lateness_max: outputs
                .iter()
                .map(|output| output.lateness)
                .max()
                .unwrap_or(0),
            received_at_max: received.unwrap_or(Timestamp(0)),
            revision_max: outputs
                .iter()
                .map(|output| output.revision)
                .max()
                .unwrap_or(0),
            records: outputs.iter().map(|output| output.record.clone()).collect(),
            step: Some(Step {
                number: cut.number,
                list: cut.list.clone(),
                part,
                last_part,
                claim: false,
                whole_below: cut.whole_below,
            }),
            stored_at: 0,
        }
    }

    /// A checkpoint, where the state stands behind a step and owes nothing.
    pub(crate) fn checkpoint(&mut self) -> Option<Checkpoint> {
        let owes = self.in_flight.is_some() || self.repair.is_some() || !self.outputs.is_empty();
        let early = self.fault == Some(Fault::CheckpointBeforeAck);
        if (owes && !early) || self.consumed == self.saved {
            return None;
        }
        self.saved = self.consumed;
        let in_flight = u64::from(self.ledger.in_flight().is_some());
        let tail = if early {
            RunList::default()
        } else {
            self.ledger.list().clone()
        };
        Some(Checkpoint {
            state: self.stage.snapshot(),
            positions: self.ledger.positions().to_vec(),
            step: self.ledger.step() + if early { in_flight } else { 0 },
            tail,
            told: self.fences[ESCALATIONS],
        })
    }
}
