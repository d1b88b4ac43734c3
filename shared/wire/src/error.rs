//! Why bytes could not be read.

/// Bytes that are no message of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written under a version of SEMANTICS that this reader does not know: it must stop here.
    #[error("unknown semantics version {version}")]
    UnknownVersion {
        /// Version in the header.
        version: u32,
    },
    /// Bytes that break the encoding or lack what every such message has.
    #[error("malformed {what}")]
    Malformed {
        /// The field or message that is wrong.
        what: &'static str,
    },
}

impl Error {
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Self::Malformed { what }
    }
}
