//! What the fuzz target does with bytes, over its corpus and what a seed makes of it.

use std::path::Path;

#[path = "../../fuzz/change/bytes.rs"]
mod bytes;
#[path = "../../fuzz/targets/rules.rs"]
mod target;

use bytes::{Seeded, Shown, changed, files};

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/rules");
    files(&folder, "")
}

#[test]
fn any_bytes_are_answered() {
    for bytes in corpus() {
        for end in (0..=bytes.len()).rev().step_by(13) {
            target::run(bytes.get(..end).unwrap_or_default());
        }
    }
}

#[test]
fn any_bytes_at_random_are_answered() {
    let corpus = corpus();
    let mut seeded = Seeded(5);
    for _ in 0..3000 {
        let bytes = seeded.one_of(&corpus);
        let bytes = changed(&mut seeded, bytes, &corpus);
        let _shown = Shown(&bytes);
        target::run(&bytes);
    }
}
