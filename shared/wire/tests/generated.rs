//! The committed generated code is what `proto/` says.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::BTreeMap;
use std::path::Path;

use balefire_testkit::contract;

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn generated_code_is_current() {
    let out = tempfile::tempdir().unwrap();
    contract::generate(out.path()).unwrap();
    let fresh = files(out.path());
    let committed = files(&contract::root().join("shared/wire/src/generated"));
    let again =
        "run `cargo run -p balefire-testkit --bin generate` and commit shared/wire/src/generated";
    assert!(
        fresh.keys().eq(committed.keys()),
        "generated files differ: proto/ gives {:?}, committed are {:?}; {again}",
        fresh.keys(),
        committed.keys(),
    );
    for (name, bytes) in &fresh {
        assert!(
            committed.get(name) == Some(bytes),
            "{name} is not current; {again}"
        );
    }
}
