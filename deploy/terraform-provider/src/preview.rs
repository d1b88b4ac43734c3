//! What a rule would have raised: `balefire_rule_preview`, and the warning on a changed rule.

use std::time::{SystemTime, UNIX_EPOCH};

use balefire_event::Escalation;
use balefire_wire::whatif::v1::{Difference, Outcome, Summary};
use rmpv::Value;

use crate::answer::refused;
use crate::dynamic::{Fields, is_unknown, text};
use crate::plan::{error, path};
use crate::platform::Platform;
use crate::tfplugin6 as tf;
use crate::tfplugin6::diagnostic::Severity;

/// Name of the data source.
pub const PREVIEW: &str = "balefire_rule_preview";
/// How far back where nothing is said.
const SINCE: &str = "24h";
/// Differences told in words.
const EXAMPLES_MAX: usize = 10;

/// Nanoseconds of a span that an attribute holds; `None` where it is absent, unknown or wrong.
pub fn span_of(fields: &Fields, attribute: &str) -> Option<i64> {
    balefire_control::span(&text(fields.get(attribute))?)
}

/// What is wrong with an attribute that holds a span.
pub fn check(config: &Fields, attribute: &str) -> Vec<tf::Diagnostic> {
    let given = text(config.get(attribute));
    let wrong = given.filter(|text| balefire_control::span(text).is_none_or(|span| span <= 0));
    wrong
        .map(|text| {
            let detail = format!("{text:?} is no span of time; take 10m, 24h or 7d");
            error("Invalid value", &detail, Some(attribute))
        })
        .into_iter()
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a plan looks back from the time at which it is made"
)]
fn since(span: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    now.saturating_sub(span).max(1)
}

fn example(difference: &Difference) -> Option<String> {
    let outcome = match difference.outcome() {
        Outcome::Added => "added",
        Outcome::Removed => "removed",
        Outcome::Unchanged | Outcome::Unspecified => return None,
    };
    let escalation = Escalation::try_from(difference.escalation.as_ref()?).ok()?;
    let key = escalation.key.iter();
    let key: Vec<String> = key
        .map(|part| format!("{}={}", part.field, part.readable))
        .collect();
    Some(format!(
        "{outcome} {} {} {} ({} events)",
        escalation.breach_at,
        escalation.rule_name,
        key.join(" "),
        escalation.event_count
    ))
}

fn examples(differences: &[Difference]) -> Vec<String> {
    let examples = differences.iter().filter_map(example);
    examples.take(EXAMPLES_MAX).collect()
}

/// What the data source tells.
///
/// # Errors
/// Faults of the rule on its line; what the server answers.
pub async fn state(platform: &Platform, config: &Fields) -> Result<Fields, Vec<tf::Diagnostic>> {
    let given = |attribute: &str| text(config.get(attribute)).unwrap_or_default();
    let (name, yaml) = (given("name"), given("yaml"));
    let span = span_of(config, "since").or_else(|| balefire_control::span(SINCE));
    let tried = platform.what_if(&name, &yaml, since(span.unwrap_or_default()));
    let (differences, summary) = tried
        .await
        .map_err(|status| refused("try the rule out", &status))?;
    let mut state = config.clone();
    state.insert("id".into(), Value::from(name));
    for (attribute, count) in [
        ("added", summary.added),
        ("removed", summary.removed),
        ("unchanged", summary.unchanged),
        ("events", summary.events),
    ] {
        state.insert(attribute.into(), Value::from(count));
    }
    let examples = examples(&differences).into_iter().map(Value::from);
    state.insert("examples".into(), Value::Array(examples.collect()));
    Ok(state)
}

fn warning(summary: &str, detail: String) -> Vec<tf::Diagnostic> {
    vec![tf::Diagnostic {
        severity: Severity::Warning.into(),
        summary: summary.to_owned(),
        detail,
        attribute: Some(path("yaml")),
    }]
}

fn told(name: &str, differences: &[Difference], summary: &Summary) -> Vec<tf::Diagnostic> {
    let mut detail = format!(
        "over {} events of the log: {} added, {} removed, {} unchanged",
        summary.events, summary.added, summary.removed, summary.unchanged
    );
    for example in examples(differences) {
        detail.push_str("\n  ");
        detail.push_str(&example);
    }
    warning(&format!("What the rule {name} would have raised"), detail)
}

/// The warning on a rule that is made or changed, where the provider is to try it out. A rule that
/// cannot be tried is no reason to refuse a plan.
pub async fn warn(
    platform: Option<&Platform>,
    prior: Option<&Fields>,
    plan: &Fields,
) -> Vec<tf::Diagnostic> {
    let Some(platform) = platform.filter(|platform| platform.preview > 0) else {
        return Vec::new();
    };
    let known = |attribute: &str| plan.get(attribute).is_some_and(|value| !is_unknown(value));
    let same = prior.is_some_and(|prior| prior.get("yaml") == plan.get("yaml"));
    if same || !known("yaml") || !known("name") {
        return Vec::new();
    }
    let name = text(plan.get("name")).unwrap_or_default();
    let yaml = text(plan.get("yaml")).unwrap_or_default();
    match platform
        .what_if(&name, &yaml, since(platform.preview))
        .await
    {
        Ok((differences, summary)) => told(&name, &differences, &summary),
        Err(status) => warning(
            &format!("The rule {name} could not be tried out"),
            format!("{:?}: {}", status.code(), status.message()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_is_none_is_told_on_its_attribute() {
        let of = |text: &str| Fields::from([("since".to_owned(), Value::from(text))]);
        assert_eq!(check(&of("24h"), "since"), []);
        for wrong in ["", "24", "0h", "soon"] {
            let found = check(&of(wrong), "since");
            assert_eq!(found.len(), 1, "{wrong}");
            assert_eq!(found[0].attribute, Some(path("since")));
        }
        assert_eq!(check(&Fields::new(), "since"), []);
    }
}
