//! Owns what a windowed rule measures, and what one event adds to it.
//!
//! Knows no window: which values lie in one, and what they come to, is counted elsewhere.

use balefire_event::digest::FieldHasher;
use balefire_event::identity::canonical;
use balefire_event::{Event, Field, Value};
use smallvec::SmallVec;

use crate::test::{Comparison, Number};

/// What "more than N" is about. All of them can only grow when more events come (SEMANTICS §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// Events.
    Events,
    /// Different values of a field.
    Distinct(Field),
    /// The sum of a field's whole numbers.
    Sum(Field),
    /// One event of each step.
    Sequence {
        /// How many; at most [`crate::STEPS_MAX`].
        steps: usize,
        /// In the order of the steps, not in any.
        ordered: bool,
    },
}

/// What is measured within W, and when it is too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    /// What is measured.
    pub measure: Measure,
    /// N: an entry is a breach point when more than N is measured in its window. 0 and of no
    /// meaning for a sequence.
    pub n: u64,
    /// W, nanoseconds.
    pub window: i64,
    /// R, nanoseconds; W/16 ≤ R ≤ 24 h.
    pub rearm: i64,
    /// The key. Never empty.
    pub group_by: Vec<Field>,
}

/// What can fall as well as rise when more events come: decided once, when the slot closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseMeasure {
    /// The mean of a field's numbers.
    Average(Field),
    /// The smallest of a field's numbers that at least so many percent do not exceed (nearest
    /// rank).
    Percentile {
        /// Whose numbers.
        field: Field,
        /// 1 to 100.
        percent: u8,
    },
    /// An event of step 0 at t, and none of step 1 within [t, t + W].
    Absence,
}

/// What is measured within W, decided when the slot closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtClose {
    /// What is measured.
    pub measure: CloseMeasure,
    /// How it must lie to how many thousandths. Of no meaning for an absence.
    pub condition: (Comparison, i64),
    /// W, nanoseconds.
    pub window: i64,
    /// R, nanoseconds; W/16 ≤ R ≤ 24 h.
    pub rearm: i64,
    /// The key. Never empty.
    pub group_by: Vec<Field>,
}

/// What one matching event adds to the window of its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// It lacks the field, or what it says there cannot be measured: it enters no window.
    Nothing,
    /// Events: 0. Distinct: a digest of the value. Sum: the number. Average and percentile: the
    /// number in thousandths.
    Value(u64),
    /// Sequence and absence: places of the steps that the event meets, ascending.
    Steps(SmallVec<[u8; 4]>),
}

impl Measure {
    /// The field that it looks at.
    #[must_use]
    pub const fn field(&self) -> Option<&Field> {
        match self {
            Self::Events | Self::Sequence { .. } => None,
            Self::Distinct(field) | Self::Sum(field) => Some(field),
        }
    }
}

impl CloseMeasure {
    /// The field that it looks at.
    #[must_use]
    pub const fn field(&self) -> Option<&Field> {
        match self {
            Self::Average(field) | Self::Percentile { field, .. } => Some(field),
            Self::Absence => None,
        }
    }
}

impl Measured {
    /// One number for each entry that it makes in the window; none where it cannot be measured.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        let (value, steps): (_, &[u8]) = match self {
            Self::Nothing => (None, &[]),
            Self::Value(value) => (Some(*value), &[]),
            Self::Steps(steps) => (None, steps),
        };
        value
            .into_iter()
            .chain(steps.iter().map(|step| u64::from(*step)))
    }

    /// The field's canonical value as 64 bits; of an identity its reference. A list or an object
    /// is no one value. Whether a value was written as text or as a number makes no difference.
    pub(crate) fn distinct(event: &Event<'_>, field: &Field) -> Self {
        if let Field::Identity(kind) = field {
            let identity = event.identity(*kind);
            return identity.map_or(Self::Nothing, |one| digest(&one.subject_ref.0));
        }
        let text = match scalar(event, field) {
            None => return Self::Nothing,
            Some(Value::Text(text)) => return digest(canonical(text).as_bytes()),
            Some(Value::Json(json)) => {
                serde_json::from_str::<String>(json).unwrap_or_else(|_| json.trim().to_owned())
            }
            Some(Value::Whole(whole)) => whole.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Flag(flag)) => flag.to_string(),
        };
        digest(canonical(&text).as_bytes())
    }

    /// A whole number of at least 0.
    pub(crate) fn whole(event: &Event<'_>, field: &Field) -> Self {
        match number(event, field) {
            Some(Number::Whole(whole)) => value(Some(whole)),
            Some(Number::Real(real)) if real.fract() == 0.0 => value(rounded(real)),
            Some(Number::Real(_)) | None => Self::Nothing,
        }
    }

    /// Thousandths of a number of at least 0, rounded to the nearest.
    pub(crate) fn thousandths(event: &Event<'_>, field: &Field) -> Self {
        value(match number(event, field) {
            Some(Number::Whole(whole)) => whole.checked_mul(1_000),
            Some(Number::Real(real)) => rounded(real * 1_000.0),
            None => None,
        })
    }
}

fn digest(canonical: &[u8]) -> Measured {
    let mut hasher = FieldHasher::new("balefire distinct value v1");
    let [a, b, c, d, e, f, g, h, ..] = hasher.field(canonical).digest();
    Measured::Value(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

fn value(number: Option<i128>) -> Measured {
    let value = number.and_then(|number| u64::try_from(number).ok());
    value.map_or(Measured::Nothing, Measured::Value)
}

/// To the nearest whole number, halves up; `None` below 0 or from 2^64 on.
#[expect(
    clippy::cast_possible_truncation,
    reason = "within 2^64 by the test before it, and whole by rounding"
)]
fn rounded(real: f64) -> Option<i128> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    (0.0..LIMIT).contains(&real).then(|| real.round() as i128)
}

/// The value of a field that says one thing: no empty text, null, list or object.
fn scalar<'e>(event: &'e Event<'_>, field: &Field) -> Option<Value<'e>> {
    let value = event.get(field)?;
    let said = match &value {
        Value::Text(text) => !text.trim().is_empty(),
        Value::Json(json) => {
            let json = json.trim();
            !matches!(json, "" | "null" | "\"\"") && !json.starts_with(['[', '{'])
        }
        Value::Whole(_) | Value::Number(_) | Value::Flag(_) => true,
    };
    said.then_some(value)
}

/// The number that a field says; written as text it counts too.
fn number(event: &Event<'_>, field: &Field) -> Option<Number> {
    match scalar(event, field)? {
        Value::Whole(whole) => Some(Number::Whole(i128::from(whole))),
        Value::Number(real) => Some(Number::Real(real)),
        Value::Text(text) => Number::parse(text.trim()),
        Value::Json(json) => {
            let json = json.trim();
            let bare = json.strip_prefix('"').and_then(|j| j.strip_suffix('"'));
            Number::parse(bare.unwrap_or(json).trim())
        }
        Value::Flag(_) => None,
    }
}
