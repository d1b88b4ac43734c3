//! [`Stage`]: a core behind the calls that the driver makes, as its shell wires it.

use std::collections::{BTreeMap, BTreeSet};

use balefire_correlator_core as join;
use balefire_event::{Category, CorrelationKey, DedupId, EscalationKind, SubjectRef, Timestamp};
use balefire_rule_engine_core::{Engine, EngineState, Part};
use balefire_stream::Source;

use crate::fault::Fault;
use crate::log::{Batch, Rec};
use crate::place::{Kind, Place};
use crate::rules::Plain;
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
                let known = world.rule_sets.iter().take(sets);
                let specs_of =
                    |rules: &[Plain]| rules.iter().map(|rule| rule.spec(fault)).collect();
                let specs: Vec<_> = known
                    .map(|(first, rules)| (*first, specs_of(rules)))
                    .collect();
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
        Self {
            world,
            place,
            fault,
            core,
            sets,
            named: BTreeMap::new(),
            newest: BTreeMap::new(),
            repairs: 0,
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
        if let (Core::Engine(engine), Rec::Escalation(escalation)) = (&mut self.core, record)
            && !(forgets && escalation.kind == EscalationKind::Closed)
        {
            engine.load_escalation(escalation);
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
                // One that is older than a rule is set aside: warming up is not simulated.
                engine.restore(state.as_ref().clone()).is_ok() && engine.backfill().is_none()
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
