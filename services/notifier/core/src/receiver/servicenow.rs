//! ServiceNow. Incident: no dedup by the table, so it is searched by `correlation_id` (the
//! episode's id) before it is made; what continues or amends it is a work note, its end sets the
//! state to resolved. Event Management: dedup by `message_key`, the episode's id too; resolve by
//! the same key with severity 0.

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
    /// Close code of a resolved incident, one of the instance's own. Default: Resolved by caller.
    #[serde(default)]
    pub close_code: Option<String>,
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
    let id = view.record().episode_id;
    Call::get(format!(
        "/api/now/table/incident?sysparm_query=correlation_id={id}&sysparm_fields=sys_id&sysparm_limit=1"
    ))
}

/// A new incident, where none was found: only for RAISED and CONTINUED.
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
        "correlation_id": record.episode_id.to_string(),
        "correlation_display": "Balefire",
    });
    if let (Some(group), Some(map)) = (&config.assignment_group, body.as_object_mut()) {
        map.insert("assignment_group".into(), group.as_str().into());
    }
    Some(Call::post("/api/now/table/incident", &body))
}

/// State "Resolved" of an incident.
const RESOLVED: &str = "6";

/// A work note on an incident that is there, or its end. Nothing for what raised it: it is there.
#[must_use]
pub fn update_incident(config: &IncidentConfig, view: &View, sys_id: &str) -> Option<Call> {
    let (record, story) = (view.record(), Story::of(view));
    let path = format!("/api/now/table/incident/{sys_id}");
    let text = story.text(TEXT_CHARS_MAX);
    let body = match record.kind {
        EscalationKind::Raised => return None,
        EscalationKind::Continued | EscalationKind::Amended => json!({ "work_notes": text }),
        EscalationKind::Closed => json!({
            "state": RESOLVED,
            "close_code": config.close_code.as_deref().unwrap_or("Resolved by caller"),
            "close_notes": text,
        }),
    };
    Some(Call::patch(path, &body))
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
        "message_key": record.episode_id.to_string(),
        "severity": severity,
        "resolution_state": if closed { "Closing" } else { "New" },
        "time_of_event": time,
        "description": story.text(TEXT_CHARS_MAX),
        "additional_info": details.to_string(),
    }] });
    Call::post("/api/global/em/jsonv2", &body)
}
