//! The store against real files, whole and damaged.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_store::{Checkpoint, Error, LaneRun, Meta, Options, SourceMark, Store, TargetMark};

fn options() -> Options {
    Options {
        open_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        ..Options::default()
    }
}

fn checkpoint(step: u64, bytes: usize) -> Checkpoint {
    let meta = Meta {
        stage_version: 1,
        partition: 2,
        step,
        sources: vec![SourceMark {
            stream: "EVENTS_g1_urgent_2".into(),
            created_ns: 17,
            sequence: 40 + step,
            digest: Some([7; 32]),
        }],
        targets: vec![TargetMark {
            stream: "ESCALATIONS_g1_2".into(),
            created_ns: 18,
            subject: "escalations.g1.2.e.2".into(),
            sequence: step,
        }],
        tail: vec![LaneRun {
            source: 0,
            first: 3,
            count: 2,
        }],
        taken_at_ns: 99,
    };
    let state = (0..bytes)
        .map(|i| (i as u64 * 31 + step * (i as u64 / 300_000)) % 253)
        .map(|byte| u8::try_from(byte).unwrap())
        .collect();
    Checkpoint { meta, state }
}

#[tokio::test]
async fn what_was_saved_is_there_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("checkpoints");
    for step in 1..5 {
        let store = Store::open(&dir, options()).await.unwrap();
        if step > 1 {
            let found = store.load("engine.2").await.unwrap().unwrap();
            assert_eq!(found, checkpoint(step - 1, 700_000));
        }
        store
            .save("engine.2", checkpoint(step, 700_000))
            .await
            .unwrap();
        store.save("engine.3", checkpoint(step, 10)).await.unwrap();
        assert_eq!(store.load("engine.1").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_state_that_shrank_leaves_no_pages_behind() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("s"), options())
        .await
        .unwrap();
    for bytes in [900_000, 0, 300_000, 5] {
        store.save("a", checkpoint(1, bytes)).await.unwrap();
        let found = store.load("a").await.unwrap().unwrap();
        assert_eq!(found, checkpoint(1, bytes));
    }
}

#[tokio::test]
async fn a_checkpoint_set_aside_is_gone_and_the_others_stay() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("s"), options())
        .await
        .unwrap();
    store.save("a", checkpoint(1, 10)).await.unwrap();
    store.save("b", checkpoint(2, 10)).await.unwrap();
    store.set_aside("a").await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), None);
    assert_eq!(store.load("b").await.unwrap(), Some(checkpoint(2, 10)));
}

#[tokio::test]
async fn a_store_that_keeps_nothing_finds_nothing() {
    let store = Store::none();
    store.save("a", checkpoint(1, 10)).await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), None);
    assert!(!store.keeps());
}

#[tokio::test]
async fn a_store_in_use_is_refused_and_stays_whole() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let store = Store::open(&dir, options()).await.unwrap();
    store.save("a", checkpoint(1, 10)).await.unwrap();
    let short = Options {
        open_timeout: Duration::from_millis(200),
        ..options()
    };
    let refused = Store::open(&dir, short).await.unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert_eq!(store.load("a").await.unwrap(), Some(checkpoint(1, 10)));
}

#[tokio::test]
async fn a_store_that_outgrew_its_limit_begins_anew() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let small = Options {
        size_max: 1024 * 1024,
        ..options()
    };
    let store = Store::open(&dir, small).await.unwrap();
    store.save("a", checkpoint(1, 3_000_000)).await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), None);
    store.save("a", checkpoint(1, 1000)).await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), Some(checkpoint(1, 1000)));
    assert!(dir.with_file_name("s.aside-1").exists());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, &target).unwrap();
    }
}

enum Damage {
    Truncate,
    Flip,
    Delete,
    Empty,
    HalfWritten,
    Doubled,
}

fn damage(file: &Path, how: &Damage, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    match how {
        Damage::Delete => return std::fs::remove_file(file).unwrap(),
        Damage::Empty => bytes.clear(),
        Damage::Truncate => bytes.truncate(at),
        // The length was recorded, the data never came.
        Damage::HalfWritten => bytes.iter_mut().skip(at).for_each(|byte| *byte = 0),
        Damage::Doubled => bytes.extend_from_within(at..),
        Damage::Flip => {
            for byte in bytes.iter_mut().skip(at).take(64) {
                *byte ^= 0x55;
            }
        }
    }
    std::fs::write(file, bytes).unwrap();
}

/// Places in each file at which it is damaged.
const PARTS: usize = 8;

/// Whatever happens to the files: the bytes that went in, an earlier whole checkpoint, or none.
#[tokio::test]
async fn damage_never_gives_wrong_bytes() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    {
        let store = Store::open(&whole, options()).await.unwrap();
        for step in 1..4 {
            store.save("a", checkpoint(step, 400_000)).await.unwrap();
        }
    }
    let valid: Vec<Checkpoint> = (1..4).map(|step| checkpoint(step, 400_000)).collect();
    // The thread closes the store when the last clone is gone: opening waits for its lock.
    drop(Store::open(&whole, options()).await.unwrap());
    drop(Store::open(&whole, options()).await.unwrap());
    let mut lost = 0;
    let mut trial = 0;
    for file in files(&whole) {
        let size = usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
        for how in [
            Damage::Truncate,
            Damage::Flip,
            Damage::Delete,
            Damage::Empty,
            Damage::HalfWritten,
            Damage::Doubled,
        ] {
            for part in 0..PARTS {
                trial += 1;
                let dir = root.path().join(format!("trial-{trial}"));
                copy(&whole, &dir);
                let hit = dir.join(file.strip_prefix(&whole).unwrap());
                damage(&hit, &how, size * part / PARTS);
                let store = Store::open(&dir, options()).await.unwrap();
                match store.load("a").await {
                    Ok(Some(found)) => assert!(valid.contains(&found), "{}", hit.display()),
                    Ok(None) => lost += 1,
                    Err(error) => {
                        lost += 1;
                        assert!(
                            matches!(error, Error::Doubt { .. } | Error::Database { .. }),
                            "{error}"
                        );
                        store.set_aside("a").await.unwrap();
                        assert_eq!(store.load("a").await.unwrap(), None);
                    }
                }
                store.save("a", checkpoint(9, 1000)).await.unwrap();
                assert_eq!(store.load("a").await.unwrap(), Some(checkpoint(9, 1000)));
            }
        }
    }
    assert!(lost > 0, "no damage was ever noticed: {trial} trials");
    assert!(trial >= 120, "{trial} trials");
}
