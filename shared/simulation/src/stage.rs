//! [`Stage`]: a core behind the calls that the driver makes, as its shell wires it.

use std::collections::{BTreeMap, BTreeSet};

use balefire_correlator_core as join;
use balefire_event::{Category, CorrelationKey, DedupId, EscalationKind, SubjectRef, Timestamp};
use balefire_rule_engine_core::{Backfill, Engine, EngineState, Part, Recorded, RuleSpec};
use balefire_stream::Source;

use crate::fault::Fault;
use crate::log::{Batch, Rec};
use crate::place::{Kind, Place};
use crate::world::World;

/// A record that a stage emits; its target is an index of [`Place::targets`].
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

/// By tenant, user and category: time and id.
pub(crate) type Newest =
    BTreeMap<(&'static str, SubjectRef, Category), BTreeSet<(Timestamp, DedupId)>>;

pub(crate) enum Core {
    Engine(Box<Engine>),
    Join(Box<join::Correlator>),
}

pub(crate) struct Stage<'w> {
    pub(crate) world: &'w World,
    pub(crate) place: Place,
    pub(crate) fault: Option<Fault>,
    pub(crate) core: Core,
    /// How many rule sets it was made with.
    sets: usize,
    /// Who was named first: of the deliberate fault.
    pub(crate) named: BTreeMap<(String, CorrelationKey<'static>), SubjectRef>,
    /// The newest events of each user and category: of the deliberate fault.
    pub(crate) newest: Newest,
    pub(crate) repairs: u64,
}

fn specs(world: &World, sets: usize, fault: Option<Fault>) -> Vec<(u64, Vec<RuleSpec>)> {
    let known = world.rule_sets.iter().take(sets);
    known
        .map(|(first, rules)| (*first, rules.iter().map(|rule| rule.spec(fault)).collect()))
        .collect()
}

pub(crate) fn known_tenant(tenant: &str) -> &'static str {
    ["acme", "umbrella"]
        .into_iter()
        .find(|known| *known == tenant)
        .unwrap_or("")
}

impl<'w> Stage<'w> {
    /// Empty, knowing the first `sets` rule sets.
    pub(crate) fn new(world: &'w World, place: Place, sets: usize, fault: Option<Fault>) -> Self {
        let part = match place.kind {
            Kind::Joins => None,
            Kind::Events => Some(Part::Events),
            Kind::Rekeyed => Some(Part::Rekeyed {
                sources: world.partitions,
            }),
        };
        let core = match part {
            None => Core::Join(Box::new(join::Correlator::new(
                world.join_config(place.partition),
            ))),
            Some(part) => {
                let specs = specs(world, sets, fault);
                let mut config = world.engine_config(part);
                if fault == Some(Fault::BarrierNotAwaited) {
                    config
                        .barrier_sources
                        .retain(|from| matches!(from, Source::Door(_)));
                }
                let engine = Engine::with_specs(place.partition, &specs, config);
                let engine = engine.expect("periods are positive").of_part(part);
                Core::Engine(Box::new(engine))
            }
        };
        let mut stage = Self {
            world,
            place,
            fault,
            core,
            sets,
            named: BTreeMap::new(),
            newest: BTreeMap::new(),
            repairs: 0,
        };
        stage.tell_activations(sets);
        stage
    }

    /// The log had a rule set when the control log delivers it.
    fn tell_activations(&mut self, sets: usize) {
        if let Core::Engine(engine) = &mut self.core {
            for (revision, at) in (0u64..).zip(&self.world.control_at).take(sets) {
                engine.activated(revision, Timestamp(*at));
            }
        }
    }

    /// Learns the first `sets` rule sets beside what it counts.
    pub(crate) fn adopt(&mut self, sets: usize) {
        self.sets = sets;
        self.tell_activations(sets);
        let specs = specs(self.world, sets, self.fault);
        if let Core::Engine(engine) = &mut self.core {
            engine.adopt_specs(&specs).expect("periods are positive");
        }
    }

    pub(crate) fn whole_below(&self) -> Option<u64> {
        match &self.core {
            Core::Engine(_) if self.fault == Some(Fault::WarmingUnsaid) => None,
            Core::Engine(engine) => Some(engine.whole_below()),
            Core::Join(_) => None,
        }
    }

    /// What is to be read again beside the live path.
    pub(crate) fn backfill(&self) -> Option<Backfill> {
        match &self.core {
            Core::Engine(engine) => engine.backfill(),
            Core::Join(_) => None,
        }
    }

    pub(crate) fn redo_begin(&mut self) {
        if let Core::Engine(engine) = &mut self.core {
            engine.redo_begin();
        }
    }

    pub(crate) fn redo_step(&mut self, recorded: Recorded) {
        if let Core::Engine(engine) = &mut self.core {
            engine.redo_step(recorded);
        }
    }

    pub(crate) fn redo_step_end(&mut self) {
        if let Core::Engine(engine) = &mut self.core {
            engine.redo_step_end();
        }
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
            Core::Engine(_) => self.count(lane, batch, now, effects),
            Core::Join(_) => {
                let mut wanted = Vec::new();
                for record in &batch.records {
                    self.join_record(lane, batch, record, false, &mut wanted);
                }
                self.act(wanted, effects);
            }
        }
    }

    pub(crate) fn repair_begin(&mut self) {
        match &mut self.core {
            Core::Engine(engine) => engine.repair_begin(),
            Core::Join(core) => core.repair_begin(),
        }
    }

    pub(crate) fn repair_batch(&mut self, lane: usize, batch: &Batch, effects: &mut Effects) {
        if let Core::Engine(_) = &self.core {
            self.count_again(lane, batch, effects);
            return;
        }
        let mut wanted = Vec::new();
        for record in &batch.records {
            self.join_record(lane, batch, record, true, &mut wanted);
        }
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
        for record in &batch.records {
            self.load_record(record);
        }
    }

    pub(crate) fn load_record(&mut self, record: &Rec) {
        let forgets = self.fault == Some(Fault::ClosedNotLoaded);
        let Core::Engine(engine) = &mut self.core else {
            return;
        };
        match record {
            Rec::Escalation(one) if forgets && one.kind == EscalationKind::Closed => {}
            Rec::Escalation(escalation) => engine.load_escalation(escalation),
            Rec::Barrier { id, .. } => engine.load_barrier(*id),
            _ => {}
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
