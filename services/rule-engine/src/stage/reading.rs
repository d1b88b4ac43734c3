//! A stage that is only read through: it forgets nothing, publishes nothing, and says what the log
//! gives. For `verify`.

use std::sync::Arc;

use balefire_driver::Input;
use balefire_event::{Escalation, Timestamp, partition};
use balefire_rule_engine_core::{
    Effect, Engine, EngineConfig, EngineState, Mismatch, Part, Rekeyed,
};

use crate::Error;
use crate::control::{ControlLog, Known};

use super::EngineStage;
use super::built::{build, config};

/// What a batch gives.
pub(crate) enum Given {
    /// An escalation.
    Escalation(Box<Escalation>),
    /// A match for that REKEYED partition.
    Match(u32, Box<Rekeyed>),
}

/// The engine of a partition over its whole log.
pub(crate) struct Reading {
    stage: EngineStage,
}

impl Reading {
    /// Under the rule sets known at `known`.
    pub(crate) fn new(
        part: Part,
        partition: u32,
        partitions: u32,
        known: &Known,
    ) -> Result<Self, Error> {
        let config = EngineConfig {
            keeps_all: true,
            ..config(part, partitions)
        };
        let engine = Engine::new(partition, &known.sets, config)?.of_part(part);
        let stage = EngineStage {
            part,
            partition,
            partitions,
            control: ControlLog::default(),
            sets: known.sets.len(),
            refused: 0,
            engine,
            effects: Vec::new(),
            slots_from: None,
            ahead: None,
        };
        Ok(Self { stage })
    }

    /// Takes a batch in.
    pub(crate) fn take(&mut self, input: &Input<'_>) -> Vec<Given> {
        // Each was laid aside by the owner.
        let mut dead_letters = Vec::new();
        self.stage.take(input, &mut dead_letters);
        let tenant: Arc<str> = Arc::from(input.batch.header.tenant.as_str());
        let partitions = self.stage.partitions;
        let effects = std::mem::take(&mut self.stage.effects);
        let given = effects.into_iter().filter_map(|effect| match effect {
            Effect::Escalate(escalation) => Some(Given::Escalation(escalation)),
            Effect::Rekey(found) => {
                let to = partition::of_match(&tenant, &found.rule, &found.key, partitions);
                Some(Given::Match(to, found))
            }
            // Nothing was forgotten, so nothing is a straggler.
            Effect::Repair(_)
            | Effect::Promise { .. }
            | Effect::BarrierOut { .. }
            | Effect::DeadLetter { .. } => None,
        });
        given.collect()
    }

    /// What was read.
    pub(crate) const fn engine(&self) -> &Engine {
        &self.stage.engine
    }

    /// Compares a stored state with this one; see [`Engine::first_difference`].
    pub(crate) fn differs(
        &self,
        stored: EngineState,
        known: &Known,
        since: Timestamp,
    ) -> Result<Option<Mismatch>, Error> {
        let EngineStage {
            part,
            partition,
            partitions,
            ..
        } = self.stage;
        let (mut engine, _) = build(part, partition, partitions, known)?;
        engine.restore(stored)?;
        Ok(engine.first_difference(&self.stage.engine, since))
    }
}
