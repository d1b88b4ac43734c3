//! OCSF 1.8.0 Detection Finding (class 2004) over HTTP. Dedup: `finding_info.uid` is the
//! episode's id in every record about it, `metadata.uid` names the record. Update and resolve:
//! activity 2 (Update) and 3 (Close) under the same `finding_info.uid`.

use std::net::IpAddr;

use balefire_event::{EscalationKind, IdentityKind, KeyKind, Severity};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Call;
use crate::body::data;
use crate::story::Story;
use crate::view::View;

/// Configuration of its own: none yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// One finding.
#[must_use]
pub fn encode(view: &View) -> Call {
    Call::post("", &finding(view))
}

fn finding(view: &View) -> Value {
    let record = view.record();
    let (activity, activity_name, status, status_name) = match record.kind {
        EscalationKind::Raised => (1, "Create", 1, "New"),
        EscalationKind::Continued | EscalationKind::Amended => (2, "Update", 2, "In Progress"),
        EscalationKind::Closed => (3, "Close", 4, "Resolved"),
    };
    let (severity, severity_name) = match record.severity {
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    };
    let mut finding = json!({
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "type_uid": 200_400 + activity,
        "type_name": format!("Detection Finding: {activity_name}"),
        "activity_id": activity,
        "activity_name": activity_name,
        "time": millis(record.breach_at.0),
        "severity_id": severity,
        "severity": severity_name,
        "status_id": status,
        "status": status_name,
        "is_alert": true,
        "count": record.event_count.max(1),
        "message": Story::of(view).headline,
        "metadata": metadata(view),
        "finding_info": info(view),
        "unmapped": { "balefire": data(record) },
    });
    if let (Some(evidence), Some(map)) = (evidence(view), finding.as_object_mut()) {
        map.insert("evidences".into(), json!([evidence]));
    }
    finding
}

fn metadata(view: &View) -> Value {
    let record = view.record();
    let mut metadata = json!({
        "version": "1.8.0",
        "uid": format!("{}-{}-{}", record.escalation_id, record.kind.as_str(), record.revision),
        "product": { "name": "Balefire", "vendor_name": "Balefire" },
        "tenant_uid": record.tenant,
    });
    let request = view.event().and_then(|event| event.key(KeyKind::Request));
    if let (Some(request), Some(map)) = (request, metadata.as_object_mut()) {
        map.insert("correlation_uid".into(), request.into());
    }
    metadata
}

fn info(view: &View) -> Value {
    let (record, story) = (view.record(), Story::of(view));
    let times = record.evidence.iter().map(|item| item.t.0);
    let first = times.clone().min().unwrap_or(record.breach_at.0);
    let last = times.max().unwrap_or(record.breach_at.0);
    let attacks: Vec<_> = record
        .atlas
        .iter()
        .map(|id| json!({ "technique": { "uid": id } }))
        .collect();
    let mut info = json!({
        "uid": record.episode_id.to_string(),
        "title": record.title,
        "desc": story.seen,
        "created_time": millis(record.breach_at.0),
        "first_seen_time": millis(first),
        "last_seen_time": millis(last),
        "analytic": {
            "uid": record.rule_id.to_uuid(),
            "name": record.rule_name,
            "type_id": 1,
        },
    });
    if let Some(map) = info.as_object_mut() {
        if let Some(event) = view.event() {
            map.insert("types".into(), json!([event.category.as_str()]));
        }
        if !attacks.is_empty() {
            map.insert("attacks".into(), attacks.into());
        }
    }
    info
}

fn evidence(view: &View) -> Option<Value> {
    let mut evidence = Map::new();
    if let Some(user) = view.identity(IdentityKind::User) {
        evidence.insert("actor".into(), json!({ "user": { "name": user } }));
    }
    let event = view.event()?;
    if let Ok(ip) = event.src_ip.parse::<IpAddr>() {
        evidence.insert("src_endpoint".into(), json!({ "ip": ip.to_string() }));
    }
    if !event.model.is_empty() {
        evidence.insert("data".into(), json!({ "ai_model": event.model }));
    }
    (!evidence.is_empty()).then_some(Value::Object(evidence))
}

const fn millis(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000)
}
