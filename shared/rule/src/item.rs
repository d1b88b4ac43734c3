//! Compiles one line of a selection: a field, its modifiers and its values.
//!
//! Everything that can be decided from the rule alone is decided here: words of closed lists become
//! bit masks, numbers are parsed, regular expressions built.

use std::sync::Arc;

use balefire_event::{Category, Field, Severity, Timing};
use rsigma_parser::{DetectionItem, SigmaString, SigmaValue};

use crate::cidr::Cidr;
use crate::detection::gather;
use crate::diagnostic::{Code, Finding};
use crate::expression::Expression;
use crate::field::{Kind, Words, readable};
use crate::modifier::{Line, Operator};
use crate::pattern::{Anchor, Pattern};
use crate::test::{Check, Comparison, Number, Test, category_bit, severity_bit, timing_bit};

/// Most values of one line.
pub const VALUES_MAX: usize = 4_096;
/// Largest compiled regular expression, bytes.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;

type Compiled = Result<Expression, Finding>;

/// Compiles a line.
///
/// # Errors
/// Every finding in it.
pub(crate) fn compile(path: &str, item: &DetectionItem) -> Result<Expression, Vec<Finding>> {
    let name = item.field.name.as_deref();
    let path = name.map_or_else(|| path.to_owned(), |name| format!("{path}.{name}"));
    let line = Line::new(&path, &item.field.modifiers).map_err(|finding| vec![finding])?;
    check_count(&path, item.values.len())?;
    let Some(name) = name else {
        if line.operator != Operator::Text(Anchor::Whole) {
            return Err(vec![line.finding(
                Code::Modifier,
                "keywords take no modifier but `all` and `cased`",
                "name a field, or leave the modifier out",
            )]);
        }
        return keywords(&path, &item.values, line.all, line.cased);
    };
    let field = readable(&path, name).map_err(|finding| vec![finding])?;
    let values = gather(
        item.values
            .iter()
            .map(|value| line.value(&field, value).map_err(|found| vec![found])),
    )?;
    Ok(if line.all {
        Expression::all(values)
    } else {
        Expression::any(values)
    })
}

/// Compiles keywords: texts looked for in every text field but identities, anywhere in it.
///
/// # Errors
/// Every finding in them.
pub(crate) fn keywords(
    path: &str,
    values: &[SigmaValue],
    all: bool,
    cased: bool,
) -> Result<Expression, Vec<Finding>> {
    check_count(path, values.len())?;
    let compiled = gather(values.iter().map(|value| {
        literal(value)
            .and_then(|text| Pattern::new(&text, Anchor::Contains, cased))
            .map(|pattern| Expression::Test(Test::Keyword(pattern)))
            .ok_or_else(|| {
                vec![Finding::new(
                    Code::Value,
                    path,
                    "an empty keyword is in every event",
                    "write the text to look for",
                )]
            })
    }))?;
    Ok(if all {
        Expression::all(compiled)
    } else {
        Expression::any(compiled)
    })
}

fn check_count(path: &str, count: usize) -> Result<(), Vec<Finding>> {
    if count == 0 {
        let message = "the list of values is empty";
        return Err(vec![Finding::new(
            Code::Value,
            path,
            message,
            "list at least one value",
        )]);
    }
    if count > VALUES_MAX {
        return Err(vec![Finding::new(
            Code::TooLarge,
            path,
            format!("{count} values, at most {VALUES_MAX}"),
            "use wildcards or a regular expression, or split the rule",
        )]);
    }
    Ok(())
}

/// The text of a value that is neither null nor empty.
fn literal(value: &SigmaValue) -> Option<SigmaString> {
    match value {
        SigmaValue::String(text) if text.parts.is_empty() => None,
        SigmaValue::String(text) => Some(text.clone()),
        SigmaValue::Integer(whole) => Some(SigmaString::from_raw(&whole.to_string())),
        SigmaValue::Float(real) => Some(SigmaString::from_raw(&real.to_string())),
        SigmaValue::Bool(flag) => Some(SigmaString::from_raw(&flag.to_string())),
        SigmaValue::Null => None,
    }
}

fn number(value: &SigmaValue) -> Option<Number> {
    match value {
        SigmaValue::Integer(whole) => Some(Number::Whole(i128::from(*whole))),
        SigmaValue::Float(real) => Some(Number::Real(*real)),
        SigmaValue::String(text) => Number::parse(&text.as_plain()?),
        SigmaValue::Bool(_) | SigmaValue::Null => None,
    }
}

fn flag(value: &SigmaValue) -> Option<bool> {
    match value {
        SigmaValue::Bool(flag) => Some(*flag),
        SigmaValue::String(text) => text.as_plain()?.to_ascii_lowercase().parse().ok(),
        SigmaValue::Integer(_) | SigmaValue::Float(_) | SigmaValue::Null => None,
    }
}

impl Line<'_> {
    fn value(&self, field: &Field, value: &SigmaValue) -> Compiled {
        let kind = Kind::of(field);
        let present = || Expression::Test(Test::Present(field.clone()));
        if self.operator == Operator::Exists {
            return match flag(value) {
                Some(true) => Ok(present()),
                Some(false) => Ok(present().negate()),
                None => Err(self.finding(
                    Code::Value,
                    "`exists` asks yes or no",
                    "write true or false",
                )),
            };
        }
        let empty = matches!(value, SigmaValue::Null)
            || matches!(value, SigmaValue::String(text) if text.parts.is_empty());
        if empty {
            return match self.operator {
                Operator::Text(Anchor::Whole) => Ok(present().negate()),
                Operator::Text(_)
                | Operator::Regex
                | Operator::Cidr
                | Operator::Compare(_)
                | Operator::Exists => {
                    Err(self.finding(Code::Value, "the value is empty", "write what to look for"))
                }
            };
        }
        match kind {
            Kind::Word(words) => self.word(words, value),
            Kind::Identity => self.identity(field, value),
            Kind::Number => self.number(field, value),
            Kind::Flag => self.flag(field, value),
            Kind::Text => self.text(field, value, false),
            Kind::Open => self.text(field, value, true),
        }
    }

    /// A closed list: the check is run over its words now, the event is compared by bits.
    fn word(&self, words: Words, value: &SigmaValue) -> Compiled {
        let Some(check) = self.check(value, false)? else {
            return Ok(Expression::always());
        };
        let passes = |word: &str| check.text(word);
        let (mask, test): (u16, fn(u16) -> Test) = match words {
            Words::Category => (
                mask(Category::ALL, Category::as_str, category_bit, passes),
                Test::Category,
            ),
            Words::Severity => (
                mask(Severity::ALL, Severity::as_str, severity_bit, passes),
                Test::Severity,
            ),
            Words::Timing => (
                mask(Timing::ALL, Timing::as_str, timing_bit, passes),
                Test::Timing,
            ),
        };
        if mask == 0 {
            let names: Vec<&str> = match words {
                Words::Category => Category::ALL.iter().map(|word| word.as_str()).collect(),
                Words::Severity => Severity::ALL.iter().map(|word| word.as_str()).collect(),
                Words::Timing => Timing::ALL.iter().map(|word| word.as_str()).collect(),
            };
            return Err(self.finding(
                Code::Value,
                format!("no word of the list is `{}`", shown(value)),
                format!("use one of: {}", names.join(", ")),
            ));
        }
        Ok(Expression::Test(test(mask)))
    }

    fn identity(&self, field: &Field, value: &SigmaValue) -> Compiled {
        let star =
            literal(value).is_some_and(|text| Pattern::new(&text, Anchor::Whole, false).is_none());
        if star && matches!(self.operator, Operator::Text(_)) {
            return Ok(Expression::Test(Test::Present(field.clone())));
        }
        let name = field.name();
        Err(self.finding(
            Code::Field,
            format!(
                "no rule may compare the readable value of `{name}`: it can change after the match"
            ),
            format!("group by it, or ask `{name}|exists: true`; compare labels or other fields"),
        ))
    }

    fn number(&self, field: &Field, value: &SigmaValue) -> Compiled {
        let comparison = match self.operator {
            Operator::Compare(comparison) => comparison,
            Operator::Text(Anchor::Whole) if shown(value) == "*" => {
                return Ok(Expression::Test(Test::Present(field.clone())));
            }
            Operator::Text(Anchor::Whole) => Comparison::Equal,
            Operator::Text(_) | Operator::Regex | Operator::Cidr | Operator::Exists => {
                return Err(self.finding(
                    Code::Modifier,
                    format!("{} is a number", field.name()),
                    "compare it by gt, gte, lt, lte or an exact number",
                ));
            }
        };
        let number = number(value).ok_or_else(|| self.no_number(value))?;
        Ok(Expression::Test(Test::Field(
            field.clone(),
            Check::Number(comparison, number),
        )))
    }

    fn flag(&self, field: &Field, value: &SigmaValue) -> Compiled {
        match (self.operator, flag(value)) {
            (Operator::Text(Anchor::Whole), Some(flag)) => Ok(Expression::Test(Test::Field(
                field.clone(),
                Check::Flag(flag),
            ))),
            (_, _) => Err(self.finding(
                Code::Value,
                format!("{} is true or false", field.name()),
                "write true or false, without a modifier",
            )),
        }
    }

    /// Text, and the open fields (labels, extensions) whose values may be numbers or flags too.
    fn text(&self, field: &Field, value: &SigmaValue, open: bool) -> Compiled {
        Ok(Expression::Test(match self.check(value, open)? {
            Some(check) => Test::Field(field.clone(), check),
            None => Test::Present(field.clone()),
        }))
    }

    /// The check a value stands for; `None` where it lets every value through.
    fn check(&self, value: &SigmaValue, open: bool) -> Result<Option<Check>, Finding> {
        match (self.operator, value) {
            (Operator::Compare(comparison), _) if open => {
                let number = number(value).ok_or_else(|| self.no_number(value))?;
                Ok(Some(Check::Number(comparison, number)))
            }
            (Operator::Compare(_) | Operator::Exists, _) => Err(self.finding(
                Code::Modifier,
                "the field is no number",
                "compare it as text, or list the values",
            )),
            (Operator::Text(Anchor::Whole), SigmaValue::Integer(_) | SigmaValue::Float(_))
                if open =>
            {
                Ok(number(value).map(|number| Check::Number(Comparison::Equal, number)))
            }
            (Operator::Text(Anchor::Whole), SigmaValue::Bool(flag)) if open => {
                Ok(Some(Check::Flag(*flag)))
            }
            (Operator::Text(anchor), _) => Ok(literal(value)
                .and_then(|text| Pattern::new(&text, anchor, self.cased))
                .map(Check::Text)),
            (Operator::Regex, _) => self.regex(value).map(Some),
            (Operator::Cidr, _) => Cidr::parse(&shown(value))
                .map(Check::Cidr)
                .map(Some)
                .ok_or_else(|| {
                    let message = format!("`{}` is no address block", shown(value));
                    self.finding(
                        Code::Value,
                        message,
                        "write address/bits, such as 10.0.0.0/8",
                    )
                }),
        }
    }

    fn regex(&self, value: &SigmaValue) -> Result<Check, Finding> {
        regex::RegexBuilder::new(&shown(value))
            .case_insensitive(self.ignore_case)
            .multi_line(self.multiline)
            .dot_matches_new_line(self.dot_all)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map(|regex| Check::Regex(Arc::new(regex)))
            .map_err(|error| {
                let last = error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .to_owned();
                self.finding(
                    Code::Value,
                    format!("`{}` is no regular expression: {last}", shown(value)),
                    "write one without look-around and back-references",
                )
            })
    }

    fn no_number(&self, value: &SigmaValue) -> Finding {
        self.finding(
            Code::Value,
            format!("`{}` is no number", shown(value)),
            "write a number without a unit",
        )
    }
}

/// The value as the file writes it.
fn shown(value: &SigmaValue) -> String {
    value.to_string()
}

fn mask<W: Copy>(
    words: &[W],
    name: fn(W) -> &'static str,
    bit: fn(W) -> u16,
    passes: impl Fn(&str) -> bool,
) -> u16 {
    words
        .iter()
        .filter(|word| passes(name(**word)))
        .fold(0, |mask, word| mask | bit(*word))
}
