//! A native record in the making.

use balefire_event::digest::FieldHasher;
use balefire_event::limits::NAME_BYTES_MAX;
use balefire_event::{Category, DedupId, Timestamp};
use serde_json::{Map, Value};

use super::Context;
use super::moment;
use super::view::{address, at, said, text, trace_of};
use crate::flatten;
use crate::json;

/// Largest remainder of a vendor's record that is kept, bytes of JSON.
pub const REST_BYTES_MAX: usize = 32 * 1024;

/// A native record in the making: telemetry until something is found.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    fields: Map<String, Value>,
    labels: Map<String, Value>,
    id: String,
    sub: String,
}

impl Draft {
    /// Of a record with an id of the vendor's. Without one the record itself, with the id of its
    /// delivery where there is one, is the id: a replay of it is the same.
    #[must_use]
    pub fn new(record: &Value, native_id: Option<String>, time: &Value, context: &Context) -> Self {
        let at = moment::of(time).unwrap_or(context.at);
        Self::default()
            .id(record, native_id, context)
            .category(Category::Telemetry)
            .text("event_type", Some("ai_security".to_owned()))
            .at(at)
    }

    /// Of a detector's answer, which names neither a time nor a person: what the caller wrote
    /// beside it does.
    #[must_use]
    pub fn of_caller(record: &Value, native_id: Option<String>, context: &Context) -> Self {
        let id = said(record, &["event_id", "request_id"]).or(native_id);
        let traceparent = said(record, &["traceparent"]);
        let mut draft = Self::new(record, id, at(record, "timestamp"), context)
            .text("trace_id", traceparent.and_then(|said| trace_of(&said)))
            .address(said(record, &["src_ip"]));
        for name in CALLER {
            draft = draft.text(name, text(at(record, name)));
        }
        draft.label_of("application", said(record, &["application"]))
    }

    fn id(mut self, record: &Value, native_id: Option<String>, context: &Context) -> Self {
        let plain =
            |id: &String| id.len() <= NAME_BYTES_MAX - 64 && !id.chars().any(char::is_control);
        self.id = native_id.filter(plain).unwrap_or_else(|| {
            let mut hasher = FieldHasher::new("balefire adapted record v1");
            hasher.field(record.to_string().as_bytes());
            if !context.delivery.is_empty() {
                hasher.field(context.delivery.as_bytes());
            }
            DedupId(hasher.id()).to_string()
        });
        self
    }

    fn at(self, at: Timestamp) -> Self {
        self.text("timestamp", Some(at.to_string()))
    }

    /// Which of the record's events it is.
    #[must_use]
    pub fn part(mut self, sub: &str) -> Self {
        sub.clone_into(&mut self.sub);
        self
    }

    /// What was seen.
    #[must_use]
    pub fn category(self, category: Category) -> Self {
        self.text("category", Some(category.as_str().to_owned()))
    }

    /// Whether it is still telemetry.
    #[must_use]
    pub fn is_telemetry(&self) -> bool {
        self.fields.get("category") == Some(&Value::from(Category::Telemetry.as_str()))
    }

    /// A field, where it is said.
    #[must_use]
    pub fn text(mut self, field: &str, value: Option<String>) -> Self {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.fields.insert(field.to_owned(), Value::from(value));
        }
        self
    }

    /// A number, where it is said.
    #[must_use]
    pub fn whole(mut self, field: &str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            self.fields.insert(field.to_owned(), Value::from(value));
        }
        self
    }

    /// A judge's score, where it lies from 0 to 1.
    #[must_use]
    pub fn score(mut self, value: &Value) -> Self {
        if let Some(score) = value.as_f64().filter(|score| (0.0..=1.0).contains(score)) {
            self.fields
                .insert("judge_score".to_owned(), Value::from(score));
        }
        self
    }

    /// Whether the tool was on the allow-list.
    #[must_use]
    pub fn tool_allowed(mut self, allowed: bool) -> Self {
        self.fields
            .insert("tool_allowed".to_owned(), Value::from(allowed));
        self
    }

    /// The caller's address, where it is one.
    #[must_use]
    pub fn address(self, value: Option<String>) -> Self {
        self.text("src_ip", address(value))
    }

    /// A label, where it is said.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.labels.insert(name.to_owned(), Value::from(value));
        }
        self
    }

    /// A label, where it is said.
    #[must_use]
    pub fn label_of(self, name: &str, value: Option<String>) -> Self {
        self.label(name, value.as_deref().unwrap_or_default())
    }

    /// A body: evidence.
    #[must_use]
    pub fn body(mut self, field: &str, value: &Value) -> Self {
        if !value.is_null() {
            self.fields.insert(field.to_owned(), value.clone());
        }
        self
    }

    /// What the vendor said besides, under a name of its own, so that it meets no field of ours.
    #[must_use]
    pub fn rest(mut self, name: &str, rest: &Value) -> Self {
        if rest.as_object().is_none_or(Map::is_empty) {
            return self;
        }
        let wrapped = Value::Object(Map::from_iter([(name.to_owned(), rest.clone())]));
        let text = wrapped.to_string();
        let kept = text.len() <= REST_BYTES_MAX
            && json::members(&text).is_ok_and(|members| flatten::extensions(members).is_ok());
        if kept {
            self.fields.insert(name.to_owned(), rest.clone());
            return self;
        }
        self.label("rest_dropped", "true")
    }

    /// The record's JSON.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let id = match self.sub.as_str() {
            "" => self.id,
            sub => format!("{}#{sub}", self.id),
        };
        self.fields.insert("event_id".to_owned(), Value::from(id));
        if !self.labels.is_empty() {
            self.fields
                .insert("labels".to_owned(), Value::Object(self.labels));
        }
        Value::Object(self.fields).to_string().into_bytes()
    }
}

/// What a caller may write beside a detector's answer.
pub const CALLER: [&str; 9] = [
    "request_id",
    "trace_id",
    "session_id",
    "user_id",
    "agent_id",
    "service_principal",
    "api_key_id",
    "endpoint",
    "tool",
];
