//! Forms batches: here, and only here, a record gets its stamps.

use std::sync::Arc;

use balefire_bus::Former;
use balefire_event::Timestamp;
use balefire_kit::clock;
use balefire_wire::{BatchWriter, Header, RecordRef, event_codec};
use bytes::Bytes;

use crate::control::Applied;
use crate::item::Item;

/// Stamps and encodes the records of a batch. Stamps are of the attempt that is stored: it is
/// called again for every retry.
#[derive(Clone)]
pub struct Stamper {
    writer_id: [u8; 16],
    control: Arc<Applied>,
    lateness: i64,
}

impl Stamper {
    /// With an id of this process; `lateness` is the L of sources that declare none.
    pub fn new(control: Arc<Applied>, lateness: i64) -> Self {
        Self {
            writer_id: rand::random(),
            control,
            lateness,
        }
    }

    fn header(&self, tenant: &str, writer_seq: u64, now: Timestamp, revision: u64) -> Header {
        Header {
            tenant: tenant.to_owned(),
            writer_id: self.writer_id,
            writer_seq,
            lateness_max: self.lateness,
            received_at_max: now,
            control_revision_max: revision,
            ..Header::default()
        }
    }
}

impl Former<Item> for Stamper {
    fn form(&mut self, tenant: &str, items: &[Item], writer_seq: u64) -> Bytes {
        let revision = self.control.revision();
        let now = clock::now();
        let mut header = self.header(tenant, writer_seq, now, revision);
        let mut batch = BatchWriter::with_capacity(16 * 1024);
        let mut stamps = Vec::with_capacity(event_codec::STAMPS_LEN_MAX);
        for item in items {
            match item {
                Item::Event {
                    fixed,
                    occurred_at,
                    clock,
                    record,
                    request,
                } => {
                    let (t, timing) = clock.stamp(*occurred_at, now);
                    header.lateness_max = header.lateness_max.max(clock.lateness);
                    request.stamped(*record, timing);
                    #[cfg(feature = "sabotage")]
                    if balefire_kit::sabotage::drops() {
                        continue;
                    }
                    stamps.clear();
                    event_codec::encode_stamps(now, t, timing, revision, &mut stamps);
                    batch.push_event_parts(fixed, &stamps);
                }
                Item::Hint { fixed, .. } => batch.push_hint_parts(fixed, now),
                Item::Stub { stub, .. } => {
                    let mut stub = stub.as_ref().clone();
                    stub.received_at = now;
                    batch.push(RecordRef::Stub(&stub));
                }
                Item::Barrier { id, at } => batch.push(RecordRef::Barrier { id: *id, at: *at }),
            }
        }
        Bytes::from(batch.finish(&header, None))
    }
}
