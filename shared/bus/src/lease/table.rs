//! The bucket: one look at all leases and instances of a stage, and writing one of them.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_TTL};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{InstanceId, LEASE_TTL};
use crate::connection::Bus;
use crate::error::Error;
use crate::publish::publish;
use crate::topology::Topology;

/// The bucket of all leases; `nats kv watch LEASES` shows them.
pub const BUCKET: &str = "LEASES";
/// Its stream.
pub const STREAM: &str = "KV_LEASES";
/// Larger than any number of leases needs.
const BYTES_MAX: i64 = 16 * 1024 * 1024;

/// A file, for a server on its own forgets streams in memory when it ends; but no refresh waits
/// for the disk, as a lease is worth little after a restart.
pub(crate) fn stream_config(topology: &Topology) -> Config {
    Config {
        name: STREAM.into(),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        storage: StorageType::File,
        persist_mode: (topology.replicas == 1).then_some(PersistenceMode::Async),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        max_messages: -1,
        max_bytes: BYTES_MAX,
        num_replicas: usize::try_from(topology.replicas).unwrap_or(1),
        allow_message_ttl: true,
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

/// What reading the bucket needs.
pub(crate) fn permission_read() -> String {
    format!("$JS.API.DIRECT.GET.{STREAM}")
}

/// What keeping the leases of `stage` needs.
pub(crate) fn permission_write(generation: u32, stage: &str) -> String {
    format!("$KV.{BUCKET}.g{generation}.{stage}.>")
}

/// A lease as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) owner: InstanceId,
    pub(crate) sequence: u64,
    pub(crate) lag: u64,
}

/// One look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// By partition.
    pub(crate) leases: BTreeMap<u32, Lease>,
    /// Instances that live and are not leaving.
    pub(crate) live: BTreeSet<InstanceId>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LeaseValue {
    owner: String,
    lag: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct InstanceValue {
    leaving: bool,
}

/// The leases of one stage.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    bus: Bus,
    pub(crate) stage: String,
    prefix: String,
}

impl Table {
    pub(crate) fn new(bus: &Bus, generation: u32, stage: &str) -> Self {
        Self {
            bus: bus.clone(),
            stage: stage.to_owned(),
            prefix: format!("$KV.{BUCKET}.g{generation}.{stage}"),
        }
    }

    /// All of it, as of one moment.
    pub(crate) async fn look(&self) -> Result<Seen, Error> {
        let ask = serde_json::json!({ "multi_last": [format!("{}.>", self.prefix)] });
        let subject = permission_read();
        let answers = self.bus.ask_many(subject, ask.to_string().into()).await?;
        let mut seen = Seen::default();
        for answer in answers {
            let header = |name: &str| answer.headers.as_ref()?.get(name);
            let (Some(subject), Some(sequence)) = (
                header("Nats-Subject"),
                header("Nats-Sequence").and_then(|s| s.as_str().parse().ok()),
            ) else {
                continue;
            };
            self.note(&mut seen, subject.as_str(), sequence, &answer.payload);
        }
        Ok(seen)
    }

    /// What cannot be read is as good as missing: it runs out.
    fn note(&self, seen: &mut Seen, subject: &str, sequence: u64, payload: &[u8]) {
        let key = subject
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix('.'));
        match key.and_then(|key| key.split_once('.')) {
            Some(("own", partition)) => {
                let lease = serde_json::from_slice::<LeaseValue>(payload).ok();
                let owner = lease.as_ref().and_then(|l| InstanceId::parse(&l.owner));
                if let (Ok(partition), Some(owner), Some(lease)) = (partition.parse(), owner, lease)
                {
                    let lag = lease.lag;
                    let lease = Lease {
                        owner,
                        sequence,
                        lag,
                    };
                    seen.leases.insert(partition, lease);
                }
            }
            Some(("live", id)) => {
                let stays =
                    serde_json::from_slice(payload).is_ok_and(|v: InstanceValue| !v.leaving);
                if let (Some(id), true) = (InstanceId::parse(id), stays) {
                    seen.live.insert(id);
                }
            }
            Some(_) | None => {}
        }
    }

    /// Writes `owner` into a lease that still stands at `expected`; false where it does not.
    pub(crate) async fn write(
        &self,
        partition: u32,
        owner: InstanceId,
        lag: u64,
        expected: u64,
    ) -> Result<bool, Error> {
        let value = LeaseValue {
            owner: owner.to_string(),
            lag,
        };
        let subject = format!("{}.own.{partition}", self.prefix);
        match self.put(&subject, &value, Some(expected)).await {
            Ok(()) => Ok(true),
            Err(Error::Fenced { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells that an instance lives, or is about to go.
    pub(crate) async fn announce(&self, id: InstanceId, leaving: bool) -> Result<(), Error> {
        let subject = format!("{}.live.{id}", self.prefix);
        self.put(&subject, &InstanceValue { leaving }, None).await
    }

    async fn put<V: Serialize>(
        &self,
        subject: &str,
        value: &V,
        expected: Option<u64>,
    ) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        let ttl = format!("{}s", LEASE_TTL.as_secs());
        headers.insert(NATS_MESSAGE_TTL, ttl.as_str());
        if let Some(expected) = expected {
            let expected = expected.to_string();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.as_str());
        }
        let payload = serde_json::to_vec(value).map_err(|e| Error::Refused {
            doing: format!("writing {subject}"),
            reason: e.to_string(),
        })?;
        let size = payload.len();
        publish(&self.bus, subject, Some(headers), Bytes::from(payload))
            .await
            .map(|_stored| ())
            .map_err(|failure| failure.into_error(subject, size))
    }
}
