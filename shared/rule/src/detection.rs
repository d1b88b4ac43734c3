//! Compiles the `detection` section of a Sigma rule: its named selections and its condition.

use std::collections::BTreeMap;

use balefire_event::Category;
use rsigma_parser::{ConditionExpr, Detection, Detections, Quantifier, SelectorPattern};

use crate::diagnostic::{Code, Finding};
use crate::expression::Expression;
use crate::item;
use crate::test::category_bit;

/// Compiles a detection section.
///
/// # Errors
/// Every finding in it.
pub(crate) fn compile(detections: &Detections) -> Result<Expression, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut named = BTreeMap::new();
    if detections.timeframe.is_some() {
        findings.push(Finding::new(
            Code::Unsupported,
            "detection.timeframe",
            "`timeframe` inside a detection counts nothing",
            "write a correlation of type event_count with a timespan",
        ));
    }
    for (name, detection) in detections.named.iter().collect::<BTreeMap<_, _>>() {
        let path = format!("detection.{name}");
        match self::detection(&path, detection) {
            Ok(expression) => drop(named.insert(name.as_str(), expression)),
            Err(found) => findings.extend(found),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let conditions = detections
        .conditions
        .iter()
        .map(|expression| condition(expression, &named))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|finding| vec![finding])?;
    let expression = Expression::any(conditions);
    check_extent(&expression).map_err(|finding| vec![finding])?;
    Ok(expression)
}

/// Refuses what is true of no event or of every event.
fn check_extent(expression: &Expression) -> Result<(), Finding> {
    let (yes, no) = expression.categories();
    let any = |mask: u16| {
        Category::ALL
            .iter()
            .any(|category| mask & category_bit(*category) != 0)
    };
    let (possible, everything) = (any(yes), !any(no));
    let (message, help) = if !possible {
        (
            "the condition can never be true",
            "name categories that can occur together",
        )
    } else if everything {
        (
            "the condition is true of every event",
            "say what to look for, a category for example",
        )
    } else {
        return Ok(());
    };
    Err(Finding::new(
        Code::Condition,
        "detection.condition",
        message,
        help,
    ))
}

fn detection(path: &str, detection: &Detection) -> Result<Expression, Vec<Finding>> {
    match detection {
        Detection::AllOf(items) if items.is_empty() => Err(vec![Finding::new(
            Code::Value,
            path,
            "the selection is empty",
            "list at least one field with a value",
        )]),
        Detection::AllOf(items) => {
            gather(items.iter().map(|item| item::compile(path, item))).map(Expression::all)
        }
        Detection::AnyOf(parts) => {
            gather(parts.iter().map(|part| self::detection(path, part))).map(Expression::any)
        }
        Detection::And(parts) => {
            gather(parts.iter().map(|part| self::detection(path, part))).map(Expression::all)
        }
        Detection::Keywords(values) => item::keywords(path, values, false, false),
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => Err(vec![Finding::new(
            Code::Unsupported,
            path,
            "array blocks (`field[any]:`) are not carried out",
            "name the field itself: a list matches when any of its members does",
        )]),
    }
}

/// All results, or all findings.
pub(crate) fn gather(
    results: impl Iterator<Item = Result<Expression, Vec<Finding>>>,
) -> Result<Vec<Expression>, Vec<Finding>> {
    let mut expressions = Vec::new();
    let mut findings = Vec::new();
    for result in results {
        match result {
            Ok(expression) => expressions.push(expression),
            Err(found) => findings.extend(found),
        }
    }
    if findings.is_empty() {
        Ok(expressions)
    } else {
        Err(findings)
    }
}

fn condition(
    expression: &ConditionExpr,
    named: &BTreeMap<&str, Expression>,
) -> Result<Expression, Finding> {
    let each = |parts: &[ConditionExpr]| {
        parts
            .iter()
            .map(|part| condition(part, named))
            .collect::<Result<Vec<_>, _>>()
    };
    match expression {
        ConditionExpr::And(parts) => each(parts).map(Expression::all),
        ConditionExpr::Or(parts) => each(parts).map(Expression::any),
        ConditionExpr::Not(part) => condition(part, named).map(Expression::negate),
        ConditionExpr::Identifier(name) => named.get(name.as_str()).cloned().ok_or_else(|| {
            let known = named.keys().copied().collect::<Vec<_>>().join(", ");
            Finding::new(
                Code::Condition,
                "detection.condition",
                format!("the condition names `{name}`, which is no selection"),
                format!("use one of: {known}"),
            )
        }),
        ConditionExpr::Selector {
            quantifier,
            pattern,
        } => selector(quantifier, pattern, named),
    }
}

fn selector(
    quantifier: &Quantifier,
    pattern: &SelectorPattern,
    named: &BTreeMap<&str, Expression>,
) -> Result<Expression, Finding> {
    let chosen: Vec<Expression> = named
        .iter()
        .filter(|(name, _)| pattern.matches_detection_name(name))
        .map(|(_, expression)| expression.clone())
        .collect();
    let refuse = |message: String| {
        Finding::new(
            Code::Condition,
            "detection.condition",
            message,
            "let the pattern name selections that are there",
        )
    };
    if chosen.is_empty() {
        return Err(refuse(format!(
            "`{quantifier} of {pattern}` names no selection"
        )));
    }
    match quantifier {
        Quantifier::Any => Ok(Expression::any(chosen)),
        Quantifier::All => Ok(Expression::all(chosen)),
        Quantifier::Count(count) => match usize::try_from(*count) {
            Ok(count) if count >= 1 && count <= chosen.len() => {
                Ok(Expression::AtLeast(count, chosen.into()))
            }
            Ok(_) | Err(_) => Err(refuse(format!(
                "`{quantifier} of {pattern}` asks for {count} of {} selections",
                chosen.len()
            ))),
        },
    }
}
