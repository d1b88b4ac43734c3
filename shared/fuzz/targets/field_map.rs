//! The first line as a field map (JSON), the rest as a record of its source.

use balefire_event::Timestamp;
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::adapt::Context;
use balefire_ingest_core::adapt::map::FieldMap;
use balefire_ingest_core::{Door, Provenance, Source, admit_json};

/// What the target does.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(map), Some(record)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(map) = serde_json::from_slice::<FieldMap>(map) else {
        return;
    };
    if !map.faults().is_empty() {
        return;
    }
    let context = Context::at(Timestamp(1_770_820_200_000_000_000));
    for adapted in map.read(record, &context).into_iter().flatten() {
        let source = Source::undeclared(&map.source, ClockPolicy::default());
        let door = Door::new("default", source, 2);
        let _answered = admit_json(&door, &adapted.json, Provenance::default());
    }
}
