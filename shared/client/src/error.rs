//! What can go wrong between a producer and the server.

use tonic::Status;

/// Why something could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{addr:?} is no address; write it like http://127.0.0.1:7400")]
    Address {
        /// As given.
        addr: String,
    },
    /// The token holds a character that a header cannot.
    #[error("the token holds a character that cannot be sent")]
    Token,
    /// Nobody answers.
    #[error("connect to {addr}")]
    Connect {
        /// Where.
        addr: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The server refused for good, or for longer than [`crate::Retry::give_up_after`].
    #[error("refused after {attempts} attempts with {:?}: {}", status.code(), status.message())]
    Refused {
        /// How often it was tried.
        attempts: u32,
        /// The last answer.
        status: Box<Status>,
    },
    /// The server told of more or fewer records than were sent.
    #[error("{received} results for {sent} records")]
    ResultCount {
        /// Records of the batch.
        sent: usize,
        /// Results of the answer.
        received: usize,
    },
    /// A record without an id could not be counted: too many different ones before it.
    #[error("more than {limit} different records without event_id; give them ids")]
    TooManyWithoutId {
        /// [`crate::Options::without_id_max`].
        limit: usize,
    },
    /// The other half is gone: [`crate::Outcomes`] was dropped.
    #[error("the sender is closed")]
    Closed,
}

impl Error {
    /// The last answer of the server, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            Self::Address { .. }
            | Self::Token
            | Self::Connect { .. }
            | Self::ResultCount { .. }
            | Self::TooManyWithoutId { .. }
            | Self::Closed => None,
        }
    }
}
