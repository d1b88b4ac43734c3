//! Why there is an escalation: its window, its condition, the rule as it was, and the events that
//! counted. From the log alone.

use std::collections::BTreeMap;

use balefire_bus::{Log, Message};
use balefire_control::{Kind, Listing, Object, RULES_TENANT};
use balefire_event::{DedupId, Escalation, EscalationId, Lane, Timestamp, stamp};
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope};
use balefire_rule::{Measure, Rule, RuleKind};
use balefire_wire::escalation::v1 as wire;
use balefire_wire::{BatchView, RecordView};
use tonic::{Request, Status};

use crate::grpc::{Services, out_of_reach};
use crate::projection::Place;
use crate::stretch::Stretch;

/// Messages looked through for the events of one escalation.
pub const MESSAGES_MAX: u64 = 200_000;

/// The rule as it decided, and where that lies in the control log.
struct Decided {
    condition: String,
    object: Option<Object>,
}

/// The condition of a rule, in words.
fn condition(rule: &Rule) -> String {
    let fields = rule
        .group_by()
        .iter()
        .map(|field| field.name().into_owned());
    let by = fields.collect::<Vec<_>>().join(", ");
    let words = rule.kind.words();
    if by.is_empty() {
        words
    } else {
        format!("{words} by {by}")
    }
}

/// Whether the rule decides as the escalation was decided.
fn decides_so(rule: &Rule, escalation: &Escalation) -> bool {
    match &rule.kind {
        RuleKind::Single => escalation.rearm == 0,
        RuleKind::Threshold(of) => {
            (of.window, of.rearm) == (escalation.window, escalation.rearm)
                && (of.n == escalation.threshold || matches!(of.measure, Measure::Sequence { .. }))
        }
        RuleKind::AtClose(of) => (of.window, of.rearm) == (escalation.window, escalation.rearm),
    }
}

impl Services {
    /// The rule in force for the completing event; where that is another by now than the one that
    /// decided, the newest that decides so.
    fn decided(&self, escalation: &Escalation, event_revision: u64) -> Result<Decided, Status> {
        let known = self.control.known();
        let versions = known.sets.iter().filter_map(|(first, set)| {
            let rule = set.rule(&escalation.rule_id)?;
            decides_so(rule, escalation).then_some((*first, rule))
        });
        let versions: Vec<(u64, &Rule)> = versions.collect();
        let then = versions
            .iter()
            .rev()
            .find(|(first, _)| *first <= event_revision);
        let Some((first, rule)) = then.or(versions.last()) else {
            return Ok(Decided {
                condition: escalation.condition.clone(),
                object: None,
            });
        };
        let id = rule.id.to_uuid();
        // The first set is in force from 0 on; its objects came with it.
        let at = if *first == 0 {
            event_revision.max(1)
        } else {
            *first
        };
        let object = self.control.look(|book| {
            let listing = Listing {
                tenant: RULES_TENANT,
                kind: Some(Kind::Rule),
                managed_by: "",
                at,
            };
            let holds = |object: &&Object| object.text("yaml").to_ascii_lowercase().contains(&id);
            book.list(listing, None).find(holds).cloned()
        });
        Ok(Decided {
            condition: condition(rule),
            object: object.map_err(|e| out_of_reach(&e))?,
        })
    }

    /// The escalation at a place, with its message.
    async fn at(
        &self,
        (partition, sequence, index): Place,
    ) -> Result<(Message, Escalation), Status> {
        let stream = self.topology.escalations_stream(partition);
        let message = Log::new(&self.bus).get(&stream, sequence).await;
        let message = message.map_err(|e| out_of_reach(&e))?;
        let gone = || Status::not_found("its record is not in the log any more");
        let message = message.ok_or_else(gone)?;
        let index = usize::try_from(index).map_err(|_| gone())?;
        let escalation = BatchView::parse(&message.payload).ok().and_then(|batch| {
            match batch.records().nth(index) {
                Some(Ok(RecordView::Escalation(escalation))) => Some(*escalation),
                _ => None,
            }
        });
        Ok((message, escalation.ok_or_else(gone)?))
    }

    /// The events of its evidence, by the place of their first record.
    async fn evidence(
        &self,
        escalation: &Escalation,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<wire::ExplainedEvent>, Status> {
        let reach = |error: balefire_bus::Error| out_of_reach(&error);
        let wanted = escalation.evidence.iter();
        let mut open: BTreeMap<DedupId, Timestamp> =
            wanted.map(|item| (item.dedup_id, item.t)).collect();
        let mut found = Vec::new();
        let mut left = MESSAGES_MAX;
        for partition in 0..self.topology.partitions {
            for lane in Lane::ALL.iter().copied() {
                let stream = self.topology.events_stream(lane, partition);
                let stretch = Stretch::since(&self.bus, stream, from)
                    .await
                    .map_err(reach)?;
                let mut reading = stretch.read(&self.bus).await.map_err(reach)?;
                while left > 0 && !open.is_empty() {
                    let Some(message) = reading.next().await.map_err(reach)? else {
                        break;
                    };
                    if message.stored_at > until {
                        break;
                    }
                    left -= 1;
                    take(
                        &message,
                        stretch.stream(),
                        escalation,
                        &mut open,
                        &mut found,
                    );
                }
            }
        }
        found.sort_by_key(|(t, id, _)| (*t, *id));
        Ok(found.into_iter().map(|(_, _, event)| event).collect())
    }

    /// Answers ExplainEscalation.
    pub(crate) async fn explain(
        &self,
        call: Request<wire::ExplainEscalationRequest>,
    ) -> Result<wire::ExplainEscalationResponse, Status> {
        let caller = Caller::of(&call, Scope::Read)?;
        let _place = self.rooms.lists.enter()?;
        let id = EscalationId::from_slice(&call.into_inner().escalation_id)
            .map_err(|_| invalid("escalation_id", "takes 16 bytes"))?;
        let caught_up = self.projection.caught_up(&self.bus, &self.topology).await;
        caught_up.map_err(|e| out_of_reach(&e))?;
        let none = || Status::not_found(format!("there is no escalation {id}"));
        let place = self.projection.place(&id).ok_or_else(none)?;
        let (message, escalation) = self.at(place).await?;
        if escalation.tenant != *caller.tenant {
            return Err(none());
        }
        let trigger = escalation.trigger.as_deref();
        let event_revision = trigger.map_or(0, |event| event.control_revision);
        let decided = self.decided(&escalation, event_revision)?;
        let end = escalation.breach_at;
        let start = end.minus(escalation.window);
        // A windowless rule takes what is late, too: then its time says nothing of its arrival.
        let from = if escalation.window == 0 {
            escalation.received_at
        } else {
            start.minus(stamp::AHEAD)
        };
        let from = from.minus(stamp::SKEW);
        let events = self.evidence(&escalation, from, message.stored_at).await?;
        let missing = escalation.evidence.len().saturating_sub(events.len());
        let object = decided.object;
        Ok(wire::ExplainEscalationResponse {
            escalation: Some(wire::EscalationEntry {
                escalation: Some((&escalation).into()),
                partition: place.0,
                sequence: place.1,
                stored_at_ns: message.stored_at.0,
            }),
            window_end_ns: end.0,
            window_start_ns: start.0,
            condition: decided.condition,
            rule_revision: object.as_ref().map_or(0, |object| object.control_revision),
            rule_object: object
                .as_ref()
                .map_or(String::new(), |o| o.key.name.clone()),
            rule_object_revision: object.as_ref().map_or(0, |object| object.revision),
            rule_yaml: object
                .as_ref()
                .map_or(String::new(), |o| o.text("yaml").to_owned()),
            event_revision,
            events,
            events_missing: u32::try_from(missing).unwrap_or(u32::MAX),
        })
    }
}

/// Takes the events of a message that are looked for.
fn take(
    message: &Message,
    stream: &str,
    escalation: &Escalation,
    open: &mut BTreeMap<DedupId, Timestamp>,
    found: &mut Vec<(Timestamp, DedupId, wire::ExplainedEvent)>,
) {
    let Ok(batch) = BatchView::parse(&message.payload) else {
        return;
    };
    if batch.header.tenant != escalation.tenant {
        return;
    }
    for (index, record) in (0u32..).zip(batch.records()) {
        let Ok(RecordView::Event(event)) = record else {
            continue;
        };
        if let Some(t) = open.remove(&event.dedup_id) {
            let explained = wire::ExplainedEvent {
                event: Some((&event).into()),
                stream: stream.to_owned(),
                sequence: message.sequence,
                index,
            };
            found.push((t, event.dedup_id, explained));
        }
    }
}
