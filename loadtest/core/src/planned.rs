//! One planned event and its JSON record.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::plan::FLOODER;

/// What an event is, as far as the baseline rules can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Escalates by itself.
    PromptAttack,
    /// Escalates by itself: a tool outside the allow-list.
    ToolOutside,
    /// A near miss: the tool was on the list.
    ToolAllowed,
    /// Counts: more than 10 in 5 minutes.
    Block,
    /// Counts: more than 3 in an hour.
    GraveFlag,
    /// A near miss: not grave.
    MildFlag,
    /// No rule of the baseline.
    Drift,
    /// Telemetry that says whose a request is.
    Identity,
}

impl Class {
    /// Category and the fields that go with it, as JSON without braces.
    const fn fields(self) -> &'static str {
        match self {
            Self::PromptAttack => {
                r#""category":"prompt_attack","severity":"high","attack_type":"jailbreak""#
            }
            Self::ToolOutside => {
                r#""category":"agent_boundary_violation","severity":"high","tool":"shell","tool_allowed":false,"agent_id":"agent-1""#
            }
            Self::ToolAllowed => {
                r#""category":"agent_boundary_violation","severity":"high","tool":"search","tool_allowed":true,"agent_id":"agent-1""#
            }
            Self::Block => {
                r#""category":"guardrail_block","severity":"low","guardrail_result":"blocked""#
            }
            Self::GraveFlag => {
                r#""category":"judge_flag","severity":"high","judge_model":"gpt-4o","judge_score":0.91,"judge_verdict":"policy_violation""#
            }
            Self::MildFlag => {
                r#""category":"judge_flag","severity":"low","judge_model":"gpt-4o","judge_score":0.31,"judge_verdict":"policy_violation""#
            }
            Self::Drift => r#""category":"model_drift","severity":"low""#,
            Self::Identity => r#""category":"telemetry""#,
        }
    }
}

/// One event of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its place in the plan, from 0.
    pub number: u32,
    /// When it is meant to be sent, nanoseconds after the start.
    pub at_ns: u64,
    /// When it happened, nanoseconds since 1970.
    pub t_ns: i64,
    /// What it is.
    pub class: Class,
    /// Whose it is.
    pub subject: u32,
    /// Whether the record says whose it is. If not, an [`Class::Identity`] of the same request does.
    pub named: bool,
    /// Number of its request.
    pub request: u32,
}

/// Bytes of an event id behind the tag.
const NUMBER_DIGITS: usize = 8;

/// Names an event; the tag keeps two runs against one server apart.
#[must_use]
pub fn event_id(tag: &str, number: u32) -> String {
    format!("{tag}-{number:0NUMBER_DIGITS$}")
}

/// The number of an event named by [`event_id`]; `None` for another's.
#[must_use]
pub fn number_of(tag: &str, event_id: &str) -> Option<u32> {
    event_id.strip_prefix(tag)?.strip_prefix('-')?.parse().ok()
}

/// Names a user.
#[must_use]
pub fn user_id(tag: &str, subject: u32) -> String {
    format!("{tag}-user{subject}@example.com")
}

/// The number of a user named by [`user_id`]; `None` for another's.
#[must_use]
pub fn subject_of(tag: &str, user_id: &str) -> Option<u32> {
    let rest = user_id.strip_prefix(tag)?.strip_prefix("-user")?;
    rest.strip_suffix("@example.com")?.parse().ok()
}

/// RFC 3339, UTC, nine digits.
#[must_use]
pub fn time_text(t_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(t_ns))
        .map(|t| format!("{t:.9}"))
        .unwrap_or_default()
}

/// Nanoseconds since 1970 of an RFC 3339 time.
#[must_use]
pub fn time_of(text: &str) -> Option<i64> {
    let t: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(t.as_nanosecond()).ok()
}

impl Planned {
    /// Who sends it: 1 for the flood, which has a connection of its own; 0 for everybody else.
    #[must_use]
    pub fn producer(&self) -> usize {
        usize::from(self.subject == FLOODER)
    }

    /// The record that is sent.
    #[must_use]
    pub fn payload(&self, tag: &str) -> String {
        let mut text = String::with_capacity(400);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"{{"event_id":"{}","event_type":"ai_security","timestamp":"{}",{},"request_id":"{tag}-r{}","model":"claude-sonnet-4-5","endpoint":"/api/v1/chat","risk_tier":2,"tokens_in":{},"tokens_out":{}"#,
            event_id(tag, self.number),
            time_text(self.t_ns),
            self.class.fields(),
            self.request,
            self.number % 900,
            self.number % 2_000,
        );
        if self.named {
            let _ = write!(text, r#","user_id":"{}""#, user_id(tag, self.subject));
        }
        text.push('}');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_numbers_and_foreign_names_do_not() {
        assert_eq!(number_of("x1", &event_id("x1", 42)), Some(42));
        assert_eq!(number_of("x1", &event_id("x2", 42)), None);
        assert_eq!(subject_of("x1", &user_id("x1", 7)), Some(7));
        assert_eq!(subject_of("x1", "somebody@example.com"), None);
    }

    #[test]
    fn a_record_is_json_and_names_its_user_only_if_it_should() {
        let mut planned = Planned {
            number: 3,
            at_ns: 0,
            t_ns: 1_700_000_000_123_000_000,
            class: Class::ToolOutside,
            subject: 9,
            named: true,
            request: 3,
        };
        let json: serde_json::Value = serde_json::from_str(&planned.payload("x")).unwrap();
        assert_eq!(json["user_id"], "x-user9@example.com");
        assert_eq!(json["timestamp"], "2023-11-14T22:13:20.123000000Z");
        assert_eq!(json["tool_allowed"], false);
        assert_eq!(time_of("2023-11-14T22:13:20.123Z"), Some(planned.t_ns));
        planned.named = false;
        assert!(!planned.payload("x").contains("user_id"));
    }
}
