//! Owns one comparison of one field: the leaves of a compiled rule.
//!
//! Native fields are read without allocating. Values of extensions are JSON text and are decoded
//! on the way; only escapes and lists cost an allocation there.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use balefire_event::{Category, Event, Field, IdentityKind, KeyKind, Severity, Timing, Value};
use serde_json::value::RawValue;

use crate::cidr::Cidr;
use crate::pattern::Pattern;

/// Deepest list inside a list that an extension's value is searched to.
const LIST_DEPTH_MAX: usize = 8;

/// A number of a rule or a record. Whole numbers compare exactly; beside a fraction both are
/// taken as `f64`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    /// Reads decimal text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse::<i128>() {
            return Some(Self::Whole(whole));
        }
        text.parse::<f64>()
            .ok()
            .filter(|real| real.is_finite())
            .map(Self::Real)
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        if let (Self::Whole(a), Self::Whole(b)) = (self, other) {
            return Some(a.cmp(&b));
        }
        self.real().partial_cmp(&other.real())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "only beside a fraction, where 52 bits are as exact as the other side"
    )]
    const fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }
}

/// How a number must lie to the rule's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The same.
    Equal,
    /// More.
    Greater,
    /// More, or the same.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less, or the same.
    LessOrEqual,
}

impl Comparison {
    /// Whether an ordering of the value to the rule's number is as asked.
    #[must_use]
    pub const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

/// What a value must be.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    Text(Pattern),
    Regex(Arc<regex::Regex>),
    Cidr(Cidr),
    Number(Comparison, Number),
    Flag(bool),
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            // Its flags cannot be seen from outside, so only the same one is.
            (Self::Regex(one), Self::Regex(other)) => Arc::ptr_eq(one, other),
            (Self::Cidr(one), Self::Cidr(other)) => one == other,
            (Self::Number(how, one), Self::Number(other_how, other)) => {
                how == other_how && one == other
            }
            (Self::Flag(one), Self::Flag(other)) => one == other,
            (
                Self::Text(_) | Self::Regex(_) | Self::Cidr(_) | Self::Number(..) | Self::Flag(_),
                _,
            ) => false,
        }
    }
}

impl Check {
    /// Whether text passes; a number or flag written as text counts as one.
    pub(crate) fn text(&self, text: &str) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Cidr(cidr) => cidr.contains(text),
            Self::Number(comparison, number) => {
                Number::parse(text.trim()).is_some_and(|value| compare(value, *comparison, *number))
            }
            Self::Flag(flag) => text.eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
        }
    }

    fn value(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (_, Value::Text(text)) => self.text(text),
            (Self::Number(comparison, number), Value::Whole(whole)) => {
                compare(Number::Whole(i128::from(*whole)), *comparison, *number)
            }
            (Self::Number(comparison, number), Value::Number(real)) => {
                compare(Number::Real(*real), *comparison, *number)
            }
            (Self::Flag(want), Value::Flag(flag)) => want == flag,
            (_, Value::Json(json)) => json_any(json, LIST_DEPTH_MAX, &mut |text| self.text(text)),
            (_, Value::Whole(_) | Value::Number(_) | Value::Flag(_)) => false,
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Flag(_) | Self::Number(..) => 2,
            Self::Text(pattern) => pattern.cost(),
            Self::Cidr(_) => 12,
            Self::Regex(_) => 64,
        }
    }
}

fn compare(value: Number, comparison: Comparison, number: Number) -> bool {
    value
        .compare(number)
        .is_some_and(|ordering| comparison.holds(ordering))
}

/// One test of one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// Bit n: the category with number n.
    Category(u16),
    /// Bit n: the severity with number n.
    Severity(u16),
    /// Bit n: the timing with number n.
    Timing(u16),
    /// The record says something there.
    Present(Field),
    /// The value passes.
    Field(Field, Check),
    /// Some text of the record passes.
    Keyword(Pattern),
}

impl Test {
    pub(crate) fn matches(&self, event: &Event<'_>) -> bool {
        match self {
            Self::Category(mask) => mask & category_bit(event.category) != 0,
            Self::Severity(mask) => mask & severity_bit(event.severity) != 0,
            Self::Timing(mask) => mask & timing_bit(event.timing) != 0,
            Self::Present(Field::Identity(kind)) => event.identity(*kind).is_some(),
            Self::Present(field) => event.get(field).is_some_and(|value| said(&value)),
            Self::Field(field, check) => event
                .get(field)
                .is_some_and(|value| said(&value) && check.value(&value)),
            Self::Keyword(pattern) => keyword(pattern, event),
        }
    }

    /// What it costs beside the others: cheap tests stand first.
    pub(crate) fn cost(&self) -> u32 {
        match self {
            Self::Category(_) | Self::Severity(_) | Self::Timing(_) => 1,
            Self::Present(field) => 2 + search_cost(field),
            Self::Field(field, check) => check.cost() + search_cost(field),
            Self::Keyword(_) => 1_000,
        }
    }

    /// The field and the one text, in lower case, that it asks for.
    pub(crate) fn asks(&self) -> Option<(&Field, String)> {
        match self {
            // Identities are sealed, numbers and flags compared otherwise, extensions may be lists.
            Self::Field(field, Check::Text(pattern)) if KEYWORD_FIELDS.contains(field) => {
                Some((field, pattern.whole()?))
            }
            Self::Category(_)
            | Self::Severity(_)
            | Self::Timing(_)
            | Self::Present(_)
            | Self::Field(..)
            | Self::Keyword(_) => None,
        }
    }

    /// Whether it reads a field.
    pub(crate) fn reads(&self, field: &Field) -> bool {
        match self {
            Self::Category(_) => *field == Field::Category,
            Self::Severity(_) => *field == Field::Severity,
            Self::Timing(_) => *field == Field::Timing,
            Self::Present(own) | Self::Field(own, _) => same(own, field),
            Self::Keyword(_) => searched(field),
        }
    }

    /// Whether it looks into fields that Balefire has no name for.
    pub(crate) const fn reads_extensions(&self) -> bool {
        match self {
            Self::Category(_) | Self::Severity(_) | Self::Timing(_) => false,
            Self::Present(field) | Self::Field(field, _) => matches!(field, Field::Extension(_)),
            Self::Keyword(_) => true,
        }
    }

    /// Whether a join may change what it answers.
    pub(crate) fn joinable(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Category(_) | Self::Severity(_) | Self::Timing(_) => None,
            Self::Present(field) | Self::Field(field, _) => {
                joinable(field).then(|| Cow::Owned(field.name().into_owned()))
            }
            Self::Keyword(_) => Some(Cow::Borrowed("keywords")),
        }
    }
}

/// Whether a join may fill the field. A session is an identity and a key at once.
fn joinable(field: &Field) -> bool {
    field.joinable() || same(field, &Field::Identity(IdentityKind::Session))
}

/// One name, one field: `session_id` is an identity and a correlation key.
pub(crate) fn same(a: &Field, b: &Field) -> bool {
    let session = |field: &Field| {
        matches!(
            field,
            Field::Identity(IdentityKind::Session) | Field::Key(KeyKind::Session)
        )
    };
    a == b || session(a) && session(b)
}

pub(crate) const fn category_bit(category: Category) -> u16 {
    1 << category as u16
}

pub(crate) const fn severity_bit(severity: Severity) -> u16 {
    1 << severity as u16
}

pub(crate) const fn timing_bit(timing: Timing) -> u16 {
    1 << timing as u16
}

const fn search_cost(field: &Field) -> u32 {
    match field {
        Field::Label(_) => 4,
        Field::Extension(_) => 48,
        Field::Category
        | Field::Severity
        | Field::Timing
        | Field::EventId
        | Field::Source
        | Field::Identity(_)
        | Field::Key(_)
        | Field::Model
        | Field::JudgeModel
        | Field::JudgeScore
        | Field::JudgeVerdict
        | Field::PolicyViolated
        | Field::GuardrailResult
        | Field::TokensIn
        | Field::TokensOut
        | Field::Endpoint
        | Field::RiskTier
        | Field::Tool
        | Field::ToolAllowed
        | Field::AttackType
        | Field::Reason
        | Field::SrcIp => 0,
    }
}

/// Empty text and JSON null are the same as nothing said.
fn said(value: &Value<'_>) -> bool {
    match value {
        Value::Text(text) => !text.is_empty(),
        Value::Json(json) => !matches!(json.trim(), "" | "null" | "\"\""),
        Value::Whole(_) | Value::Number(_) | Value::Flag(_) => true,
    }
}

/// Whether keywords search the field: all text but identities, whose readable value no rule sees.
fn searched(field: &Field) -> bool {
    KEYWORD_FIELDS.contains(field) || matches!(field, Field::Label(_) | Field::Extension(_))
}

/// Text fields that keywords search, the likely ones first.
static KEYWORD_FIELDS: [Field; 14] = [
    Field::Reason,
    Field::AttackType,
    Field::PolicyViolated,
    Field::GuardrailResult,
    Field::JudgeVerdict,
    Field::Tool,
    Field::Endpoint,
    Field::Model,
    Field::JudgeModel,
    Field::SrcIp,
    Field::Source,
    Field::EventId,
    Field::Key(KeyKind::Request),
    Field::Key(KeyKind::Trace),
];

fn keyword(pattern: &Pattern, event: &Event<'_>) -> bool {
    let native = KEYWORD_FIELDS.iter().any(|field| match event.get(field) {
        Some(Value::Text(text)) => pattern.matches(text),
        Some(Value::Whole(_) | Value::Number(_) | Value::Flag(_) | Value::Json(_)) | None => false,
    });
    native
        || event.labels.iter().any(|(_, value)| pattern.matches(value))
        || event.extensions.iter().any(|extension| {
            json_any(&extension.json, LIST_DEPTH_MAX, &mut |text| {
                pattern.matches(text)
            })
        })
}

/// Whether any scalar of the JSON text passes: itself, or a member of the list it is. Objects
/// inside lists pass nothing.
fn json_any(json: &str, depth: usize, passes: &mut dyn FnMut(&str) -> bool) -> bool {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'"') => match json.get(1..json.len().saturating_sub(1)) {
            Some(inner) if !inner.contains('\\') => passes(inner),
            Some(_) | None => serde_json::from_str::<String>(json).is_ok_and(|text| passes(&text)),
        },
        Some(b'[') if depth > 0 => serde_json::from_str::<Vec<&RawValue>>(json)
            .is_ok_and(|members| members.iter().any(|m| json_any(m.get(), depth - 1, passes))),
        Some(b'[' | b'{' | b'n') | None => false,
        Some(_) => passes(json),
    }
}
