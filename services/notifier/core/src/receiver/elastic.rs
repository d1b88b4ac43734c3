//! Elasticsearch `_bulk` into a data stream, in ECS. Dedup: the document's `_id` is the
//! escalation's id under `create`; 409 means that it is there. Resolve: none in a data stream; a
//! later record of the escalation is a document of its own.

use std::net::IpAddr;

use balefire_event::{Event, IdentityKind, KeyKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Call, Method};
use crate::body::data;
use crate::classify::{Item, Response, Verdict};
use crate::feed;
use crate::story::{Story, rank};
use crate::view::View;

/// Configuration of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Data stream. Default: logs-balefire.escalations-default.
    #[serde(default)]
    pub data_stream: Option<String>,
}

/// Where bulks go, and what of the answer is asked for.
pub(crate) const PATH: &str = "/_bulk?filter_path=errors,items.*.status,items.*.error.type";

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    /// What ECS has a place for.
    #[serde(flatten)]
    placed: Map<String, Value>,
    balefire: feed::Document<'a>,
}

/// One event of the feed: an action line and a document.
#[must_use]
pub fn event(config: &Config, event: &Event<'_>, tenant: &str) -> Vec<u8> {
    let index = config.data_stream.as_deref();
    let index = index.unwrap_or("logs-balefire.events-default");
    let id = feed::id(event);
    let action = json!({ "create": { "_index": index, "_id": id } });
    let mut placed = Map::new();
    let own = json!({
        "kind": "event",
        "id": id,
        "severity": u64::from(rank(event.severity)) * 25 - 4,
        "action": event.category.as_str(),
        "dataset": "balefire.events",
        "module": "balefire",
    });
    placed.insert("ecs".into(), json!({ "version": "8.11.0" }));
    placed.insert("event".into(), own);
    placed.insert("organization".into(), json!({ "id": tenant }));
    of_event(event, &mut placed);
    let document = Document {
        timestamp: event.occurred_at.to_string(),
        placed,
        balefire: feed::document(event, tenant),
    };
    let mut bytes = format!("{action}\n").into_bytes();
    bytes.extend(feed::json(&document));
    bytes.push(b'\n');
    bytes
}

/// An action line and a document.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Call {
    let record = view.record();
    let index = config.data_stream.as_deref();
    let index = index.unwrap_or("logs-balefire.escalations-default");
    let id = match record.revision {
        0 => record.escalation_id.to_string(),
        revision => format!("{}-r{revision}", record.escalation_id),
    };
    let action = json!({ "create": { "_index": index, "_id": id } });
    let document = document(view);
    Call {
        method: Method::Post,
        path: PATH.into(),
        content_type: "application/x-ndjson",
        body: format!("{action}\n{document}\n").into_bytes(),
    }
}

fn document(view: &View) -> Value {
    let (record, story) = (view.record(), Story::of(view));
    let mut document = json!({
        "@timestamp": record.breach_at.to_string(),
        "ecs": { "version": "8.11.0" },
        "message": story.headline,
        "event": {
            "kind": "alert",
            "category": ["threat"],
            "type": ["indicator"],
            "id": record.escalation_id.to_string(),
            "severity": u64::from(rank(record.severity)) * 25 - 4,
            "action": view.event().map(|event| event.category.as_str()),
            "reason": story.seen,
            "dataset": "balefire.escalations",
            "module": "balefire",
        },
        "rule": {
            "id": record.rule_id.to_uuid(),
            "name": record.rule_name,
            "description": record.title,
        },
        "organization": { "id": record.tenant },
        "balefire": data(record),
    });
    if let Some(map) = document.as_object_mut() {
        optional(view, map);
    }
    document
}

fn optional(view: &View, map: &mut Map<String, Value>) {
    if !view.record().atlas.is_empty() {
        let technique = json!({ "id": view.record().atlas });
        let threat = json!({ "framework": "MITRE ATLAS", "technique": technique });
        map.insert("threat".into(), threat);
    }
    if let Some(event) = view.event() {
        of_event(event, map);
    }
}

fn of_event(event: &Event<'_>, map: &mut Map<String, Value>) {
    let user = event.identity(IdentityKind::User);
    if let Some(user) = user.and_then(|user| user.readable()) {
        map.insert("user".into(), json!({ "name": user }));
    }
    if let Ok(ip) = event.src_ip.parse::<IpAddr>() {
        map.insert("source".into(), json!({ "ip": ip.to_string() }));
    }
    if let Some(trace) = event.key(KeyKind::Trace) {
        map.insert("trace".into(), json!({ "id": trace }));
    }
    if !event.model.is_empty() {
        let model = json!({ "request": { "model": event.model } });
        map.insert("gen_ai".into(), model);
    }
}

/// 200 says nothing: each item has a status of its own.
#[must_use]
pub fn classify(response: &Response<'_>) -> Verdict {
    if response.status != 200 {
        return response.by_status();
    }
    let json = response.json();
    let Some(items) = json.get("items").and_then(Value::as_array) else {
        // Unreadable or cut; the same `_id` again does no harm.
        return response.again();
    };
    Verdict::Partial(items.iter().map(|one| item(one, response)).collect())
}

fn item(item: &Value, response: &Response<'_>) -> Item {
    let result = item.as_object().and_then(|map| map.values().next());
    let status = result
        .and_then(|result| result.get("status"))
        .and_then(Value::as_u64);
    match status {
        Some(200..=299 | 409) => Item::Delivered,
        Some(429 | 500..=599) | None => Item::Retry {
            after: response.retry_after,
        },
        Some(_) => Item::Permanent,
    }
}
