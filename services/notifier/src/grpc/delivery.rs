//! `DeliveryService`: who was told what.

use std::sync::Arc;

use balefire_event::EscalationId;
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope, clock};
use balefire_notifier_core::{Acknowledgement, Intent, Notice, Said, Standing};
use balefire_wire::delivery::v1::delivery_service_server::DeliveryService;
use balefire_wire::delivery::v1::{
    AcknowledgeRequest, AcknowledgeResponse, Delivery, ListAcknowledgementsRequest,
    ListAcknowledgementsResponse, ListDeliveriesRequest, ListDeliveriesResponse, Withheld,
};
use tonic::{Request, Response, Status};

use super::{page_size, unavailable};
use crate::acks::Acks;
use crate::codec;
use crate::view::View;

/// Reads the partitions of this process.
#[derive(Clone)]
pub struct Deliveries {
    /// By partition.
    pub views: Arc<[Arc<View>]>,
    /// Where acknowledgements go.
    pub acks: Acks,
}

type Place = (EscalationId, String, Notice);

#[tonic::async_trait]
impl DeliveryService for Deliveries {
    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<ListDeliveriesResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = read_token(&request.page_token)?;
        let only = match request.escalation_id.as_ref() {
            [] => None,
            bytes => Some(
                EscalationId::from_slice(bytes)
                    .map_err(|error| invalid("escalation_id", &error.to_string()))?,
            ),
        };
        let withheld = Some(request.withheld()).filter(|why| *why != Withheld::Unspecified);
        let wanted = |intent: &Intent| {
            (request.receiver.is_empty() || request.receiver == *intent.receiver)
                && withheld.is_none_or(|why| intent.withheld.map(codec::withheld) == Some(why))
        };
        let mut found = Vec::new();
        for view in self.views.iter() {
            let ask = Ask {
                tenant: &caller.tenant,
                only,
                after: after.as_ref(),
                size,
            };
            collect(view, ask, wanted, &mut found);
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let next_page_token = match found.get(size) {
            Some(_) => found
                .get(size.saturating_sub(1))
                .map(|(place, _)| token(place))
                .unwrap_or_default(),
            None => String::new(),
        };
        found.truncate(size);
        Ok(Response::new(ListDeliveriesResponse {
            deliveries: found.into_iter().map(|(_, delivery)| delivery).collect(),
            next_page_token,
        }))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let caller = Caller::of(&request, Scope::Operate)?;
        let request = request.into_inner();
        let escalation_id = EscalationId::from_slice(&request.escalation_id)
            .map_err(|error| invalid("escalation_id", &error.to_string()))?;
        let known = self.views.iter().any(|view| {
            let state = view.state();
            let episode = state.episode_of(&escalation_id);
            let told = episode.and_then(|episode| state.told_of(&episode));
            told.is_some_and(|entry| *entry.tenant == *caller.tenant)
        });
        if !known {
            let message = format!("nobody was told of {escalation_id} by this notifier");
            return Err(Status::not_found(message));
        }
        let said = Acknowledgement {
            escalation_id,
            receiver: "".into(),
            actor: caller.subject.to_string(),
            at: clock::now(),
            said: codec::said(request.said()).unwrap_or(Said::Acknowledged),
            reference: String::new(),
        };
        let written = self.acks.write(&caller.tenant, &said).await;
        written.map_err(|error| unavailable(&error))?;
        Ok(Response::new(AcknowledgeResponse {
            acknowledgement: Some(codec::acknowledgement(&said)),
        }))
    }

    async fn list_acknowledgements(
        &self,
        request: Request<ListAcknowledgementsRequest>,
    ) -> Result<Response<ListAcknowledgementsResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => {
                let id = token.parse::<EscalationId>();
                Some(id.map_err(|_| invalid("page_token", "not one that was answered"))?)
            }
        };
        let mut found = Vec::new();
        for view in self.views.iter() {
            let state = view.state();
            let all = state.acknowledgements().iter(after);
            let own = all.filter(|(episode, _)| {
                let told = state.told_of(episode);
                told.is_some_and(|entry| *entry.tenant == *caller.tenant)
            });
            let each = own.map(|(episode, held)| Acknowledgement {
                escalation_id: *episode,
                ..held.last.clone()
            });
            found.extend(each.take(size + 1));
        }
        found.sort_by_key(|said| said.escalation_id);
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more);
        Ok(Response::new(ListAcknowledgementsResponse {
            next_page_token: next.map_or_else(String::new, |said| said.escalation_id.to_string()),
            acknowledgements: found.iter().map(codec::acknowledgement).collect(),
        }))
    }
}

fn token((id, receiver, notice): &Place) -> String {
    let (kind, revision) = notice.parts();
    format!("{id}:{receiver}:{}.{revision}", kind.number())
}

fn read_token(token: &str) -> Result<Option<Place>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    token
        .split_once(':')
        .and_then(|(id, rest)| {
            let (receiver, notice) = rest.rsplit_once(':')?;
            let (kind, revision) = notice.split_once('.')?;
            let notice = codec::notice(kind.parse().ok()?, revision.parse().ok()?);
            Some((id.parse().ok()?, receiver.to_owned(), notice))
        })
        .map(Some)
        .ok_or_else(|| invalid("page_token", "not one that was answered"))
}

/// What is asked of a partition.
#[derive(Clone, Copy)]
struct Ask<'a> {
    tenant: &'a str,
    only: Option<EscalationId>,
    after: Option<&'a Place>,
    size: usize,
}

/// Adds at least `size` + 1 deliveries of a partition behind `after`, where there are so many.
fn collect(
    view: &View,
    ask: Ask<'_>,
    wanted: impl Fn(&Intent) -> bool,
    found: &mut Vec<(Place, Delivery)>,
) {
    let Ask {
        tenant,
        only,
        after,
        size,
    } = ask;
    let state = view.state();
    let first = only.or(after.map(|(id, ..)| *id));
    let started = first.and_then(|id| state.entry(&id).map(|entry| (id, entry)));
    let rest = state
        .entries(first)
        .map(|(id, entry)| (*id, entry))
        .take_while(|_| only.is_none());
    let mut added = 0;
    for (id, entry) in started.into_iter().chain(rest) {
        if added > size {
            return;
        }
        if *entry.tenant != *tenant {
            continue;
        }
        for progress in &entry.deliveries {
            if progress.standing == Standing::Deciding || !wanted(&progress.intent) {
                continue;
            }
            let intent = &progress.intent;
            let place = (id, intent.receiver.to_string(), intent.notice);
            if after.is_none_or(|after| place > *after) {
                found.push((place, codec::delivery(progress)));
                added += 1;
            }
        }
    }
}
