//! The names of a native record's fields, as a field map may fill them.

/// Fields that take text.
pub const TEXTS: [&str; 16] = [
    "agent_id",
    "api_key_id",
    "attack_type",
    "endpoint",
    "guardrail_result",
    "judge_model",
    "judge_verdict",
    "model",
    "policy_violated",
    "reason",
    "request_id",
    "service_principal",
    "session_id",
    "severity",
    "tool",
    "user_id",
];
/// Fields that are read in their own way.
const OTHERS: [&str; 12] = [
    "category",
    "event_id",
    "judge_score",
    "request",
    "response",
    "risk_tier",
    "src_ip",
    "timestamp",
    "tokens_in",
    "tokens_out",
    "tool_allowed",
    "trace_id",
];
/// Before the name of a label.
pub const LABEL: &str = "labels.";
/// Most fields of a map.
pub const MAPPED_MAX: usize = 128;

/// Whether a map may fill a field of the name; `labels.NAME` is one too.
#[must_use]
pub fn is_field(name: &str) -> bool {
    let label = name
        .strip_prefix(LABEL)
        .is_some_and(|label| !label.is_empty());
    label || TEXTS.contains(&name) || OTHERS.contains(&name)
}
