//! Stubs.

use balefire_event::{DedupId, Stub, Timestamp};
use bytes::Bytes;

use crate::{Error, log};

fn dedup_id(bytes: &[u8]) -> Result<DedupId, Error> {
    DedupId::from_slice(bytes).map_err(|_| Error::malformed("dedup_id"))
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
