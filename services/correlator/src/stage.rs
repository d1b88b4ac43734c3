//! The correlator as a stage of the driver: batches of INTAKE in, batches of EVENTS out.

use std::sync::Arc;

use balefire_correlator_core::{Config, Correlator, Effect, Record, State};
use balefire_driver::{
    BadState, Counter, DeadLetter, Effects, Input, MALFORMED_RECORD, Output, PastOutput, Readiness,
    Stage, StageStatus,
};
use balefire_event::{Event, Groups, Hint, Lane, Naming, Timestamp};
use balefire_store::{Changes, Records};
use balefire_wire::{RecordRef, RecordView, encode_record};

use crate::board::{Board, Notice};
use crate::target;
use records::Taker;

mod records;

/// Version of state and behaviour. Another one starts from the log.
const STATE_VERSION: u32 = 3;

/// One INTAKE partition.
pub(crate) struct CorrelatorStage {
    config: Config,
    core: Correlator,
    board: Board,
    /// What the core wants done; empty between two calls.
    wanted: Vec<Effect>,
    /// What was told ahead of the next checkpoint.
    ahead: Option<Taker>,
}

impl CorrelatorStage {
    pub(crate) fn new(config: Config, board: Board) -> Self {
        Self {
            config,
            core: Correlator::new(config),
            board,
            wanted: Vec::new(),
            ahead: None,
        }
    }

    fn act(&mut self, effects: &mut Effects) {
        for effect in std::mem::take(&mut self.wanted) {
            match effect {
                Effect::Emit {
                    tenant,
                    lane,
                    partition,
                    event,
                } => {
                    effects
                        .outputs
                        .push(emitted(&tenant, target::events(lane, partition), &event))
                }
                Effect::Forward {
                    tenant,
                    partition,
                    hint,
                } => {
                    let Config {
                        partition: own,
                        partitions,
                        ..
                    } = self.config;
                    let target = target::intake(own, partitions, partition);
                    effects.outputs.push(forwarded(&tenant, target, &hint));
                }
                Effect::BarrierOut { id, at } => {
                    self.everywhere(RecordRef::Barrier { id, at }, Some(at), effects);
                }
                Effect::Watermark { at } => self.promise(at, effects),
                Effect::Repair { .. } => {}
            }
        }
        if let Some(from) = self.core.repair_wanted() {
            effects.repair(from);
        }
    }

    /// To each lane of each EVENTS partition: it comes behind what was emitted there.
    fn everywhere(
        &self,
        record: RecordRef<'_>,
        received_at: Option<Timestamp>,
        effects: &mut Effects,
    ) {
        for partition in 0..self.config.partitions {
            for &lane in Lane::ALL {
                let target = target::events(lane, partition);
                effects.outputs.push(nobodys(target, record, received_at));
            }
        }
    }

    /// To each lane, behind what was emitted there. It stamps nothing: a promise is no clock of
    /// the lane it travels in.
    fn promise(&self, at: Timestamp, effects: &mut Effects) {
        let record = RecordRef::Watermark {
            partition: self.config.partition,
            at,
        };
        self.everywhere(record, None, effects);
    }
}

/// Shows whose the events that came for joining are.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; counts of one process stay below 2^52"
)]
fn measure(partition: u32, groups: &Groups) {
    for ((source, category), shares) in groups.totals() {
        for naming in Naming::ALL {
            metrics::gauge!(
                "balefire_join_events",
                "partition" => partition.to_string(),
                "source" => source.to_owned(),
                "category" => category.as_str(),
                "naming" => naming.as_str()
            )
            .set(shares.of(naming) as f64);
        }
    }
}

fn encoded(record: RecordRef<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    encode_record(record, &mut bytes);
    bytes
}

fn emitted(tenant: &str, target: usize, event: &Event<'_>) -> Output {
    Output {
        target,
        tenant: Arc::from(tenant),
        record: encoded(RecordRef::Event(event)),
        received_at: Some(event.received_at),
        control_revision: event.control_revision,
        lateness_max: event.lateness,
    }
}

fn forwarded(tenant: &str, target: usize, hint: &Hint<'_>) -> Output {
    Output {
        target,
        tenant: Arc::from(tenant),
        record: encoded(RecordRef::Hint(hint)),
        received_at: Some(hint.received_at),
        control_revision: 0,
        lateness_max: 0,
    }
}

fn nobodys(target: usize, record: RecordRef<'_>, received_at: Option<Timestamp>) -> Output {
    Output {
        target,
        tenant: Arc::from(""),
        record: encoded(record),
        received_at,
        control_revision: 0,
        lateness_max: 0,
    }
}

/// The core's record of one that was read; `None`: INTAKE holds no such record. An owner's clock is
/// believed up to `latest`.
fn record<'r>(view: &'r RecordView<'r>, latest: Timestamp) -> Option<Record<'r>> {
    match view {
        RecordView::Event(event) => Some(Record::Event(event)),
        RecordView::Hint(hint) => Some(Record::Hint(hint)),
        RecordView::Stub(stub) => Some(Record::Stub(stub)),
        RecordView::Tick(at) => Some(Record::Tick((*at).min(latest))),
        RecordView::Barrier { id, at } => Some(Record::Barrier(*id, *at)),
        RecordView::Watermark { .. }
        | RecordView::Match { .. }
        | RecordView::Escalation(_)
        | RecordView::Other(_) => None,
    }
}

fn bad(index: u32, detail: String) -> DeadLetter {
    DeadLetter {
        index: Some(index),
        reason: MALFORMED_RECORD,
        detail,
    }
}

impl Stage for CorrelatorStage {
    fn version(&self) -> u32 {
        STATE_VERSION
    }

    fn readiness(&mut self, _control_revision: u64) -> Readiness {
        // No control record decides about a join.
        Readiness::Ready
    }

    fn apply(&mut self, input: &Input<'_>, effects: &mut Effects) {
        let lane = input.lane.unwrap_or(Lane::Bulk);
        let tenant = &input.batch.header.tenant;
        for (index, view) in (0u32..).zip(input.batch.records()) {
            let view = match view {
                Ok(view) => view,
                Err(error) => {
                    effects.dead_letters.push(bad(index, error.to_string()));
                    continue;
                }
            };
            match record(&view, input.latest()) {
                Some(record) => self.core.apply(lane, tenant, record, &mut self.wanted),
                None => effects
                    .dead_letters
                    .push(bad(index, "a record that INTAKE does not hold".into())),
            }
        }
        self.act(effects);
    }

    fn repair_begin(&mut self, _from: Timestamp) {
        self.core.repair_begin();
    }

    fn repair_batch(&mut self, input: &Input<'_>, _effects: &mut Effects) {
        let lane = input.lane.unwrap_or(Lane::Bulk);
        let tenant = &input.batch.header.tenant;
        for view in input.batch.records().flatten() {
            if let Some(record) = record(&view, input.latest()) {
                self.core.repair_record(lane, tenant, record);
            }
        }
    }

    fn repair_end(&mut self, effects: &mut Effects) {
        self.core.repair_end(&mut self.wanted);
        self.act(effects);
    }

    fn load_from(&self) -> Option<Timestamp> {
        // Its outputs are facts; it needs none of them back.
        Some(Timestamp::MAX)
    }

    fn load_output(&mut self, _output: &PastOutput<'_>) {}

    fn rebuild_from(&self) -> Option<Timestamp> {
        // The whole log: the low watermark that would bound it is in the checkpoint.
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        // Plain data always encodes; an empty snapshot would be refused at restore.
        balefire_store::encode(self.core.state()).unwrap_or_default()
    }

    fn changes(&mut self) -> Changes {
        self.take_changes()
    }

    fn changes_ahead(&mut self) -> bool {
        self.take_ahead()
    }

    fn unsaved(&mut self) {
        self.ahead = None;
        self.core.untold();
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BadState> {
        let bad = |reason: String| BadState { reason };
        let state: State = balefire_store::decode(state).map_err(|e| bad(e.to_string()))?;
        self.take_over(state)
    }

    fn restore_records(&mut self, state: &Records) -> Result<(), BadState> {
        let state = records::state_of(state)?;
        self.take_over(state)?;
        self.core.told();
        Ok(())
    }

    fn reset(&mut self) {
        self.wanted.clear();
        self.ahead = None;
        self.core.reset();
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.core.next_deadline()
    }

    fn status(&self) -> StageStatus {
        let usage = self.core.usage();
        measure(self.config.partition, &self.core.coverage().groups);
        self.board.post(
            self.config.partition,
            Notice {
                coverage: self.core.coverage().clone(),
                usage,
            },
        );
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let counter = |name, value| Counter { name, value };
        StageStatus {
            low_watermark: self.core.watermark(),
            state_len: count(usage.events + usage.claims + usage.stubs),
            counters: vec![
                counter("joins_held", count(usage.held)),
                counter("events_kept", count(usage.events)),
                counter("event_bytes_kept", count(usage.event_bytes)),
                counter("identities_kept", count(usage.claims)),
                counter("stubs_kept", count(usage.stubs)),
                counter("limit_alarms", usage.alarms),
                counter("hints_ignored", usage.hints_ignored),
            ],
        }
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests {
    use super::*;
    use balefire_event::{
        Assurance, BarrierId, CorrelationKey, DedupId, Identity, IdentityKind, KeyKind, Stub,
        SubjectRef,
    };
    use balefire_wire::{BatchView, BatchWriter, Header};

    fn key(value: &str) -> CorrelationKey<'static> {
        CorrelationKey {
            kind: KeyKind::Request,
            value: value.to_owned().into(),
        }
    }

    pub(super) fn event(number: u8) -> Event<'static> {
        Event {
            dedup_id: DedupId([number; 16]),
            keys: vec![key(&number.to_string())],
            received_at: Timestamp(i64::from(number)),
            source: "app".into(),
            ..Event::default()
        }
    }

    pub(super) fn hint(number: u8) -> Hint<'static> {
        Hint {
            keys: vec![key(&number.to_string())],
            identity: Identity {
                subject_ref: SubjectRef([number; 16]),
                kind: IdentityKind::User,
                assurance: Assurance::Claimed,
                via: "user_id".into(),
                label: None,
            },
            source: "gateway".into(),
            received_at: Timestamp(i64::from(number)),
            join_horizon: 100,
            authority: 1,
            facts: vec![("model".into(), "m".into())],
            dedup_id: DedupId([0; 16]),
        }
    }

    pub(super) fn feed(
        stage: &mut CorrelatorStage,
        lane: Lane,
        records: &[RecordRef<'_>],
    ) -> Effects {
        let mut writer = BatchWriter::default();
        for record in records {
            writer.push(*record);
        }
        let header = Header {
            tenant: "acme".into(),
            ..Header::default()
        };
        let bytes = writer.finish(&header, None);
        let batch = BatchView::parse(&bytes).unwrap();
        let mut effects = Effects::default();
        let input = Input {
            source: lane.index(),
            lane: Some(lane),
            sequence: 1,
            stored_at: Timestamp(0),
            subject: "intake.g1.normal.0.door",
            batch: &batch,
        };
        stage.apply(&input, &mut effects);
        effects
    }

    pub(super) fn stage() -> CorrelatorStage {
        CorrelatorStage::new(Config::new(0, 2), Board::new(2))
    }

    #[test]
    fn a_snapshot_goes_on_as_the_stage_it_is_of() {
        let mut first = stage();
        let stub = Stub {
            key: key("9"),
            dedup_id: DedupId([9; 16]),
            partition: 1,
            first_key: key("8"),
            received_at: Timestamp(1),
        };
        feed(
            &mut first,
            Lane::Normal,
            &[
                RecordRef::Event(&event(1)),
                RecordRef::Event(&event(2)),
                RecordRef::Hint(&hint(2)),
                RecordRef::Hint(&hint(3)),
                RecordRef::Stub(&stub),
                RecordRef::Barrier {
                    id: BarrierId([5; 16]),
                    at: Timestamp(2),
                },
            ],
        );
        let mut second = stage();
        second.restore(&first.snapshot()).unwrap();
        assert_eq!(second.snapshot(), first.snapshot());
        let rest = [
            RecordRef::Hint(&hint(1)),
            RecordRef::Hint(&hint(9)),
            RecordRef::Event(&event(3)),
            RecordRef::Event(&event(4)),
            RecordRef::Tick(Timestamp(5_000_000_000)),
        ];
        let (one, two) = (
            feed(&mut first, Lane::Normal, &rest),
            feed(&mut second, Lane::Normal, &rest),
        );
        assert_eq!(one.outputs, two.outputs);
        // Two joins, a forward, and one that nobody claims.
        assert_eq!(one.outputs.len(), 4);
    }

    #[test]
    fn a_tick_of_a_clock_that_stands_ahead_moves_no_further_than_the_server_was() {
        let low = |at: i64| {
            let mut stage = stage();
            for &lane in Lane::ALL {
                feed(&mut stage, lane, &[RecordRef::Tick(Timestamp(at))]);
            }
            stage.status().low_watermark
        };
        let most = balefire_event::stamp::SKEW / 2;
        assert_eq!(low(balefire_event::time::HOUR), low(most));
        assert_ne!(low(most), low(most - 1));
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let mut first = stage();
        feed(&mut first, Lane::Normal, &[RecordRef::Event(&event(1))]);
        let snapshot = first.snapshot();
        for cut in 0..snapshot.len() {
            assert!(stage().restore(&snapshot[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_foreign_record_is_laid_aside_and_the_others_go_on() {
        let mut stage = stage();
        let watermark = RecordRef::Watermark {
            partition: 0,
            at: Timestamp(1),
        };
        let records = [
            RecordRef::Hint(&hint(1)),
            watermark,
            RecordRef::Event(&event(1)),
        ];
        let effects = feed(&mut stage, Lane::Normal, &records);
        assert_eq!(effects.dead_letters.len(), 1);
        assert_eq!(effects.dead_letters[0].index, Some(1));
        assert_eq!(effects.outputs.len(), 1);
    }

    #[test]
    fn a_barrier_goes_to_every_lane_of_every_partition() {
        let mut stage = stage();
        let barrier = RecordRef::Barrier {
            id: BarrierId([5; 16]),
            at: Timestamp(2),
        };
        assert!(
            feed(&mut stage, Lane::Urgent, &[barrier])
                .outputs
                .is_empty()
        );
        assert!(
            feed(&mut stage, Lane::Normal, &[barrier])
                .outputs
                .is_empty()
        );
        let out = feed(&mut stage, Lane::Bulk, &[barrier]).outputs;
        let mut targets: Vec<usize> = out.iter().map(|output| output.target).collect();
        targets.sort_unstable();
        assert_eq!(targets, [0, 1, 2, 3, 4, 5]);
    }
}
