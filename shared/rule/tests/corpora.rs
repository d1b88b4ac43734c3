//! What the fuzz target does with bytes, over its corpus and what a seed makes of it.

use std::path::Path;

#[path = "../../fuzz/change/bytes.rs"]
mod bytes;
#[path = "../../fuzz/targets/rules.rs"]
mod target;

use bytes::{Seeded, Shown, changed};

#[test]
fn any_bytes_are_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/rules");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for end in (0..=bytes.len()).rev().step_by(13) {
            target::run(bytes.get(..end).unwrap_or_default());
        }
        count += 1;
    }
    assert!(count > 3, "{count} files");
}

#[test]
fn any_bytes_at_random_are_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/rules");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path| std::fs::read(path).unwrap();
    let corpus: Vec<Vec<u8>> = paths.into_iter().map(read).collect();
    let mut seeded = Seeded(5);
    for _ in 0..3000 {
        let bytes = seeded.one_of(&corpus);
        let bytes = changed(&mut seeded, bytes, &corpus);
        let _shown = Shown(&bytes);
        target::run(&bytes);
    }
}
