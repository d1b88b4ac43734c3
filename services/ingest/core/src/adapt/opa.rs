//! Open Policy Agent's decision log: a decision against is a boundary that somebody met.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{address, at, list, said, without};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "opa",
    about: "Open Policy Agent decision logs",
    recognises: |record| {
        at(record, "decision_id").is_string()
            && (at(record, "path").is_string() || at(record, "query").is_string())
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let input = at(record, "input");
    let result = at(record, "result");
    let denied = *result == false
        || at(result, "allow") == false
        || at(result, "allowed") == false
        || !list(at(result, "deny")).is_empty();
    let tool = said(input, &["tool", "tool_name"]);
    let mut base = Draft::new(
        record,
        said(record, &["decision_id"]),
        at(record, "timestamp"),
        context,
    )
    .text("request_id", said(input, &["request_id"]))
    .text("trace_id", said(record, &["trace_id"]))
    .text("session_id", said(input, &["session_id"]))
    .text(
        "user_id",
        said(input, &["user", "user_id", "user.id", "user.email"]),
    )
    .text("agent_id", said(input, &["agent_id", "agent"]))
    .text("src_ip", address(said(input, &["src_ip", "source_ip"])))
    .text("endpoint", said(record, &["path", "query"]))
    .text("reason", said(result, &["reason"]))
    .label_of("application", said(record, &["labels.app"]));
    if tool.is_some() {
        base = base.text("tool", tool).tool_allowed(!denied);
    }
    let rest = without(
        record,
        &[
            "decision_id",
            "timestamp",
            "trace_id",
            "path",
            "input.user",
            "input.agent_id",
            "input.session_id",
            "input.tool",
        ],
    );
    let base = base.rest("opa", &rest);
    let name = said(record, &["path", "query"]).unwrap_or_default();
    let hit = denied.then(|| Hit::new(Finding::ToolDenied, Action::Blocked, name));
    Ok(finding::events(base, hit.as_slice()))
}
