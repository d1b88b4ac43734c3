//! ServiceNow. Incident: no dedup by the table, so it is searched by `correlation_id` (the
//! escalation's id) before it is made. Event Management: dedup by `message_key`; resolve by the
//! same key with severity 0.

use balefire_event::{EscalationKind, Severity};
use serde::Deserialize;
use serde_json::json;

use super::Call;
use crate::story::{Story, clip};
use crate::view::View;

/// Longest short description, characters.
const SHORT_CHARS_MAX: usize = 160;
/// Longest description, characters.
const TEXT_CHARS_MAX: usize = 4000;

/// Configuration of incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentConfig {
    /// Name of the group it goes to; absent: the instance's own rules.
    #[serde(default)]
    pub assignment_group: Option<String>,
    /// Its category. Default: security.
    #[serde(default)]
    pub category: Option<String>,
}

/// Configuration of Event Management.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventConfig {
    /// Node it is about. Default: balefire.
    #[serde(default)]
    pub node: Option<String>,
}

/// Is there an incident of this escalation?
#[must_use]
pub fn search(view: &View) -> Call {
    let id = view.id();
    Call::get(format!(
        "/api/now/table/incident?sysparm_query=correlation_id={id}&sysparm_fields=sys_id&sysparm_limit=1"
    ))
}

/// A new incident. What was already told is not made again: only RAISED and CONTINUED.
#[must_use]
pub fn encode_incident(config: &IncidentConfig, view: &View) -> Option<Call> {
    let (record, story) = (view.record(), Story::of(view));
    if matches!(
        record.kind,
        EscalationKind::Closed | EscalationKind::Amended
    ) {
        return None;
    }
    let (impact, urgency) = match record.severity {
        Severity::Low => ("3", "3"),
        Severity::Medium => ("2", "3"),
        Severity::High => ("2", "1"),
        Severity::Critical => ("1", "1"),
    };
    let mut body = json!({
        "short_description": clip(&story.headline, SHORT_CHARS_MAX),
        "description": story.text(TEXT_CHARS_MAX),
        "category": config.category.as_deref().unwrap_or("security"),
        "impact": impact,
        "urgency": urgency,
        "correlation_id": record.escalation_id.to_string(),
        "correlation_display": "Balefire",
    });
    if let (Some(group), Some(map)) = (&config.assignment_group, body.as_object_mut()) {
        map.insert("assignment_group".into(), group.as_str().into());
    }
    Some(Call::post("/api/now/table/incident", &body))
}

/// One event.
#[must_use]
pub fn encode_event(config: &EventConfig, view: &View) -> Call {
    let (record, story) = (view.record(), Story::of(view));
    let closed = record.kind == EscalationKind::Closed;
    let severity = match record.severity {
        _ if closed => "0",
        Severity::Critical => "1",
        Severity::High => "2",
        Severity::Medium => "3",
        Severity::Low => "4",
    };
    let time = record.breach_at.to_string().replace('T', " ");
    let time: String = time.chars().take(19).collect();
    let details = json!({
        "episode": record.episode_id.to_string(),
        "tenant": record.tenant,
        "rule": record.rule_name,
        "first": story.first,
    });
    let body = json!({ "records": [{
        "source": "Balefire",
        "event_class": "AI security",
        "node": config.node.as_deref().unwrap_or("balefire"),
        "resource": clip(view.whom().unwrap_or(""), SHORT_CHARS_MAX),
        "type": record.rule_name,
        "metric_name": view.event().map_or("", |event| event.category.as_str()),
        "message_key": record.escalation_id.to_string(),
        "severity": severity,
        "resolution_state": if closed { "Closing" } else { "New" },
        "time_of_event": time,
        "description": story.text(TEXT_CHARS_MAX),
        "additional_info": details.to_string(),
    }] });
    Call::post("/api/global/em/jsonv2", &body)
}
