//! Any bytes, as a body, a line or an envelope of any source: nothing panics, the same bytes make
//! the same records, and what an adapter makes is a record or is refused.

use balefire_event::Timestamp;
use balefire_event::stamp::ClockPolicy;
use balefire_ingest_core::adapt::{self, Adapted, Choice, Context, Refused};
use balefire_ingest_core::{Door, Provenance, Source, admit_json};

fn read(choice: Choice, bytes: &[u8]) -> Vec<Result<Adapted, Refused>> {
    let context = Context::at(Timestamp(1_770_820_200_000_000_000));
    let read = adapt::read(choice, bytes, &context);
    assert_eq!(read, adapt::read(choice, bytes, &context));
    read
}

/// What the target does.
pub fn run(bytes: &[u8]) {
    let named = adapt::ALL.iter().map(Choice::One);
    run_by(std::iter::once(Choice::Auto).chain(named), bytes);
}

/// The same of some sources alone.
pub fn run_by(choices: impl Iterator<Item = Choice>, bytes: &[u8]) {
    for choice in choices {
        for adapted in read(choice, bytes).into_iter().flatten() {
            let source = Source::undeclared(adapted.source, ClockPolicy::default());
            let door = Door::new("default", source, 2);
            // Refused or not: it came to an answer.
            let _answered = admit_json(&door, &adapted.json, Provenance::default());
        }
    }
}
