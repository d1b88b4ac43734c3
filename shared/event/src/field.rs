//! Fields of an event by name: what rules match and group by.

use std::borrow::Cow;

use crate::category::{IdentityKind, KeyKind};
use crate::escalation::KeyPart;
use crate::event::{Event, Text};
use crate::identity::canonical;

/// A field that a rule may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// category.
    Category,
    /// severity.
    Severity,
    /// timing.
    Timing,
    /// event_id.
    EventId,
    /// source.
    Source,
    /// user_id, agent_id, service_principal, api_key_id, session_id.
    Identity(IdentityKind),
    /// request_id, trace_id.
    Key(KeyKind),
    /// model.
    Model,
    /// judge_model.
    JudgeModel,
    /// judge_score.
    JudgeScore,
    /// judge_verdict.
    JudgeVerdict,
    /// policy_violated.
    PolicyViolated,
    /// guardrail_result.
    GuardrailResult,
    /// tokens_in.
    TokensIn,
    /// tokens_out.
    TokensOut,
    /// endpoint.
    Endpoint,
    /// risk_tier.
    RiskTier,
    /// tool.
    Tool,
    /// tool_allowed.
    ToolAllowed,
    /// attack_type.
    AttackType,
    /// reason.
    Reason,
    /// src_ip.
    SrcIp,
    /// labels.NAME.
    Label(String),
    /// Any other name.
    Extension(String),
}

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'e> {
    /// Text.
    Text(&'e str),
    /// A whole number.
    Whole(u64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// JSON text of an extension.
    Json(&'e str),
}

impl Field {
    /// The field of a name. `event_type` and unknown names are extensions.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "category" => Self::Category,
            "severity" => Self::Severity,
            "timing" => Self::Timing,
            "event_id" => Self::EventId,
            "source" => Self::Source,
            "user_id" => Self::Identity(IdentityKind::User),
            "agent_id" => Self::Identity(IdentityKind::Agent),
            "service_principal" => Self::Identity(IdentityKind::ServicePrincipal),
            "api_key_id" => Self::Identity(IdentityKind::ApiKey),
            "session_id" => Self::Identity(IdentityKind::Session),
            "request_id" => Self::Key(KeyKind::Request),
            "trace_id" => Self::Key(KeyKind::Trace),
            "model" => Self::Model,
            "judge_model" => Self::JudgeModel,
            "judge_score" => Self::JudgeScore,
            "judge_verdict" => Self::JudgeVerdict,
            "policy_violated" => Self::PolicyViolated,
            "guardrail_result" => Self::GuardrailResult,
            "tokens_in" => Self::TokensIn,
            "tokens_out" => Self::TokensOut,
            "endpoint" => Self::Endpoint,
            "risk_tier" => Self::RiskTier,
            "tool" => Self::Tool,
            "tool_allowed" => Self::ToolAllowed,
            "attack_type" => Self::AttackType,
            "reason" => Self::Reason,
            "src_ip" => Self::SrcIp,
            other => match other.strip_prefix("labels.") {
                Some(label) => Self::Label(label.to_owned()),
                None => Self::Extension(other.to_owned()),
            },
        }
    }

    /// The name it is written by.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Category => "category",
            Self::Severity => "severity",
            Self::Timing => "timing",
            Self::EventId => "event_id",
            Self::Source => "source",
            Self::Identity(IdentityKind::User) => "user_id",
            Self::Identity(IdentityKind::Agent) | Self::Key(KeyKind::Agent) => "agent_id",
            Self::Identity(IdentityKind::ServicePrincipal)
            | Self::Key(KeyKind::ServicePrincipal) => "service_principal",
            Self::Identity(IdentityKind::ApiKey) | Self::Key(KeyKind::ApiKey) => "api_key_id",
            Self::Identity(IdentityKind::Session) | Self::Key(KeyKind::Session) => "session_id",
            Self::Key(KeyKind::Request) => "request_id",
            Self::Key(KeyKind::Trace) => "trace_id",
            Self::Model => "model",
            Self::JudgeModel => "judge_model",
            Self::JudgeScore => "judge_score",
            Self::JudgeVerdict => "judge_verdict",
            Self::PolicyViolated => "policy_violated",
            Self::GuardrailResult => "guardrail_result",
            Self::TokensIn => "tokens_in",
            Self::TokensOut => "tokens_out",
            Self::Endpoint => "endpoint",
            Self::RiskTier => "risk_tier",
            Self::Tool => "tool",
            Self::ToolAllowed => "tool_allowed",
            Self::AttackType => "attack_type",
            Self::Reason => "reason",
            Self::SrcIp => "src_ip",
            Self::Label(name) => return Cow::Owned(format!("labels.{name}")),
            Self::Extension(name) => name,
        })
    }

    /// Whether a join may fill it.
    #[must_use]
    pub const fn joinable(&self) -> bool {
        matches!(
            self,
            Self::Identity(_) | Self::Model | Self::Endpoint | Self::SrcIp
        )
    }
}

fn said<'e>(text: &'e Text<'_>) -> Option<Value<'e>> {
    if text.is_empty() {
        None
    } else {
        Some(Value::Text(text))
    }
}

impl Event<'_> {
    /// The value of a field; `None` where the record does not say.
    #[must_use]
    pub fn get(&self, field: &Field) -> Option<Value<'_>> {
        match field {
            Field::Category => Some(Value::Text(self.category.as_str())),
            Field::Severity => Some(Value::Text(self.severity.as_str())),
            Field::Timing => Some(Value::Text(self.timing.as_str())),
            Field::EventId => said(&self.event_id),
            Field::Source => said(&self.source),
            Field::Identity(kind) => self
                .identity(*kind)
                .and_then(|i| i.readable())
                .map(Value::Text),
            Field::Key(kind) => self.key(*kind).map(Value::Text),
            Field::Model => said(&self.model),
            Field::JudgeModel => said(&self.judge_model),
            Field::JudgeScore => self.judge_score.map(Value::Number),
            Field::JudgeVerdict => said(&self.judge_verdict),
            Field::PolicyViolated => said(&self.policy_violated),
            Field::GuardrailResult => said(&self.guardrail_result),
            Field::TokensIn => self.tokens_in.map(Value::Whole),
            Field::TokensOut => self.tokens_out.map(Value::Whole),
            Field::Endpoint => said(&self.endpoint),
            Field::RiskTier => self.risk_tier.map(|tier| Value::Whole(u64::from(tier))),
            Field::Tool => said(&self.tool),
            Field::ToolAllowed => self.tool_allowed.map(Value::Flag),
            Field::AttackType => said(&self.attack_type),
            Field::Reason => said(&self.reason),
            Field::SrcIp => said(&self.src_ip),
            Field::Label(name) => self
                .labels
                .iter()
                .find(|(label, _)| label == name)
                .map(|(_, value)| Value::Text(value)),
            Field::Extension(name) => self
                .extensions
                .iter()
                .find(|extension| extension.name == *name)
                .map(|extension| Value::Json(&extension.json)),
        }
    }

    /// The part of a group key that a field makes; `None` where the record does not say. An
    /// identity's canonical bytes are its SubjectRef.
    #[must_use]
    pub fn key_part(&self, field: &Field) -> Option<KeyPart> {
        let name = field.name().into_owned();
        if let Field::Identity(kind) = field {
            let identity = self.identity(*kind)?;
            let readable = identity.readable().unwrap_or_default().to_owned();
            return Some(KeyPart {
                field: name,
                readable,
                canonical: identity.subject_ref.0.to_vec(),
            });
        }
        let readable = match self.get(field)? {
            Value::Text(text) | Value::Json(text) => text.to_owned(),
            Value::Whole(number) => number.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
        };
        let canonical = canonical(&readable).as_bytes().to_vec();
        Some(KeyPart {
            field: name,
            readable,
            canonical,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_native_field_is_found_by_its_own_name() {
        for name in [
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
        ] {
            let field = Field::parse(name);
            assert!(!matches!(field, Field::Extension(_)), "{name}");
            assert_eq!(field.name(), name);
        }
        assert_eq!(Field::parse("labels.app").name(), "labels.app");
    }
}
