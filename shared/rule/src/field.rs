//! Owns what a rule may do with a field by its name.

use balefire_event::Field;

use crate::diagnostic::{Code, Finding};

/// How values of a field compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word of a closed list.
    Word(Words),
    /// Who: a reference, its readable value is for people only.
    Identity,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Text.
    Text,
    /// Whatever the producer wrote.
    Open,
}

/// The closed lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Category,
    Severity,
    Timing,
}

impl Kind {
    pub(crate) const fn of(field: &Field) -> Self {
        match field {
            Field::Category => Self::Word(Words::Category),
            Field::Severity => Self::Word(Words::Severity),
            Field::Timing => Self::Word(Words::Timing),
            Field::Identity(_) => Self::Identity,
            Field::JudgeScore | Field::TokensIn | Field::TokensOut | Field::RiskTier => {
                Self::Number
            }
            Field::ToolAllowed => Self::Flag,
            Field::Label(_) | Field::Extension(_) => Self::Open,
            Field::EventId
            | Field::Source
            | Field::Key(_)
            | Field::Model
            | Field::JudgeModel
            | Field::JudgeVerdict
            | Field::PolicyViolated
            | Field::GuardrailResult
            | Field::Endpoint
            | Field::Tool
            | Field::AttackType
            | Field::Reason
            | Field::SrcIp => Self::Text,
        }
    }
}

/// Names of the record's own fields, for spotting misspelt ones.
pub(crate) const NATIVE: [&str; 27] = [
    "category",
    "severity",
    "timing",
    "event_id",
    "source",
    "user_id",
    "agent_id",
    "service_principal",
    "api_key_id",
    "session_id",
    "request_id",
    "trace_id",
    "model",
    "judge_model",
    "judge_score",
    "judge_verdict",
    "policy_violated",
    "guardrail_result",
    "tokens_in",
    "tokens_out",
    "endpoint",
    "risk_tier",
    "tool",
    "tool_allowed",
    "attack_type",
    "reason",
    "src_ip",
];

/// Names that are stamps, ids or bodies: never a field of the record that a rule could see.
const UNREADABLE: [&str; 14] = [
    "tenant",
    "timestamp",
    "occurred_at",
    "received_at",
    "t",
    "control_revision",
    "dedup_id",
    "severity_derived",
    "id_conflict",
    "backfill",
    "evidence",
    "join",
    "request",
    "response",
];

/// The field of a name, if a rule may read it.
///
/// # Errors
/// A finding for assurance, identity labels, stamps and bodies, and for names that look like a
/// misspelt field of the record. Every other unknown name is an extension.
pub(crate) fn readable(path: &str, name: &str) -> Result<Field, Finding> {
    // The parser escapes brackets in field names, which only its own evaluator reads.
    let name = name.replace("\\[", "[").replace("\\]", "]");
    let refuse =
        |message: String, help: String| Err(Finding::new(Code::Field, path, message, help));
    let first = name.split('.').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    let of_identity = matches!(first, "identity" | "user" | "actors")
        || matches!(Field::parse(first), Field::Identity(_));
    if last == "assurance" || first == "assurance" || (of_identity && first != name) {
        return refuse(
            format!(
                "no rule may match `{name}`: assurance and labels of identities can change after the match"
            ),
            "leave it out; recommended actions read assurance by themselves".to_owned(),
        );
    }
    if UNREADABLE.contains(&name.as_str()) {
        return refuse(
            format!("`{name}` is not a field rules can read"),
            format!("use one of: {}", NATIVE.join(", ")),
        );
    }
    let field = Field::parse(&name);
    if matches!(field, Field::Extension(_))
        && let Some(meant) = NATIVE
            .iter()
            .find(|native| squeeze(native) == squeeze(&name))
    {
        return refuse(
            format!("`{name}` is no field of the record"),
            format!("write `{meant}`"),
        );
    }
    Ok(field)
}

/// A name without case and separators, so that `User-ID` and `user_id` meet.
fn squeeze(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .collect::<String>()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_native_name_is_read_and_near_misses_are_named() {
        for name in NATIVE {
            assert!(
                !matches!(readable("p", name), Ok(Field::Extension(_)) | Err(_)),
                "{name}"
            );
        }
        let finding = readable("p", "User-ID").expect_err("misspelt");
        assert!(finding.help.contains("`user_id`"));
        assert!(matches!(
            readable("p", "department"),
            Ok(Field::Extension(_))
        ));
        assert!(matches!(readable("p", "labels.app"), Ok(Field::Label(_))));
    }

    #[test]
    fn assurance_labels_stamps_and_bodies_are_refused() {
        for name in [
            "assurance",
            "user_id.assurance",
            "identity.label",
            "user.label",
            "request",
            "t",
        ] {
            assert_eq!(readable("p", name).expect_err(name).code, Code::Field);
        }
    }
}
