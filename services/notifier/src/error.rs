//! What keeps a notifier from starting or going on.

use std::path::PathBuf;

use balefire_notifier_core::route::Fault;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error("reach the log")]
    Bus(#[from] balefire_bus::Error),
    /// A file named by the configuration.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The receivers file.
    #[error("receivers file {path}: {reason}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The routing table.
    #[error("receivers: {0}")]
    Table(#[from] Fault),
    /// One receiver.
    #[error("receiver {receiver:?}: {reason}")]
    Receiver {
        /// Which.
        receiver: String,
        /// What is wrong.
        reason: String,
    },
    /// The dead man's switch.
    #[error("prepare the dead man's switch")]
    DeadMan(#[from] balefire_kit::dead_man::Error),
    /// The HTTP client of a receiver.
    #[error("prepare calls to receiver {receiver:?}")]
    Client {
        /// Which.
        receiver: String,
        /// Why not.
        source: reqwest::Error,
    },
}
