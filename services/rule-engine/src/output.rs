//! A record that the engine emits, encoded for its target.

use std::sync::Arc;

use balefire_driver::Output;
use balefire_event::Timestamp;
use balefire_wire::{RecordRef, encode_record};

/// Of no control revision and no lateness of its own.
pub(crate) fn output(
    target: usize,
    tenant: Arc<str>,
    record: RecordRef<'_>,
    received_at: Option<Timestamp>,
) -> Output {
    let mut bytes = Vec::with_capacity(512);
    encode_record(record, &mut bytes);
    Output {
        target,
        tenant,
        record: bytes,
        received_at,
        control_revision: 0,
        lateness_max: 0,
    }
}
