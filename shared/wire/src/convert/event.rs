//! Events and their parts.

use std::borrow::Cow;

use balefire_event::{
    CorrelationKey, Digest, Event, EvidenceRef, Extension, Identity, Join, Sealed, SubjectRef,
};
use bytes::Bytes;
use prost::Message;

use crate::event::v1;
use crate::{Error, event_codec};

impl From<&Sealed<'_>> for v1::Sealed {
    fn from(sealed: &Sealed<'_>) -> Self {
        Self {
            scheme: sealed.scheme,
            key_epoch: sealed.key_epoch,
            data: Bytes::copy_from_slice(&sealed.data),
        }
    }
}

impl From<&v1::Sealed> for Sealed<'static> {
    fn from(sealed: &v1::Sealed) -> Self {
        Self {
            scheme: sealed.scheme,
            key_epoch: sealed.key_epoch,
            data: Cow::Owned(sealed.data.to_vec()),
        }
    }
}

impl From<&Identity<'_>> for v1::Identity {
    fn from(identity: &Identity<'_>) -> Self {
        Self {
            subject_ref: Bytes::copy_from_slice(&identity.subject_ref.0),
            kind: identity.kind.number(),
            assurance: identity.assurance.number(),
            via: identity.via.to_string(),
            label: identity.label.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&v1::Identity> for Identity<'static> {
    type Error = Error;

    fn try_from(identity: &v1::Identity) -> Result<Self, Error> {
        Ok(Self {
            subject_ref: SubjectRef::from_slice(&identity.subject_ref)
                .map_err(|_| Error::malformed("subject_ref"))?,
            kind: identity.kind().try_into()?,
            assurance: identity.assurance().try_into()?,
            via: Cow::Owned(identity.via.clone()),
            label: identity.label.as_ref().map(Into::into),
        })
    }
}

impl From<&CorrelationKey<'_>> for v1::CorrelationKey {
    fn from(key: &CorrelationKey<'_>) -> Self {
        Self {
            kind: key.kind.number(),
            value: key.value.to_string(),
        }
    }
}

impl TryFrom<&v1::CorrelationKey> for CorrelationKey<'static> {
    type Error = Error;

    fn try_from(key: &v1::CorrelationKey) -> Result<Self, Error> {
        Ok(Self {
            kind: key.kind().try_into()?,
            value: Cow::Owned(key.value.clone()),
        })
    }
}

impl From<&EvidenceRef> for v1::EvidenceRef {
    fn from(evidence: &EvidenceRef) -> Self {
        Self {
            digest: Bytes::copy_from_slice(&evidence.digest.0),
            size_bytes: evidence.size_bytes,
            truncated: evidence.truncated,
        }
    }
}

impl TryFrom<&v1::EvidenceRef> for EvidenceRef {
    type Error = Error;

    fn try_from(evidence: &v1::EvidenceRef) -> Result<Self, Error> {
        Ok(Self {
            digest: Digest::from_slice(&evidence.digest)
                .map_err(|_| Error::malformed("evidence digest"))?,
            size_bytes: evidence.size_bytes,
            truncated: evidence.truncated,
        })
    }
}

impl From<&Join> for v1::Join {
    fn from(join: &Join) -> Self {
        Self {
            partial: join.partial,
            amendment: join.amendment,
            filled: join.filled.clone(),
        }
    }
}

impl From<&Extension<'_>> for v1::Extension {
    fn from(extension: &Extension<'_>) -> Self {
        Self {
            name: extension.name.to_string(),
            json: extension.json.to_string(),
        }
    }
}

impl From<&Event<'_>> for v1::Event {
    fn from(event: &Event<'_>) -> Self {
        Self {
            dedup_id: Bytes::copy_from_slice(&event.dedup_id.0),
            event_id: event.event_id.to_string(),
            source: event.source.to_string(),
            occurred_at_ns: event.occurred_at.0,
            received_at_ns: event.received_at.0,
            t_ns: event.t.0,
            timing: event.timing.number(),
            control_revision: event.control_revision,
            category: event.category.number(),
            severity: event.severity.number(),
            severity_derived: event.severity_derived,
            user: event.user.as_ref().map(Into::into),
            actors: event.actors.iter().map(Into::into).collect(),
            keys: event.keys.iter().map(Into::into).collect(),
            model: event.model.to_string(),
            judge_model: event.judge_model.to_string(),
            judge_score: event.judge_score,
            judge_verdict: event.judge_verdict.to_string(),
            policy_violated: event.policy_violated.to_string(),
            guardrail_result: event.guardrail_result.to_string(),
            tokens_in: event.tokens_in,
            tokens_out: event.tokens_out,
            endpoint: event.endpoint.to_string(),
            risk_tier: event.risk_tier,
            tool: event.tool.to_string(),
            tool_allowed: event.tool_allowed,
            attack_type: event.attack_type.to_string(),
            reason: event.reason.to_string(),
            src_ip: event.src_ip.to_string(),
            labels: event
                .labels
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            extensions: event.extensions.iter().map(Into::into).collect(),
            evidence: event.evidence.as_ref().map(Into::into),
            join: event.join.as_ref().map(Into::into),
            id_conflict: event.id_conflict,
            backfill: event.backfill,
            lateness_ns: event.lateness,
            hold_ns: event.hold,
        }
    }
}

impl TryFrom<&v1::Event> for Event<'static> {
    type Error = Error;

    /// By way of the bytes: there is one reader of events.
    fn try_from(event: &v1::Event) -> Result<Self, Error> {
        event_codec::decode(&event.encode_to_vec()).map(Event::into_owned)
    }
}
