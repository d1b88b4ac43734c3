//! Checks a Sigma correlation: its type, window, re-arm period and grouping.
//!
//! Looks at the YAML itself where the parser would pass something over in silence.

use balefire_event::Field;
use balefire_event::time::{HOUR, SECOND};
use rsigma_parser::{CorrelationRule, WindowMode};
use yaml_serde::Value;

use crate::condition::{self, Asked};
use crate::diagnostic::{Code, Finding};
use crate::extension::{Extension, seconds};
use crate::field::readable;
use crate::measure::{AtClose, Threshold};
use crate::rule::RuleKind;
use crate::test::same;

/// Correlation types that are carried out.
pub const TYPES: [&str; 7] = [
    "event_count",
    "value_count",
    "value_sum",
    "temporal",
    "temporal_ordered",
    "value_avg",
    "value_percentile",
];
/// Most fields of a key.
pub const GROUP_BY_MAX: usize = 4;
/// Longest re-arm period, nanoseconds.
pub const REARM_MAX: i64 = 24 * HOUR;
/// The re-arm period is at least this part of the window.
pub const REARM_PARTS: i64 = 16;
/// Longest window, nanoseconds: beyond it no re-arm period fits.
pub const WINDOW_MAX: i64 = REARM_PARTS * REARM_MAX;
/// Most rules a correlation may name.
pub const REFERENCES_MAX: usize = 64;
/// Most steps of a sequence.
pub const STEPS_MAX: usize = 16;

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
        let help = match kind {
            "value_median" => {
                "write value_percentile with percentile: 50, the middle value that occurred"
                    .to_owned()
            }
            _ => format!("supported: {}", TYPES.join(", ")),
        };
        findings.push(Finding::new(
            Code::CorrelationType,
            "correlation.type",
            format!("`{kind}` is not carried out"),
            help,
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
    findings
}

/// What the correlation measures, within what and by which key.
///
/// # Errors
/// Every finding in it.
pub(crate) fn read(
    rule: &CorrelationRule,
    document: &Value,
    extension: &Extension,
) -> Result<RuleKind, Vec<Finding>> {
    let mut findings = Vec::new();
    let asked = condition::read(rule, document, extension).map_err(|f| findings.push(f));
    let group_by = grouping(&rule.group_by).map_err(|found| findings.extend(found));
    let window = window(rule).map_err(|finding| findings.push(finding));
    let rearm = window.and_then(|window| {
        rearm(window, extension.rearm).map_err(|finding| findings.push(finding))
    });
    let (Ok(asked), Ok(group_by), Ok(window), Ok(rearm)) = (asked, group_by, window, rearm) else {
        return Err(findings);
    };
    if let Some(field) = asked.field()
        && group_by.iter().any(|key| same(key, field))
    {
        let message = format!("`{}` has one value in each group", field.name());
        let help = "measure a field that is not in group-by";
        let path = "correlation.condition.field";
        findings.push(Finding::new(Code::Threshold, path, message, help));
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(match asked {
        Asked::MoreThan(measure, n) => RuleKind::Threshold(Threshold {
            measure,
            n,
            window,
            rearm,
            group_by,
        }),
        Asked::AtClose(measure, condition) => RuleKind::AtClose(AtClose {
            measure,
            condition,
            window,
            rearm,
            group_by,
        }),
    })
}

/// The fields of the key.
fn grouping(names: &[String]) -> Result<Vec<Field>, Vec<Finding>> {
    const PATH: &str = "correlation.group-by";
    let refuse = |message: String, help: &str| Finding::new(Code::GroupBy, PATH, message, help);
    if names.is_empty() {
        let help = "name what to count by, such as user_id, or source for all of a source";
        return Err(vec![refuse("there is no grouping".to_owned(), help)]);
    }
    let mut findings = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    for name in names {
        match readable(PATH, name) {
            Ok(field) if fields.iter().any(|known| same(known, &field)) => {
                let message = format!("`{name}` is named twice");
                findings.push(refuse(message, "name each field once"));
            }
            Ok(field) => fields.push(field),
            Err(finding) => findings.push(finding),
        }
    }
    if names.len() > GROUP_BY_MAX {
        let message = format!("{} fields, at most {GROUP_BY_MAX}", names.len());
        findings.push(refuse(message, "group by fewer fields"));
    }
    if findings.is_empty() {
        Ok(fields)
    } else {
        Err(findings)
    }
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
