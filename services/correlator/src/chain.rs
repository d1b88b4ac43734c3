//! Reads everything that one request left from EVENTS.

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, LaneReader, LaneStart, Log, Start, Topology};
use balefire_correlator_core::{Chain, Link};
use balefire_event::naming::application_of;
use balefire_event::time::HOUR;
use balefire_event::{Lane, Timestamp};
use balefire_kit::clock;
use balefire_wire::join::v1::{ChainLink, GetChainRequest, GetChainResponse};
use balefire_wire::{BatchView, RecordView};
use tokio::sync::Semaphore;
use tonic::Status;

/// Chains read at once: each reads much of the log.
const READERS_MAX: usize = 2;
/// How long one may be read.
const READ_TIME_MAX: Duration = Duration::from_secs(60);
/// How far back where nothing is asked, nanoseconds.
const SINCE_DEFAULT: i64 = HOUR;
/// Longest id, bytes.
const ID_BYTES_MAX: usize = balefire_event::limits::NAME_BYTES_MAX;

/// A reader of chains.
#[derive(Clone)]
pub(crate) struct Chains {
    bus: Bus,
    topology: Topology,
    readers: Arc<Semaphore>,
}

impl Chains {
    pub(crate) fn new(bus: &Bus, topology: Topology) -> Self {
        Self {
            bus: bus.clone(),
            topology,
            readers: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// The chain of a tenant's request.
    pub(crate) async fn get(
        &self,
        tenant: &str,
        request: &GetChainRequest,
    ) -> Result<GetChainResponse, Status> {
        let id = request.id.trim();
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(Status::invalid_argument("id: give 1 to 256 bytes"));
        }
        let since = match request.since_ns {
            0 => clock::now().minus(SINCE_DEFAULT),
            at if at < 0 => return Err(Status::invalid_argument("since_ns: not negative")),
            at => Timestamp(at),
        };
        let _reading = self.readers.try_acquire().map_err(|_| {
            Status::resource_exhausted("two chains are being read; ask again in a moment")
        })?;
        let read = tokio::time::timeout(READ_TIME_MAX, self.read(tenant, id, since)).await;
        let chain = read.map_err(|_| {
            Status::deadline_exceeded(
                "a minute did not do to read so much of the log; ask for less by since_ns",
            )
        })?;
        let chain = chain
            .map_err(|error| Status::unavailable(format!("the log cannot be read: {error}")))?;
        let missing = chain.missing().into_iter();
        Ok(GetChainResponse {
            links: chain
                .links()
                .into_iter()
                .map(|link| told(&chain, link))
                .collect(),
            missing: missing.map(|one| one.in_words().to_owned()).collect(),
            since_ns: since.0,
        })
    }

    async fn read(
        &self,
        tenant: &str,
        id: &str,
        since: Timestamp,
    ) -> Result<Chain, balefire_bus::Error> {
        let mut chain = Chain::of(id);
        while chain.reading() {
            for partition in 0..self.topology.partitions {
                for &lane in Lane::ALL {
                    let stream = self.topology.events_stream(lane, partition);
                    self.read_stream(stream, tenant, since, &mut chain).await?;
                }
            }
        }
        Ok(chain)
    }

    async fn read_stream(
        &self,
        stream: String,
        tenant: &str,
        since: Timestamp,
        chain: &mut Chain,
    ) -> Result<(), balefire_bus::Error> {
        let last = self.bus.stream_info(&stream).await?.last_sequence;
        let newest = match last {
            0 => None,
            last => Log::new(&self.bus).get(&stream, last).await?,
        };
        // A reader that starts behind the last record would wait for one to come.
        if newest.is_none_or(|newest| newest.stored_at < since) {
            return Ok(());
        }
        let start = Start::Time(since);
        let mut reader = LaneReader::new(&self.bus, vec![LaneStart { stream, start }]);
        loop {
            let (_, message) = reader.next().await?;
            take(&message.payload, tenant, chain);
            if message.sequence >= last {
                return Ok(());
            }
        }
    }
}

/// What cannot be read is a dead letter of those who must read it; here it is passed over.
fn take(payload: &[u8], tenant: &str, chain: &mut Chain) {
    let Ok(batch) = BatchView::parse(payload) else {
        return;
    };
    if batch.header.tenant != tenant {
        return;
    }
    for record in batch.records().flatten() {
        if let RecordView::Event(event) = record {
            chain.take(&event);
        }
    }
}

fn told(chain: &Chain, link: &Link) -> ChainLink {
    let by_principal = chain.application_by_principal(link);
    let texts = |texts: &std::collections::BTreeSet<String>| texts.iter().cloned().collect();
    ChainLink {
        event: Some((&link.event).into()),
        users: link.users.values().map(Into::into).collect(),
        models: texts(link.models()),
        endpoints: texts(link.endpoints()),
        addresses: texts(link.addresses()),
        naming: link.naming().as_str().to_owned(),
        application: by_principal
            .unwrap_or(application_of(&link.event))
            .to_owned(),
        application_by_principal: by_principal.is_some(),
    }
}
