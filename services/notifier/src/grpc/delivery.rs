//! `DeliveryService`: who was told what.

use std::sync::Arc;

use balefire_event::EscalationId;
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope};
use balefire_wire::delivery::v1::delivery_service_server::DeliveryService;
use balefire_wire::delivery::v1::{Delivery, ListDeliveriesRequest, ListDeliveriesResponse};
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

type Place = (EscalationId, String);

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
        let mut found = Vec::new();
        for view in self.views.iter() {
            collect(view, &caller.tenant, only, after.as_ref(), size, &mut found);
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let next_page_token = match found.get(size) {
            Some(_) => found
                .get(size.saturating_sub(1))
                .map(|((id, receiver), _)| format!("{id}:{receiver}"))
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

fn read_token(token: &str) -> Result<Option<Place>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    token
        .split_once(':')
        .and_then(|(id, receiver)| Some((id.parse().ok()?, receiver.to_owned())))
        .map(Some)
        .ok_or_else(|| invalid("page_token", "not one that was answered"))
}

/// Adds at least `size` + 1 deliveries of a partition behind `after`, where there are so many.
fn collect(
    view: &View,
    tenant: &str,
    only: Option<EscalationId>,
    after: Option<&Place>,
    size: usize,
    found: &mut Vec<(Place, Delivery)>,
) {
    let state = view.state();
    let first = only.or(after.map(|(id, _)| *id));
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
            let place = (id, progress.receiver.to_string());
            if after.is_none_or(|after| place > *after) {
                found.push((place, codec::delivery(&id, entry, progress)));
                added += 1;
            }
        }
    }
}
