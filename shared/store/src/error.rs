//! What can go wrong with a checkpoint.

use std::path::PathBuf;

/// Why there is no checkpoint, or no new one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made, listed or moved.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was being done, a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has the store open.
    #[error("checkpoint store {} is in use by another process", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// What is there cannot be trusted.
    #[error("checkpoint in doubt: {reason}")]
    Doubt {
        /// What is wrong.
        reason: String,
    },
    /// It was written by another version of Balefire.
    #[error(
        "checkpoint of format {found}, this version reads {}",
        crate::envelope::VERSION
    )]
    Version {
        /// Its format.
        found: u32,
    },
    /// The database failed or panicked; the whole store has been set aside.
    #[error("checkpoint database failed: {reason}")]
    Database {
        /// What it said.
        reason: String,
    },
    /// The database did not answer in time.
    #[error("checkpoint store did not answer while {doing}")]
    Timeout {
        /// What was being done.
        doing: &'static str,
    },
    /// A value that cannot be encoded or decoded.
    #[error("could not {doing} a state: {reason}")]
    Encoding {
        /// Encode or decode.
        doing: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Error {
    pub(crate) fn database(reason: impl ToString) -> Self {
        Self::Database {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn doubt(reason: impl ToString) -> Self {
        Self::Doubt {
            reason: reason.to_string(),
        }
    }
}
