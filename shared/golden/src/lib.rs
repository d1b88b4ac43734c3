//! The golden log: what a release wrote on a real log, kept for ever (`shared/golden/releases`).
//!
//! Every later build must read it and come to the same ids. The binary of this crate
//! records it; nothing here, and no test, ever writes into that folder. See
//! docs/decisions/0006-the-golden-log-is-never-recorded-again.md.

mod feed;
mod recording;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use feed::{Fed, Lanes, feed, interleaved};
pub use recording::{InputRef, Listed, Recording, RecordingError};

/// What one release left.
#[derive(Debug, Clone)]
pub struct Golden {
    /// Its version, such as `0.1.0`.
    pub version: String,
    dir: PathBuf,
}

/// Every recorded release, by version.
///
/// # Errors
/// Where the folder cannot be listed.
pub fn versions() -> std::io::Result<Vec<Golden>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("releases");
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let dir = entry?.path();
        let name = dir.file_name().and_then(|name| name.to_str());
        if let (true, Some(version)) = (dir.is_dir(), name.map(str::to_owned)) {
            found.push(Golden { version, dir });
        }
    }
    found.sort_by(|a, b| a.version.cmp(&b.version));
    Ok(found)
}

impl Golden {
    /// Path of one of its files.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Its log.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn log(&self) -> Result<Recording, RecordingError> {
        Recording::read(&self.path("log.gz"))
    }

    /// A copy of the checkpoint store of a stage as it lay in the data directory, unpacked: the
    /// committed one is never opened.
    ///
    /// # Errors
    /// Where files cannot be read or written.
    pub fn checkpoints(&self, stage: &str) -> std::io::Result<tempfile::TempDir> {
        let copy = tempfile::tempdir()?;
        unpack(&self.dir.join("checkpoints").join(stage), copy.path())?;
        Ok(copy)
    }
}

fn unpack(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            unpack(&path, &to.join(path.file_name().unwrap_or_default()))?;
            continue;
        }
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(&path)?).read_to_end(&mut bytes)?;
        fs::write(to.join(path.file_stem().unwrap_or_default()), bytes)?;
    }
    Ok(())
}
