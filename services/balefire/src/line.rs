//! One escalation as one line of NDJSON: the same from the log and from `replay`.

use balefire_event::{Escalation, EscalationKind};
use serde_json::{Map, Value, json};

/// The line of an escalation.
#[must_use]
pub fn of(escalation: &Escalation) -> Value {
    let key: Map<String, Value> = escalation
        .key
        .iter()
        .map(|part| (part.field.clone(), json!(part.readable)))
        .collect();
    let actions: Vec<Value> = escalation
        .recommended_actions
        .iter()
        .map(|action| {
            json!({
                "name": action.name, "class": action.class, "target": action.target,
                "max_duration_seconds": action.max_duration_seconds, "approval": action.approval.as_str(),
            })
        })
        .collect();
    json!({
        "escalation_id": escalation.escalation_id.to_string(),
        "episode_id": escalation.episode_id.to_string(),
        "kind": escalation.kind.as_str(),
        "rule": escalation.rule_name,
        "rule_id": escalation.rule_id.to_uuid(),
        "tenant": escalation.tenant,
        "key": key,
        "slot_start": escalation.slot_start.to_string(),
        "breach_at": escalation.breach_at.to_string(),
        "severity": escalation.severity.as_str(),
        "timing": escalation.timing.as_str(),
        "assurance": escalation.assurance.map(|assurance| assurance.as_str()),
        "event_ids": escalation.evidence.iter().map(|item| item.event_id.as_str()).collect::<Vec<_>>(),
        "event_count": escalation.event_count,
        "recommended_actions": actions,
        "shadow": escalation.shadow,
    })
}

/// Whether the line stands for an escalation id (not for its end or a correction).
#[must_use]
pub fn names_an_id(kind: EscalationKind) -> bool {
    matches!(kind, EscalationKind::Raised | EscalationKind::Continued)
}

/// The columns for people.
pub const HEAD: [&str; 6] = [
    "BREACH AT",
    "SEVERITY",
    "RULE",
    "KEY",
    "EVENTS",
    "ESCALATION",
];

/// The row for people.
#[must_use]
pub fn row(escalation: &Escalation) -> Vec<String> {
    let key = escalation
        .key
        .iter()
        .map(|part| format!("{}={}", part.field, part.readable));
    let key = key.collect::<Vec<_>>().join(" ");
    let breach_at = escalation.breach_at.to_string();
    vec![
        format!("{}Z", breach_at.get(..19).unwrap_or(&breach_at)),
        escalation.severity.to_string(),
        if escalation.shadow {
            format!("{} (shadow)", escalation.rule_name)
        } else {
            escalation.rule_name.clone()
        },
        if key.is_empty() { "-".into() } else { key },
        escalation.event_count.to_string(),
        format!("{} {}", escalation.kind.as_str(), escalation.escalation_id),
    ]
}
