//! Checks a Sigma correlation and reads what it counts.
//!
//! Looks at the YAML itself where the parser would pass something over in silence.

use balefire_event::time::{HOUR, SECOND};
use balefire_event::{Field, IdentityKind};
use rsigma_parser::{ConditionOperator, CorrelationCondition, CorrelationRule, WindowMode};
use yaml_serde::Value;

use crate::diagnostic::{Code, Finding};
use crate::extension::seconds;
use crate::field::readable;
use crate::rule::Threshold;

/// Correlation types that are carried out.
pub const TYPES: [&str; 1] = ["event_count"];
/// Largest threshold N: so many entries a key may be kept.
pub const THRESHOLD_MAX: u64 = 10_000;
/// Longest re-arm period, nanoseconds.
pub const REARM_MAX: i64 = 24 * HOUR;
/// The re-arm period is at least this part of the window.
pub const REARM_PARTS: i64 = 16;
/// Longest window, nanoseconds: beyond it no re-arm period fits.
pub const WINDOW_MAX: i64 = REARM_PARTS * REARM_MAX;
/// Most rules a correlation may name.
pub const REFERENCES_MAX: usize = 64;

const KEYS: [&str; 6] = [
    "type",
    "rules",
    "group-by",
    "timespan",
    "timeframe",
    "condition",
];

/// Checks on the YAML, before the parser sees it.
pub(crate) fn check_written(document: &Value) -> Vec<Finding> {
    let Some(Value::Mapping(correlation)) = document.get("correlation") else {
        let help = "write type, rules, group-by, timespan and condition under it";
        return vec![Finding::new(Code::Sigma, "correlation", "no mapping", help)];
    };
    let mut findings = Vec::new();
    let kind = correlation
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !TYPES.contains(&kind) {
        findings.push(Finding::new(
            Code::CorrelationType,
            "correlation.type",
            format!("`{kind}` is not carried out yet"),
            format!("supported: {}", TYPES.join(", ")),
        ));
        return findings;
    }
    for key in correlation.keys().filter_map(Value::as_str) {
        if KEYS.contains(&key) || key == "generate" {
            continue;
        }
        let (code, help) = match key {
            "window" | "gap" => (Code::Window, "leave it out: every window slides".to_owned()),
            "aliases" => (
                Code::GroupBy,
                "leave it out: fields have one name in every event".to_owned(),
            ),
            _ => (Code::Unsupported, format!("use only {}", KEYS.join(", "))),
        };
        let path = format!("correlation.{key}");
        findings.push(Finding::new(
            code,
            path,
            format!("`{key}` is not carried out"),
            help,
        ));
    }
    if let Some(Value::Mapping(condition)) = correlation.get("condition") {
        for key in condition.keys().filter_map(Value::as_str) {
            if !matches!(key, "gt" | "gte" | "lt" | "lte" | "eq" | "neq") {
                findings.push(threshold_finding(format!(
                    "`{key}` has no meaning for event_count"
                )));
            }
        }
    }
    findings
}

/// What the correlation counts.
///
/// # Errors
/// Every finding in it.
pub(crate) fn threshold(
    rule: &CorrelationRule,
    rearm_seconds: Option<u64>,
) -> Result<Threshold, Vec<Finding>> {
    let mut findings = Vec::new();
    let n = count(&rule.condition).map_err(|finding| findings.push(finding));
    let group_by = grouping(&rule.group_by).map_err(|found| findings.extend(found));
    let window = window(rule).map_err(|finding| findings.push(finding));
    let rearm = window
        .and_then(|window| rearm(window, rearm_seconds).map_err(|finding| findings.push(finding)));
    match (n, group_by, window, rearm) {
        (Ok(n), Ok(group_by), Ok(window), Ok(rearm)) if findings.is_empty() => Ok(Threshold {
            n,
            window,
            rearm,
            group_by,
        }),
        _ => Err(findings),
    }
}

fn threshold_finding(message: String) -> Finding {
    Finding::new(
        Code::Threshold,
        "correlation.condition",
        message,
        "write exactly one of gt: N or gte: N",
    )
}

/// N of "more than N". `gte: N` is more than N − 1.
fn count(condition: &CorrelationCondition) -> Result<u64, Finding> {
    let CorrelationCondition::Threshold { predicates, .. } = condition else {
        return Err(threshold_finding(
            "an expression belongs to temporal correlations".into(),
        ));
    };
    let n = match predicates.as_slice() {
        [(ConditionOperator::Gt, n)] => *n,
        [(ConditionOperator::Gte, 0)] => {
            return Err(threshold_finding("`gte: 0` is always true".into()));
        }
        [(ConditionOperator::Gte, n)] => n - 1,
        [_] => {
            return Err(threshold_finding(
                "only \"more than\" can be decided for good: a later event could undo the rest"
                    .into(),
            ));
        }
        _ => {
            return Err(threshold_finding(
                "an upper bound would take an escalation back when more events come".into(),
            ));
        }
    };
    if n > THRESHOLD_MAX {
        return Err(Finding::new(
            Code::Threshold,
            "correlation.condition",
            format!("the threshold is not within 0 and {THRESHOLD_MAX}"),
            "count something rarer",
        ));
    }
    Ok(n)
}

/// The fields of the key. Only the user for now: events lie in their user's partition, every other
/// key needs re-keying (SEMANTICS §9), which comes later. This is the one place that says so.
fn grouping(names: &[String]) -> Result<Vec<Field>, Vec<Finding>> {
    const PATH: &str = "correlation.group-by";
    if let [name] = names {
        let field = readable(PATH, name).map_err(|finding| vec![finding])?;
        if field == Field::Identity(IdentityKind::User) {
            return Ok(vec![field]);
        }
    }
    let shown = if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    };
    Err(vec![Finding::new(
        Code::GroupBy,
        PATH,
        format!("grouping by {shown} is not carried out yet"),
        "group by user_id alone; other keys come with re-keying",
    )])
}

fn window(rule: &CorrelationRule) -> Result<i64, Finding> {
    const PATH: &str = "correlation.timespan";
    if rule.window != WindowMode::Sliding || rule.gap.is_some() {
        let help = "leave rsigma.window and rsigma.gap out: every window slides";
        return Err(Finding::new(
            Code::Window,
            PATH,
            "the window does not slide",
            help,
        ));
    }
    let seconds = seconds(&rule.timespan.original)
        .map_err(|help| Finding::new(Code::Window, PATH, "no length of time", help))?;
    nanos(seconds)
        .filter(|window| *window <= WINDOW_MAX)
        .ok_or_else(|| {
            let message = format!("the window is over {} days", WINDOW_MAX / (24 * HOUR));
            Finding::new(Code::Window, PATH, message, "count within a shorter time")
        })
}

/// R: as written, else W.
fn rearm(window: i64, written: Option<u64>) -> Result<i64, Finding> {
    let rearm = match written {
        Some(seconds) => nanos(seconds),
        None => Some(window),
    };
    rearm
        .filter(|rearm| *rearm <= REARM_MAX && window <= rearm.saturating_mul(REARM_PARTS))
        .ok_or_else(|| {
            let least = (window + REARM_PARTS * SECOND - 1) / (REARM_PARTS * SECOND);
            let message = match written {
                Some(_) => "the re-arm period does not fit the window",
                None => "the window is longer than a day and no re-arm period is given",
            };
            let help = format!("write balefire.rearm between {least}s and 24h");
            Finding::new(Code::Rearm, "balefire.rearm", message, help)
        })
}

fn nanos(seconds: u64) -> Option<i64> {
    i64::try_from(seconds).ok()?.checked_mul(SECOND)
}
