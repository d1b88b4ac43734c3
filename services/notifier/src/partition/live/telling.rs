//! What was decided becomes records; pages are counted on the way.

use std::sync::Arc;

use balefire_event::Escalation;
use balefire_kit::clock;
use balefire_notifier_core::{Effect, Input, Intent, Notice};

use super::Live;

impl Live<'_> {
    /// Storms of this partition whose ten minutes are over.
    pub(super) fn ticked(&mut self) {
        let plan = self.parts.desk.plan();
        let effects = self.parts.view.state().apply(Input::Ticked {
            now: clock::now(),
            plan: &plan,
            partition: self.parts.writer.partition,
            storms: &mut self.parts.desk.storms(),
        });
        self.record(effects, &[]);
    }

    pub(super) fn record(&mut self, effects: Vec<Effect>, escalations: &[Escalation]) {
        for effect in effects {
            if let Effect::RecordIntents {
                sequence,
                tenant,
                intents,
            } = effect
            {
                self.decided(&tenant, sequence, &intents, escalations);
            }
        }
    }

    /// Pages are counted over all partitions of the process.
    pub(super) fn page(&self, tenant: &str, intent: &Intent) {
        let plan = self.parts.desk.plan();
        let receiver = plan.receiver(&intent.receiver);
        let pages_max = receiver.and_then(|receiver| receiver.storm_pages);
        let partition = self.parts.writer.partition;
        let mut storms = self.parts.desk.storms();
        storms.note(partition, tenant, intent, pages_max);
    }

    fn decided(
        &mut self,
        tenant: &Arc<str>,
        sequence: u64,
        intents: &[Intent],
        escalations: &[Escalation],
    ) {
        let told = intents.chunk_by(|a, b| a.escalation_id == b.escalation_id);
        for intent in told.filter_map(<[Intent]>::first) {
            let (id, notice) = (intent.escalation_id, intent.notice);
            let one = escalations
                .iter()
                .find(|one| one.escalation_id == id && Notice::about(one) == notice);
            if let Some(one) = one {
                self.parts.bodies.keep(one);
            }
        }
        for intent in intents {
            match intent.withheld {
                None => metrics::counter!("balefire_delivery_intents_total").increment(1),
                Some(why) => {
                    let why = why.as_str();
                    metrics::counter!("balefire_delivery_withheld_total", "reason" => why)
                        .increment(1);
                }
            }
        }
        self.journal.intents(tenant, sequence, intents);
    }
}
