//! Who is told of what a partition reads: first of an escalation, then of what becomes of it.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, EscalationKind, Severity, Timestamp};

use crate::ack::is_repeat;
use crate::delivery::Standing;
use crate::digest::{DIGEST_RULE, Digest, digest_id};
use crate::effect::Effect;
use crate::plan::{Choice, Plan};
use crate::record::{Intent, Notice, Withheld};
use crate::state::State;
use crate::storm::{Page, Passed, STORM_OVER, Storms};
use crate::summary::STORM_RULE;

/// What a decision is made with.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) partition: u32,
    pub(crate) sequence: u64,
    pub(crate) now: Timestamp,
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
            summary: None,
            digest: None,
        }
    }

    /// The weekly digest of a tenant.
    fn digest(&self, receiver: &Arc<str>, tenant: &str, digest: Digest) -> Intent {
        let id = digest_id(tenant, receiver, digest.from);
        Intent {
            escalation_id: id,
            receiver: Arc::clone(receiver),
            escalation_sequence: self.sequence,
            severity: Severity::Low,
            decided_at: self.now,
            route: DIGEST_RULE.into(),
            notice: Notice::First,
            episode_id: id,
            withheld: None,
            withheld_by: "".into(),
            tier: self.plan.tier(tenant, Severity::Low),
            group: 0,
            control_revision: self.plan.revision,
            summary: None,
            digest: Some(Arc::new(digest)),
        }
    }

    /// The summary page of a storm.
    fn summary(&self, passed: Passed, route: &str) -> Intent {
        Intent {
            escalation_id: passed.id,
            receiver: passed.receiver,
            escalation_sequence: passed.sequence,
            severity: passed.severity,
            decided_at: self.now,
            route: route.into(),
            notice: match passed.round {
                0 => Notice::First,
                round => Notice::Amended(round),
            },
            episode_id: passed.id,
            withheld: None,
            withheld_by: "".into(),
            tier: self.plan.tier(&passed.tenant, passed.severity),
            group: 0,
            control_revision: self.plan.revision,
            summary: Some(Arc::new(passed.summary)),
            digest: None,
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
        desk: Desk<'_>,
        escalations: &[Escalation],
        storms: &mut Storms,
    ) -> Vec<Effect> {
        let sequence = desk.sequence;
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
                self.open(desk.plan, record);
                continue;
            }
            decided |= new;
            let intents = match (new && !record.backfill && !record.shadow, first) {
                (false, _) => Vec::new(),
                (true, true) => self.first(desk, record, storms),
                (true, false) => self.further(desk, record),
            };
            if first && intents.is_empty() {
                self.silent.insert(id);
            }
            for intent in &intents {
                self.deciding(&tenant, intent);
            }
            self.open(desk.plan, record);
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

    /// From now on it may keep others from being told, or no longer does.
    fn open(&mut self, plan: &Plan, record: &Escalation) {
        if !record.backfill && !record.shadow {
            self.inhibitors.note(record, plan.inhibits(record));
        }
    }

    /// Of an escalation that nobody was told of.
    fn first(&self, desk: Desk<'_>, record: &Escalation, storms: &mut Storms) -> Vec<Intent> {
        let choices = desk.plan.decide(record, desk.now);
        if choices.is_empty() && desk.plan.is_routed(&record.tenant) {
            let nobody = desk.intent(record, &"".into(), &"".into());
            return vec![withheld(nobody, Withheld::NoRoute, "")];
        }
        let (mut intents, mut summaries) = (Vec::new(), Vec::new());
        for choice in &choices {
            let intent = self.choose(desk, record, choice);
            let receiver = desk.plan.receiver(&intent.receiver);
            let pages_max = receiver.and_then(|receiver| receiver.storm_pages);
            let (None, Some(pages_max)) = (intent.withheld, pages_max) else {
                intents.push(intent);
                continue;
            };
            let tenant: Arc<str> = record.tenant.as_str().into();
            let place = (desk.partition, &tenant);
            match storms.page(place, &intent, &record.rule_name, pages_max) {
                Page::Told => intents.push(intent),
                Page::Held(storm) => {
                    intents.push(withheld(intent, Withheld::Storm, storm.to_string()));
                }
                Page::Begins(first) => {
                    let storm = first.id.to_string();
                    intents.push(withheld(intent, Withheld::Storm, storm));
                    summaries.push(desk.summary(first, STORM_RULE));
                }
            }
        }
        // Those of one escalation stand together.
        intents.extend(summaries);
        intents
    }

    /// The summaries of storms whose ten minutes are over.
    pub(crate) fn ticked(&mut self, desk: Desk<'_>, storms: &mut Storms) -> Vec<Effect> {
        let mut effects = Vec::new();
        for passed in storms.passed(desk.partition, desk.now) {
            let tenant = Arc::clone(&passed.tenant);
            let route = if passed.summary.goes_on {
                STORM_RULE
            } else {
                STORM_OVER
            };
            let intent = desk.summary(passed, route);
            let told = self.entries.get(&intent.escalation_id);
            let known =
                told.is_some_and(|entry| entry.delivery(&intent.receiver, intent.notice).is_some());
            if known {
                continue;
            }
            self.deciding(&tenant, &intent);
            effects.push(Effect::RecordIntents {
                sequence: desk.sequence,
                tenant,
                intents: vec![intent],
            });
        }
        effects
    }

    /// A receiver's digests of a week that was read: what is to be written, and the ids of all of
    /// them. One that is known is not decided again.
    pub fn digested(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        receiver: &Arc<str>,
        digests: Vec<(Arc<str>, Digest)>,
    ) -> (Vec<Effect>, Vec<EscalationId>) {
        let desk = Desk {
            plan,
            partition: 0,
            sequence: self.position,
            now,
        };
        let (mut effects, mut ids) = (Vec::new(), Vec::new());
        for (tenant, digest) in digests {
            let intent = desk.digest(receiver, &tenant, digest);
            ids.push(intent.escalation_id);
            if self.knows(&intent.escalation_id) {
                continue;
            }
            self.deciding(&tenant, &intent);
            effects.push(Effect::RecordIntents {
                sequence: desk.sequence,
                tenant,
                intents: vec![intent],
            });
        }
        (effects, ids)
    }

    /// Whether what was decided about all of these lies in the log.
    #[must_use]
    pub fn are_logged(&self, ids: &[EscalationId]) -> bool {
        let deciding = |id: &EscalationId| {
            let entry = self.entries.get(id);
            let mut all = entry.into_iter().flat_map(|entry| &entry.deliveries);
            all.any(|one| one.standing == Standing::Deciding)
        };
        ids.iter().all(|id| self.knows(id) && !deciding(id))
    }

    fn choose(&self, desk: Desk<'_>, record: &Escalation, choice: &Choice) -> Intent {
        let intent = Intent {
            group: choice.group.map_or(0, |(group, _)| group),
            ..desk.intent(record, &choice.receiver, &choice.route)
        };
        if let Some(silence) = &choice.silence {
            return withheld(intent, Withheld::Silenced, Arc::clone(silence));
        }
        let over = choice
            .inhibited_at
            .and_then(|place| self.inhibitors.over(place, record, desk.now));
        if let Some(over) = over {
            return withheld(intent, Withheld::Inhibited, over.to_string());
        }
        let told = choice.group.and_then(|group| {
            self.groups
                .told(&choice.receiver, group, record.severity, desk.now)
        });
        if let Some(told) = told {
            return withheld(intent, Withheld::Grouped, told.to_string());
        }
        let receiver = desk.plan.receiver(&choice.receiver);
        let repeats = receiver.is_some_and(|receiver| receiver.target.pages());
        let on_it = (repeats && is_repeat(record.kind))
            .then(|| self.acks.covers(&record.episode_id, record.severity))
            .flatten();
        match on_it {
            Some(actor) => withheld(intent, Withheld::Acknowledged, actor),
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
            // Of what nobody was told because somebody is on it, its end must end the incident.
            let ends = notice.is_end() && first.intent.withheld == Some(Withheld::Acknowledged);
            if first.standing == Standing::Withheld && !ends {
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
                let told = entry.is_some_and(|entry| entry.keeps_open(receiver));
                told && !self.closed.contains(other)
            })
            .copied()
    }
}
