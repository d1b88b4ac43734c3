//! Who is told of what a partition reads: first of an escalation, then of what becomes of it.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, EscalationKind, Timestamp};

use crate::delivery::Standing;
use crate::effect::Effect;
use crate::plan::{Choice, Plan};
use crate::record::{Intent, Notice, Withheld};
use crate::state::State;

/// What a decision is made with.
#[derive(Clone, Copy)]
struct Desk<'a> {
    plan: &'a Plan,
    sequence: u64,
    now: Timestamp,
}

impl Desk<'_> {
    /// That a receiver is told of a record.
    fn intent(&self, record: &Escalation, receiver: &Arc<str>, route: &Arc<str>) -> Intent {
        Intent {
            escalation_id: record.escalation_id,
            receiver: Arc::clone(receiver),
            escalation_sequence: self.sequence,
            severity: record.severity,
            decided_at: self.now,
            route: Arc::clone(route),
            notice: Notice::about(record),
            episode_id: record.episode_id,
            withheld: None,
            withheld_by: "".into(),
            tier: self.plan.tier(&record.tenant, record.severity),
            group: 0,
            control_revision: self.plan.revision,
        }
    }
}

fn withheld(intent: Intent, why: Withheld, by: impl Into<Arc<str>>) -> Intent {
    Intent {
        withheld: Some(why),
        withheld_by: by.into(),
        ..intent
    }
}

impl State {
    pub(crate) fn escalated(
        &mut self,
        sequence: u64,
        escalations: &[Escalation],
        plan: &Plan,
        now: Timestamp,
    ) -> Vec<Effect> {
        let desk = Desk {
            plan,
            sequence,
            now,
        };
        let tenant: Arc<str> = match escalations.first() {
            Some(first) => first.tenant.as_str().into(),
            None => return Vec::new(),
        };
        let new = sequence > self.position;
        let (mut all, mut decided) = (Vec::new(), false);
        for record in escalations {
            let id = record.escalation_id;
            if record.kind == EscalationKind::Closed {
                self.closed.insert(id);
            }
            let first = Notice::about(record) == Notice::First;
            if first == self.knows(&id) {
                continue;
            }
            decided |= new;
            let intents = match (new && !record.backfill && !record.shadow, first) {
                (false, _) => Vec::new(),
                (true, true) => self.first(desk, record),
                (true, false) => self.further(desk, record),
            };
            if first && intents.is_empty() {
                self.silent.insert(id);
            }
            for intent in &intents {
                self.deciding(&tenant, intent);
            }
            all.extend(intents);
        }
        if !decided {
            return Vec::new();
        }
        vec![Effect::RecordIntents {
            sequence,
            tenant,
            intents: all,
        }]
    }

    /// Of an escalation that nobody was told of.
    fn first(&self, desk: Desk<'_>, record: &Escalation) -> Vec<Intent> {
        let choices = desk.plan.decide(record, desk.now);
        if choices.is_empty() && desk.plan.is_routed(&record.tenant) {
            let nobody = desk.intent(record, &"".into(), &"".into());
            return vec![withheld(nobody, Withheld::NoRoute, "")];
        }
        let each = choices.iter();
        each.map(|choice| self.choose(desk, record, choice))
            .collect()
    }

    fn choose(&self, desk: Desk<'_>, record: &Escalation, choice: &Choice) -> Intent {
        let intent = Intent {
            group: choice.group.map_or(0, |(group, _)| group),
            ..desk.intent(record, &choice.receiver, &choice.route)
        };
        if let Some(silence) = &choice.silence {
            return withheld(intent, Withheld::Silenced, Arc::clone(silence));
        }
        let told = choice.group.and_then(|group| {
            self.groups
                .told(&choice.receiver, group, record.severity, desk.now)
        });
        match told {
            Some(told) => withheld(intent, Withheld::Grouped, told.to_string()),
            None => intent,
        }
    }

    /// Of what becomes of an escalation: to those who were told of it and want to know.
    fn further(&self, desk: Desk<'_>, record: &Escalation) -> Vec<Intent> {
        let id = record.escalation_id;
        let Some(entry) = self.entries.get(&id) else {
            return Vec::new();
        };
        let notice = Notice::about(record);
        let mut intents = Vec::new();
        let firsts = entry.deliveries.iter();
        for first in firsts.filter(|p| p.intent.notice == Notice::First) {
            let name = &first.intent.receiver;
            let receiver = desk.plan.receiver(name).filter(|one| one.updates);
            let (Some(receiver), None) = (receiver, entry.delivery(name, notice)) else {
                continue;
            };
            if first.standing == Standing::Withheld {
                continue;
            }
            let intent = desk.intent(record, name, &first.intent.route);
            let open = match notice.is_end() && receiver.target.keeps_one_thing() {
                true => self.open_beside(record.episode_id, id, name),
                false => None,
            };
            intents.push(match open {
                Some(open) => withheld(intent, Withheld::EpisodeOpen, open.to_string()),
                None => intent,
            });
        }
        intents
    }

    /// Another escalation of an episode that a receiver was told of and that has not ended.
    fn open_beside(
        &self,
        episode: EscalationId,
        id: EscalationId,
        receiver: &str,
    ) -> Option<EscalationId> {
        let all = self.episodes.get(&episode)?;
        all.iter()
            .filter(|other| **other != id)
            .find(|other| {
                let entry = self.entries.get(other);
                let told = entry.is_some_and(|entry| entry.told(receiver).next().is_some());
                told && !self.closed.contains(other)
            })
            .copied()
    }
}
