//! [`Database`]: the sled side. Blocking, and it may panic: only the worker's thread calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::checkpoint::{Checkpoint, Meta};
use crate::envelope::{Delta, Manifest, PageDigest, page_digest, whole};
use crate::error::Error;
use crate::fold::Fold;
use crate::key::{PIECE_BYTES, manifest_key, page_key, page_prefix, piece_key, pieces_of};
use crate::page::Cutter;
use crate::records::{Changes, Records};

/// sled's page cache, bytes.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// More deltas than this are merged into the base.
pub(crate) const DELTAS_MAX: usize = 64;
/// Deltas of more bytes than this, and than half the base, are merged into it.
pub(crate) const DELTA_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// A store of more bytes than this, and so many times those that count, is written anew.
const BLOAT_MIN: u64 = 16 * 1024 * 1024;
const BLOAT_FACTOR: u64 = 3;
/// Pages and pieces of a delta that wait to be written, bytes.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// What is durably on disk, by name.
pub(crate) struct Known(BTreeMap<String, Manifest>);

pub(crate) struct Database {
    db: sled::Db,
    /// What is durably on disk, by name. Not in here: nobody knows.
    known: BTreeMap<String, Manifest>,
    /// Its size when it was written anew, with what others left in it; 0 before.
    packed: u64,
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
            known: BTreeMap::new(),
            packed: 0,
        })
    }

    /// Durable when this returns: all of it or nothing.
    pub(crate) fn save(&mut self, name: &str, meta: Meta, changes: Changes) -> Result<(), Error> {
        // Until it succeeded nobody knows what is on disk: all of the state the next time.
        let before = self.known.remove(name);
        let manifest = if changes.is_whole() {
            let deltas = [changes.into_bytes()];
            self.rewrite(name, meta, (&[], &deltas), before.as_ref())?
        } else {
            let before =
                before.ok_or_else(|| Error::doubt("there is no base for these changes"))?;
            self.append(name, meta, changes, before)?
        };
        self.known.insert(name.to_owned(), manifest);
        Ok(())
    }

    /// What changed, the manifest with the last of it in one atomic batch, then an explicit flush.
    /// Pieces without a manifest count for nothing.
    fn append(
        &self,
        name: &str,
        meta: Meta,
        changes: Changes,
        before: Manifest,
    ) -> Result<Manifest, Error> {
        let bytes = changes.into_bytes();
        let number = before.next_delta;
        let mut manifest = Manifest {
            meta,
            next_delta: number + 1,
            ..before
        };
        manifest.deltas.push(Delta {
            number,
            bytes: bytes.len() as u64,
            digest: page_digest(&bytes),
        });
        let (mut batch, mut waiting) = (sled::Batch::default(), 0);
        for (index, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            if waiting >= BATCH_BYTES {
                waiting = 0;
                let full = std::mem::take(&mut batch);
                self.db.apply_batch(full).map_err(Error::database)?;
            }
            waiting += piece.len();
            batch.insert(piece_key(name, number, index), piece);
        }
        drop(bytes);
        batch.insert(manifest_key(name), manifest.seal()?);
        self.db.apply_batch(batch).map_err(Error::database)?;
        self.db.flush().map_err(Error::database)?;
        Ok(manifest)
    }

    /// Merges the deltas of a name into its base, where they have grown enough. What changed is
    /// written beside what is there; the last batch makes it count.
    pub(crate) fn merge_if_due(&mut self, name: &str) -> Result<(), Error> {
        let Some(before) = self.known.get(name) else {
            return Ok(());
        };
        let bytes = before.delta_bytes();
        let heavy = bytes > DELTA_BYTES_MIN.max(before.page_bytes / 2);
        if before.deltas.len() <= DELTAS_MAX && !heavy {
            return Ok(());
        }
        let deltas = self.deltas(name, before)?;
        let meta = before.meta.clone();
        let merged = self.rewrite(name, meta, (&before.pages, &deltas), Some(before));
        match merged {
            Ok(manifest) => {
                self.known.insert(name.to_owned(), manifest);
                Ok(())
            }
            Err(error) => {
                self.known.remove(name);
                Err(error)
            }
        }
    }

    fn rewrite(
        &self,
        name: &str,
        meta: Meta,
        (pages, deltas): (&[PageDigest], &[Vec<u8>]),
        before: Option<&Manifest>,
    ) -> Result<Manifest, Error> {
        let there = self.there(name, before)?;
        let fold = Fold::of(deltas)?;
        let mut merge = fold.merge();
        let mut cutter = Cutter::default();
        let mut base = Base {
            db: &self.db,
            name,
            there: &there,
            pages: Vec::new(),
            page_bytes: 0,
            batch: sled::Batch::default(),
            waiting: 0,
        };
        for digest in pages {
            let page = self.page(name, digest)?;
            let mut cut = Vec::new();
            merge.page(&page, &mut |key, value| cut.extend(cutter.put(key, value)))?;
            cut.into_iter().try_for_each(|page| base.put(page))?;
        }
        let mut cut = Vec::new();
        merge.rest(&mut |key, value| cut.extend(cutter.put(key, value)))?;
        cut.extend(cutter.end());
        cut.into_iter().try_for_each(|page| base.put(page))?;
        let manifest = Manifest {
            meta,
            pages: base.pages,
            page_bytes: base.page_bytes,
            deltas: Vec::new(),
            next_delta: before.map_or(0, |before| before.next_delta),
        };
        let mut batch = base.batch;
        let kept: BTreeSet<&PageDigest> = manifest.pages.iter().collect();
        for key in there {
            let digest = key.strip_prefix(page_prefix(name).as_slice());
            let kept = digest
                .and_then(|digest| <&PageDigest>::try_from(digest).ok())
                .is_some_and(|digest| kept.contains(digest));
            if !kept {
                batch.remove(key);
            }
        }
        batch.insert(manifest_key(name), manifest.seal()?);
        self.db.apply_batch(batch).map_err(Error::database)?;
        self.db.flush().map_err(Error::database)?;
        Ok(manifest)
    }

    /// Keys of the pages and deltas that are there under a name.
    fn there(&self, name: &str, before: Option<&Manifest>) -> Result<BTreeSet<Vec<u8>>, Error> {
        if let Some(before) = before {
            let pages = before.pages.iter().map(|digest| page_key(name, digest));
            let pieces = before.deltas.iter().flat_map(|delta| {
                (0..pieces_of(delta)).map(|index| piece_key(name, delta.number, index))
            });
            return Ok(pages.chain(pieces).collect());
        }
        let mut there = BTreeSet::new();
        for key in self.db.scan_prefix(format!("{name}/")).keys() {
            there.insert(key.map_err(Error::database)?.to_vec());
        }
        there.remove(manifest_key(name).as_slice());
        Ok(there)
    }

    fn page(&self, name: &str, digest: &PageDigest) -> Result<sled::IVec, Error> {
        let found = self.db.get(page_key(name, digest));
        whole("page", found.map_err(Error::database)?, digest)
    }

    fn deltas(&self, name: &str, manifest: &Manifest) -> Result<Vec<Vec<u8>>, Error> {
        let deltas = manifest.deltas.iter().map(|delta| {
            let mut bytes = Vec::new();
            for index in 0..pieces_of(delta) {
                let found = self.db.get(piece_key(name, delta.number, index));
                let found = found.map_err(Error::database)?;
                bytes.extend_from_slice(found.as_deref().unwrap_or_default());
            }
            whole("delta", Some(bytes), &delta.digest)
        });
        deltas.collect()
    }

    pub(crate) fn load(&mut self, name: &str) -> Result<Option<Checkpoint>, Error> {
        self.known.remove(name);
        let Some(sealed) = self.db.get(manifest_key(name)).map_err(Error::database)? else {
            return Ok(None);
        };
        let manifest = Manifest::open(&sealed)?;
        let deltas = self.deltas(name, &manifest)?;
        let fold = Fold::of(&deltas)?;
        let (mut merge, mut state) = (fold.merge(), Records::default());
        for digest in &manifest.pages {
            let page = self.page(name, digest)?;
            merge.page(&page, &mut |key, value| state.put(key, value))?;
        }
        merge.rest(&mut |key, value| state.put(key, value))?;
        self.clear(name, &manifest)?;
        let meta = manifest.meta.clone();
        self.known.insert(name.to_owned(), manifest);
        Ok(Some(Checkpoint { meta, state }))
    }

    /// Removes what a merge left that a crash ended.
    fn clear(&self, name: &str, manifest: &Manifest) -> Result<(), Error> {
        let known = self.there(name, Some(manifest))?;
        let mut batch = sled::Batch::default();
        for key in self.there(name, None)?.difference(&known) {
            batch.remove(key.as_slice());
        }
        self.db.apply_batch(batch).map_err(Error::database)
    }

    /// Renames everything of `name` to `~name`, over what was there.
    pub(crate) fn set_aside(&mut self, name: &str) -> Result<(), Error> {
        self.known.remove(name);
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

    /// Whether far more lies on disk than counts: sled gives little of what it freed back.
    pub(crate) fn is_bloated(&self) -> Result<bool, Error> {
        let manifests = self.known.values();
        let live: u64 = manifests
            .map(|manifest| manifest.page_bytes + manifest.delta_bytes())
            .sum();
        let least = live.max(self.packed);
        Ok(self.size()? > BLOAT_MIN + least.saturating_mul(BLOAT_FACTOR))
    }

    /// Writes everything into a new database.
    pub(crate) fn copy_to(&self, dir: &Path) -> Result<(), Error> {
        let copy = Self::open(dir)?;
        let (mut batch, mut waiting) = (sled::Batch::default(), 0);
        for entry in self.db.iter() {
            let (key, value) = entry.map_err(Error::database)?;
            waiting += value.len();
            batch.insert(key, value);
            if waiting >= BATCH_BYTES {
                waiting = 0;
                let full = std::mem::take(&mut batch);
                copy.db.apply_batch(full).map_err(Error::database)?;
            }
        }
        copy.db.apply_batch(batch).map_err(Error::database)?;
        copy.db.flush().map_err(Error::database)?;
        Ok(())
    }

    /// What is known to be on disk.
    pub(crate) fn into_known(self) -> Known {
        Known(self.known)
    }

    /// The same is on disk here, and nothing that could be left out.
    pub(crate) fn know(&mut self, known: Known) -> Result<(), Error> {
        self.known = known.0;
        self.packed = self.size()?;
        Ok(())
    }

    /// Bytes on disk.
    pub(crate) fn size(&self) -> Result<u64, Error> {
        self.db.size_on_disk().map_err(Error::database)
    }
}

/// A base that is being written, page by page.
struct Base<'d> {
    db: &'d sled::Db,
    name: &'d str,
    there: &'d BTreeSet<Vec<u8>>,
    pages: Vec<PageDigest>,
    page_bytes: u64,
    batch: sled::Batch,
    waiting: usize,
}

impl Base<'_> {
    /// Pages are named by what they hold: what is there already is not written again.
    fn put(&mut self, page: Vec<u8>) -> Result<(), Error> {
        let digest = page_digest(&page);
        self.pages.push(digest);
        self.page_bytes += page.len() as u64;
        let key = page_key(self.name, &digest);
        if self.there.contains(&key) {
            return Ok(());
        }
        self.waiting += page.len();
        self.batch.insert(key, page);
        if self.waiting >= BATCH_BYTES {
            self.waiting = 0;
            let batch = std::mem::take(&mut self.batch);
            self.db.apply_batch(batch).map_err(Error::database)?;
        }
        Ok(())
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
