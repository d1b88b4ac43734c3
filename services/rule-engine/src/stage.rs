//! The engine as a stage of the driver: batches in, escalations and matches out.

mod built;
mod emit;
mod reading;
mod records;

use std::sync::Arc;

use balefire_driver::{
    Backfill, BadState, Counter, DeadLetter, Effects, Input, PastOutput, Readiness, Recorded,
    Stage, StageStatus,
};
use balefire_event::{Lane, Timestamp};
use balefire_rule_engine_core::{
    BatchHeader, Effect, Engine, EngineConfig, Part, Recorded as StepRecorded, STATE_VERSION,
};
use balefire_store::{Changes, Records};
use balefire_stream::Source;
use balefire_wire::RecordView;

use crate::Error;
use crate::control::ControlLog;
use crate::{held, wiring};

use built::{build, source};
pub(crate) use reading::{Given, Reading};
pub(crate) use records::state_of;

/// A record that could not be read.
const MALFORMED_RECORD: &str = "malformed_record";

/// One EVENTS or REKEYED partition.
pub struct EngineStage {
    part: Part,
    partition: u32,
    partitions: u32,
    control: ControlLog,
    /// How many rule sets the engine has.
    sets: usize,
    /// How many there were when it could not be made of them.
    refused: usize,
    engine: Engine,
    effects: Vec<Effect>,
    slots_from: Option<Timestamp>,
    /// What was told ahead of the next checkpoint.
    ahead: Option<records::Taker>,
}

impl EngineStage {
    /// Of a partition, with the rule sets known now.
    ///
    /// # Errors
    /// Where a rule has periods that no compiled rule has.
    pub fn new(
        part: Part,
        partition: u32,
        partitions: u32,
        control: ControlLog,
    ) -> Result<Self, Error> {
        let known = control.known();
        let (engine, sets) = build(part, partition, partitions, &known)?;
        Ok(Self {
            part,
            partition,
            partitions,
            control,
            sets,
            refused: 0,
            engine,
            effects: Vec::new(),
            slots_from: None,
            ahead: None,
        })
    }

    /// What the control log has delivered is taken over.
    fn learn(&mut self) {
        let (revision, sets) = self.control.extent();
        if sets != self.sets {
            self.adopt();
        } else if self.engine.needs(revision) {
            self.engine.confirm_revision(revision);
        }
    }

    /// Takes over the rule sets that are known by now, beside what is counted already.
    fn adopt(&mut self) {
        let known = self.control.known();
        if self.refused == known.sets.len() {
            return;
        }
        for (revision, at) in &known.activated {
            self.engine.activated(*revision, *at);
        }
        match self.engine.adopt(&known.sets) {
            Ok(()) => {
                self.engine.confirm_revision(known.revision);
                self.sets = known.sets.len();
            }
            // The partition waits at the first record of that revision, and says so.
            Err(error) => {
                self.refused = known.sets.len();
                tracing::error!(partition = self.partition, %error, "rules cannot be built");
            }
        }
    }

    /// Puts a batch into the engine; what it wants done waits in `self.effects`.
    fn take(&mut self, input: &Input<'_>, dead_letters: &mut Vec<DeadLetter>) {
        let header = &input.batch.header;
        let lane = input.lane.unwrap_or(Lane::Normal);
        let facts = BatchHeader {
            tenant: &header.tenant,
            lateness_max: header.lateness_max,
            received_at_max: header.received_at_max.min(input.latest()),
        };
        self.engine.batch_start(lane, &facts);
        let from = self.source(input.subject, lane);
        for (index, record) in (0u32..).zip(input.batch.records()) {
            let taken = match record {
                Ok(RecordView::Tick(at)) => {
                    self.engine.tick(at.min(input.latest()));
                    Ok(())
                }
                Ok(record) => self.record(index, record, from),
                Err(error) => Err(error.to_string()),
            };
            if let Err(detail) = taken {
                dead_letters.push(DeadLetter {
                    index: Some(index),
                    reason: MALFORMED_RECORD,
                    detail,
                });
            }
        }
        self.engine.batch_end(&mut self.effects);
    }

    /// Which input of the engine a barrier came in on.
    fn source(&self, subject: &str, lane: Lane) -> Source {
        match (self.part, wiring::sender(subject)) {
            (Part::Rekeyed { .. }, Some(sender)) => EngineConfig::rekeyed_source(sender),
            (Part::Rekeyed { .. } | Part::Events | Part::Whole, _) => source(subject, lane),
        }
    }

    /// Takes a record in; what is wrong with it.
    fn record(&mut self, index: u32, record: RecordView<'_>, from: Source) -> Result<(), String> {
        let (engine, effects) = (&mut self.engine, &mut self.effects);
        let rekeyed = matches!(self.part, Part::Rekeyed { .. });
        match record {
            RecordView::Event(event) if !rekeyed => engine.event(index, &event, effects),
            RecordView::Match {
                rule_id,
                generation,
                event,
            } if rekeyed => {
                if !engine.matched(rule_id, generation, &event, effects) {
                    return Err(format!(
                        "a match of rule {rule_id}, revision {generation}, which is not known"
                    ));
                }
            }
            RecordView::Watermark { partition, at } => engine.watermark(partition, at),
            RecordView::Barrier { id, at } => engine.barrier(id, at, from, effects),
            RecordView::Event(_)
            | RecordView::Match { .. }
            | RecordView::Tick(_)
            | RecordView::Hint(_)
            | RecordView::Stub(_)
            | RecordView::Escalation(_)
            | RecordView::Other(_) => return Err("a record that this log does not hold".into()),
        }
        Ok(())
    }
}

impl Stage for EngineStage {
    fn version(&self) -> u32 {
        STATE_VERSION
    }

    fn readiness(&mut self, control_revision: u64) -> Readiness {
        if self.engine.needs(control_revision) {
            self.learn();
        }
        if self.engine.needs(control_revision) {
            Readiness::Wait
        } else {
            Readiness::Ready
        }
    }

    fn refresh(&mut self) {
        if self.control.settled() {
            self.learn();
        }
    }

    fn whole_below(&self) -> Option<u64> {
        Some(self.engine.whole_below())
    }

    fn redo_begin(&mut self) {
        self.engine.redo_begin();
    }

    fn redo_step(&mut self, recorded: Recorded) {
        self.engine.redo_step(StepRecorded {
            whole_below: recorded.whole_below,
            partial: recorded.partial,
        });
    }

    fn redo_step_end(&mut self) {
        self.engine.redo_step_end();
    }

    fn redo_end(&mut self, effects: &mut Effects) {
        self.engine.redo_end(&mut self.effects);
        self.settle(&Arc::from(""), 0, effects);
    }

    fn apply(&mut self, input: &Input<'_>, effects: &mut Effects) {
        self.take(input, &mut effects.dead_letters);
        let header = &input.batch.header;
        let tenant = Arc::from(header.tenant.as_str());
        self.settle(&tenant, header.lateness_max, effects);
    }

    fn repair_begin(&mut self, _from: Timestamp) {
        self.engine.repair_begin();
    }

    fn repair_batch(&mut self, input: &Input<'_>, effects: &mut Effects) {
        let tenant = &input.batch.header.tenant;
        let lane = input.lane.unwrap_or(Lane::Normal);
        for record in input.batch.records() {
            let (engine, effects) = (&mut self.engine, &mut self.effects);
            if let Ok(RecordView::Event(event)) = record {
                engine.repair_event(lane, tenant, &event, effects);
            } else if let Ok(RecordView::Match {
                rule_id,
                generation,
                event,
            }) = record
            {
                engine.repair_matched(tenant, rule_id, generation, &event, effects);
            }
        }
        self.settle(&Arc::from(tenant.as_str()), 0, effects);
    }

    fn repair_end(&mut self, effects: &mut Effects) {
        self.engine.repair_end();
        self.slots_from = None;
        self.settle(&Arc::from(""), 0, effects);
    }

    fn backfill(&self) -> Option<Backfill> {
        let (id, from) = self
            .engine
            .backfill()
            .map(|wanted| (wanted.id, wanted.from))?;
        Some(Backfill { id, from })
    }

    fn backfill_batch(&mut self, input: &Input<'_>, effects: &mut Effects) {
        let header = &input.batch.header;
        let lane = input.lane.unwrap_or(Lane::Normal);
        for record in input.batch.records() {
            let (engine, effects) = (&mut self.engine, &mut self.effects);
            if let Ok(RecordView::Event(event)) = record {
                engine.backfill_event(lane, &header.tenant, &event, effects);
            }
        }
        let tenant = Arc::from(header.tenant.as_str());
        self.settle(&tenant, header.lateness_max, effects);
    }

    fn backfill_end(&mut self, effects: &mut Effects) {
        self.engine.backfill_end(&mut self.effects);
        self.settle(&Arc::from(""), 0, effects);
    }

    fn load_from(&self) -> Option<Timestamp> {
        self.engine.load_from()
    }

    fn load_output(&mut self, output: &PastOutput<'_>) {
        if output.target != wiring::ESCALATIONS {
            return;
        }
        for record in output.batch.records() {
            match record {
                Ok(RecordView::Escalation(escalation)) => self.engine.load_escalation(&escalation),
                Ok(RecordView::Barrier { id, .. }) => self.engine.load_barrier(id),
                Ok(_) | Err(_) => {}
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
        let state = balefire_store::decode(state).map_err(|e| bad(e.to_string()))?;
        self.take_over(state)
    }

    fn changes(&mut self) -> Changes {
        self.take_changes()
    }

    fn changes_ahead(&mut self) -> bool {
        self.take_ahead()
    }

    fn unsaved(&mut self) {
        self.ahead = None;
        self.engine.untold();
    }

    fn restore_records(&mut self, state: &Records) -> Result<(), BadState> {
        let bad = |reason: String| BadState { reason };
        let state = state_of(state).map_err(|e| bad(e.to_string()))?;
        self.take_over(state)?;
        self.engine.told();
        Ok(())
    }

    fn reset(&mut self) {
        self.effects.clear();
        match build(
            self.part,
            self.partition,
            self.partitions,
            &self.control.known(),
        ) {
            Ok((engine, sets)) => (self.engine, self.sets, self.ahead) = (engine, sets, None),
            // It was built of the same rules before: those of the present engine stay.
            Err(error) => {
                tracing::error!(partition = self.partition, %error, "rules cannot be built")
            }
        }
    }

    fn inspect(&self) -> Vec<u8> {
        held::of(&self.engine)
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
                counter("after_close", counters.after_close),
                counter(
                    "warming",
                    u64::try_from(self.engine.warming_count()).unwrap_or(0),
                ),
            ],
        }
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests {
    use balefire_wire::RecordRef;

    use super::*;

    #[test]
    fn a_tick_of_a_clock_that_stands_ahead_moves_no_further_than_the_server_was() {
        let mut stage = EngineStage::new(Part::Events, 0, 1, ControlLog::default()).unwrap();
        let stored_at = Timestamp(1_770_820_200_000_000_000);
        let hour = balefire_event::time::HOUR;
        let mut low_after = |ahead: i64| {
            let at = stored_at.plus(ahead);
            let mut writer = balefire_wire::BatchWriter::default();
            writer.push(RecordRef::Tick(at));
            let header = balefire_wire::Header {
                received_at_max: at,
                ..balefire_wire::Header::default()
            };
            let bytes = writer.finish(&header, None);
            let batch = balefire_wire::BatchView::parse(&bytes).unwrap();
            for (source, &lane) in Lane::ALL.iter().enumerate() {
                let input = Input {
                    source,
                    lane: Some(lane),
                    sequence: 1,
                    stored_at,
                    subject: "events.g1.normal.0.tick",
                    batch: &batch,
                };
                stage.apply(&input, &mut Effects::default());
            }
            stage.status().low_watermark.unwrap()
        };
        let skew = balefire_event::stamp::SKEW;
        assert_eq!(low_after(-hour), stored_at.minus(hour + skew));
        assert_eq!(low_after(1), stored_at.plus(1).minus(skew));
        assert_eq!(low_after(hour), stored_at.plus(skew / 2).minus(skew));
    }

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
