//! RuleService and EscalationService.

use std::pin::Pin;

use balefire_bus::{Bus, Log, Message, Topology};
use balefire_driver::Inspector;
use balefire_event::identity::TenantKey;
use balefire_event::{BarrierId, Escalation, EscalationKind, IdentityKind, Severity, SubjectRef};
use balefire_kit::violation::{invalid, unavailable};
use balefire_kit::{Caller, Scope};
use balefire_rule::{Rule, RuleKind};
use balefire_wire::escalation::v1::escalation_service_server::EscalationService;
use balefire_wire::escalation::v1::{
    AwaitBarrierRequest, AwaitBarrierResponse, DigestStateRequest, DigestStateResponse,
    EscalationEntry, EscalationFilter, ExplainEscalationRequest, ExplainEscalationResponse,
    ListEscalationsRequest, ListEscalationsResponse, WatchEscalationsRequest,
    WatchEscalationsResponse,
};
use balefire_wire::rule::v1::rule_service_server::RuleService;
use balefire_wire::rule::v1::{ListRulesRequest, ListRulesResponse, Rule as WireRule};
use balefire_wire::{BatchView, RecordView};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::control::ControlLog;
use crate::held;
use crate::projection::{Place, Projection};
use crate::room::Rooms;

/// Page size where none is asked for, and the largest.
const PAGE_DEFAULT: usize = 500;
const PAGE_MAX: usize = 5_000;
/// Entries that wait for a slow watcher.
const WATCH_QUEUE_MAX: usize = 256;
/// When to come again while the log is out of reach.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(250);

/// Both services of the rule engine.
#[derive(Clone)]
pub struct Services {
    /// Read credential.
    pub bus: Bus,
    /// Names of the streams.
    pub topology: Topology,
    /// Rule sets.
    pub control: ControlLog,
    /// ESCALATIONS, followed.
    pub projection: Projection,
    /// Asks the engines what they hold.
    pub inspector: Inspector,
    /// How many calls at once.
    pub rooms: Rooms,
    /// Ends watches.
    pub shutdown: CancellationToken,
}

pub(crate) fn out_of_reach(error: &impl std::error::Error) -> Status {
    tracing::warn!(%error, "the log is out of reach");
    unavailable("the log is out of reach", RETRY_AFTER)
}

/// A filter that was checked.
struct Wanted {
    tenant: String,
    filter: EscalationFilter,
    user: Option<SubjectRef>,
}

impl Wanted {
    fn of(caller: &Caller, filter: Option<EscalationFilter>) -> Result<Self, Status> {
        let filter = filter.unwrap_or_default();
        if filter.severity_min != 0 && Severity::from_number(filter.severity_min).is_none() {
            return Err(invalid(
                "filter.severity_min",
                "is none of low, medium, high, critical",
            ));
        }
        let key = TenantKey::default_of(&caller.tenant);
        let user = (!filter.user.is_empty())
            .then(|| SubjectRef::of(&key, IdentityKind::User, &filter.user));
        Ok(Self {
            tenant: caller.tenant.to_string(),
            filter,
            user,
        })
    }

    fn takes(&self, escalation: &Escalation) -> bool {
        let user = |user: &SubjectRef| {
            let in_key = escalation.key.iter().any(|part| part.canonical == user.0);
            let triggered = escalation
                .trigger
                .as_ref()
                .and_then(|event| event.user.as_ref());
            in_key || triggered.is_some_and(|identity| identity.subject_ref == *user)
        };
        escalation.tenant == self.tenant
            && (self.filter.since_ns == 0 || escalation.breach_at.0 >= self.filter.since_ns)
            && (self.filter.rule.is_empty() || escalation.rule_name == self.filter.rule)
            && escalation.severity.number() >= self.filter.severity_min
            && self.user.as_ref().is_none_or(user)
            && match escalation.kind {
                EscalationKind::Raised | EscalationKind::Continued => true,
                EscalationKind::Closed | EscalationKind::Amended => self.filter.closed,
            }
    }

    /// The entries of one message, from an index on, with the place of each.
    fn entries(
        &self,
        message: &Message,
        partition: u32,
        from: u32,
        projection: &Projection,
    ) -> Vec<(Place, EscalationEntry)> {
        let Ok(batch) = BatchView::parse(&message.payload) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (index, record) in (0u32..).zip(batch.records()) {
            let Ok(RecordView::Escalation(escalation)) = record else {
                continue;
            };
            let place = (partition, message.sequence, index);
            let stands = match escalation.kind {
                EscalationKind::Raised | EscalationKind::Continued => {
                    projection.is_first(&escalation.escalation_id, place)
                }
                EscalationKind::Closed | EscalationKind::Amended => true,
            };
            if index < from || !stands || !self.takes(&escalation) {
                continue;
            }
            let entry = EscalationEntry {
                escalation: Some((&*escalation).into()),
                partition,
                sequence: message.sequence,
                stored_at_ns: message.stored_at.0,
            };
            entries.push((place, entry));
        }
        entries
    }
}

/// Reads `partition.sequence.index`.
fn token(text: &str) -> Result<Place, Status> {
    if text.is_empty() {
        return Ok((0, 1, 0));
    }
    let wrong = || {
        invalid(
            "page_token",
            "is none that this server gave; start without one",
        )
    };
    let mut parts = text.split('.');
    let mut next = || {
        parts
            .next()
            .and_then(|part| part.parse::<u64>().ok())
            .ok_or_else(wrong)
    };
    let (partition, sequence, index) = (next()?, next()?, next()?);
    let small = |number: u64| u32::try_from(number).map_err(|_| wrong());
    Ok((small(partition)?, sequence, small(index)?))
}

type Watching = Pin<Box<dyn Stream<Item = Result<WatchEscalationsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl EscalationService for Services {
    async fn list_escalations(
        &self,
        request: Request<ListEscalationsRequest>,
    ) -> Result<Response<ListEscalationsResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let request = request.into_inner();
        let _place = self.rooms.lists.enter()?;
        let wanted = Wanted::of(&caller, request.filter)?;
        let asked = usize::try_from(request.page_size).unwrap_or(PAGE_MAX);
        let size = if asked == 0 {
            PAGE_DEFAULT
        } else {
            asked.min(PAGE_MAX)
        };
        let start = token(&request.page_token)?;
        self.projection
            .caught_up(&self.bus, &self.topology)
            .await
            .map_err(|e| out_of_reach(&e))?;
        let mut escalations = Vec::new();
        for partition in start.0..self.projection.partitions() {
            let (sequence, index) = if partition == start.0 {
                (start.1, start.2)
            } else {
                (1, 0)
            };
            let stream = self.topology.escalations_stream(partition);
            let tail = Log::new(&self.bus).read_all(&stream, sequence).await;
            let mut tail = tail.map_err(|e| out_of_reach(&e))?;
            while let Some(message) = tail.next().await.map_err(|e| out_of_reach(&e))? {
                let from = if message.sequence == sequence {
                    index
                } else {
                    0
                };
                for (place, entry) in wanted.entries(&message, partition, from, &self.projection) {
                    if escalations.len() == size {
                        let next_page_token = format!("{}.{}.{}", place.0, place.1, place.2);
                        return Ok(Response::new(ListEscalationsResponse {
                            escalations,
                            next_page_token,
                        }));
                    }
                    escalations.push(entry);
                }
            }
        }
        Ok(Response::new(ListEscalationsResponse {
            escalations,
            next_page_token: String::new(),
        }))
    }

    type WatchEscalationsStream = Watching;

    async fn watch_escalations(
        &self,
        request: Request<WatchEscalationsRequest>,
    ) -> Result<Response<Watching>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let request = request.into_inner();
        let place = self.rooms.watches.enter()?;
        let wanted = std::sync::Arc::new(Wanted::of(&caller, request.filter)?);
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE_MAX);
        for partition in 0..self.projection.partitions() {
            let stream = self.topology.escalations_stream(partition);
            let last = self
                .bus
                .stream_info(&stream)
                .await
                .map_err(|e| out_of_reach(&e))?
                .last_sequence;
            let from = if request.include_past { 1 } else { last + 1 };
            let tail = Log::new(&self.bus).tail(&stream, from);
            tokio::spawn(watch(
                self.clone(),
                wanted.clone(),
                partition,
                tail,
                sender.clone(),
            ));
        }
        // The place is held for as long as the stream.
        let answers = ReceiverStream::new(receiver).map(move |answer| {
            let _held = &place;
            answer
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn await_barrier(
        &self,
        request: Request<AwaitBarrierRequest>,
    ) -> Result<Response<AwaitBarrierResponse>, Status> {
        Caller::of(&request, Scope::Read)?;
        let id = BarrierId::from_slice(&request.into_inner().barrier_id).map_err(|_| {
            invalid(
                "barrier_id",
                "takes the 16 bytes that PlaceBarrier answered",
            )
        })?;
        let _place = self.rooms.barriers.enter()?;
        tokio::select! {
            () = self.projection.barrier(id) => {}
            () = self.shutdown.cancelled() => return Err(unavailable("shutting down", RETRY_AFTER)),
        }
        Ok(Response::new(AwaitBarrierResponse {
            partitions: self.projection.partitions(),
        }))
    }

    async fn explain_escalation(
        &self,
        request: Request<ExplainEscalationRequest>,
    ) -> Result<Response<ExplainEscalationResponse>, Status> {
        self.explain(request).await.map(Response::new)
    }

    async fn digest_state(
        &self,
        request: Request<DigestStateRequest>,
    ) -> Result<Response<DigestStateResponse>, Status> {
        Caller::of(&request, Scope::Operate)?;
        let _place = self.rooms.digests.enter()?;
        Ok(Response::new(held::answer(&self.inspector).await))
    }
}

/// Passes one partition's escalations on until the watcher leaves.
async fn watch(
    services: Services,
    wanted: std::sync::Arc<Wanted>,
    partition: u32,
    mut tail: balefire_bus::Tail,
    sender: mpsc::Sender<Result<WatchEscalationsResponse, Status>>,
) {
    loop {
        let message = tokio::select! {
            message = tail.next() => message,
            () = sender.closed() => return,
            () = services.shutdown.cancelled() => return,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                // The watcher left, or learns that it must ask again.
                let _left = sender.send(Err(out_of_reach(&error))).await;
                return;
            }
        };
        for (_, entry) in wanted.entries(&message, partition, 0, &services.projection) {
            let answer = WatchEscalationsResponse {
                escalation: Some(entry),
            };
            if sender.send(Ok(answer)).await.is_err() {
                return;
            }
        }
    }
}

fn to_wire(rule: &Rule, control_revision: u64) -> WireRule {
    let (threshold, window_ns, rearm_ns) = match &rule.kind {
        RuleKind::Single => (0, 0, 0),
        RuleKind::Threshold(threshold) => (threshold.n, threshold.window, threshold.rearm),
        RuleKind::AtClose(close) => (0, close.window, close.rearm),
    };
    WireRule {
        rule_id: Bytes::copy_from_slice(rule.id.as_bytes()),
        name: rule.name.clone(),
        title: rule.title.clone(),
        severity: rule.severity.number(),
        group_by: rule
            .group_by()
            .iter()
            .map(|field| field.name().into_owned())
            .collect(),
        threshold,
        window_ns,
        rearm_ns,
        recommended_actions: rule.actions.iter().map(Into::into).collect(),
        audiences: rule.audiences.clone(),
        control_revision,
        condition: rule.kind.words(),
    }
}

#[tonic::async_trait]
impl RuleService for Services {
    async fn list_rules(
        &self,
        request: Request<ListRulesRequest>,
    ) -> Result<Response<ListRulesResponse>, Status> {
        Caller::of(&request, Scope::Read)?;
        let known = self.control.known();
        let last = known.sets.last();
        let rules = last.map(|(first, set)| {
            set.rules()
                .iter()
                .map(|rule| to_wire(rule, *first))
                .collect()
        });
        Ok(Response::new(ListRulesResponse {
            rules: rules.unwrap_or_default(),
            control_revision: known.revision,
        }))
    }
}
