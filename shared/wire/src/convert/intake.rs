//! Hints and stubs.

use balefire_event::{CorrelationKey, DedupId, Hint, Identity, Stub, Timestamp};
use bytes::Bytes;

use crate::{Error, event, log};

fn dedup_id(bytes: &[u8]) -> Result<DedupId, Error> {
    DedupId::from_slice(bytes).map_err(|_| Error::malformed("dedup_id"))
}

impl From<&Hint> for log::v1::IdentityHint {
    fn from(hint: &Hint) -> Self {
        Self {
            keys: hint.keys.iter().map(Into::into).collect(),
            identity: Some((&hint.identity).into()),
            source: hint.source.clone(),
            received_at_ns: hint.received_at.0,
            join_horizon_ns: hint.join_horizon,
            authority: hint.authority,
            facts: hint
                .facts
                .iter()
                .map(|(name, text)| event::v1::Extension {
                    name: name.clone(),
                    json: text.clone(),
                })
                .collect(),
            dedup_id: Bytes::copy_from_slice(&hint.dedup_id.0),
        }
    }
}

impl TryFrom<&log::v1::IdentityHint> for Hint {
    type Error = Error;

    fn try_from(hint: &log::v1::IdentityHint) -> Result<Self, Error> {
        let identity = hint
            .identity
            .as_ref()
            .ok_or(Error::malformed("hint identity"))?;
        Ok(Self {
            keys: hint
                .keys
                .iter()
                .map(CorrelationKey::try_from)
                .collect::<Result<_, _>>()?,
            identity: Identity::try_from(identity)?,
            source: hint.source.clone(),
            received_at: Timestamp(hint.received_at_ns),
            join_horizon: hint.join_horizon_ns,
            authority: hint.authority,
            facts: hint
                .facts
                .iter()
                .map(|fact| (fact.name.clone(), fact.json.clone()))
                .collect(),
            dedup_id: dedup_id(&hint.dedup_id)?,
        })
    }
}

impl From<&Stub> for log::v1::KeyStub {
    fn from(stub: &Stub) -> Self {
        Self {
            key: Some((&stub.key).into()),
            dedup_id: Bytes::copy_from_slice(&stub.dedup_id.0),
            partition: stub.partition,
            first_key: Some((&stub.first_key).into()),
            received_at_ns: stub.received_at.0,
        }
    }
}

impl TryFrom<&log::v1::KeyStub> for Stub {
    type Error = Error;

    fn try_from(stub: &log::v1::KeyStub) -> Result<Self, Error> {
        let key = stub.key.as_ref().ok_or(Error::malformed("stub key"))?;
        let first_key = stub
            .first_key
            .as_ref()
            .ok_or(Error::malformed("stub first_key"))?;
        Ok(Self {
            key: key.try_into()?,
            dedup_id: dedup_id(&stub.dedup_id)?,
            partition: stub.partition,
            first_key: first_key.try_into()?,
            received_at: Timestamp(stub.received_at_ns),
        })
    }
}
