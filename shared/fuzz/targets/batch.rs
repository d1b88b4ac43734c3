//! Any bytes as a message of the log: a frame or none; a bad record does not hide the next.

use balefire_wire::{BatchView, event_codec};

/// What the target does.
pub fn run(bytes: &[u8]) {
    let Ok(batch) = BatchView::parse(bytes) else {
        return;
    };
    assert_eq!(batch.records().count(), batch.len());
    for raw in batch.raw_records().flatten() {
        let _read = raw.view();
        let _category = event_codec::category(raw.message);
    }
}
