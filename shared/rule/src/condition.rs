//! Reads the condition of a correlation: what it measures, and from where on that is too much.
//!
//! Reads the YAML itself: the parser knows no fractions, and passes over words that mean nothing
//! for a type.

use std::cmp::Ordering;

use balefire_event::Field;
use rsigma_parser::{CorrelationRule, CorrelationType};
use yaml_serde::{Mapping, Value};

use crate::diagnostic::{Code, Finding};
use crate::extension::Extension;
use crate::field::{Kind, Words, readable};
use crate::measure::{CloseMeasure, Measure};
use crate::test::Comparison;

/// Largest N of events and of different values: so many entries a key may be kept.
pub const THRESHOLD_MAX: u64 = 10_000;
/// Largest number that a sum, an average or a percentile is compared with.
pub const NUMBER_MAX: u64 = 1_000_000_000_000;

const PATH: &str = "correlation.condition";
const FIELD: &str = "correlation.condition.field";
const OPERATORS: [(&str, Comparison); 4] = [
    ("gt", Comparison::Greater),
    ("gte", Comparison::GreaterOrEqual),
    ("lt", Comparison::Less),
    ("lte", Comparison::LessOrEqual),
];

/// What a correlation asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    MoreThan(Measure, u64),
    /// Compared with so many thousandths.
    AtClose(CloseMeasure, (Comparison, i64)),
}

impl Asked {
    pub(crate) const fn field(&self) -> Option<&Field> {
        match self {
            Self::MoreThan(measure, _) => measure.field(),
            Self::AtClose(measure, _) => measure.field(),
        }
    }
}

/// What the correlation asks for.
///
/// # Errors
/// The first finding in its condition.
pub(crate) fn read(
    rule: &CorrelationRule,
    document: &Value,
    extension: &Extension,
) -> Result<Asked, Finding> {
    let kind = rule.correlation_type;
    let written = document.get("correlation").and_then(|c| c.get("condition"));
    if extension.absence.is_some() {
        return absence(kind, written);
    }
    if matches!(
        kind,
        CorrelationType::Temporal | CorrelationType::TemporalOrdered
    ) {
        return sequence(rule, written);
    }
    let condition = Condition::read(kind, written)?;
    Ok(match kind {
        CorrelationType::ValueCount => {
            let field = condition.field()?;
            let n = condition.more_than(THRESHOLD_MAX)?;
            check_values(&field, n)?;
            Asked::MoreThan(Measure::Distinct(field), n)
        }
        CorrelationType::ValueSum => {
            let field = condition.number_field()?;
            if field == Field::JudgeScore {
                return Err(Finding::new(
                    Code::Threshold,
                    FIELD,
                    "`judge_score` is a fraction, and only whole numbers are added up",
                    "use value_avg or value_percentile, or count the events over a score",
                ));
            }
            Asked::MoreThan(Measure::Sum(field), condition.more_than(NUMBER_MAX)?)
        }
        CorrelationType::ValueAvg => Asked::AtClose(
            CloseMeasure::Average(condition.number_field()?),
            condition.thousandths()?,
        ),
        CorrelationType::ValuePercentile | CorrelationType::ValueMedian => Asked::AtClose(
            CloseMeasure::Percentile {
                field: condition.number_field()?,
                percent: condition.percent()?,
            },
            condition.thousandths()?,
        ),
        CorrelationType::EventCount
        | CorrelationType::Temporal
        | CorrelationType::TemporalOrdered => {
            Asked::MoreThan(Measure::Events, condition.more_than(THRESHOLD_MAX)?)
        }
    })
}

fn refuse(message: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding::new(Code::Threshold, PATH, message, help)
}

fn sequence(rule: &CorrelationRule, written: Option<&Value>) -> Result<Asked, Finding> {
    if written.is_some() {
        return Err(refuse(
            "a sequence has no condition of its own",
            "leave it out: one event of every rule named must be there",
        ));
    }
    let measure = Measure::Sequence {
        steps: rule.rules.len(),
        ordered: rule.correlation_type == CorrelationType::TemporalOrdered,
    };
    Ok(Asked::MoreThan(measure, 0))
}

fn absence(kind: CorrelationType, written: Option<&Value>) -> Result<Asked, Finding> {
    if kind != CorrelationType::EventCount {
        return Err(Finding::new(
            Code::Extension,
            "balefire.absence",
            format!("`absence` has no meaning for {}", kind.as_str()),
            "write type: event_count and condition: {gte: 1}",
        ));
    }
    if Condition::read(kind, written)?.more_than(THRESHOLD_MAX)? != 0 {
        return Err(refuse(
            "an absence is looked for after each event",
            "write condition: {gte: 1}",
        ));
    }
    let unused = (Comparison::Greater, 0);
    Ok(Asked::AtClose(CloseMeasure::Absence, unused))
}

/// Refuses a number of different values that a closed list does not have.
fn check_values(field: &Field, n: u64) -> Result<(), Finding> {
    let words: usize = match Kind::of(field) {
        Kind::Flag => 2,
        // Only events that are on time enter windows.
        Kind::Word(Words::Timing) => 1,
        Kind::Word(Words::Severity) => balefire_event::Severity::ALL.len(),
        Kind::Word(Words::Category) => balefire_event::Category::ALL.len(),
        Kind::Identity | Kind::Number | Kind::Text | Kind::Open => return Ok(()),
    };
    if n < words as u64 {
        return Ok(());
    }
    Err(refuse(
        format!("`{}` never has more than {words} values", field.name()),
        "ask for fewer values, or count another field",
    ))
}

/// A condition that compares something with a number.
struct Condition<'a> {
    kind: CorrelationType,
    written: &'a Mapping,
    comparison: Comparison,
    number: &'a Value,
}

impl<'a> Condition<'a> {
    fn read(kind: CorrelationType, written: Option<&'a Value>) -> Result<Self, Finding> {
        let at_close = matches!(
            kind,
            CorrelationType::ValueAvg | CorrelationType::ValuePercentile
        );
        let help = if at_close {
            "write exactly one of gt, gte, lt, lte with a number"
        } else {
            "write exactly one of gt: N or gte: N"
        };
        let Some(Value::Mapping(written)) = written else {
            return Err(refuse("an expression belongs to no type", help));
        };
        for key in written.keys().filter_map(Value::as_str) {
            let known = match key {
                "gt" | "gte" | "lt" | "lte" | "eq" | "neq" => true,
                "field" => kind != CorrelationType::EventCount,
                "percentile" => kind == CorrelationType::ValuePercentile,
                _ => false,
            };
            if !known {
                let message = format!("`{key}` has no meaning for {}", kind.as_str());
                return Err(refuse(message, help));
            }
        }
        let bounds: Vec<_> = OPERATORS
            .iter()
            .filter_map(|(name, comparison)| Some((*comparison, written.get(*name)?)))
            .collect();
        let equality = written.get("eq").is_some() || written.get("neq").is_some();
        match bounds.as_slice() {
            [(comparison, number)] if !equality => Ok(Self {
                kind,
                written,
                comparison: *comparison,
                number,
            }),
            [] if !at_close => Err(refuse(
                "only \"more than\" can be decided for good: a later event could undo the rest",
                help,
            )),
            [] | [_] | [_, ..] if at_close => Err(refuse("there is not one bound", help)),
            _ => Err(refuse(
                "an upper bound would take an escalation back when more events come",
                help,
            )),
        }
    }

    /// The field that is measured.
    fn field(&self) -> Result<Field, Finding> {
        let refuse = |message: &str| {
            let help = format!(
                "write condition.field: one field, for {}",
                self.kind.as_str()
            );
            Err(Finding::new(Code::Threshold, FIELD, message, help))
        };
        match self.written.get("field") {
            None => refuse("`field` is missing: it says whose values are measured"),
            Some(Value::String(name)) => readable(FIELD, name),
            Some(Value::Sequence(names)) => match names.as_slice() {
                [Value::String(name)] => readable(FIELD, name),
                _ => refuse("`field` does not name one field"),
            },
            Some(_) => refuse("`field` does not name one field"),
        }
    }

    /// The same, of numbers.
    fn number_field(&self) -> Result<Field, Finding> {
        let field = self.field()?;
        match Kind::of(&field) {
            Kind::Number | Kind::Open => Ok(field),
            Kind::Word(_) | Kind::Identity | Kind::Flag | Kind::Text => Err(Finding::new(
                Code::Threshold,
                FIELD,
                format!("`{}` holds no numbers", field.name()),
                "name tokens_in, tokens_out, risk_tier, judge_score, a label or a field of your own, or write value_count",
            )),
        }
    }

    /// N of "more than N". `gte: N` is more than N − 1.
    fn more_than(&self, most: u64) -> Result<u64, Finding> {
        let help = "write exactly one of gt: N or gte: N";
        let Some(number) = self.number.as_u64() else {
            let message = "N is no whole number of at least 0";
            return Err(refuse(message, help));
        };
        let n = match self.comparison {
            Comparison::Greater => number,
            Comparison::GreaterOrEqual if number == 0 => {
                return Err(refuse("`gte: 0` is always true", help));
            }
            Comparison::GreaterOrEqual => number - 1,
            Comparison::Less | Comparison::LessOrEqual | Comparison::Equal => {
                return Err(refuse(
                    "only \"more than\" can be decided for good: a later event could undo the rest",
                    help,
                ));
            }
        };
        if n > most {
            return Err(refuse(
                format!("the threshold is not within 0 and {most}"),
                "count something rarer",
            ));
        }
        Ok(n)
    }

    /// 1 to 100; 50 where nothing is said, as in Sigma.
    fn percent(&self) -> Result<u8, Finding> {
        let Some(written) = self.written.get("percentile") else {
            return Ok(50);
        };
        let percent = written
            .as_u64()
            .and_then(|percent| u8::try_from(percent).ok());
        percent
            .filter(|percent| (1..=100).contains(percent))
            .ok_or_else(|| {
                Finding::new(
                    Code::Threshold,
                    "correlation.condition.percentile",
                    "`percentile` is no whole number from 1 to 100",
                    "write 95, say: 95 in 100 values are not above it",
                )
            })
    }

    /// What it is compared with, thousandths.
    fn thousandths(&self) -> Result<(Comparison, i64), Finding> {
        let help = format!("write a number from 0 to {NUMBER_MAX} with at most three decimals");
        let thousandths = self
            .number
            .as_f64()
            .and_then(thousandths)
            .ok_or_else(|| refuse("no number that can be compared with", help))?;
        let holds_of_zero = self.comparison.holds(0.cmp(&thousandths));
        let bounded_below = self.comparison.holds(Ordering::Greater);
        match (thousandths, bounded_below, holds_of_zero) {
            (0, true, true) => Err(refuse("`gte: 0` is always true", "write gt: 0")),
            (0, false, false) => Err(refuse("`lt: 0` can never be true", "write lte: 0")),
            (_, _, _) => Ok((self.comparison, thousandths)),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "at most NUMBER_MAX thousands, and whole by rounding"
)]
fn thousandths(number: f64) -> Option<i64> {
    const MOST: f64 = 1_000_000_000_000.0;
    if !(0.0..=MOST).contains(&number) {
        return None;
    }
    let thousandths = (number * 1_000.0).round();
    // Written with three decimals, it comes back from them.
    ((thousandths / 1_000.0 - number).abs() <= number * f64::EPSILON).then_some(thousandths as i64)
}
