//! The native record's schema: its fields, and the version they make. A newer minor version may have
//! further fields, which are kept as extensions; another major version is refused.

use balefire_event::{Category, Severity};

/// What the native record is now: major and minor.
pub const VERSION: (u32, u32) = (1, 0);
/// The field by which a record says its version.
pub const VERSION_FIELD: &str = "schema_version";

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// RFC 3339 with an offset.
    Time,
    /// One of a few words.
    Word,
    /// A number.
    Number,
    /// A whole number.
    Whole,
    /// True or false.
    Flag,
    /// Text by text.
    Table,
    /// Any JSON.
    Any,
}

impl Form {
    /// As the service tells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Time => "time",
            Self::Word => "word",
            Self::Number => "number",
            Self::Whole => "whole",
            Self::Flag => "flag",
            Self::Table => "table",
            Self::Any => "any",
        }
    }
}

/// A field of the native record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub form: Form,
    /// A record without it is refused.
    pub required: bool,
    /// Minor version it came with.
    pub since_minor: u32,
}

const fn field(name: &'static str, form: Form) -> Field {
    Field {
        name,
        form,
        required: false,
        since_minor: 0,
    }
}

const fn required(name: &'static str, form: Form) -> Field {
    Field {
        required: true,
        ..field(name, form)
    }
}

/// Every field, by name. None is ever taken out or made another; one that is added raises the minor
/// version.
pub const FIELDS: [Field; 33] = [
    field("agent_id", Form::Text),
    field("api_key_id", Form::Text),
    field("attack_type", Form::Text),
    required("category", Form::Word),
    field("endpoint", Form::Text),
    field("event_id", Form::Text),
    field("event_type", Form::Word),
    field("guardrail_result", Form::Text),
    field("judge_model", Form::Text),
    field("judge_score", Form::Number),
    field("judge_verdict", Form::Text),
    field("labels", Form::Table),
    field("model", Form::Text),
    field("policy_violated", Form::Text),
    field("reason", Form::Text),
    field("request", Form::Any),
    field("request_id", Form::Text),
    field("response", Form::Any),
    field("risk_tier", Form::Whole),
    field(VERSION_FIELD, Form::Text),
    field("service_principal", Form::Text),
    field("session_id", Form::Text),
    field("severity", Form::Word),
    field("src_ip", Form::Text),
    field("tenant", Form::Text),
    required("timestamp", Form::Time),
    field("tokens_in", Form::Whole),
    field("tokens_out", Form::Whole),
    field("tool", Form::Text),
    field("tool_allowed", Form::Flag),
    field("trace_id", Form::Text),
    field("user_id", Form::Text),
    // Any other name is kept as an extension.
    field("*", Form::Any),
];

/// Words that a field of form word may have.
#[must_use]
pub fn words(field: &str) -> Vec<&'static str> {
    match field {
        "category" => Category::ALL.iter().map(|word| word.as_str()).collect(),
        "severity" => Severity::ALL.iter().map(|word| word.as_str()).collect(),
        "event_type" => vec!["ai_security"],
        _ => Vec::new(),
    }
}

/// Whether records of a version are read; `None`: the text is no version.
#[must_use]
pub fn reads(version: &str) -> Option<bool> {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (major, _) = (number(major)?, number(minor)?);
    Some(major == VERSION.0)
}
