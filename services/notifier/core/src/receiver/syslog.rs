//! Syslog (RFC 5424) with a CEF message, counted in octets (RFC 6587) so that no text can begin a
//! second message. Dedup: none; `externalId` is the escalation's id. Resolve: none. TCP says that
//! bytes went out, never that they were stored.

use balefire_event::{IdentityKind, KeyKind, Severity};
use serde::Deserialize;

use super::Call;
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
        get: false,
        path: String::new(),
        content_type: "text/plain",
        body: format!("{} {message}", message.len()).into_bytes(),
    }
}

fn message(config: &Config, view: &View) -> String {
    let record = view.record();
    // Facility 13, log audit.
    let priority = 13 * 8
        + match record.severity {
            Severity::Critical => 2,
            Severity::High => 3,
            Severity::Medium => 4,
            Severity::Low => 6,
        };
    // RFC 5424 has at most six digits of a second.
    let time: String = record.breach_at.to_string().chars().take(26).collect();
    let host = config.hostname.as_deref().unwrap_or("balefire");
    let host: String = host
        .chars()
        .filter(char::is_ascii_graphic)
        .take(255)
        .collect();
    let id = record.escalation_id.to_string();
    format!(
        "<{priority}>1 {time}Z {host} balefire - ESCALATION [balefire@32473 escalation_id=\"{id}\" \
         tenant=\"{}\" rule=\"{}\"] {}",
        sd(&record.tenant),
        sd(&record.rule_name),
        cef(view)
    )
}

fn cef(view: &View) -> String {
    let (record, story) = (view.record(), Story::of(view));
    let severity = match record.severity {
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    };
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
    let mut text = format!(
        "CEF:0|Balefire|Balefire|{}|{}|{}|{severity}|",
        env!("CARGO_PKG_VERSION"),
        header(&record.rule_name),
        header(&record.title)
    );
    let mut glue = "";
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
