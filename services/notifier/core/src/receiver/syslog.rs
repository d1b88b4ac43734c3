//! Syslog (RFC 5424) with a CEF message, counted in octets (RFC 6587) so that no text can begin a
//! second message. Dedup: none; `externalId` is the escalation's id. Resolve: none. TCP says that
//! bytes went out, never that they were stored.

use balefire_event::{Event, IdentityKind, KeyKind, Severity, Timestamp};
use serde::Deserialize;

use super::{Call, Method};
use crate::feed;
use crate::story::{Story, clip, line};
use crate::view::View;

/// Longest value, characters: the whole stays under the 8 KB that receivers take by default.
const VALUE_CHARS_MAX: usize = 512;

/// Configuration of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// HOSTNAME of the header. Default: balefire.
    #[serde(default)]
    pub hostname: Option<String>,
}

/// The length in octets, a space, the message.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Call {
    let message = message(config, view);
    Call {
        method: Method::Post,
        path: String::new(),
        content_type: "text/plain",
        body: format!("{} {message}", message.len()).into_bytes(),
    }
}

/// One event of the feed, counted.
#[must_use]
pub fn event(config: &Config, event: &Event<'_>, tenant: &str) -> Vec<u8> {
    let id = feed::id(event);
    let millis = event.occurred_at.0.div_euclid(1_000_000).to_string();
    let user = event.identity(IdentityKind::User);
    let pairs = [
        ("rt", Some(millis.as_str())),
        ("externalId", Some(&*id)),
        ("cat", Some(event.category.as_str())),
        ("act", Some(&*event.guardrail_result)),
        ("suser", user.and_then(|user| user.readable())),
        ("src", Some(&*event.src_ip)),
        ("cs1Label", Some("model")),
        ("cs1", Some(&*event.model)),
        ("cs2Label", Some("requestId")),
        ("cs2", event.key(KeyKind::Request)),
        ("msg", Some(&*event.reason)),
    ];
    let category = event.category.as_str();
    let cef = format!(
        "CEF:0|Balefire|Balefire|{}|event.{category}|{category}|{}|{}",
        env!("CARGO_PKG_VERSION"),
        level(event.severity),
        extensions(&pairs)
    );
    let message = format!(
        "{} EVENT [balefire@32473 event_id=\"{id}\" tenant=\"{}\"] {cef}",
        start(config, event.severity, event.occurred_at),
        sd(tenant),
    );
    format!("{} {message}", message.len()).into_bytes()
}

/// The header up to the message's own type.
fn start(config: &Config, severity: Severity, at: Timestamp) -> String {
    // Facility 13, log audit.
    let priority = 13 * 8
        + match severity {
            Severity::Critical => 2,
            Severity::High => 3,
            Severity::Medium => 4,
            Severity::Low => 6,
        };
    // RFC 5424 has at most six digits of a second.
    let time: String = at.to_string().chars().take(26).collect();
    let host = config.hostname.as_deref().unwrap_or("balefire");
    let host: String = host
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    format!("<{priority}>1 {time}Z {host} balefire -")
}

const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

fn message(config: &Config, view: &View) -> String {
    let record = view.record();
    let id = record.escalation_id.to_string();
    format!(
        "{} ESCALATION [balefire@32473 escalation_id=\"{id}\" tenant=\"{}\" rule=\"{}\"] {}",
        start(config, record.severity, record.breach_at),
        sd(&record.tenant),
        sd(&record.rule_name),
        cef(view)
    )
}

fn cef(view: &View) -> String {
    let (record, story) = (view.record(), Story::of(view));
    let severity = level(record.severity);
    let millis = record.breach_at.0.div_euclid(1_000_000).to_string();
    let id = record.escalation_id.to_string();
    let count = record.event_count.to_string();
    let event = view.event();
    let pairs = [
        ("rt", Some(millis.as_str())),
        ("externalId", Some(&*id)),
        ("cat", event.map(|event| event.category.as_str())),
        ("act", Some(record.kind.as_str())),
        ("cnt", Some(&*count)),
        ("suser", view.identity(IdentityKind::User)),
        ("src", event.map(|event| &*event.src_ip)),
        ("cs1Label", Some("model")),
        ("cs1", event.map(|event| &*event.model)),
        ("cs2Label", Some("requestId")),
        ("cs2", event.and_then(|event| event.key(KeyKind::Request))),
        ("msg", Some(&*story.seen)),
    ];
    let text = format!(
        "CEF:0|Balefire|Balefire|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        header(&record.rule_name),
        header(&record.title)
    );
    text + &extensions(&pairs)
}

/// What was said, of names and values.
fn extensions(pairs: &[(&str, Option<&str>)]) -> String {
    let (mut text, mut glue) = (String::new(), "");
    for (name, value) in pairs {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        text.push_str(&format!("{glue}{name}={}", extension(value)));
        glue = " ";
    }
    text
}

/// A value of structured data.
fn sd(value: &str) -> String {
    clip(&line(value), VALUE_CHARS_MAX)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(']', "\\]")
}

/// A field of CEF's header.
fn header(value: &str) -> String {
    clip(&line(value), VALUE_CHARS_MAX)
        .replace('\\', "\\\\")
        .replace('|', "\\|")
}

/// A value of CEF's extension.
fn extension(value: &str) -> String {
    clip(&line(value), VALUE_CHARS_MAX)
        .replace('\\', "\\\\")
        .replace('=', "\\=")
}
