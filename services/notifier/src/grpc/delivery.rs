//! `DeliveryService`: who was told what.

use std::sync::Arc;

use balefire_event::EscalationId;
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope};
use balefire_notifier_core::{Intent, Notice, Standing};
use balefire_wire::delivery::v1::delivery_service_server::DeliveryService;
use balefire_wire::delivery::v1::{
    Delivery, ListDeliveriesRequest, ListDeliveriesResponse, Withheld,
};
use tonic::{Request, Response, Status};

use super::page_size;
use crate::codec;
use crate::view::View;

/// Reads the partitions of this process.
#[derive(Debug, Clone)]
pub struct Deliveries {
    /// By partition.
    pub views: Arc<[Arc<View>]>,
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
