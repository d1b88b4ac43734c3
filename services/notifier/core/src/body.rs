//! The JSON body of a generic webhook: an envelope in the shape of Standard Webhooks around the
//! escalation, the event that completed it under the source document's own field names, and plain
//! words. A function of the escalation record alone, so that every attempt sends the same bytes.

use std::collections::BTreeMap;

use balefire_event::time::{HOUR, MINUTE, SECOND};
use balefire_event::{Escalation, EscalationKind, Event, IdentityKind, KeyKind};
use serde::Serialize;

use crate::advice::advice_on;
use crate::json::{self, name};
use crate::view::View;
use crate::{digest, summary};

/// Said in every body: nothing here carries an action out.
pub const ENFORCEMENT: &str = "recommended, not enforced";

/// The type of a body.
#[must_use]
pub const fn message_type(kind: EscalationKind) -> &'static str {
    match kind {
        EscalationKind::Raised => "escalation.raised",
        EscalationKind::Continued => "escalation.continued",
        EscalationKind::Closed => "escalation.closed",
        EscalationKind::Amended => "escalation.amended",
    }
}

/// The body's bytes; `None` where it has no JSON form, which cannot be.
#[must_use]
pub fn body(view: &View) -> Option<Vec<u8>> {
    let escalation = view.record();
    let envelope = Envelope {
        r#type: message_type(escalation.kind),
        timestamp: escalation.breach_at.to_string(),
        data: data(escalation),
    };
    // A map with text keys and plain values always has a JSON form.
    serde_json::to_vec(&envelope).ok()
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
pub(crate) struct Data<'a> {
    escalation_id: String,
    episode_id: String,
    kind: &'static str,
    /// Left out of RAISED and CONTINUED.
    #[serde(skip_serializing_if = "is_zero")]
    revision: u32,
    rule: &'a str,
    rule_id: String,
    title: &'a str,
    tenant: &'a str,
    severity: &'static str,
    timing: &'static str,
    assurance: Option<&'static str>,
    key: BTreeMap<&'a str, &'a str>,
    slot_start: String,
    breach_at: String,
    event_ids: Vec<&'a str>,
    event_count: u64,
    recommended_actions: Vec<Action<'a>>,
    enforcement: &'static str,
    audiences: &'a [String],
    atlas: &'a [String],
    owasp: &'a [String],
    summary: Summary,
    event: Option<Record<'a>>,
}

#[derive(Serialize)]
struct Action<'a> {
    name: &'a str,
    class: &'a str,
    target: &'a str,
    max_duration_seconds: u64,
    approval: &'static str,
}

#[derive(Serialize)]
struct Summary {
    what_was_seen: String,
    why_it_matters: &'static str,
    what_to_do_first: &'static str,
}

/// The source document's record, field for field: the first sixteen are always there, null where
/// the producer did not say; the others only where it did.
#[derive(Serialize)]
pub(crate) struct Record<'a> {
    event_type: &'static str,
    timestamp: String,
    severity: &'static str,
    category: &'static str,
    request_id: Option<&'a str>,
    user_id: Option<&'a str>,
    model: Option<&'a str>,
    judge_model: Option<&'a str>,
    judge_score: Option<f64>,
    judge_verdict: Option<&'a str>,
    policy_violated: Option<&'a str>,
    guardrail_result: Option<&'a str>,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    endpoint: Option<&'a str>,
    risk_tier: Option<u32>,
    #[serde(flatten)]
    optional: Optional<'a>,
}

#[derive(Serialize)]
struct Optional<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_allowed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attack_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
}

pub(crate) fn data(escalation: &Escalation) -> Data<'_> {
    let words = advice_on(escalation);
    Data {
        escalation_id: escalation.escalation_id.to_string(),
        episode_id: escalation.episode_id.to_string(),
        kind: escalation.kind.as_str(),
        revision: escalation.revision,
        rule: &escalation.rule_name,
        rule_id: escalation.rule_id.to_uuid(),
        title: &escalation.title,
        tenant: &escalation.tenant,
        severity: escalation.severity.as_str(),
        timing: escalation.timing.as_str(),
        assurance: escalation.assurance.map(|assurance| assurance.as_str()),
        key: key(escalation),
        slot_start: escalation.slot_start.to_string(),
        breach_at: escalation.breach_at.to_string(),
        event_ids: escalation
            .evidence
            .iter()
            .map(|item| item.event_id.as_str())
            .collect(),
        event_count: escalation.event_count,
        recommended_actions: escalation.recommended_actions.iter().map(action).collect(),
        enforcement: ENFORCEMENT,
        audiences: &escalation.audiences,
        atlas: &escalation.atlas,
        owasp: &escalation.owasp,
        summary: Summary {
            what_was_seen: seen(escalation, words.what),
            why_it_matters: words.why,
            what_to_do_first: words.first,
        },
        event: escalation.trigger.as_deref().map(record),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn key(escalation: &Escalation) -> BTreeMap<&str, &str> {
    escalation
        .key
        .iter()
        .map(|part| (part.field.as_str(), part.readable.as_str()))
        .collect()
}

fn action(action: &balefire_event::RecommendedAction) -> Action<'_> {
    Action {
        name: &action.name,
        class: &action.class,
        target: &action.target,
        max_duration_seconds: action.max_duration_seconds,
        approval: action.approval.as_str(),
    }
}

/// "12 events (more than 10 in 5 minutes) for user_id jgill@example.com: a guardrail stopped …"
pub(crate) fn seen(escalation: &Escalation, what: &str) -> String {
    if summary::is_summary(escalation) || digest::is_digest(escalation) {
        return escalation.condition.clone();
    }
    let mut text = match (escalation.window, escalation.event_count) {
        (0, _) | (_, 0) => String::from("1 event"),
        // Of a record older than the words of its condition.
        (window, count) if escalation.condition.is_empty() => format!(
            "{count} events (more than {} in {})",
            escalation.threshold,
            duration(window)
        ),
        (_, count) => {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} event{plural} ({})", escalation.condition)
        }
    };
    let mut glue = " for ";
    for part in &escalation.key {
        text.push_str(glue);
        text.push_str(&part.field);
        text.push(' ');
        text.push_str(&part.readable);
        glue = ", ";
    }
    text.push_str(": ");
    text.push_str(what);
    text.push('.');
    text
}

fn duration(nanos: i64) -> String {
    let (count, unit) = match nanos {
        n if n % HOUR == 0 => (n / HOUR, "hour"),
        n if n % MINUTE == 0 => (n / MINUTE, "minute"),
        n => (n / SECOND, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

pub(crate) fn record<'a>(event: &'a Event<'_>) -> Record<'a> {
    Record {
        event_type: "ai_security",
        timestamp: time(event),
        severity: event.severity.as_str(),
        category: event.category.as_str(),
        request_id: event.key(KeyKind::Request),
        user_id: named(event, IdentityKind::User),
        model: said(&event.model),
        judge_model: said(&event.judge_model),
        judge_score: event.judge_score,
        judge_verdict: said(&event.judge_verdict),
        policy_violated: said(&event.policy_violated),
        guardrail_result: said(&event.guardrail_result),
        tokens_in: event.tokens_in,
        tokens_out: event.tokens_out,
        endpoint: said(&event.endpoint),
        risk_tier: event.risk_tier,
        optional: optional(event),
    }
}

/// The fields of [`record`], straight into an object.
pub(crate) fn write_record(object: &mut json::Object<'_>, event: &Event<'_>) {
    object.text(name!("event_type"), "ai_security");
    write_time(object, event);
    object.text(name!("severity"), event.severity.as_str());
    object.text(name!("category"), event.category.as_str());
    object.said(name!("request_id"), event.key(KeyKind::Request));
    object.said(name!("user_id"), named(event, IdentityKind::User));
    object.said(name!("model"), said(&event.model));
    object.said(name!("judge_model"), said(&event.judge_model));
    object.plain(name!("judge_score"), &event.judge_score);
    object.said(name!("judge_verdict"), said(&event.judge_verdict));
    object.said(name!("policy_violated"), said(&event.policy_violated));
    object.said(name!("guardrail_result"), said(&event.guardrail_result));
    object.plain(name!("tokens_in"), &event.tokens_in);
    object.plain(name!("tokens_out"), &event.tokens_out);
    object.said(name!("endpoint"), said(&event.endpoint));
    object.plain(name!("risk_tier"), &event.risk_tier);
    let session = named(event, IdentityKind::Session).or_else(|| event.key(KeyKind::Session));
    object.only(name!("event_id"), said(&event.event_id));
    object.only(name!("trace_id"), event.key(KeyKind::Trace));
    object.only(name!("session_id"), session);
    object.only(name!("src_ip"), said(&event.src_ip));
    object.only(name!("api_key_id"), named(event, IdentityKind::ApiKey));
    let principal = named(event, IdentityKind::ServicePrincipal);
    object.only(name!("service_principal"), principal);
    object.only(name!("agent_id"), named(event, IdentityKind::Agent));
    object.only(name!("tool"), said(&event.tool));
    if let Some(allowed) = event.tool_allowed {
        object.flag(name!("tool_allowed"), allowed);
    }
    object.only(name!("attack_type"), said(&event.attack_type));
    object.only(name!("reason"), said(&event.reason));
    if !event.labels.is_empty() {
        object.plain(name!("labels"), &optional(event).labels);
    }
}

fn optional<'a>(event: &'a Event<'_>) -> Optional<'a> {
    Optional {
        event_id: said(&event.event_id),
        trace_id: event.key(KeyKind::Trace),
        session_id: named(event, IdentityKind::Session).or_else(|| event.key(KeyKind::Session)),
        src_ip: said(&event.src_ip),
        api_key_id: named(event, IdentityKind::ApiKey),
        service_principal: named(event, IdentityKind::ServicePrincipal),
        agent_id: named(event, IdentityKind::Agent),
        tool: said(&event.tool),
        tool_allowed: event.tool_allowed,
        attack_type: said(&event.attack_type),
        reason: said(&event.reason),
        labels: event
            .labels
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
            .collect(),
    }
}

fn named<'a>(event: &'a Event<'_>, kind: IdentityKind) -> Option<&'a str> {
    event
        .identity(kind)
        .and_then(|identity| identity.readable())
}

/// As short as it can be written, like the document's own "2026-02-11T14:30:00Z".
fn time(event: &Event<'_>) -> String {
    let text = event.occurred_at.to_string();
    match is_whole(event) {
        true => text.replace(".000000000Z", "Z"),
        false => text,
    }
}

/// Whether an event's time has no decimals.
const fn is_whole(event: &Event<'_>) -> bool {
    event.occurred_at.0 % SECOND == 0
}

fn write_time(object: &mut json::Object<'_>, event: &Event<'_>) {
    let text = event.occurred_at.text();
    match text.split_first_chunk::<19>() {
        Some((seconds, _)) if is_whole(event) => {
            object.quoted(name!("timestamp"), &[seconds, b"Z"])
        }
        _ => object.quoted(name!("timestamp"), &[&text]),
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
