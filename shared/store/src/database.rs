//! [`Database`]: the sled side. Blocking, and it may panic: only the worker's thread calls it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::envelope::{Manifest, PAGE_BYTES, PageDigest};
use crate::error::Error;

/// sled's page cache, bytes.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

pub(crate) struct Database {
    db: sled::Db,
    /// Digests of the pages that are on disk, by name: what needs no writing.
    written: BTreeMap<String, Vec<PageDigest>>,
}

impl Database {
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Only an explicit flush makes a checkpoint: a timer would sync halves.
            .flush_every_ms(None)
            .open()
            .map_err(|e| opening(dir, e))?;
        Ok(Self {
            db,
            written: BTreeMap::new(),
        })
    }

    /// One atomic batch with the pages that changed and the manifest, then an explicit flush.
    pub(crate) fn save(&mut self, name: &str, checkpoint: Checkpoint) -> Result<(), Error> {
        let Checkpoint { meta, state } = checkpoint;
        let manifest = Manifest::of(meta, &state);
        // Until the flush succeeded nobody knows what is on disk: write all the next time.
        let before = self.written.remove(name).unwrap_or_default();
        let mut batch = sled::Batch::default();
        for (index, page) in state.chunks(PAGE_BYTES).enumerate() {
            if before.get(index) != manifest.pages.get(index) {
                batch.insert(page_key(name, index), page);
            }
        }
        for index in manifest.pages.len()..before.len() {
            batch.remove(page_key(name, index));
        }
        batch.insert(manifest_key(name), manifest.seal()?);
        self.db.apply_batch(batch).map_err(Error::database)?;
        self.db.flush().map_err(Error::database)?;
        self.written.insert(name.to_owned(), manifest.pages);
        Ok(())
    }

    pub(crate) fn load(&mut self, name: &str) -> Result<Option<Checkpoint>, Error> {
        let Some(sealed) = self.db.get(manifest_key(name)).map_err(Error::database)? else {
            return Ok(None);
        };
        let manifest = Manifest::open(&sealed)?;
        let state = manifest
            .assemble(|index| self.db.get(page_key(name, index)).map_err(Error::database))?;
        self.written.insert(name.to_owned(), manifest.pages);
        Ok(Some(Checkpoint {
            meta: manifest.meta,
            state,
        }))
    }

    /// Renames everything of `name` to `~name`, over what was there.
    pub(crate) fn set_aside(&mut self, name: &str) -> Result<(), Error> {
        self.written.remove(name);
        let mut batch = sled::Batch::default();
        for entry in self.db.scan_prefix(format!("~{name}/")) {
            batch.remove(entry.map_err(Error::database)?.0);
        }
        for entry in self.db.scan_prefix(format!("{name}/")) {
            let (key, value) = entry.map_err(Error::database)?;
            let mut aside = b"~".to_vec();
            aside.extend_from_slice(&key);
            batch.remove(key);
            batch.insert(aside, value);
        }
        self.db.apply_batch(batch).map_err(Error::database)?;
        self.db.flush().map_err(Error::database)?;
        Ok(())
    }

    /// Bytes on disk.
    pub(crate) fn size(&self) -> Result<u64, Error> {
        self.db.size_on_disk().map_err(Error::database)
    }
}

fn opening(dir: &Path, error: sled::Error) -> Error {
    let locked = matches!(&error, sled::Error::Io(io) if io.to_string().contains("acquire lock"));
    if locked {
        return Error::Locked {
            path: dir.to_owned(),
        };
    }
    Error::database(error)
}

fn manifest_key(name: &str) -> Vec<u8> {
    format!("{name}/m").into_bytes()
}

fn page_key(name: &str, index: usize) -> Vec<u8> {
    format!("{name}/p{index:08}").into_bytes()
}
