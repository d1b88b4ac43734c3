//! Databricks' inference tables, in their three schemas: AI Gateway, Unity AI Gateway, and the
//! older one with times in milliseconds.

use serde_json::Value;

use super::draft::Draft;
use super::finding::{self, Action, Finding, Hit};
use super::view::{at, first, list, members, opened, said, whole, without, yes};
use super::{Adapter, Context, Unfit};

/// See the module.
pub const ADAPTER: Adapter = Adapter {
    name: "databricks",
    about: "Databricks inference tables (three schemas)",
    recognises: |record| {
        let is = |name: &str| !at(record, name).is_null();
        is("databricks_request_id")
            || is("invocation_id") && (is("latency_ms") || is("served_entity_id"))
    },
    adapt,
};

fn adapt(record: &Value, context: &Context) -> Result<Vec<Draft>, Unfit> {
    let response = opened(at(record, "response"));
    let native = said(record, &["databricks_request_id", "invocation_id"]);
    let client = said(record, &["client_request_id"]);
    let time = first(record, &["request_time", "event_time", "timestamp_ms"]);
    let sampled = at(record, "sampling_fraction")
        .as_f64()
        .is_some_and(|share| share < 1.0);
    let rest = without(
        record,
        &[
            "request",
            "response",
            "requester",
            "databricks_request_id",
            "invocation_id",
            "request_time",
        ],
    );
    let who = Draft::new(record, native.clone(), time, context)
        .text("user_id", said(record, &["requester"]));
    let base = who
        .clone()
        .text("request_id", native)
        .text(
            "model",
            said(&response, &["model"])
                .or_else(|| said(record, &["served_entity_id", "served_model"])),
        )
        .whole("tokens_in", whole(at(&response, "usage.prompt_tokens")))
        .whole(
            "tokens_out",
            whole(at(&response, "usage.completion_tokens")),
        )
        .label("sampled", if sampled { "true" } else { "" })
        .label_of(
            "application",
            said(record, &["endpoint_name", "served_entity_name"]),
        )
        .body("request", at(record, "request"))
        .body("response", at(record, "response"))
        .rest("databricks", &rest);
    let mut events = finding::events(base, &hits(&response));
    // The application knows the call by another id: whoever was found here is known there too.
    if client.is_some() && !at(record, "requester").is_null() {
        events.push(who.part("client").text("request_id", client));
    }
    Ok(events)
}

/// What the gateway's guardrails say in a response.
fn hits(response: &Value) -> Vec<Hit> {
    let mut hits = Vec::new();
    for place in ["input_guardrail", "output_guardrail"] {
        for verdict in list(at(response, place)) {
            if !yes(at(verdict, "flagged")) {
                continue;
            }
            let flagged = members(at(verdict, "categories")).filter(|(_, flag)| yes(flag));
            let names: Vec<&str> = flagged.map(|(name, _)| name).collect();
            for name in if names.is_empty() {
                vec!["flagged"]
            } else {
                names
            } {
                let finding = Finding::of_name(name);
                hits.push(Hit::new(
                    finding,
                    Action::Blocked,
                    format!("{place}:{name}"),
                ));
            }
        }
    }
    hits
}
