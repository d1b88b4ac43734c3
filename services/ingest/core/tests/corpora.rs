//! What the fuzz targets do with bytes, over their corpora and over every source's samples.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

#[path = "../../../../shared/fuzz/targets/adapters.rs"]
mod adapters;
#[path = "../../../../shared/fuzz/targets/field_map.rs"]
mod field_map;
#[path = "../../../../shared/fuzz/targets/native.rs"]
mod native;
#[path = "../../../../shared/fuzz/targets/otlp.rs"]
mod otlp;

/// Each file of a folder, and each cut short in the middle.
fn over(folder: PathBuf, run: impl Fn(&[u8])) {
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        run(&bytes);
        run(bytes.get(..bytes.len() / 2).unwrap_or_default());
        count += 1;
    }
    assert!(count > 3, "{}: {count} files", folder.display());
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/fuzz/corpus")
        .join(target)
}

#[test]
fn no_adapter_panics_on_any_bytes() {
    over(corpus("adapters"), adapters::run);
    over(corpus("native"), adapters::run);
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources");
    over(samples, adapters::run);
}

#[test]
fn the_door_for_native_records_answers_any_bytes() {
    over(corpus("native"), native::run);
    over(corpus("adapters"), native::run);
}

#[test]
fn otlp_and_field_maps_answer_any_bytes() {
    over(corpus("otlp"), otlp::run);
    over(corpus("adapters"), otlp::run);
    over(corpus("field_map"), field_map::run);
}
