//! The engine as a stage of the driver: batches in, escalations out.

use std::sync::Arc;

use balefire_driver::{
    BadState, Counter, DeadLetter, Effects, Input, Output, PastOutput, Readiness, Stage,
    StageStatus,
};
use balefire_event::{Lane, Timestamp};
use balefire_rule_engine_core::{
    BatchHeader, Effect, Engine, EngineConfig, EngineState, STATE_VERSION,
};
use balefire_stream::Source;
use balefire_wire::{RecordRef, RecordView, encode_record};

use crate::Error;
use crate::control::ControlLog;

/// A record that could not be read.
const MALFORMED_RECORD: &str = "malformed_record";

/// One EVENTS partition.
pub struct EngineStage {
    partition: u32,
    partitions: u32,
    control: ControlLog,
    /// How many rule sets the engine was built with.
    sets: usize,
    engine: Engine,
    effects: Vec<Effect>,
    slots_from: Option<Timestamp>,
}

impl EngineStage {
    /// Of a partition, with the rule sets known now.
    ///
    /// # Errors
    /// Where a rule has periods that no compiled rule has.
    pub fn new(partition: u32, partitions: u32, control: ControlLog) -> Result<Self, Error> {
        let (engine, sets) = build(partition, partitions, &control)?;
        Ok(Self {
            partition,
            partitions,
            control,
            sets,
            engine,
            effects: Vec::new(),
            slots_from: None,
        })
    }

    fn settle(&mut self, tenant: &Arc<str>, effects: &mut Effects) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Escalate(escalation) => {
                    let mut record = Vec::with_capacity(1024);
                    encode_record(RecordRef::Escalation(&escalation), &mut record);
                    effects.outputs.push(Output {
                        target: 0,
                        tenant: Arc::from(escalation.tenant.as_str()),
                        record,
                        received_at: Some(escalation.received_at),
                        control_revision: 0,
                        lateness_max: 0,
                    });
                }
                Effect::BarrierOut { id, at } => {
                    let mut record = Vec::with_capacity(40);
                    encode_record(RecordRef::Barrier { id, at }, &mut record);
                    effects.outputs.push(Output {
                        target: 0,
                        tenant: Arc::from(""),
                        record,
                        received_at: Some(at),
                        control_revision: 0,
                        lateness_max: 0,
                    });
                }
                Effect::DeadLetter {
                    index,
                    reason,
                    detail,
                } => {
                    let detail = format!("tenant {tenant}: {detail}");
                    effects.dead_letters.push(DeadLetter {
                        index: Some(index),
                        reason,
                        detail,
                    });
                }
                Effect::Repair(request) => {
                    self.slots_from = Some(request.slots_from);
                    effects.repair(request.slots_from.min(request.events_from));
                }
            }
        }
    }
}

fn build(partition: u32, partitions: u32, control: &ControlLog) -> Result<(Engine, usize), Error> {
    let known = control.known();
    let mut engine = Engine::new(partition, &known.sets, EngineConfig::new(partitions))?;
    engine.confirm_revision(known.revision);
    Ok((engine, known.sets.len()))
}

/// Which input of the engine a subject is: `events.g1.<lane>.<p>.door` or `….c.<intake partition>`.
fn source(subject: &str, lane: Lane) -> Source {
    let mut tokens = subject.rsplit('.');
    match (
        tokens.next().and_then(|last| last.parse().ok()),
        tokens.next(),
    ) {
        (Some(partition), Some("c")) => Source::Joined { partition, lane },
        _ => Source::Door(lane),
    }
}

impl Stage for EngineStage {
    fn version(&self) -> u32 {
        STATE_VERSION
    }

    fn readiness(&mut self, control_revision: u64) -> Readiness {
        if !self.engine.needs(control_revision) {
            return Readiness::Ready;
        }
        let (revision, sets) = self.control.extent();
        if sets != self.sets {
            return Readiness::Rebuild;
        }
        if revision < control_revision {
            return Readiness::Wait;
        }
        self.engine.confirm_revision(revision);
        Readiness::Ready
    }

    fn apply(&mut self, input: &Input<'_>, effects: &mut Effects) {
        let header = &input.batch.header;
        let lane = input.lane.unwrap_or(Lane::Normal);
        let facts = BatchHeader {
            tenant: &header.tenant,
            lateness_max: header.lateness_max,
            received_at_max: header.received_at_max,
        };
        self.engine.batch_start(lane, &facts);
        for (index, record) in (0u32..).zip(input.batch.records()) {
            match record {
                Ok(RecordView::Event(event)) => self.engine.event(index, &event, &mut self.effects),
                Ok(RecordView::Tick(at)) => self.engine.tick(at),
                Ok(RecordView::Watermark { partition, at }) => self.engine.watermark(partition, at),
                Ok(RecordView::Barrier { id, at }) => {
                    let from = source(input.subject, lane);
                    self.engine.barrier(id, at, from, &mut self.effects);
                }
                Ok(
                    RecordView::Hint(_)
                    | RecordView::Stub(_)
                    | RecordView::Escalation(_)
                    | RecordView::Other(_),
                ) => effects.dead_letters.push(DeadLetter {
                    index: Some(index),
                    reason: MALFORMED_RECORD,
                    detail: "a record that EVENTS does not hold".into(),
                }),
                Err(error) => effects.dead_letters.push(DeadLetter {
                    index: Some(index),
                    reason: MALFORMED_RECORD,
                    detail: error.to_string(),
                }),
            }
        }
        self.engine.batch_end(&mut self.effects);
        self.settle(&Arc::from(header.tenant.as_str()), effects);
    }

    fn repair_begin(&mut self, _from: Timestamp) {
        self.engine.repair_begin();
    }

    fn repair_batch(&mut self, input: &Input<'_>, effects: &mut Effects) {
        let tenant = &input.batch.header.tenant;
        let lane = input.lane.unwrap_or(Lane::Normal);
        for record in input.batch.records() {
            if let Ok(RecordView::Event(event)) = record {
                self.engine
                    .repair_event(lane, tenant, &event, &mut self.effects);
            }
        }
        self.settle(&Arc::from(tenant.as_str()), effects);
    }

    fn repair_end(&mut self, effects: &mut Effects) {
        self.engine.repair_end();
        self.slots_from = None;
        self.settle(&Arc::from(""), effects);
    }

    fn load_from(&self) -> Option<Timestamp> {
        self.engine.load_from()
    }

    fn load_output(&mut self, output: &PastOutput<'_>) {
        for record in output.batch.records() {
            if let Ok(RecordView::Escalation(escalation)) = record {
                self.engine.load_escalation(&escalation);
            }
        }
    }

    fn rebuild_from(&self) -> Option<Timestamp> {
        // The whole log: what bounds it is the low watermark, which a state without a checkpoint
        // does not have.
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        // Plain data always encodes; an empty snapshot would be refused at restore.
        balefire_store::encode(&self.engine.snapshot()).unwrap_or_default()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BadState> {
        let bad = |reason: String| BadState { reason };
        let state: EngineState = balefire_store::decode(state).map_err(|e| bad(e.to_string()))?;
        let (mut engine, sets) = build(self.partition, self.partitions, &self.control)
            .map_err(|e| bad(e.to_string()))?;
        engine.restore(state).map_err(|e| bad(e.to_string()))?;
        (self.engine, self.sets) = (engine, sets);
        Ok(())
    }

    fn reset(&mut self) {
        self.effects.clear();
        match build(self.partition, self.partitions, &self.control) {
            Ok((engine, sets)) => (self.engine, self.sets) = (engine, sets),
            // It was built of the same rules before: those of the present engine stay.
            Err(error) => {
                tracing::error!(partition = self.partition, %error, "rules cannot be built")
            }
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.engine.next_deadline()
    }

    fn status(&self) -> StageStatus {
        let counters = self.engine.counters();
        let ungrouped = counters.rules.values().map(|rule| rule.ungrouped).sum();
        let counter = |name, value| Counter { name, value };
        StageStatus {
            low_watermark: self.engine.low_watermark(),
            state_len: u64::try_from(self.engine.key_count()).unwrap_or(u64::MAX),
            counters: vec![
                counter("events", counters.events),
                counter("late", counters.late),
                counter("future", counters.future),
                counter("escalations", counters.escalations),
                counter("stragglers", counters.stragglers),
                counter("panics", counters.panics),
                counter("ungrouped", ungrouped),
            ],
        }
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_tells_the_door_from_the_correlator() {
        assert_eq!(
            source("events.g1.normal.3.door", Lane::Normal),
            Source::Door(Lane::Normal)
        );
        let joined = Source::Joined {
            partition: 2,
            lane: Lane::Urgent,
        };
        assert_eq!(source("events.g1.urgent.3.c.2", Lane::Urgent), joined);
    }
}
