//! Whether a name and a spec are what they must be. Never says only "invalid".

use std::collections::BTreeMap;
use std::net::IpAddr;

use balefire_event::{Category, Severity, Timestamp, native};

use crate::field::{Check, Field, Form};
use crate::{Hours, Kind, Spec, Value};

/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most a spec may hold, bytes.
pub const SPEC_BYTES_MAX: usize = 256 * 1024;
/// Most labels of an object.
pub const LABELS_MAX: usize = 32;
/// Longest label name or text, bytes.
const LABEL_BYTES_MAX: usize = 128;
/// Most members of a list.
const LIST_MAX: usize = 1000;

/// What is wrong, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path of the field in the object (`spec.url`).
    pub path: String,
    /// What is wrong and what would do.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Whether a name is one.
#[must_use]
pub fn check_name(name: &str) -> Option<Fault> {
    (!is_name(name)).then(|| {
        let message =
            format!("{name:?} is no name; take 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -");
        Fault::new("name", message)
    })
}

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if labels.len() > LABELS_MAX {
        faults.push(Fault::new("labels", format!("at most {LABELS_MAX}")));
    }
    for (name, text) in labels {
        if name.is_empty() || name.len() > LABEL_BYTES_MAX || text.len() > LABEL_BYTES_MAX {
            let message = format!("name and text have at most {LABEL_BYTES_MAX} bytes");
            faults.push(Fault::new(format!("labels.{name}"), message));
        }
    }
    faults
}

/// Everything that is wrong with a spec.
#[must_use]
pub fn check_spec(kind: Kind, spec: &Spec) -> Vec<Fault> {
    let mut faults = check_each(kind, spec);
    faults.extend(check_together(kind, spec));
    faults
}

/// What is wrong with fields each by itself: all that can be said where others are not known yet.
#[must_use]
pub fn check_each(kind: Kind, spec: &Spec) -> Vec<Fault> {
    let mut faults = Vec::new();
    for field in kind.fields() {
        let path = format!("spec.{}", field.name);
        match spec.get(field.name).filter(|value| !value.is_empty()) {
            None if field.required => faults.push(Fault::new(path, "is missing")),
            None => {}
            Some(value) => faults.extend(check_value(field, value).map(|m| Fault::new(path, m))),
        }
    }
    for name in spec.keys() {
        if kind.field(name).is_none() {
            let known: Vec<&str> = kind.fields().iter().map(|field| field.name).collect();
            let message = format!("a {kind} has no such field; it has {}", known.join(", "));
            faults.push(Fault::new(format!("spec.{name}"), message));
        }
    }
    if spec.values().map(Value::bytes).sum::<usize>() > SPEC_BYTES_MAX {
        faults.push(Fault::new("spec", format!("over {SPEC_BYTES_MAX} bytes")));
    }
    faults
}

fn text<'s>(spec: &'s Spec, field: &str) -> &'s str {
    spec.get(field)
        .and_then(|value| value.text())
        .unwrap_or_default()
}

fn check_together(kind: Kind, spec: &Spec) -> Option<Fault> {
    match kind {
        Kind::Receiver if !text(spec, "secret_env").is_empty() => {
            (!text(spec, "secret_file").is_empty()).then(|| {
                Fault::new(
                    "spec.secret_file",
                    "give secret_env or secret_file, not both",
                )
            })
        }
        Kind::Silence => {
            let starts_at = Timestamp::parse(text(spec, "starts_at")).ok()?;
            let ends_at = Timestamp::parse(text(spec, "ends_at")).ok()?;
            (ends_at <= starts_at)
                .then(|| Fault::new("spec.ends_at", "lies not after spec.starts_at"))
        }
        Kind::SeverityMap => severity_map(spec),
        Kind::IdentityAlias => identity_alias(spec),
        Kind::Source => field_map(spec),
        Kind::Rule | Kind::Route | Kind::Receiver | Kind::ApiKey | Kind::Tenant => None,
    }
}

fn identity_alias(spec: &Spec) -> Option<Fault> {
    let (from, to) = (text(spec, "identity_kind"), text(spec, "canonical_kind"));
    if !to.is_empty() && to != "user" && to != from {
        let message = format!("{to:?} is neither user nor {from:?}, the kind of the alias");
        return Some(Fault::new("spec.canonical_kind", message));
    }
    let from = Timestamp::parse(text(spec, "valid_from")).ok()?;
    let until = Timestamp::parse(text(spec, "valid_until")).ok()?;
    (until <= from).then(|| Fault::new("spec.valid_until", "lies not after spec.valid_from"))
}

fn words<'s>(spec: &'s Spec, field: &str) -> impl Iterator<Item = (&'s String, &'s String)> {
    let words = match spec.get(field) {
        Some(Value::Words(words)) => Some(words),
        Some(Value::Text(_) | Value::Number(_) | Value::Flag(_) | Value::Texts(_)) | None => None,
    };
    words.into_iter().flatten()
}

/// A field map of a source's own JSON, where it has one.
fn field_map(spec: &Spec) -> Option<Fault> {
    let tables = ["fields", "defaults", "matches", "words"];
    if tables
        .iter()
        .all(|table| words(spec, table).next().is_none())
    {
        return None;
    }
    if words(spec, "fields").count() > native::MAPPED_MAX {
        let message = format!("at most {}", native::MAPPED_MAX);
        return Some(Fault::new("spec.fields", message));
    }
    for table in ["fields", "defaults"] {
        let mut names = words(spec, table).map(|(name, _)| name);
        if let Some(stranger) = names.find(|name| !native::is_field(name)) {
            let message = "is no field of the event; see docs/events.md, or write labels.NAME";
            return Some(Fault::new(format!("spec.{table}.{stranger}"), message));
        }
    }
    let mapped = || words(spec, "fields").chain(words(spec, "defaults"));
    if !mapped().any(|(name, _)| name == "category") {
        let message = "every event needs one: say where it stands, or give a default";
        return Some(Fault::new("spec.fields.category", message));
    }
    let defaults = words(spec, "defaults").map(|(name, word)| (name.as_str(), word));
    for (name, word) in defaults {
        if let Some(message) = no_word(name, word) {
            return Some(Fault::new(format!("spec.defaults.{name}"), message));
        }
    }
    for (key, word) in words(spec, "words") {
        let begins = |name: &str| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let Some((field, _)) = mapped().find(|(name, _)| begins(name)) else {
            let message = "begins with no field of the map; write FIELD.WORD";
            return Some(Fault::new(format!("spec.words.{key}"), message));
        };
        if let Some(message) = no_word(field, word) {
            return Some(Fault::new(format!("spec.words.{key}"), message));
        }
    }
    None
}

/// Why a field cannot have a word.
fn no_word(field: &str, word: &str) -> Option<String> {
    let known = match field {
        "category" => word.parse::<Category>().map(|_| ()),
        "severity" => word.parse::<Severity>().map(|_| ()),
        _ => Ok(()),
    };
    known.err().map(|unknown| format!("{word:?}: {unknown}"))
}

fn severity_map(spec: &Spec) -> Option<Fault> {
    let has = |field: &str| spec.get(field).is_some_and(|value| !value.is_empty());
    if !has("words") && !has("tiers") {
        let message = "is missing; give words (of a source), or tiers (of the SOC)";
        return Some(Fault::new("spec.words", message));
    }
    if has("words") && !has("source") {
        return Some(Fault::new(
            "spec.source",
            "is missing: whose words are these?",
        ));
    }
    let Some(Value::Words(tiers)) = spec.get("tiers") else {
        return None;
    };
    let stranger = tiers
        .keys()
        .find(|severity| check_text(Check::Severity, severity).is_some())?;
    let message = "is no severity; take low, medium, high or critical";
    Some(Fault::new(format!("spec.tiers.{stranger}"), message))
}

fn check_value(field: &Field, value: &Value) -> Option<String> {
    match (field.form, value) {
        (Form::Text, Value::Text(text)) => check_text(field.check, text),
        (Form::Number, Value::Number(number)) => {
            let Check::Range(from, to) = field.check else {
                return None;
            };
            (!(from..=to).contains(number)).then(|| format!("{number} is not {from} to {to}"))
        }
        (Form::Flag, Value::Flag(_)) => None,
        (Form::Texts, Value::Texts(texts)) if texts.len() > LIST_MAX => {
            Some(format!("at most {LIST_MAX}"))
        }
        (Form::Texts, Value::Texts(texts)) => {
            texts.iter().find_map(|text| check_text(field.check, text))
        }
        (Form::Words, Value::Words(words)) => words
            .values()
            .find_map(|meaning| check_text(field.check, meaning)),
        (Form::Text, _) => Some("takes text".into()),
        (Form::Number, _) => Some("takes a whole number".into()),
        (Form::Flag, _) => Some("takes true or false".into()),
        (Form::Texts, _) => Some("takes a list of texts".into()),
        (Form::Words, _) => Some("takes text by text".into()),
    }
}

fn check_text(check: Check, text: &str) -> Option<String> {
    let (holds, wanted) = match check {
        Check::Any | Check::Range(..) => (true, ""),
        Check::Severity => (
            ["low", "medium", "high", "critical"].contains(&text),
            "take low, medium, high or critical",
        ),
        Check::Span => (span(text).is_some(), "take 250ms, 10s, 5m, 1h or 2d"),
        Check::Time => (
            Timestamp::parse(text).is_ok(),
            "take RFC 3339 with an offset, such as 2026-02-11T14:30:00Z",
        ),
        Check::Url => (
            is_url(text),
            "take an https (or http, tcp, tls, smtp, smtps) address with a host",
        ),
        Check::Digest => (
            text.len() == 64
                && text
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "take 64 hex digits in lower case",
        ),
        Check::Name => (is_name(text), "take a name of a-z, 0-9, _ and -"),
        Check::Pattern => (
            is_pattern(text),
            "take a|b for one of both, a* for what begins so, !a for anything else",
        ),
        Check::Hours => (
            Hours::parse(text).is_some(),
            "take hours such as mon-fri 08:00-18:00 +01:00; without days every day, without an \
             offset UTC",
        ),
        Check::Network => (is_network(text), "take a network such as 10.0.0.0/8"),
        Check::OneOf(words) => {
            return (!words.contains(&text))
                .then(|| format!("{text:?} is none of {}", words.join(", ")));
        }
    };
    (!holds).then(|| {
        let shown: String = text.chars().take(80).collect();
        format!("{shown:?} does not do; {wanted}")
    })
}

fn is_url(text: &str) -> bool {
    let schemes = [
        "https://", "http://", "tcp://", "tls://", "smtp://", "smtps://",
    ];
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']) && !rest.contains(' ')
    })
}

/// Longest pattern, bytes; most alternatives of one.
const PATTERN_BYTES_MAX: usize = 1024;
const ALTERNATIVES_MAX: usize = 64;

/// A star only at the end of an alternative, none of them empty.
fn is_pattern(text: &str) -> bool {
    let alternatives = text.strip_prefix('!').unwrap_or(text).split('|');
    text.len() <= PATTERN_BYTES_MAX
        && alternatives.clone().count() <= ALTERNATIVES_MAX
        && alternatives.clone().all(|one| {
            let stem = one.strip_suffix('*').unwrap_or(one);
            !one.is_empty() && !stem.contains('*')
        })
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// Nanoseconds of a span of time as people write it: 250ms, 10s, 5m, 1h, 2d.
#[must_use]
pub fn span(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let number: i64 = digits.parse().ok()?;
    let nanos = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    number.checked_mul(nanos)
}
