//! What the fuzz target does with bytes, over its corpus.

use std::path::Path;

#[path = "../../fuzz/targets/batch.rs"]
mod target;

#[test]
fn any_bytes_are_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/batch");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for end in 0..=bytes.len() {
            target::run(bytes.get(..end).unwrap_or_default());
        }
        count += 1;
    }
    assert!(count > 3, "{count} files");
}
