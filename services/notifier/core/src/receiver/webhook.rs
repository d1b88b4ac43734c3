//! The generic webhook, in the shape of Standard Webhooks. Dedup: `webhook-id` is the escalation's
//! id over all attempts. Resolve: escalation.closed, under an id of its own, where `updates` is on.

use super::{Call, Method};
use crate::body::body;
use crate::view::View;

/// The envelope of [`crate::body`].
#[must_use]
pub fn encode(view: &View) -> Option<Call> {
    Some(Call {
        method: Method::Post,
        path: String::new(),
        content_type: "application/json",
        body: body(view)?,
    })
}
