//! Why ingest does not start.

/// A configuration that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting.
    #[error("{setting} {reason}")]
    Config {
        /// Which, as a flag.
        setting: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}
