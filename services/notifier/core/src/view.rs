//! What a receiver may see of an escalation. Encoders get a [`View`] and never the record, so that
//! none can tell more than its receiver was cleared for.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, Event, IdentityKind, KeyKind};
use serde::Deserialize;

use crate::policy;

/// Written in a key in place of a value that the receiver may not see.
pub const WITHHELD: &str = "[withheld]";

/// How far a fact may travel. A receiver sees what is at most its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Classification {
    /// Ids, rule, category, severity, times, counts, plain words.
    Public,
    /// And what concerns the AI system: model, judge, policy, endpoint, tool, request ids.
    Internal,
    /// And who: users, agents, keys, sessions, addresses, labels.
    Confidential,
    /// And free text of the producer.
    #[default]
    Restricted,
}

impl Classification {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }
}

/// An escalation with what a receiver may not see taken out.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    record: Escalation,
    withheld: bool,
    tier: Arc<str>,
}

impl View {
    /// Takes out what is above `max`.
    #[must_use]
    pub fn of(escalation: &Escalation, max: Classification) -> Self {
        let mut record = escalation.clone();
        for part in &mut record.key {
            if class_of(&part.field) > max {
                WITHHELD.clone_into(&mut part.readable);
            }
        }
        if max < Classification::Internal {
            for item in &mut record.evidence {
                item.event_id.clear();
            }
            record.evidence.clear();
        }
        if let Some(event) = record.trigger.as_deref_mut() {
            filter(event, max);
        }
        Self {
            withheld: record != *escalation,
            record,
            tier: "".into(),
        }
    }

    /// With the SOC's own words for its severity. Empty: the default's.
    #[must_use]
    pub fn with_tier(mut self, tier: &Arc<str>) -> Self {
        self.tier = Arc::clone(tier);
        self
    }

    /// What its severity means to the SOC, in words.
    #[must_use]
    pub fn tier(&self) -> String {
        if self.tier.is_empty() {
            let tier = policy::tier(self.record.severity);
            return format!("{} ({})", tier.name, tier.response);
        }
        self.tier.to_string()
    }

    /// What is left. Fields that were taken out are empty, as if they had not been said.
    #[must_use]
    pub fn record(&self) -> &Escalation {
        &self.record
    }

    /// The id under which every target dedups.
    #[must_use]
    pub fn id(&self) -> EscalationId {
        self.record.escalation_id
    }

    /// The completing event, filtered.
    #[must_use]
    pub fn event(&self) -> Option<&Event<'static>> {
        self.record.trigger.as_deref()
    }

    /// Whether anything was taken out.
    #[must_use]
    pub fn is_withholding(&self) -> bool {
        self.withheld
    }

    /// Readable text of an identity of the completing event.
    #[must_use]
    pub fn identity(&self, kind: IdentityKind) -> Option<&str> {
        self.event()?.identity(kind)?.readable()
    }

    /// Who it is about, for a headline: the first part of the key that may be seen.
    #[must_use]
    pub fn whom(&self) -> Option<&str> {
        self.record
            .key
            .first()
            .map(|part| part.readable.as_str())
            .filter(|text| !text.is_empty() && *text != WITHHELD)
    }
}

/// Class of a key's field. What is not known may say who.
fn class_of(field: &str) -> Classification {
    match field {
        "category" | "severity" | "risk_tier" => Classification::Public,
        "model" | "judge_model" | "judge_verdict" | "policy_violated" | "guardrail_result"
        | "endpoint" | "tool" | "tool_allowed" | "attack_type" | "request_id" | "trace_id"
        | "source" => Classification::Internal,
        "reason" => Classification::Restricted,
        _ => Classification::Confidential,
    }
}

/// Takes out of an event what is above `max`.
pub(crate) fn filter(event: &mut Event<'_>, max: Classification) {
    if max < Classification::Restricted {
        event.reason = "".into();
        event.extensions.clear();
        event.evidence = None;
    }
    if max < Classification::Confidential {
        event.user = None;
        event.actors.clear();
        event.src_ip = "".into();
        event.labels.clear();
        event
            .keys
            .retain(|key| matches!(key.kind, KeyKind::Request | KeyKind::Trace));
    }
    if max < Classification::Internal {
        event.keys.clear();
        event.event_id = "".into();
        event.source = "".into();
        event.model = "".into();
        event.judge_model = "".into();
        event.judge_score = None;
        event.judge_verdict = "".into();
        event.policy_violated = "".into();
        event.guardrail_result = "".into();
        event.tokens_in = None;
        event.tokens_out = None;
        event.endpoint = "".into();
        event.tool = "".into();
        event.tool_allowed = None;
        event.attack_type = "".into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn seen(max: Classification) -> String {
        let mut record = samples::escalation();
        record.trigger.as_mut().unwrap().reason = "told in confidence".into();
        let view = View::of(&record, max);
        String::from_utf8(crate::body::body(&view).unwrap()).unwrap()
    }

    #[test]
    fn a_receiver_sees_what_it_is_cleared_for_and_no_more() {
        let marks = [
            (Classification::Internal, "req-abc-123"),
            (Classification::Internal, "claude-sonnet-4-5-20250929"),
            (Classification::Confidential, "jgill@example.com"),
            (Classification::Confidential, "192.0.2.10"),
            (Classification::Restricted, "told in confidence"),
        ];
        for max in [
            Classification::Public,
            Classification::Internal,
            Classification::Confidential,
            Classification::Restricted,
        ] {
            for (class, text) in marks {
                assert_eq!(seen(max).contains(text), class <= max, "{max:?} {text}");
            }
            assert!(seen(max).contains("judge_flag_burst"));
        }
    }

    #[test]
    fn a_view_says_whether_it_hides_something() {
        let whole = View::of(&samples::escalation(), Classification::Restricted);
        assert!(!whole.is_withholding());
        assert_eq!(whole.record(), &samples::escalation());
        assert_eq!(whole.whom(), Some("jgill@example.com"));
        let public = View::of(&samples::escalation(), Classification::Public);
        assert!(public.is_withholding());
        assert_eq!(public.whom(), None);
    }
}
