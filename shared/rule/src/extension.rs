//! Owns the `balefire` block of a rule: what Sigma has no word for.

use balefire_event::{Approval, Field, RecommendedAction};
use rsigma_parser::Timespan;
use rsigma_parser::value::TimespanUnit;
use serde::Deserialize;
use yaml_serde::Value;

use crate::diagnostic::{Code, Finding};

/// Most entries of any list in the block.
pub const LIST_MAX: usize = 32;

/// Classes of actions, mildest first.
const CLASSES: [&str; 3] = ["information", "reversible_containment", "user_impacting"];

/// The block as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    rearm: Option<String>,
    absence: Option<WrittenAbsence>,
    recommended_actions: Vec<WrittenAction>,
    audiences: Vec<String>,
    atlas: Vec<String>,
    owasp: Vec<String>,
    escalate: Option<bool>,
    summary: Option<String>,
    first_steps: Vec<String>,
    shadow: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAbsence {
    of: OneOrMany,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the name or id of a rule, or a list of them"
)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAction {
    name: String,
    class: String,
    target: String,
    max_duration: Option<String>,
    approval: Option<String>,
}

/// The block as checked.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    /// R as written, seconds.
    pub(crate) rearm: Option<u64>,
    /// Names or ids of the rules of which nothing may match.
    pub(crate) absence: Option<Vec<String>>,
    pub(crate) actions: Vec<RecommendedAction>,
    pub(crate) audiences: Vec<String>,
    pub(crate) atlas: Vec<String>,
    pub(crate) owasp: Vec<String>,
    pub(crate) escalate: Option<bool>,
    pub(crate) summary: String,
    pub(crate) first_steps: Vec<String>,
    /// It counts and is shown; nobody is told.
    pub(crate) shadow: bool,
}

impl Extension {
    /// Reads the block of a document, if it has one.
    ///
    /// # Errors
    /// Every finding in it.
    pub(crate) fn read(document: &Value) -> Result<Self, Vec<Finding>> {
        let Some(block) = document.get("balefire") else {
            return Ok(Self::default());
        };
        let written = Written::deserialize(block).map_err(|error| {
            vec![Finding::new(
                Code::Extension,
                "balefire",
                error.to_string(),
                "the block holds rearm, absence {of}, recommended_actions [{name, class, target, max_duration, approval}], audiences, atlas, owasp, escalate, summary, first_steps, shadow",
            )]
        })?;
        let mut findings = lists(&written);
        let rearm = written.rearm.as_deref().map(seconds).transpose();
        let rearm = rearm.unwrap_or_else(|help| {
            let message = "no length of time";
            findings.push(Finding::new(Code::Rearm, "balefire.rearm", message, help));
            None
        });
        let actions = actions(written.recommended_actions)
            .map_err(|found| findings.extend(found))
            .unwrap_or_default();
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Self {
            rearm,
            absence: written.absence.map(|absence| match absence.of {
                OneOrMany::One(rule) => vec![rule],
                OneOrMany::Many(rules) => rules,
            }),
            actions,
            audiences: written.audiences,
            atlas: written.atlas,
            owasp: written.owasp,
            escalate: written.escalate,
            summary: written.summary.unwrap_or_default().trim().to_owned(),
            first_steps: written
                .first_steps
                .iter()
                .map(|step| step.trim().to_owned())
                .collect(),
            shadow: written.shadow,
        })
    }
}

/// What is wrong with the lists of plain text.
fn lists(written: &Written) -> Vec<Finding> {
    let words = "snake_case names such as soc, ai_team";
    let techniques = "technique ids such as AML.T0051 or AML.T0051.000";
    [
        list("audiences", &written.audiences, is_word, words),
        list("atlas", &written.atlas, is_atlas, techniques),
        list(
            "owasp",
            &written.owasp,
            is_owasp,
            "ids such as LLM01 or ASI02",
        ),
        list(
            "first_steps",
            &written.first_steps,
            |step| !step.trim().is_empty(),
            "sentences",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn actions(written: Vec<WrittenAction>) -> Result<Vec<RecommendedAction>, Vec<Finding>> {
    if written.len() > LIST_MAX {
        return Err(vec![too_long("recommended_actions", written.len())]);
    }
    let mut actions = Vec::new();
    let mut findings = Vec::new();
    for (index, action) in written.into_iter().enumerate() {
        match checked(action) {
            Ok(action) => actions.push(action),
            Err((field, message, help)) => {
                let path = format!("balefire.recommended_actions[{index}].{field}");
                findings.push(Finding::new(Code::Extension, path, message, help));
            }
        }
    }
    if findings.is_empty() {
        Ok(actions)
    } else {
        Err(findings)
    }
}

/// Seconds of a length of time such as 90s, 5m, 24h, 2d or 1w; at least one.
///
/// # Errors
/// What to write instead. Months and years have no fixed length.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let span = Timespan::parse(text).ok().filter(|span| {
        span.seconds > 0 && !matches!(span.unit, TimespanUnit::Month | TimespanUnit::Year)
    });
    span.map(|span| span.seconds).ok_or_else(|| {
        format!("write a number and s, m, h, d or w instead of `{text}`, such as 5m")
    })
}

fn too_long(name: &str, count: usize) -> Finding {
    Finding::new(
        Code::TooLarge,
        format!("balefire.{name}"),
        format!("{count} entries, at most {LIST_MAX}"),
        "keep the ones that matter",
    )
}

fn list(
    name: &str,
    entries: &[String],
    valid: fn(&str) -> bool,
    expected: &str,
) -> Option<Finding> {
    if entries.len() > LIST_MAX {
        return Some(too_long(name, entries.len()));
    }
    let bad = entries.iter().find(|entry| !valid(entry))?;
    Some(Finding::new(
        Code::Extension,
        format!("balefire.{name}"),
        format!("`{bad}` does not belong there"),
        format!("list {expected}"),
    ))
}

type Refusal = (&'static str, String, String);

fn checked(action: WrittenAction) -> Result<RecommendedAction, Refusal> {
    if !is_word(&action.name) {
        let message = format!("`{}` is no name", action.name);
        return Err((
            "name",
            message,
            "write snake_case, such as block_user".into(),
        ));
    }
    if !CLASSES.contains(&action.class.as_str()) {
        let message = format!("`{}` is no class", action.class);
        return Err((
            "class",
            message,
            format!("use one of: {}", CLASSES.join(", ")),
        ));
    }
    if matches!(
        Field::parse(&action.target),
        Field::Extension(_) | Field::Label(_)
    ) {
        let message = format!("`{}` is no field of the record", action.target);
        return Err((
            "target",
            message,
            "name one, such as user_id or agent_id".into(),
        ));
    }
    let max_duration_seconds = match action.max_duration.as_deref() {
        Some(text) => {
            seconds(text).map_err(|help| ("max_duration", "no length of time".into(), help))?
        }
        None => 0,
    };
    let information = action.class == "information";
    let approval = match action.approval.as_deref() {
        None if information => Approval::None,
        None | Some("human") => Approval::Human,
        Some("none") if action.class != "user_impacting" => Approval::None,
        Some("none") => {
            let message = "a user_impacting action needs approval".to_owned();
            let help = "write approval: human, or a reversible_containment with a max_duration";
            return Err(("approval", message, help.into()));
        }
        Some(other) => {
            let message = format!("`{other}` is no approval");
            return Err(("approval", message, "use none or human".into()));
        }
    };
    if !information && approval == Approval::None && max_duration_seconds == 0 {
        let message = "containment without approval must end by itself".to_owned();
        return Err((
            "max_duration",
            message,
            "write max_duration, such as 1h".into(),
        ));
    }
    Ok(RecommendedAction {
        name: action.name,
        class: action.class,
        target: action.target,
        max_duration_seconds,
        approval,
    })
}

/// Lower-case letters, digits and underscores, a letter first, at most 64 bytes.
pub(crate) fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn digits(text: &str, count: usize) -> bool {
    text.len() == count && text.chars().all(|c| c.is_ascii_digit())
}

fn is_atlas(id: &str) -> bool {
    let Some(rest) = id.strip_prefix("AML.T") else {
        return false;
    };
    match rest.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}

fn is_owasp(id: &str) -> bool {
    let rest = id.strip_prefix("LLM").or_else(|| id.strip_prefix("ASI"));
    rest.is_some_and(|rest| digits(rest, 2) && ("01"..="10").contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_taxonomies_are_checked_by_shape() {
        assert!(is_atlas("AML.T0051") && is_atlas("AML.T0051.000"));
        assert!(!is_atlas("T1059") && !is_atlas("AML.T51") && !is_atlas("AML.M0015"));
        assert!(is_owasp("LLM10") && is_owasp("ASI01"));
        assert!(!is_owasp("LLM11") && !is_owasp("LLM00") && !is_owasp("LLM1"));
    }

    #[test]
    fn lengths_of_time_have_a_fixed_length() {
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1w"), Ok(604_800));
        for text in ["1M", "1y", "0s", "5", "m", "five"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
