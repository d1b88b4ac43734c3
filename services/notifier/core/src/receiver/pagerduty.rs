//! PagerDuty Events API v2. Dedup: `dedup_key` is the episode's id, which is that of the escalation
//! that raised it: what continues it is triggered under the same key and joins the incident.
//! Resolve: the same key with `resolve`, when the last open slot of the episode ended.

use balefire_event::{EscalationKind, Severity};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Call;
use crate::classify::{Response, Verdict};
use crate::story::{Story, clip};
use crate::view::View;

/// Longest summary, characters.
const SUMMARY_CHARS_MAX: usize = 1024;
/// Longest fact, characters: keeps the whole far under 512 KB.
const FACT_CHARS_MAX: usize = 4096;

/// Configuration of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it comes from, as PagerDuty shows it. Default: balefire.
    #[serde(default)]
    pub source: Option<String>,
    /// File with the secret that signs its v3 webhooks: acknowledgements come in by them.
    #[serde(default)]
    pub ack_secret_file: Option<String>,
    /// Variable with that secret.
    #[serde(default)]
    pub ack_secret_env: Option<String>,
}

/// Trigger, or resolve for what is closed. The routing key is added by the shell.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Call {
    let (record, story) = (view.record(), Story::of(view));
    let key = record.episode_id.to_string();
    if record.kind == EscalationKind::Closed {
        let body = json!({ "event_action": "resolve", "dedup_key": key });
        return Call::post("/v2/enqueue", &body);
    }
    let severity = match record.severity {
        Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    };
    let mut details = Map::new();
    details.insert(
        "What was seen".into(),
        clip(&story.seen, FACT_CHARS_MAX).into(),
    );
    details.insert("Why it matters".into(), story.why.into());
    details.insert("What to do first".into(), story.first.into());
    for (name, value) in &story.facts {
        details.insert((*name).into(), clip(value, FACT_CHARS_MAX).into());
    }
    details.insert(
        "SPL (approximate)".into(),
        clip(&story.spl, FACT_CHARS_MAX).into(),
    );
    details.insert(
        "KQL (approximate)".into(),
        clip(&story.kql, FACT_CHARS_MAX).into(),
    );
    let body = json!({
        "event_action": "trigger",
        "dedup_key": key,
        "client": "Balefire",
        "payload": {
            "summary": clip(&story.headline, SUMMARY_CHARS_MAX),
            "source": config.source.as_deref().unwrap_or("balefire"),
            "severity": severity,
            "timestamp": record.breach_at.to_string(),
            "component": record.tenant,
            "group": "ai-security",
            "class": view.event().map_or("", |event| event.category.as_str()),
            "custom_details": Value::Object(details),
        },
    });
    Call::post("/v2/enqueue", &body)
}

/// 202 is success; any other 2xx is no answer of this API and is asked again.
#[must_use]
pub fn classify(response: &Response<'_>) -> Verdict {
    match response.status {
        202 => Verdict::Delivered,
        200..=299 => response.again(),
        _ => response.by_status(),
    }
}
