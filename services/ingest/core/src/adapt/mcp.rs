//! A Model Context Protocol answer that refuses a tool, with what the gateway observed beside it.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, first, said};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "mcp",
    about: "MCP tools/call answers as a gateway observed them",
    recognises: |record| at(record, "jsonrpc") == "2.0" && at(record, "_observed").is_object(),
    adapt,
};

/// What a refusal says; other errors are the caller's.
const REFUSALS: [&str; 6] = [
    "unknown tool",
    "not allowed",
    "denied",
    "unauthorized",
    "forbidden",
    "permission",
];

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let seen = at(record, "_observed");
    let message = said(record, &["error.message"])
        .unwrap_or_default()
        .to_ascii_lowercase();
    let refused = REFUSALS.iter().any(|word| message.contains(word));
    let tool = said(seen, &["params.name", "tool"]);
    let session = said(seen, &["mcp_session_id"]);
    // A JSON-RPC id is one within its session.
    let id = session
        .as_ref()
        .zip(said(record, &["id"]))
        .map(|(session, id)| format!("{session}/{id}"));
    let time = first(seen, &["timestamp", "time"]);
    let base = Draft::new(record, id, time, context)
        .text("request_id", said(seen, &["request_id"]))
        .text("trace_id", said(seen, &["trace_id"]))
        .text("session_id", session)
        .text("user_id", said(seen, &["principal", "user_id"]))
        .text("agent_id", said(seen, &["agent_id"]))
        .address(said(seen, &["src_ip"]))
        .text("endpoint", said(seen, &["method"]))
        .text("tool", tool)
        .label_of("mcp_error", said(record, &["error.code"]));
    if !refused {
        return Ok(vec![base]);
    }
    let hit = Hit::new(Finding::ToolDenied, Action::Blocked, "mcp:tool");
    Ok(finding::events(base.tool_allowed(false), &[hit]))
}
