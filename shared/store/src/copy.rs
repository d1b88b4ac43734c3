//! A look at a store that changes nothing: of a copy, because opening a database writes.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::error::Error;
use crate::worker::{Options, Store};

/// The file that the database locks while it is open.
const LOCKED_FILE: &str = "db";

/// A store to read from. Whatever is done to it, the original stays as it is.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The copy.
    pub store: Store,
    /// Goes last: dropped, the folder is removed.
    _folder: Arc<TempDir>,
}

impl Copy {
    /// Copies the store in `dir`, which nobody may have open, and opens the copy. `None`: there is
    /// no store there.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody has it open, [`Error::Database`] where it cannot be read.
    pub async fn of(dir: &Path, options: Options) -> Result<Option<Self>, Error> {
        let io = |doing, source| Error::Io {
            doing,
            path: dir.to_owned(),
            source,
        };
        let path = dir.join(LOCKED_FILE);
        let original = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open", error)),
        };
        match original.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock", error)),
        }
        let folder = TempDir::with_prefix("balefire-checkpoints-").map_err(|e| io("copy", e))?;
        copy_all(dir, folder.path()).map_err(|e| io("copy", e))?;
        drop(original);
        let store = Store::open_as_is(folder.path(), options).await?;
        Ok(Some(Self {
            store,
            _folder: Arc::new(folder),
        }))
    }
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_all(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
