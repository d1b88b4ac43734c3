//! Creating the streams (provisioner) and checking them (everybody, at start).
//!
//! Acknowledged must mean durable: a stream that could lose what it acknowledged is refused.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType,
};
use futures::{StreamExt, TryStreamExt};

use crate::connection::{Bus, MAX_PAYLOAD_MIN};
use crate::error::Error;
use crate::http;
use crate::lease;
use crate::topology::{CONTROL, Retention, StreamSpec, Topology};

/// A stream remembers message ids for this long.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Copies from which on a stream needs no synced disk.
const REPLICAS_SAFE: usize = 3;
const GENERATION_KEY: &str = "balefire.generation";
const PARTITIONS_KEY: &str = "balefire.partitions";
/// Requests of one start in flight.
const IN_FLIGHT: usize = 8;
const MONITORING_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a server with one copy is believed to sync before it acknowledges. A client cannot read
/// the setting through the JetStream API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncProof {
    /// Nothing says so: one copy is refused.
    Unknown,
    /// The child server, whose configuration we wrote.
    Child,
    /// The operator said so (`--nats-sync-confirmed`).
    Confirmed,
    /// Read `/jsz` of this monitoring address (`http://host:8222`); it must be the very server
    /// connected to, and not one of a cluster.
    Monitoring(String),
}

/// What is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// See [`SyncProof`].
    pub sync: SyncProof,
    /// Weak streams are warned about, not refused (`--allow-lossy`).
    pub allow_lossy: bool,
}

impl Verification {
    /// Nothing weak is accepted.
    #[must_use]
    pub const fn strict(sync: SyncProof) -> Self {
        Self {
            sync,
            allow_lossy: false,
        }
    }
}

/// The shape of the log there is; `None` before the first [`create`].
///
/// # Errors
/// [`Error::Topology`] where CONTROL records nothing usable, [`Error::Unavailable`].
pub async fn discover(bus: &Bus) -> Result<Option<Topology>, Error> {
    let info = match bus.raw_stream_info(CONTROL).await {
        Ok(info) => info,
        Err(Error::StreamMissing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (Some(generation), Some(partitions)) = (
        number(&info.config.metadata, GENERATION_KEY),
        number(&info.config.metadata, PARTITIONS_KEY),
    ) else {
        return Err(Error::Topology {
            reason: format!("stream {CONTROL} records neither generation nor partitions"),
        });
    };
    let topology = Topology {
        generation,
        partitions,
        replicas: u32::try_from(info.config.num_replicas.max(1)).unwrap_or(1),
        retention: Retention {
            max_age: (!info.config.max_age.is_zero()).then_some(info.config.max_age),
            max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|&b| b > 0),
        },
    };
    topology.check()?;
    Ok(Some(topology))
}

fn number(metadata: &HashMap<String, String>, key: &str) -> Option<u32> {
    metadata.get(key).and_then(|value| value.parse().ok())
}

/// Creates the streams of `topology` that are not there yet. Needs the provisioner's credential.
/// Changes no stream that exists.
///
/// # Errors
/// [`Error::Partitions`] where the log was made with another count; [`Error::Refused`],
/// [`Error::Unavailable`].
pub async fn create(bus: &Bus, topology: &Topology) -> Result<(), Error> {
    topology.check()?;
    if let Some(existing) = discover(bus).await? {
        existing.agrees_with(Some(topology.partitions), &format!("stream {CONTROL}"))?;
    }
    // CONTROL comes first and alone: it records the shape, so that a start that is cut short
    // goes on with the same one.
    let specs = topology.streams();
    let (first, rest) = specs.split_at(1);
    for spec in first {
        create_one(bus, topology, spec).await?;
    }
    futures::stream::iter(rest)
        .map(|spec| create_one(bus, topology, spec))
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    create_stream(bus, lease::stream_config(topology)).await
}

async fn create_one(bus: &Bus, topology: &Topology, spec: &StreamSpec) -> Result<(), Error> {
    create_stream(bus, config(topology, spec)).await
}

async fn create_stream(bus: &Bus, config: Config) -> Result<(), Error> {
    let name = config.name.clone();
    match bus.raw_stream_info(&name).await {
        Ok(_) => return Ok(()),
        Err(Error::StreamMissing { .. }) => {}
        Err(error) => return Err(error),
    }
    let created = bus.context.create_stream(config).await;
    created.map_err(|e| Error::Refused {
        doing: format!("creating stream {name}"),
        reason: e.to_string(),
    })?;
    tracing::info!(stream = name, "stream created");
    Ok(())
}

/// The configuration of a stream of the log.
fn config(topology: &Topology, spec: &StreamSpec) -> Config {
    let max_bytes = topology
        .retention
        .max_bytes
        .and_then(|bytes| i64::try_from(bytes).ok());
    Config {
        name: spec.name.clone(),
        subjects: vec![spec.filter.clone()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_bytes: max_bytes.unwrap_or(-1),
        max_age: topology.retention.max_age.unwrap_or_default(),
        num_replicas: usize::try_from(topology.replicas).unwrap_or(1),
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        metadata: HashMap::from([
            (GENERATION_KEY.to_owned(), topology.generation.to_string()),
            (PARTITIONS_KEY.to_owned(), topology.partitions.to_string()),
        ]),
        ..Config::default()
    }
}

/// Checks every stream of `topology`. Any role may, with its own credential.
///
/// # Errors
/// [`Error::StreamMissing`], [`Error::Partitions`]; [`Error::Weak`] and
/// [`Error::SyncUnproven`], which `allow_lossy` turns into warnings.
pub async fn verify(
    bus: &Bus,
    topology: &Topology,
    verification: &Verification,
) -> Result<(), Error> {
    let specs = topology.streams();
    let infos: Vec<(&StreamSpec, Info)> = futures::stream::iter(&specs)
        .map(|spec| async move {
            let info = bus.raw_stream_info(&spec.name).await?;
            Ok::<_, Error>((spec, info))
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await?;
    let synced = sync_is_proven(bus, verification).await;
    for (spec, info) in &infos {
        check_shape(topology, spec, info)?;
        let weakness = check_strength(topology, info)
            .and_then(|()| check_sync(info, synced))
            .err();
        match weakness {
            Some(weakness) if verification.allow_lossy => {
                tracing::warn!(%weakness, "accepted: --allow-lossy");
            }
            Some(weakness) => return Err(weakness),
            None => {}
        }
    }
    Ok(())
}

fn check_shape(topology: &Topology, spec: &StreamSpec, info: &Info) -> Result<(), Error> {
    if let Some(partitions) = number(&info.config.metadata, PARTITIONS_KEY)
        && partitions != topology.partitions
    {
        return Err(Error::Partitions {
            asked: topology.partitions,
            existing: partitions,
            recorded_in: format!("stream {}", spec.name),
        });
    }
    if info.config.subjects != [spec.filter.clone()] {
        return Err(Error::Weak {
            stream: spec.name.clone(),
            setting: "subjects",
            found: format!("{:?}", info.config.subjects),
            wanted: spec.filter.clone(),
        });
    }
    Ok(())
}

fn check_strength(topology: &Topology, info: &Info) -> Result<(), Error> {
    let config = &info.config;
    let require = |setting, fine: bool, found: &dyn std::fmt::Debug, wanted: &str| {
        if fine {
            return Ok(());
        }
        Err(Error::Weak {
            stream: config.name.clone(),
            setting,
            found: format!("{found:?}"),
            wanted: wanted.to_owned(),
        })
    };
    let c = config;
    require(
        "storage",
        c.storage == StorageType::File,
        &c.storage,
        "File",
    )?;
    let limits = c.retention == RetentionPolicy::Limits;
    require("retention", limits, &c.retention, "Limits")?;
    require(
        "discard",
        c.discard == DiscardPolicy::New,
        &c.discard,
        "New",
    )?;
    require("deny_delete", c.deny_delete, &c.deny_delete, "true")?;
    require("deny_purge", c.deny_purge, &c.deny_purge, "true")?;
    require("no_ack", !c.no_ack, &c.no_ack, "false")?;
    require("sealed", !c.sealed, &c.sealed, "false")?;
    require(
        "allow_msg_ttl",
        !c.allow_message_ttl,
        &c.allow_message_ttl,
        "false",
    )?;
    require(
        "allow_rollup_hdrs",
        !c.allow_rollup,
        &c.allow_rollup,
        "false",
    )?;
    let synchronous = c.persist_mode != Some(PersistenceMode::Async);
    require("persist_mode", synchronous, &c.persist_mode, "default")?;
    let replicas = usize::try_from(topology.replicas).unwrap_or(1);
    let enough = c.num_replicas.max(1) >= replicas;
    require("replicas", enough, &c.num_replicas, "as CONTROL has")?;

    // Limits that would drop old records; max_bytes refuses new ones, and may be set.
    require("max_msgs", c.max_messages <= 0, &c.max_messages, "-1")?;
    let each = c.max_messages_per_subject;
    require("max_msgs_per_subject", each <= 0, &each, "-1")?;
    let kept = topology.retention.max_age;
    let age_is_fine = c.max_age.is_zero() || kept.is_some_and(|kept| c.max_age >= kept);
    require("max_age", age_is_fine, &c.max_age, "0 or the retention")?;
    let size = c.max_message_size;
    let size_is_fine = size <= 0 || usize::try_from(size).is_ok_and(|s| s >= MAX_PAYLOAD_MIN);
    require("max_msg_size", size_is_fine, &size, "-1 or 1 MiB")
}

fn check_sync(info: &Info, synced: bool) -> Result<(), Error> {
    if synced || info.config.num_replicas >= REPLICAS_SAFE {
        return Ok(());
    }
    Err(Error::SyncUnproven {
        stream: info.config.name.clone(),
        replicas: info.config.num_replicas,
    })
}

async fn sync_is_proven(bus: &Bus, verification: &Verification) -> bool {
    match &verification.sync {
        SyncProof::Child | SyncProof::Confirmed => true,
        SyncProof::Unknown => false,
        SyncProof::Monitoring(url) => {
            let asked = url.clone();
            let answer =
                tokio::task::spawn_blocking(move || http::get(&asked, "/jsz", MONITORING_TIMEOUT))
                    .await;
            match answer {
                Ok(Ok((200, body))) => jsz_proves_sync(&body, &bus.server_id()) && !bus.clustered(),
                Ok(Ok((status, _))) => {
                    tracing::warn!(url, status, "monitoring address does not answer /jsz");
                    false
                }
                Ok(Err(error)) => {
                    tracing::warn!(url, %error, "monitoring address does not answer");
                    false
                }
                Err(_) => false,
            }
        }
    }
}

fn jsz_proves_sync(body: &str, server_id: &str) -> bool {
    let Ok(jsz) = serde_json::from_str::<serde_json::Value>(body) else {
        return false;
    };
    let same = jsz.pointer("/server_id").and_then(|id| id.as_str()) == Some(server_id);
    let always = jsz
        .pointer("/config/sync_always")
        .and_then(serde_json::Value::as_bool);
    same && always == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_server_proves_its_own_sync() {
        let body = r#"{"server_id":"A","config":{"sync_always":true}}"#;
        assert!(jsz_proves_sync(body, "A"));
        assert!(!jsz_proves_sync(body, "B"));
        assert!(!jsz_proves_sync(r#"{"server_id":"A","config":{}}"#, "A"));
    }
}
