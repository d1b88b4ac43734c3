//! `ReceiverService`: how receivers are, trying one out, and who would be told of what.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, EscalationKind};
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope, clock};
use balefire_notifier_core::breaker::Mood;
use balefire_notifier_core::classify::Item;
use balefire_notifier_core::plan::{Choice, Plan};
use balefire_notifier_core::queue::LineState;
use balefire_notifier_core::route::Receiver;
use balefire_notifier_core::{Intent, Notice, Withheld, objects, trial};
use balefire_wire::delivery::v1 as wire;
use balefire_wire::delivery::v1::receiver_service_server::ReceiverService;
use tonic::{Request, Response, Status};

use crate::codec;
use crate::desk::Desk;
use crate::dispatch::Board;
use crate::feed::Feeds;

/// Looks at what is in force.
#[derive(Debug, Clone)]
pub struct Receivers {
    /// What is in force.
    pub desk: Arc<Desk>,
    /// What waits.
    pub board: Arc<Board>,
    /// How the feeds are.
    pub feeds: Arc<Feeds>,
}

impl Receivers {
    fn state(&self, receiver: &Receiver, line: Option<LineState>) -> wire::ReceiverState {
        let feed = self.feeds.of(&receiver.name);
        let whole = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let line = line.unwrap_or(LineState {
            breaker: Mood::Closed,
            waiting: 0,
            under_way: 0,
            unlogged: 0,
        });
        wire::ReceiverState {
            name: receiver.name.to_string(),
            target: receiver.target.name().into(),
            of_file: receiver.tenant.is_none(),
            fault: self.desk.fault(&receiver.name).unwrap_or_default(),
            breaker: line.breaker.as_str().into(),
            waiting: whole(line.waiting),
            under_way: whole(line.under_way),
            updates: receiver.updates,
            max_classification: receiver.max_classification.as_str().into(),
            feed: receiver.feed,
            feed_lag: feed.lag,
            feed_error: feed.error,
        }
    }

    /// A receiver that cannot be in force: only its name and why.
    fn at_fault(name: &str, fault: String) -> wire::ReceiverState {
        wire::ReceiverState {
            name: name.to_owned(),
            fault,
            ..wire::ReceiverState::default()
        }
    }
}

/// Whether a name of the log is of a tenant.
fn is_of(name: &str, tenant: &str) -> bool {
    let whose = name
        .split_once('/')
        .map_or(objects::PLATFORM, |(tenant, _)| tenant);
    whose == tenant
}

#[tonic::async_trait]
impl ReceiverService for Receivers {
    async fn list_receivers(
        &self,
        request: Request<wire::ListReceiversRequest>,
    ) -> Result<Response<wire::ListReceiversResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let plan = self.desk.plan();
        let own = plan
            .receivers
            .iter()
            .filter(|one| one.is_of(&caller.tenant));
        let mut receivers = Vec::new();
        {
            let queue = self.board.queue();
            for receiver in own {
                let line = queue.lines().find(|(name, _)| **name == receiver.name);
                receivers.push(self.state(receiver, line.map(|(_, line)| line)));
            }
        }
        for (name, fault) in self.desk.faults() {
            if plan.receiver(&name).is_none() && is_of(&name, &caller.tenant) {
                receivers.push(Self::at_fault(&name, fault));
            }
        }
        Ok(Response::new(wire::ListReceiversResponse {
            receivers,
            control_revision: plan.revision,
        }))
    }

    async fn test_receiver(
        &self,
        request: Request<wire::TestReceiverRequest>,
    ) -> Result<Response<wire::TestReceiverResponse>, Status> {
        let caller = Caller::of(&request, Scope::Operate)?;
        let name = request.into_inner().name;
        let plan = self.desk.plan();
        let own = objects::log_name(&caller.tenant, &name);
        let found = plan.receiver(&own).or_else(|| plan.receiver(&name));
        let found = found.filter(|one| one.is_of(&caller.tenant));
        if let Some(fault) = self.desk.fault(&own) {
            return Err(Status::failed_precondition(format!("{name}: {fault}")));
        }
        let callable = found.and_then(|one| Some((one, self.desk.caller(&one.name)?)));
        let Some((receiver, call)) = callable else {
            return Err(Status::not_found(format!(
                "no receiver {name}; `balefire receivers list` shows those there are"
            )));
        };
        let id = EscalationId(rand::random());
        let mut kinds = vec![EscalationKind::Raised];
        if receiver.updates {
            kinds.push(EscalationKind::Closed);
        }
        tracing::info!(receiver = %receiver.name, actor = %caller.subject, "receiver tried out");
        let (mut calls, mut handle) = (Vec::new(), String::new());
        for kind in kinds {
            let who = (&*caller.tenant, &*caller.subject, name.as_str());
            let record = trial::escalation(id, kind, who, clock::now());
            let started = tokio::time::Instant::now();
            let reply = call.send(&record, &"".into(), &handle).await;
            let verdict = reply.verdict.alone();
            calls.push(wire::TestedCall {
                kind: kind.number(),
                verdict: match verdict {
                    Item::Delivered => "delivered",
                    Item::Retry { .. } => "retry",
                    Item::Permanent => "refused",
                }
                .into(),
                status: u32::from(reply.status),
                error: reply.error,
                took_ns: i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX),
            });
            if verdict != Item::Delivered {
                break;
            }
            handle = reply.handle;
        }
        Ok(Response::new(wire::TestReceiverResponse {
            calls,
            escalation_id: codec::id_bytes(&id),
        }))
    }

    async fn explain_routing(
        &self,
        request: Request<wire::ExplainRoutingRequest>,
    ) -> Result<Response<wire::ExplainRoutingResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let asked = request.into_inner().escalation;
        let asked = asked.ok_or_else(|| invalid("escalation", "is missing"))?;
        let escalation = Escalation::try_from(&asked)
            .map_err(|error| invalid("escalation", &error.to_string()))?;
        let escalation = Escalation {
            tenant: caller.tenant.to_string(),
            ..escalation
        };
        let plan = self.desk.plan();
        let explained = plan.explain(&escalation, clock::now());
        let reasons = explained.reasons.iter().map(|reason| wire::RoutingReason {
            about: reason.about.clone(),
            said: reason.said.clone(),
        });
        let choices = explained.choices.iter();
        let intents = choices.map(|choice| codec::intent(&would_be(&plan, &escalation, choice)));
        Ok(Response::new(wire::ExplainRoutingResponse {
            reasons: reasons.collect(),
            intents: intents.collect(),
            control_revision: plan.revision,
        }))
    }
}

fn would_be(plan: &Plan, escalation: &Escalation, choice: &Choice) -> Intent {
    Intent {
        escalation_id: escalation.escalation_id,
        receiver: Arc::clone(&choice.receiver),
        escalation_sequence: 0,
        severity: escalation.severity,
        decided_at: clock::now(),
        route: Arc::clone(&choice.route),
        notice: Notice::First,
        episode_id: escalation.episode_id,
        withheld: choice.silence.as_ref().map(|_| Withheld::Silenced),
        withheld_by: choice.silence.clone().unwrap_or_default(),
        tier: plan.tier(&escalation.tenant, escalation.severity),
        group: choice.group.map_or(0, |(group, _)| group),
        control_revision: plan.revision,
        summary: None,
        digest: None,
    }
}
