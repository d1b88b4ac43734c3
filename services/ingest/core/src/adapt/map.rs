//! [`FieldMap`]: a customer's own JSON made into native records by a declaration, without code.

use std::collections::BTreeMap;

use balefire_event::native::{LABEL, MAPPED_MAX, TEXTS, is_field};
use balefire_event::{Category, Severity};
use serde::Deserialize;
use serde_json::Value;

use super::draft::Draft;
use super::view::{address, at, first, said, text, trace_of, whole, without};
use super::{Adapted, Context, Refused, envelope};

/// One path, or several of which the first counts that says anything.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Paths {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Paths {
    fn all(&self) -> Vec<&str> {
        match self {
            Self::One(path) => vec![path.as_str()],
            Self::Many(paths) => paths.iter().map(String::as_str).collect(),
        }
    }
}

/// What makes native records of a customer's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldMap {
    /// Name of the source.
    pub source: String,
    /// Paths that must say exactly this for a record to be of the source; none: every record is.
    #[serde(default, rename = "match")]
    pub matches: BTreeMap<String, String>,
    /// Native field → where it stands: names joined by dots.
    pub fields: BTreeMap<String, Paths>,
    /// Native field → text that it has where no path says anything.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    /// Native field → the record's word → Balefire's.
    #[serde(default)]
    pub words: BTreeMap<String, BTreeMap<String, String>>,
}

/// What is wrong with a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where in it.
    pub place: String,
    /// What, and what to do.
    pub what: String,
}

const NOT_MATCHED: &str = "not one that the map's [match] describes";
const NO_CATEGORY: &str =
    "says no category that is known: map its word in [words.category], or give a default";

impl FieldMap {
    /// As a control object of kind `source` says it: of several paths `a|b` is the first that says
    /// anything, and words stand under `FIELD.WORD`. `None`: it declares no map.
    #[must_use]
    pub fn of_object(
        source: &str,
        matches: &BTreeMap<String, String>,
        fields: &BTreeMap<String, String>,
        defaults: &BTreeMap<String, String>,
        words: &BTreeMap<String, String>,
    ) -> Option<Self> {
        if fields.is_empty() && defaults.is_empty() {
            return None;
        }
        let paths = |text: &String| Paths::Many(text.split('|').map(str::to_owned).collect());
        let mut by_field: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (key, word) in words {
            let named = fields.keys().chain(defaults.keys());
            let prefix = |field: &&String| {
                let rest = key.strip_prefix(field.as_str());
                rest.is_some_and(|rest| rest.starts_with('.'))
            };
            let Some(field) = named.filter(prefix).max_by_key(|field| field.len()) else {
                continue;
            };
            let own = key.get(field.len() + 1..).unwrap_or_default();
            by_field
                .entry(field.clone())
                .or_default()
                .insert(own.to_owned(), word.clone());
        }
        Some(Self {
            source: source.to_owned(),
            matches: matches.clone(),
            fields: fields
                .iter()
                .map(|(field, text)| (field.clone(), paths(text)))
                .collect(),
            defaults: defaults.clone(),
            words: by_field,
        })
    }

    /// What is wrong with it; nothing: it can be used.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |place: String, what: String| faults.push(Fault { place, what });
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.source.is_empty() || self.source.len() > 64 || !self.source.bytes().all(plain) {
            let what = "give 1 to 64 letters, digits and . _ -";
            fault("source".into(), what.into());
        }
        if super::ALL.iter().any(|adapter| adapter.name == self.source)
            || self.source == super::AUTO
        {
            let what = "is the name of a source that Balefire reads by itself; choose another";
            fault("source".into(), what.into());
        }
        if self.fields.len() > MAPPED_MAX {
            fault("fields".into(), format!("may be {MAPPED_MAX}"));
        }
        let tables = [
            ("fields", self.fields.keys().collect::<Vec<_>>()),
            ("defaults", self.defaults.keys().collect()),
            ("words", self.words.keys().collect()),
        ];
        for (table, names) in tables {
            for name in names.into_iter().filter(|name| !is_field(name)) {
                let what = "is no field of the event; see docs/events.md, or write labels.NAME";
                fault(format!("{table}.{name}"), what.into());
            }
        }
        if !self.fields.contains_key("category") && !self.defaults.contains_key("category") {
            let what = "every event needs a category: say where it stands, or give a default";
            fault("fields.category".into(), what.into());
        }
        for (field, known) in [
            ("category", is_category as fn(&str) -> bool),
            ("severity", is_severity),
        ] {
            let defaults = self.defaults.get(field).into_iter();
            let words = self.words.get(field).into_iter().flat_map(BTreeMap::values);
            for word in defaults.chain(words).filter(|word| !known(word)) {
                fault(format!("words.{field}"), format!("{word:?} is no {field}"));
            }
        }
        faults
    }

    /// The native records of a body, a line or an envelope.
    #[must_use]
    pub fn read(&self, bytes: &[u8], context: &Context) -> Vec<Result<Adapted, Refused>> {
        let opened = envelope::open(bytes, context);
        let count = opened.len();
        let each = opened.into_iter().enumerate();
        each.map(|(index, opened)| {
            let opened = opened?;
            let context = opened.context.part(index, count);
            self.adapt(&opened.record, &context).map_err(|why| Refused {
                why,
                record: opened.record.to_string().into_bytes(),
            })
        })
        .collect()
    }

    fn adapt(&self, record: &Value, context: &Context) -> Result<Adapted, &'static str> {
        let matched = |(path, wanted): (&String, &String)| {
            let there = at(record, path);
            there
                .as_bool()
                .map(|flag| flag.to_string())
                .or(text(there))
                .as_ref()
                == Some(wanted)
        };
        if !self.matches.iter().all(matched) {
            return Err(NOT_MATCHED);
        }
        let word = self
            .said(record, "category")
            .filter(|word| is_category(word));
        let category: Category = word.and_then(|word| word.parse().ok()).ok_or(NO_CATEGORY)?;
        let time = first(record, &self.paths("timestamp"));
        let mut draft = Draft::new(record, self.said(record, "event_id"), time, context)
            .category(category)
            .score(&self.number(record, "judge_score"))
            .address(address(self.said(record, "src_ip")))
            .text("trace_id", self.trace(record))
            .body("request", first(record, &self.paths("request")))
            .body("response", first(record, &self.paths("response")));
        for field in ["tokens_in", "tokens_out", "risk_tier"] {
            draft = draft.whole(field, whole(first(record, &self.paths(field))));
        }
        for field in TEXTS {
            draft = draft.text(field, self.said(record, field));
        }
        match self.said(record, "tool_allowed").as_deref() {
            Some("true") => draft = draft.tool_allowed(true),
            Some("false") => draft = draft.tool_allowed(false),
            Some(_) | None => {}
        }
        for name in self.fields.keys().chain(self.defaults.keys()) {
            if let Some(label) = name.strip_prefix(LABEL) {
                draft = draft.label_of(label, self.said(record, name));
            }
        }
        let used: Vec<&str> = self.fields.values().flat_map(Paths::all).collect();
        Ok(Adapted {
            source: SOURCE,
            json: draft.rest(&self.source, &without(record, &used)).finish(),
        })
    }

    fn paths(&self, field: &str) -> Vec<&str> {
        self.fields.get(field).map(Paths::all).unwrap_or_default()
    }

    /// What a field has: the record's, in Balefire's words, else the default.
    fn said(&self, record: &Value, field: &str) -> Option<String> {
        let paths = self.paths(field);
        let there = first(record, &paths);
        let own = there.as_bool().map(|flag| flag.to_string());
        let own = own.or_else(|| said(record, &paths));
        let words = self.words.get(field);
        let translated = |own: String| match words.and_then(|words| words.get(&own)) {
            Some(word) => word.clone(),
            None => own,
        };
        own.map(translated)
            .or_else(|| self.defaults.get(field).cloned())
    }

    fn number(&self, record: &Value, field: &str) -> Value {
        let there = first(record, &self.paths(field));
        let read = there.as_f64().or_else(|| text(there)?.parse().ok());
        read.map_or(Value::Null, Value::from)
    }

    /// A trace id, of a traceparent too.
    fn trace(&self, record: &Value) -> Option<String> {
        let said = self.said(record, "trace_id")?;
        trace_of(&said).or(Some(said))
    }
}

/// What [`Adapted::source`] says of a mapped record: its name is the map's own.
pub const SOURCE: &str = "map";

fn is_category(word: &str) -> bool {
    word.parse::<Category>().is_ok()
}

fn is_severity(word: &str) -> bool {
    word.parse::<Severity>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_event::Timestamp;
    use serde_json::json;

    fn map(value: Value) -> FieldMap {
        serde_json::from_value(value).unwrap()
    }

    fn acme() -> FieldMap {
        map(json!({
            "source": "acme-chat",
            "match": {"kind": "guard", "live": "true"},
            "fields": {
                "timestamp": "ts", "category": "what", "event_id": "id", "user_id": ["actor.mail", "actor.id"],
                "request_id": "ids.request", "trace_id": "ids.traceparent", "src_ip": "from", "tokens_in": "n.in",
                "judge_score": "score", "tool_allowed": "allowed", "labels.application": "app", "request": "prompt"
            },
            "defaults": {"model": "house-model", "severity": "high"},
            "words": {"category": {"blocked": "guardrail_block"}}
        }))
    }

    #[test]
    fn a_record_of_ones_own_is_a_native_one() {
        assert_eq!(acme().faults(), []);
        let record = json!({
            "kind": "guard", "live": true, "ts": 1_795_343_400, "what": "blocked", "id": 7, "actor": {"id": "u-1"},
            "ids": {"request": "r", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
            "from": "192.0.2.1:80", "n": {"in": "12"}, "score": "0.5", "allowed": false, "app": "chat",
            "prompt": "hello", "more": {"x": 1}
        });
        let context = Context::at(Timestamp(0));
        let read = acme().read(record.to_string().as_bytes(), &context);
        let got: Value = serde_json::from_slice(&read[0].as_ref().unwrap().json).unwrap();
        let want = json!({
            "event_type": "ai_security", "event_id": "7", "timestamp": "2026-11-22T10:30:00.000000000Z",
            "category": "guardrail_block", "severity": "high", "user_id": "u-1", "request_id": "r",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "src_ip": "192.0.2.1", "tokens_in": 12, "judge_score": 0.5,
            "tool_allowed": false, "model": "house-model", "labels": {"application": "chat"}, "request": "hello",
            "acme-chat": {"kind": "guard", "live": true, "actor": {}, "ids": {}, "n": {}, "more": {"x": 1}}
        });
        assert_eq!(got, want);
    }

    #[test]
    fn what_is_not_described_is_refused_by_name() {
        let context = Context::at(Timestamp(0));
        let why = |record: Value| {
            let read = acme().read(record.to_string().as_bytes(), &context);
            read[0].as_ref().unwrap_err().why
        };
        assert_eq!(why(json!({"kind": "other", "live": true})), NOT_MATCHED);
        assert_eq!(
            why(json!({"kind": "guard", "live": true, "what": "odd"})),
            NO_CATEGORY
        );
    }

    #[test]
    fn every_fault_of_a_map_is_named() {
        let wrong = map(json!({
            "source": "bedrock", "fields": {"usr": "a", "labels.": "b"}, "defaults": {"severity": "awful"},
            "words": {"category": {"x": "y"}}
        }));
        let places: Vec<String> = wrong
            .faults()
            .into_iter()
            .map(|fault| fault.place)
            .collect();
        assert_eq!(
            places,
            [
                "source",
                "fields.labels.",
                "fields.usr",
                "fields.category",
                "words.category",
                "words.severity"
            ]
        );
    }

    #[test]
    fn an_object_says_the_same_as_a_file() {
        let table = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let of_object = FieldMap::of_object(
            "acme-chat",
            &table(&[("kind", "guard")]),
            &table(&[("category", "what"), ("user_id", "actor.mail|actor.id")]),
            &table(&[("severity", "high"), ("labels.team.red", "x")]),
            &table(&[
                ("category.blocked", "guardrail_block"),
                ("labels.team.red.a.b", "c"),
                ("nothing.of.it", "d"),
            ]),
        );
        let file = map(json!({
            "source": "acme-chat", "match": {"kind": "guard"},
            "fields": {"category": ["what"], "user_id": ["actor.mail", "actor.id"]},
            "defaults": {"severity": "high", "labels.team.red": "x"},
            "words": {"category": {"blocked": "guardrail_block"}, "labels.team.red": {"a.b": "c"}}
        }));
        assert_eq!(of_object, Some(file));
        let none = BTreeMap::new();
        assert_eq!(FieldMap::of_object("s", &none, &none, &none, &none), None);
    }
}
