//! Escalations and their parts.

use std::borrow::Cow;

use balefire_event::{
    Approval, DedupId, Escalation, EscalationId, EscalationKind, Event, EvidenceItem, KeyPart,
    RecommendedAction, RuleId, Sealed, Timestamp,
};
use bytes::Bytes;

use crate::Error;
use crate::escalation::v1;

impl From<&RecommendedAction> for v1::RecommendedAction {
    fn from(action: &RecommendedAction) -> Self {
        Self {
            name: action.name.clone(),
            action_class: action.class.clone(),
            target: action.target.clone(),
            max_duration_seconds: action.max_duration_seconds,
            approval: v1::Approval::from(action.approval).into(),
        }
    }
}

impl TryFrom<&v1::RecommendedAction> for RecommendedAction {
    type Error = Error;

    fn try_from(action: &v1::RecommendedAction) -> Result<Self, Error> {
        Ok(Self {
            name: action.name.clone(),
            class: action.action_class.clone(),
            target: action.target.clone(),
            max_duration_seconds: action.max_duration_seconds,
            approval: Approval::try_from(action.approval())?,
        })
    }
}

impl From<&KeyPart> for v1::KeyPart {
    fn from(part: &KeyPart) -> Self {
        let value = Sealed::plain(Cow::Borrowed(&part.readable));
        Self {
            field: part.field.clone(),
            value: Some((&value).into()),
            canonical: Bytes::copy_from_slice(&part.canonical),
        }
    }
}

impl From<&v1::KeyPart> for KeyPart {
    /// `readable` is empty where the value is absent or encrypted.
    fn from(part: &v1::KeyPart) -> Self {
        let value = part.value.as_ref().map(Sealed::from);
        let readable = value.as_ref().and_then(Sealed::readable);
        Self {
            field: part.field.clone(),
            readable: readable.unwrap_or_default().to_owned(),
            canonical: part.canonical.to_vec(),
        }
    }
}

impl From<&EvidenceItem> for v1::EvidenceItem {
    fn from(item: &EvidenceItem) -> Self {
        Self {
            event_id: item.event_id.clone(),
            dedup_id: Bytes::copy_from_slice(&item.dedup_id.0),
            t_ns: item.t.0,
        }
    }
}

impl TryFrom<&v1::EvidenceItem> for EvidenceItem {
    type Error = Error;

    fn try_from(item: &v1::EvidenceItem) -> Result<Self, Error> {
        Ok(Self {
            event_id: item.event_id.clone(),
            dedup_id: DedupId::from_slice(&item.dedup_id)
                .map_err(|_| Error::malformed("evidence dedup_id"))?,
            t: Timestamp(item.t_ns),
        })
    }
}

impl From<&Escalation> for v1::Escalation {
    fn from(escalation: &Escalation) -> Self {
        Self {
            escalation_id: Bytes::copy_from_slice(&escalation.escalation_id.0),
            episode_id: Bytes::copy_from_slice(&escalation.episode_id.0),
            kind: escalation.kind.number(),
            tenant: escalation.tenant.clone(),
            rule_id: Bytes::copy_from_slice(&escalation.rule_id.0),
            rule_name: escalation.rule_name.clone(),
            title: escalation.title.clone(),
            key: escalation.key.iter().map(Into::into).collect(),
            slot_start_ns: escalation.slot_start.0,
            rearm_ns: escalation.rearm,
            breach_at_ns: escalation.breach_at.0,
            severity: escalation.severity.number(),
            timing: escalation.timing.number(),
            assurance: escalation.assurance.map_or(0, |word| word.number()),
            evidence: escalation.evidence.iter().map(Into::into).collect(),
            event_count: escalation.event_count,
            recommended_actions: escalation
                .recommended_actions
                .iter()
                .map(Into::into)
                .collect(),
            audiences: escalation.audiences.clone(),
            atlas: escalation.atlas.clone(),
            owasp: escalation.owasp.clone(),
            trigger: escalation.trigger.as_deref().map(Into::into),
            received_at_ns: escalation.received_at.0,
            revision: escalation.revision,
            backfill: escalation.backfill,
            window_ns: escalation.window,
            threshold: escalation.threshold,
            at_close: escalation.at_close,
            condition: escalation.condition.clone(),
            shadow: escalation.shadow,
        }
    }
}

fn escalation_id(bytes: &[u8]) -> Result<EscalationId, Error> {
    EscalationId::from_slice(bytes).map_err(|_| Error::malformed("escalation_id"))
}

fn each<'m, M, T: TryFrom<&'m M, Error = Error>>(messages: &'m [M]) -> Result<Vec<T>, Error> {
    messages.iter().map(T::try_from).collect()
}

impl TryFrom<&v1::Escalation> for Escalation {
    type Error = Error;

    fn try_from(escalation: &v1::Escalation) -> Result<Self, Error> {
        let assurance = (escalation.assurance != 0)
            .then(|| escalation.assurance().try_into())
            .transpose()?;
        let trigger = escalation.trigger.as_ref().map(Event::try_from);
        Ok(Self {
            escalation_id: escalation_id(&escalation.escalation_id)?,
            episode_id: escalation_id(&escalation.episode_id)?,
            kind: EscalationKind::try_from(escalation.kind())?,
            tenant: escalation.tenant.clone(),
            rule_id: RuleId::from_slice(&escalation.rule_id)
                .map_err(|_| Error::malformed("rule_id"))?,
            rule_name: escalation.rule_name.clone(),
            title: escalation.title.clone(),
            key: escalation.key.iter().map(KeyPart::from).collect(),
            slot_start: Timestamp(escalation.slot_start_ns),
            rearm: escalation.rearm_ns,
            breach_at: Timestamp(escalation.breach_at_ns),
            severity: escalation.severity().try_into()?,
            timing: escalation.timing().try_into()?,
            assurance,
            evidence: each(&escalation.evidence)?,
            event_count: escalation.event_count,
            recommended_actions: each(&escalation.recommended_actions)?,
            audiences: escalation.audiences.clone(),
            atlas: escalation.atlas.clone(),
            owasp: escalation.owasp.clone(),
            trigger: trigger.transpose()?.map(Box::new),
            received_at: Timestamp(escalation.received_at_ns),
            revision: escalation.revision,
            backfill: escalation.backfill,
            window: escalation.window_ns,
            threshold: escalation.threshold,
            at_close: escalation.at_close,
            condition: escalation.condition.clone(),
            shadow: escalation.shadow,
        })
    }
}
