//! What becomes of records and requests.

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Error, Place, Refused};
use balefire_event::{DedupId, Timing};
use balefire_ingest_core::Violation;

/// Come back after this time when there was too much.
pub const OVERLOAD_RETRY: Duration = Duration::from_millis(250);
/// Come back after this time when the log was out of reach.
pub const OUTAGE_RETRY: Duration = Duration::from_secs(1);

/// What became of one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Durable.
    Accepted {
        /// Its stream.
        stream: Arc<str>,
        /// Where in it.
        place: Place,
        /// Its id.
        dedup_id: DedupId,
        /// How its time lies to its arrival.
        timing: Timing,
    },
    /// It is durable already.
    Duplicate {
        /// Its id.
        dedup_id: DedupId,
        /// The first copy's.
        timing: Timing,
    },
    /// Not admitted.
    Rejected(Violation),
}

/// Why nothing of a request counts as accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Too much at once.
    Overloaded {
        /// For people.
        message: String,
        /// Come back after this time.
        retry_after: Duration,
    },
    /// The log is out of reach.
    Unavailable {
        /// For people.
        message: String,
        /// Come back after this time.
        retry_after: Duration,
    },
    /// The caller may not.
    Forbidden {
        /// What it lacks.
        message: String,
    },
    /// The request itself is wrong.
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong.
        description: String,
        /// More than a request may hold.
        too_large: bool,
    },
}

impl Refusal {
    /// Why, for people.
    pub fn message(&self) -> &str {
        match self {
            Self::Overloaded { message, .. }
            | Self::Unavailable { message, .. }
            | Self::Forbidden { message } => message,
            Self::Invalid { description, .. } => description,
        }
    }

    /// Too much at once.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::Overloaded {
            message: message.into(),
            retry_after: OVERLOAD_RETRY,
        }
    }

    /// The log is out of reach.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
            retry_after: OUTAGE_RETRY,
        }
    }

    /// The caller may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden {
            message: message.into(),
        }
    }

    /// A field is wrong.
    pub fn invalid(field: &'static str, description: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            description: description.into(),
            too_large: false,
        }
    }

    /// A field holds too much.
    pub fn too_large(field: &'static str, description: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            description: description.into(),
            too_large: true,
        }
    }

    /// Its name in metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "overloaded",
            Self::Unavailable { .. } => "unavailable",
            Self::Forbidden { .. } => "forbidden",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match &refused {
            Refused::Overloaded { .. } => Self::overloaded(refused.to_string()),
            Refused::Unavailable { .. } | Refused::NoTarget { .. } => {
                Self::unavailable(refused.to_string())
            }
            Refused::TooLarge { .. } => Self::too_large("events", refused.to_string()),
        }
    }
}

impl From<Error> for Refusal {
    /// Internals stay inside: the client learns that it is to come again.
    fn from(error: Error) -> Self {
        tracing::warn!(%error, "a request was not stored");
        let full = matches!(error, Error::Full { .. });
        Self::unavailable(if full {
            "the log takes nothing more: its disk or a stream is full"
        } else {
            "the log did not acknowledge in time"
        })
    }
}
