//! [`Stage`]: a core behind the calls that the driver makes, as its shell wires it.

use std::collections::BTreeMap;

use balefire_correlator_core as join;
use balefire_event::{CorrelationKey, DedupId, EscalationKind, Lane, SubjectRef, Timestamp};
use balefire_rule_engine_core::{self as rule, BatchHeader, Engine, EngineState};
use balefire_stream::Source;

use crate::fault::Fault;
use crate::log::{Batch, Origin, Rec, StreamId};
use crate::world::World;

/// A record that a stage emits; its target is an index of [`Stage::targets`].
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) target: usize,
    pub(crate) tenant: &'static str,
    pub(crate) record: Rec,
    pub(crate) received_at: Option<Timestamp>,
    pub(crate) revision: u64,
    pub(crate) lateness: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) outputs: Vec<Output>,
    /// Server time to read again from.
    pub(crate) repair_from: Option<Timestamp>,
}

/// What a checkpoint holds of a stage.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Engine(Box<EngineState>),
    Join(Box<join::State>),
}

pub(crate) enum Core {
    Engine(Box<Engine>),
    Join(Box<join::Correlator>),
}

pub(crate) struct Stage<'w> {
    pub(crate) world: &'w World,
    pub(crate) joins: bool,
    pub(crate) partition: u32,
    pub(crate) fault: Option<Fault>,
    pub(crate) core: Core,
    /// How many rule sets it was made with.
    sets: usize,
    /// Who was named first: of the deliberate fault.
    pub(crate) named: BTreeMap<(String, CorrelationKey<'static>), SubjectRef>,
    pub(crate) repairs: u64,
}

pub(crate) fn known_tenant(tenant: &str) -> &'static str {
    ["acme", "umbrella"]
        .into_iter()
        .find(|known| *known == tenant)
        .unwrap_or("")
}

impl<'w> Stage<'w> {
    /// Empty, knowing the first `sets` rule sets.
    pub(crate) fn new(
        world: &'w World,
        joins: bool,
        partition: u32,
        sets: usize,
        fault: Option<Fault>,
    ) -> Self {
        let core = if joins {
            Core::Join(Box::new(join::Correlator::new(
                world.join_config(partition),
            )))
        } else {
            let known = world.rule_sets.iter().take(sets);
            let specs: Vec<_> = known
                .map(|(first, rules)| (*first, rules.iter().map(|rule| rule.spec()).collect()))
                .collect();
            let config = world.engine_config(fault == Some(Fault::BarrierNotAwaited));
            let engine = Engine::with_specs(partition, &specs, config);
            Core::Engine(Box::new(engine.expect("periods are positive")))
        };
        Self {
            world,
            joins,
            partition,
            fault,
            core,
            sets,
            named: BTreeMap::new(),
            repairs: 0,
        }
    }

    pub(crate) fn sources(joins: bool, partition: u32) -> [StreamId; 3] {
        [0, 1, 2].map(|lane| {
            if joins {
                StreamId::Intake(lane, partition)
            } else {
                StreamId::Events(lane, partition)
            }
        })
    }

    pub(crate) fn targets(joins: bool, partition: u32, partitions: u32) -> Vec<StreamId> {
        if !joins {
            return vec![StreamId::Escalations(partition)];
        }
        let events =
            (0..partitions).flat_map(|to| (0..3).map(move |lane| StreamId::Events(lane, to)));
        // The own one stands for nothing; it keeps the index simple.
        let intake = (0..partitions).map(|to| StreamId::intake(Lane::Bulk, to));
        events.chain(intake).collect()
    }

    /// False: a batch of the revision must wait for the control log.
    pub(crate) fn ready(&self, revision: u64) -> bool {
        match &self.core {
            Core::Engine(engine) => {
                self.fault == Some(Fault::RevisionNotAwaited) || !engine.needs(revision)
            }
            Core::Join(_) => true,
        }
    }

    pub(crate) const fn sets(&self) -> usize {
        self.sets
    }

    pub(crate) fn apply(&mut self, lane: usize, batch: &Batch, now: i64, effects: &mut Effects) {
        match &mut self.core {
            Core::Engine(_) => self.apply_engine(lane, batch, now, effects),
            Core::Join(_) => {
                let mut wanted = Vec::new();
                for record in &batch.records {
                    self.join_record(lane, batch, record, false, &mut wanted);
                }
                self.act(wanted, effects);
            }
        }
    }

    fn apply_engine(&mut self, lane: usize, batch: &Batch, now: i64, effects: &mut Effects) {
        let fault = self.fault;
        let Core::Engine(engine) = &mut self.core else {
            return;
        };
        let mut found = Vec::new();
        let lane = Lane::ALL[lane];
        let lateness = if fault == Some(Fault::TrimWithoutLateness) {
            batch.lateness_max.min(1)
        } else {
            batch.lateness_max
        };
        let header = BatchHeader {
            tenant: batch.tenant,
            lateness_max: lateness,
            received_at_max: batch.received_at_max,
        };
        let ahead = match fault {
            Some(Fault::FasterLane) => Some(batch.received_at_max),
            Some(Fault::ConsumerWatermark) => Some(Timestamp(now)),
            _ => None,
        };
        engine.batch_start(lane, &header);
        for (index, record) in (0u32..).zip(&batch.records) {
            match record {
                Rec::Event(event) => match altered(fault, event, batch) {
                    Some(event) => engine.event(index, &event, &mut found),
                    None if lost(fault, event) => {}
                    None => engine.event(index, event, &mut found),
                },
                Rec::Tick(at) => engine.tick(*at),
                Rec::Watermark { partition, at } => {
                    if fault != Some(Fault::CorrelatorWatermarkIgnored) {
                        engine.watermark(*partition, *at);
                    }
                }
                Rec::Barrier { id, at } => {
                    let from = match batch.origin {
                        Origin::Stage(partition) => Source::Joined { partition, lane },
                        Origin::Door | Origin::Ticker => Source::Door(lane),
                    };
                    engine.barrier(*id, *at, from, &mut found);
                }
                Rec::Hint(_) | Rec::Stub(_) | Rec::Escalation(_) => {}
            }
        }
        engine.batch_end(&mut found);
        if let Some(at) = ahead {
            for other in Lane::ALL {
                let header = BatchHeader {
                    tenant: "",
                    lateness_max: 0,
                    received_at_max: at,
                };
                engine.batch_start(*other, &header);
                engine.batch_end(&mut found);
            }
        }
        self.settle(found, effects);
    }

    fn settle(&mut self, found: Vec<rule::Effect>, effects: &mut Effects) {
        for effect in found {
            let (record, tenant, at) = match effect {
                rule::Effect::Escalate(escalation) => {
                    let (tenant, at) = (known_tenant(&escalation.tenant), escalation.received_at);
                    (Rec::Escalation(escalation), tenant, at)
                }
                rule::Effect::BarrierOut { id, at } => (Rec::Barrier { id, at }, "", at),
                rule::Effect::Repair(request) => {
                    self.repairs += 1;
                    let from = request.slots_from.min(request.events_from);
                    let before = effects.repair_from.unwrap_or(Timestamp::MAX);
                    effects.repair_from = Some(before.min(from));
                    continue;
                }
                rule::Effect::DeadLetter { .. }
                | rule::Effect::Rekey(_)
                | rule::Effect::Promise { .. } => continue,
            };
            effects.outputs.push(Output {
                target: 0,
                tenant,
                record,
                received_at: Some(at),
                revision: 0,
                lateness: 0,
            });
        }
    }

    pub(crate) fn repair_begin(&mut self) {
        match &mut self.core {
            Core::Engine(engine) => engine.repair_begin(),
            Core::Join(core) => core.repair_begin(),
        }
    }

    pub(crate) fn repair_batch(&mut self, lane: usize, batch: &Batch, effects: &mut Effects) {
        let fault = self.fault;
        let mut found = Vec::new();
        let mut wanted = Vec::new();
        for record in &batch.records {
            match (&mut self.core, record) {
                (Core::Engine(engine), Rec::Event(event)) => {
                    let altered = altered(fault, event, batch);
                    if altered.is_none() && lost(fault, event) {
                        continue;
                    }
                    let event = altered.as_ref().unwrap_or(event);
                    engine.repair_event(Lane::ALL[lane], batch.tenant, event, &mut found);
                }
                (Core::Engine(_), _) => {}
                (Core::Join(_), _) => self.join_record(lane, batch, record, true, &mut wanted),
            }
        }
        self.settle(found, effects);
    }

    pub(crate) fn repair_end(&mut self, effects: &mut Effects) {
        match &mut self.core {
            Core::Engine(engine) => engine.repair_end(),
            Core::Join(core) => {
                let mut wanted = Vec::new();
                core.repair_end(&mut wanted);
                self.act(wanted, effects);
            }
        }
    }

    pub(crate) fn load(&mut self, batch: &Batch) {
        let forgets = self.fault == Some(Fault::ClosedNotLoaded);
        if let Core::Engine(engine) = &mut self.core {
            for record in &batch.records {
                if let Rec::Escalation(escalation) = record
                    && !(forgets && escalation.kind == EscalationKind::Closed)
                {
                    engine.load_escalation(escalation);
                }
            }
        }
    }

    pub(crate) fn snapshot(&self) -> State {
        match &self.core {
            Core::Engine(engine) => State::Engine(Box::new(engine.snapshot())),
            Core::Join(core) => State::Join(Box::new(core.state().clone())),
        }
    }

    /// False: not of these rules.
    pub(crate) fn restore(&mut self, state: &State) -> bool {
        match (&mut self.core, state) {
            (Core::Engine(engine), State::Engine(state)) => {
                engine.restore(state.as_ref().clone()).is_ok()
            }
            (Core::Join(core), State::Join(state)) => core.restore(state.as_ref().clone()).is_ok(),
            (Core::Engine(_), State::Join(_)) | (Core::Join(_), State::Engine(_)) => false,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        match &self.core {
            Core::Engine(engine) => engine.next_deadline(),
            Core::Join(core) => core.next_deadline(),
        }
    }

    /// Equal for two that came to the same positions.
    pub(crate) fn digest(&self) -> String {
        match &self.core {
            Core::Engine(engine) => engine.digest().to_string(),
            Core::Join(core) => format!("{:?}", core.state()),
        }
    }

    pub(crate) fn stragglers(&self) -> u64 {
        match &self.core {
            Core::Engine(engine) => engine.counters().stragglers,
            Core::Join(_) => self.repairs,
        }
    }

    pub(crate) fn held(&self) -> usize {
        match &self.core {
            Core::Engine(_) => 0,
            Core::Join(core) => core.usage().held,
        }
    }
}

/// The event as a fault changes it.
fn altered(
    fault: Option<Fault>,
    event: &balefire_event::Event<'static>,
    batch: &Batch,
) -> Option<Box<balefire_event::Event<'static>>> {
    let mut event = event.clone();
    match fault? {
        Fault::NoDedupe => {
            let mut id = event.dedup_id.0;
            id[8..].copy_from_slice(&event.received_at.0.to_le_bytes());
            event.dedup_id = DedupId(id);
        }
        Fault::SlotByArrival => event.t = event.received_at,
        Fault::RevisionOfBatch => event.control_revision = batch.revision_max,
        _ => return None,
    }
    Some(Box::new(event))
}

fn lost(fault: Option<Fault>, event: &balefire_event::Event<'static>) -> bool {
    let amendment = event.join.as_ref().is_some_and(|join| join.amendment);
    fault == Some(Fault::AmendmentDropped) && amendment
}
