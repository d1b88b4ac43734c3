//! What the fuzz target does with bytes, over its corpus and what a seed makes of it.

use std::path::Path;

#[path = "../../fuzz/change/bytes.rs"]
mod bytes;
#[path = "../../fuzz/targets/batch.rs"]
mod target;

use bytes::{Seeded, Shown, changed, files};

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/batch");
    files(&folder, "")
}

#[test]
fn any_bytes_are_answered() {
    for bytes in corpus() {
        for end in 0..=bytes.len() {
            target::run(bytes.get(..end).unwrap_or_default());
        }
    }
}

#[test]
fn any_bytes_at_random_are_answered() {
    let corpus = corpus();
    let mut seeded = Seeded(6);
    for _ in 0..20000 {
        let bytes = seeded.one_of(&corpus);
        let bytes = changed(&mut seeded, bytes, &corpus);
        let _shown = Shown(&bytes);
        target::run(&bytes);
    }
}
