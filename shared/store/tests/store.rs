//! The store against real files, whole and damaged.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_store::{
    Changes, Checkpoint, Error, LaneRun, Meta, Options, Records, SourceMark, Store, TargetMark,
};

fn options() -> Options {
    Options {
        open_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        ..Options::default()
    }
}

fn meta(step: u64) -> Meta {
    Meta {
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
    }
}

/// A state without keys, of so many bytes.
fn checkpoint(step: u64, bytes: usize) -> Checkpoint {
    let state: Vec<u8> = (0..bytes)
        .map(|i| (i as u64 * 31 + step * (i as u64 / 300_000)) % 253)
        .map(|byte| u8::try_from(byte).unwrap())
        .collect();
    Checkpoint {
        meta: meta(step),
        state: Records::of(Changes::sliced(&state)).unwrap(),
    }
}

async fn save(store: &Store, name: &str, checkpoint: Checkpoint) {
    let Checkpoint { meta, state } = checkpoint;
    let saved = store.save(name, meta, state.into_changes()).await;
    saved.unwrap();
}

/// A state by key that changes from step to step.
#[derive(Default)]
struct Keyed {
    state: BTreeMap<[u8; 16], Vec<u8>>,
    step: u64,
}

impl Keyed {
    fn key(number: u64) -> [u8; 16] {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key[8..].copy_from_slice(&mixed.to_le_bytes());
        key
    }

    /// Puts the records of these numbers, and removes one in seven of them.
    fn change(&mut self, numbers: std::ops::Range<u64>, mut changes: Changes) -> Changes {
        self.step += 1;
        for number in numbers {
            let key = Self::key(number);
            if number % 7 == 3 && self.step > 1 {
                self.state.remove(&key);
                changes.gone(&key).unwrap();
                continue;
            }
            let value = vec![u8::try_from((number + self.step) % 251).unwrap(); 100];
            changes.put(&key, &value).unwrap();
            self.state.insert(key, value);
        }
        changes
    }

    fn checkpoint(&self) -> Checkpoint {
        let mut all = Changes::whole();
        for (key, value) in &self.state {
            all.put(key, value).unwrap();
        }
        Checkpoint {
            meta: meta(self.step),
            state: Records::of(all).unwrap(),
        }
    }
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
        save(&store, "engine.2", checkpoint(step, 700_000)).await;
        save(&store, "engine.3", checkpoint(step, 10)).await;
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
        save(&store, "a", checkpoint(1, bytes)).await;
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
    save(&store, "a", checkpoint(1, 10)).await;
    save(&store, "b", checkpoint(2, 10)).await;
    store.set_aside("a").await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), None);
    assert_eq!(store.load("b").await.unwrap(), Some(checkpoint(2, 10)));
}

#[tokio::test]
async fn a_store_that_keeps_nothing_finds_nothing() {
    let store = Store::none();
    save(&store, "a", checkpoint(1, 10)).await;
    assert_eq!(store.load("a").await.unwrap(), None);
    assert!(!store.keeps());
}

#[tokio::test]
async fn a_store_in_use_is_refused_and_stays_whole() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let store = Store::open(&dir, options()).await.unwrap();
    save(&store, "a", checkpoint(1, 10)).await;
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
    save(&store, "a", checkpoint(1, 3_000_000)).await;
    assert_eq!(store.load("a").await.unwrap(), None);
    save(&store, "a", checkpoint(1, 1000)).await;
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

/// Loads what may be damaged: one of what went in, or nothing and it is set aside. Whether there
/// was something.
async fn loaded(store: &Store, name: &str, valid: &[Checkpoint]) -> bool {
    match store.load(name).await {
        Ok(Some(found)) => {
            assert!(valid.contains(&found), "{name}: other bytes than went in");
            true
        }
        Ok(None) => false,
        Err(error) => {
            let noticed = matches!(error, Error::Doubt { .. } | Error::Database { .. });
            assert!(noticed, "{error}");
            store.set_aside(name).await.unwrap();
            assert_eq!(store.load(name).await.unwrap(), None);
            false
        }
    }
}

/// Places in each file at which it is damaged.
const PARTS: usize = 8;

#[tokio::test]
async fn changes_lie_behind_what_was_saved_or_loaded_before_them() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let mut state = Keyed::default();
    // Enough of them that some are merged into the base, across restarts.
    for round in 0..4u64 {
        let store = Store::open(&dir, options()).await.unwrap();
        if round > 0 {
            assert_eq!(store.load("a").await.unwrap(), Some(state.checkpoint()));
        }
        for step in 0..40u64 {
            let first = round == 0 && step == 0;
            let (numbers, changes) = if first {
                (0..5_000, Changes::whole())
            } else {
                let from = (round * 40 + step) * 31 % 5_000;
                (from..from + 300, Changes::since())
            };
            let changes = state.change(numbers, changes);
            store.save("a", meta(state.step), changes).await.unwrap();
        }
        assert_eq!(store.load("a").await.unwrap(), Some(state.checkpoint()));
    }
}

#[tokio::test]
async fn much_that_changed_at_once_lies_behind_the_base_and_in_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let mut state = Keyed::default();
    // The first change is less than half the base, and stays behind it; the next is merged with it.
    for numbers in [0..40_000, 0..17_000, 10_000..27_000] {
        let store = Store::open(&dir, options()).await.unwrap();
        let changes = if state.step == 0 {
            Changes::whole()
        } else {
            assert_eq!(store.load("a").await.unwrap(), Some(state.checkpoint()));
            Changes::since()
        };
        let changes = state.change(numbers, changes);
        assert!(changes.byte_len() > 1024 * 1024, "{}", changes.byte_len());
        store.save("a", meta(state.step), changes).await.unwrap();
    }
    let store = Store::open(&dir, options()).await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), Some(state.checkpoint()));
}

#[tokio::test]
async fn a_bloated_store_is_written_anew_and_holds_the_same() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let store = Store::open(&dir, options()).await.unwrap();
    let mut state = Keyed::default();
    let mut written = 0;
    let mut most = 0;
    // Enough that what was written is many times what counts.
    for step in 0..250u64 {
        let changes = match step {
            0 => state.change(0..4_000, Changes::whole()),
            _ => state.change(0..4_000, Changes::since()),
        };
        written += changes.byte_len() as u64;
        store.save("a", meta(state.step), changes).await.unwrap();
        let sizes = files(&dir).into_iter();
        // A file may go while it is looked at.
        let size: u64 = sizes
            .filter_map(|file| std::fs::metadata(file).ok())
            .map(|meta| meta.len())
            .sum();
        most = most.max(size);
    }
    assert!(written > 100_000_000, "{written}");
    assert!(most < 40_000_000, "{most} of {written}");
    assert_eq!(store.load("a").await.unwrap(), Some(state.checkpoint()));
    drop(store);
    let store = Store::open(&dir, options()).await.unwrap();
    assert_eq!(store.load("a").await.unwrap(), Some(state.checkpoint()));
    assert!(!dir.with_file_name("s.aside-1").exists());
}

#[tokio::test]
async fn changes_without_what_they_change_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let mut state = Keyed::default();
    {
        let store = Store::open(&dir, options()).await.unwrap();
        let changes = state.change(0..10, Changes::since());
        let refused = store.save("a", meta(1), changes).await.unwrap_err();
        assert!(matches!(refused, Error::Doubt { .. }), "{refused}");
        let whole = state.change(0..10, Changes::whole());
        store.save("a", meta(state.step), whole).await.unwrap();
    }
    // Nobody has looked at what is there: it may be of another state than the one that changed.
    let store = Store::open(&dir, options()).await.unwrap();
    let changes = state.change(0..10, Changes::since());
    let refused = store.save("a", meta(9), changes).await.unwrap_err();
    assert!(matches!(refused, Error::Doubt { .. }), "{refused}");
}

/// Whatever happens to the files: the bytes that went in, an earlier whole checkpoint, or none.
#[tokio::test]
async fn damage_never_gives_wrong_bytes() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let mut valid = Vec::new();
    {
        let store = Store::open(&whole, options()).await.unwrap();
        for step in 1..4 {
            save(&store, "a", checkpoint(step, 400_000)).await;
        }
        // And a base with changes behind it.
        let mut state = Keyed::default();
        for step in 0..5u64 {
            let (numbers, changes) = match step {
                0 => (0..3_000, Changes::whole()),
                _ => (step * 500..step * 500 + 400, Changes::since()),
            };
            let changes = state.change(numbers, changes);
            store.save("b", meta(state.step), changes).await.unwrap();
            valid.push(state.checkpoint());
        }
    }
    valid.extend((1..4).map(|step| checkpoint(step, 400_000)));
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
                for name in ["a", "b"] {
                    lost += usize::from(!loaded(&store, name, &valid).await);
                }
                save(&store, "a", checkpoint(9, 1000)).await;
                assert_eq!(store.load("a").await.unwrap(), Some(checkpoint(9, 1000)));
            }
        }
    }
    assert!(lost > 0, "no damage was ever noticed: {trial} trials");
    assert!(trial >= 120, "{trial} trials");
}
