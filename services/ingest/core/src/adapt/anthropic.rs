//! Anthropic's compliance activity feed: who did what, and who opened a door to tools.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, said, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "anthropic",
    about: "Anthropic compliance activities",
    recognises: |record| {
        at(record, "created_at").is_string()
            && at(record, "actor.type").is_string()
            && at(record, "type").is_string()
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let kind = said(record, &["type"]).unwrap_or_default();
    let rest = without(
        record,
        &[
            "id",
            "created_at",
            "type",
            "actor.email_address",
            "actor.ip_address",
        ],
    );
    let base = Draft::new(
        record,
        said(record, &["id"]),
        at(record, "created_at"),
        context,
    )
    .text(
        "user_id",
        said(record, &["actor.email_address", "actor.user_id"]),
    )
    .text("api_key_id", said(record, &["actor.api_key_id"]))
    .address(said(record, &["actor.ip_address"]))
    .text("endpoint", Some(kind.clone()))
    .rest("anthropic", &rest);
    // A new way to tools needs a look; it is no breach by itself.
    let change = kind.starts_with("mcp_server_") || kind.starts_with("mcp_tool_");
    let hit = change.then(|| Hit::new(Finding::ControlChange, Action::Detected, kind));
    Ok(finding::events(base, hit.as_slice()))
}
