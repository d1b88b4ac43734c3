//! Jira Cloud, REST v3. Dedup: none by Jira; a label holds the episode's id and is searched
//! before an issue is made. Jira's index lags by seconds: an attempt whose answer was lost can
//! make a second issue if it is repeated within them. What continues or amends it is a comment.
//! Resolve: the transition that the configuration names, else a comment.

use balefire_event::{EscalationKind, Severity};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use crate::story::{APPROXIMATE, Story, clip, line};
use crate::view::View;

/// Longest summary, characters.
const SUMMARY_CHARS_MAX: usize = 255;
/// Longest text node, characters; all together stay under Jira's 32,767.
const TEXT_CHARS_MAX: usize = 2000;
/// Most facts shown.
const FACTS_MAX: usize = 12;
/// Longest fact, characters.
const FACT_CHARS_MAX: usize = 1000;

/// Configuration of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Key of the project.
    pub project: String,
    /// Issue type. Default: Task.
    #[serde(default)]
    pub issue_type: Option<String>,
    /// Sets the priority by severity (Low … Highest); off where the project has other names.
    #[serde(default)]
    pub set_priority: bool,
    /// Id of the transition that ends an issue, of the project's own workflow, such as 31. Absent:
    /// the end is a comment.
    #[serde(default)]
    pub resolve_transition: Option<String>,
}

fn label(view: &View) -> String {
    format!("balefire-{}", view.record().episode_id)
}

/// Is there an issue of this escalation?
#[must_use]
pub fn search(view: &View) -> Call {
    let label = label(view);
    Call::get(format!(
        "/rest/api/3/search/jql?jql=labels%3D%22{label}%22&maxResults=1&fields=key"
    ))
}

/// A comment on an issue that is there, or its end. Nothing for what raised it: it is there.
#[must_use]
pub fn update(config: &Config, view: &View, key: &str) -> Option<Call> {
    let (record, story) = (view.record(), Story::of(view));
    let transition = config.resolve_transition.as_deref();
    match (record.kind, transition) {
        (EscalationKind::Raised, _) => None,
        (EscalationKind::Closed, Some(id)) => {
            let path = format!("/rest/api/3/issue/{key}/transitions");
            Some(Call::post(path, &json!({ "transition": { "id": id } })))
        }
        (EscalationKind::Continued | EscalationKind::Amended | EscalationKind::Closed, _) => {
            let headline = paragraph("Balefire", &story.headline, TEXT_CHARS_MAX);
            let mut whole = description(&story);
            if let Some(content) = whole.get_mut("content").and_then(Value::as_array_mut) {
                content.insert(0, headline);
            }
            let path = format!("/rest/api/3/issue/{key}/comment");
            Some(Call::post(path, &json!({ "body": whole })))
        }
    }
}

/// A new issue, where none was found: only for RAISED and CONTINUED.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Option<Call> {
    let (record, story) = (view.record(), Story::of(view));
    if matches!(
        record.kind,
        EscalationKind::Closed | EscalationKind::Amended
    ) {
        return None;
    }
    let mut fields = json!({
        "project": { "key": config.project },
        "issuetype": { "name": config.issue_type.as_deref().unwrap_or("Task") },
        "summary": clip(&story.headline, SUMMARY_CHARS_MAX),
        "labels": ["balefire", label(view)],
        "description": description(&story),
    });
    if let (true, Some(map)) = (config.set_priority, fields.as_object_mut()) {
        let name = match record.severity {
            Severity::Low => "Low",
            Severity::Medium => "Medium",
            Severity::High => "High",
            Severity::Critical => "Highest",
        };
        map.insert("priority".into(), json!({ "name": name }));
    }
    let body = json!({ "fields": fields });
    Some(Call::post("/rest/api/3/issue", &body))
}

fn description(story: &Story) -> Value {
    let mut content = vec![
        paragraph("What was seen", &story.seen, TEXT_CHARS_MAX),
        paragraph("Why it matters", story.why, TEXT_CHARS_MAX),
        paragraph("What to do first", story.first, TEXT_CHARS_MAX),
    ];
    let facts = story.facts.iter().take(FACTS_MAX);
    content.extend(facts.map(|(name, value)| paragraph(name, value, FACT_CHARS_MAX)));
    let queries = format!(
        "{}\n{}",
        clip(&story.spl, TEXT_CHARS_MAX),
        clip(&story.kql, TEXT_CHARS_MAX)
    );
    content.push(paragraph("Queries", APPROXIMATE, TEXT_CHARS_MAX));
    content.push(json!({ "type": "codeBlock", "content": [text(&queries)] }));
    json!({ "type": "doc", "version": 1, "content": content })
}

fn paragraph(name: &str, value: &str, chars_max: usize) -> Value {
    let value = clip(&line(value), chars_max);
    json!({ "type": "paragraph", "content": [
        { "type": "text", "text": format!("{name}: "), "marks": [{ "type": "strong" }] },
        text(if value.is_empty() { "-" } else { &value }),
    ] })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}
