//! Sealed bodies go into EVIDENCE, and are durable, before their events are submitted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use balefire_bus::{Bus, Error, Log, topology};
use balefire_event::{DedupId, Sealed};
use balefire_ingest_core::Evidence;
use balefire_ingest_core::evidence::{EVIDENCE_KEPT_MAX, RECORD_OVERHEAD_BYTES};
use balefire_kit::clock;
use balefire_wire::{BatchWriter, Header, RecordRef, encoded_len, event, log};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

/// Largest message of EVIDENCE, bytes of its records.
const MESSAGE_BYTES_MAX: usize = EVIDENCE_KEPT_MAX + RECORD_OVERHEAD_BYTES / 2;
/// Messages of one request in flight.
const IN_FLIGHT_MAX: usize = 4;

/// A sealed record and the partition it lies in.
pub type Placed = (u32, log::v1::Evidence);

/// The record of an event's evidence.
pub fn record(evidence: Evidence<'_>, dedup_id: &DedupId) -> log::v1::Evidence {
    log::v1::Evidence {
        digest: Bytes::copy_from_slice(&evidence.digest.0),
        dedup_id: Bytes::copy_from_slice(&dedup_id.0),
        request: evidence.request.map(sealed),
        response: evidence.response.map(sealed),
        request_size_bytes: evidence.request_size_bytes,
        response_size_bytes: evidence.response_size_bytes,
        truncated: evidence.truncated,
        full_digest: evidence
            .full_digest
            .map(|digest| Bytes::copy_from_slice(&digest.0))
            .unwrap_or_default(),
    }
}

fn sealed(sealed: Sealed<'_>) -> event::v1::Sealed {
    event::v1::Sealed {
        scheme: sealed.scheme,
        key_epoch: sealed.key_epoch,
        data: Bytes::from(sealed.data.into_owned()),
    }
}

/// Writes EVIDENCE.
#[derive(Debug)]
pub struct Writer {
    log: Log,
    writer_id: [u8; 16],
    writer_seq: AtomicU64,
}

impl Writer {
    /// On a connection.
    pub fn new(bus: &Bus) -> Self {
        Self {
            log: Log::new(bus),
            writer_id: rand::random(),
            writer_seq: AtomicU64::new(0),
        }
    }

    /// Stores records, as few messages as they fit in.
    ///
    /// # Errors
    /// Where one is not acknowledged.
    pub async fn store(&self, tenant: &str, records: Vec<Placed>) -> Result<(), Error> {
        let messages = self.messages(tenant, records);
        futures::stream::iter(messages)
            .map(|(partition, payload)| async move {
                let subject = topology::evidence(partition);
                self.log.append(&subject, payload, None).await.map(|_| ())
            })
            .buffer_unordered(IN_FLIGHT_MAX)
            .try_collect::<()>()
            .await
    }

    fn messages(&self, tenant: &str, records: Vec<Placed>) -> Vec<(u32, Bytes)> {
        let mut partitions: BTreeMap<u32, Vec<log::v1::Evidence>> = BTreeMap::new();
        for (partition, record) in records {
            partitions.entry(partition).or_default().push(record);
        }
        let mut messages = Vec::new();
        for (partition, records) in partitions {
            let mut batch = BatchWriter::default();
            for record in records {
                let size = encoded_len(&record) + RECORD_OVERHEAD_BYTES / 8;
                if !batch.is_empty() && batch.len() + size > MESSAGE_BYTES_MAX {
                    messages.push((partition, self.finish(tenant, &mut batch)));
                }
                batch.push(RecordRef::Evidence(&record));
            }
            messages.push((partition, self.finish(tenant, &mut batch)));
        }
        messages
    }

    fn finish(&self, tenant: &str, batch: &mut BatchWriter) -> Bytes {
        let header = Header {
            tenant: tenant.to_owned(),
            writer_id: self.writer_id,
            writer_seq: self.writer_seq.fetch_add(1, Ordering::Relaxed) + 1,
            received_at_max: clock::now(),
            ..Header::default()
        };
        Bytes::from(batch.finish(&header, None))
    }
}
