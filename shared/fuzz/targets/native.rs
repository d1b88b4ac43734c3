//! Any bytes at the door for native records: admitted or refused, the same each time, and a
//! refusal that repeats nothing of the record.

use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::{Door, Provenance, Source, admit_json, redact};

/// What the target does.
pub fn run(bytes: &[u8]) {
    let source = Source::undeclared("native", ClockPolicy::default());
    let door = Door::new("default", source, 4);
    let admitted = admit_json(&door, bytes, Provenance::default());
    assert_eq!(admitted, admit_json(&door, bytes, Provenance::default()));
    if let Ok(text) = std::str::from_utf8(bytes) {
        // What a dead letter keeps of it is masked once and for all.
        let masked = redact::json(text);
        assert_eq!(redact::json(&masked), masked);
    }
}
