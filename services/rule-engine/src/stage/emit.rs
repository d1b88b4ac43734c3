//! What the engine wants done, as records for their targets.

use std::sync::Arc;

use balefire_driver::{DeadLetter, Effects, Output};
use balefire_event::{BarrierId, Timestamp, partition};
use balefire_rule_engine_core::{Effect, Part, Rekeyed};
use balefire_wire::RecordRef;

use super::EngineStage;
use crate::output::output;
use crate::wiring;

impl EngineStage {
    /// `lateness_max` is the input batch's.
    pub(super) fn settle(&mut self, tenant: &Arc<str>, lateness_max: i64, effects: &mut Effects) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Escalate(escalation) => {
                    let tenant = Arc::from(escalation.tenant.as_str());
                    let record = RecordRef::Escalation(&escalation);
                    let at = Some(escalation.received_at);
                    effects
                        .outputs
                        .push(output(wiring::ESCALATIONS, tenant, record, at));
                }
                Effect::Rekey(found) => {
                    effects
                        .outputs
                        .push(self.matched(tenant, lateness_max, &found));
                }
                Effect::Promise { at } => {
                    let partition = self.partition;
                    let record = RecordRef::Watermark { partition, at };
                    self.everywhere(record, None, effects);
                }
                Effect::BarrierOut { id, at } => self.barrier_out(id, at, effects),
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

    fn matched(&self, tenant: &Arc<str>, lateness_max: i64, found: &Rekeyed) -> Output {
        let to = partition::of_match(tenant, &found.rule, &found.key, self.partitions);
        let event = &found.event;
        let record = RecordRef::Match {
            rule_id: found.rule,
            generation: found.generation,
            event,
        };
        let at = Some(event.received_at);
        Output {
            // Whoever reads it must know the generation.
            control_revision: event.control_revision.max(found.generation),
            lateness_max: lateness_max.max(event.lateness),
            ..output(wiring::rekeyed(to), Arc::clone(tenant), record, at)
        }
    }

    /// Behind the escalations that lie here, and behind those that come through REKEYED.
    fn barrier_out(&self, id: BarrierId, at: Timestamp, effects: &mut Effects) {
        let record = RecordRef::Barrier { id, at };
        let own = output(wiring::ESCALATIONS, Arc::from(""), record, Some(at));
        effects.outputs.push(own);
        if self.part == Part::Events {
            self.everywhere(record, Some(at), effects);
        }
    }

    /// To every REKEYED partition.
    fn everywhere(&self, record: RecordRef<'_>, at: Option<Timestamp>, effects: &mut Effects) {
        for to in 0..self.partitions {
            let output = output(wiring::rekeyed(to), Arc::from(""), record, at);
            effects.outputs.push(output);
        }
    }
}
