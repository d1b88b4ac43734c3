//! Why a partition ended.

use balefire_bus::Error as BusError;

use crate::ledger::{Misfit, OutOfOrder};

/// Why a session of a partition ended. Only the first two stay with the caller; the driver
/// mends the others by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log is shorter than, or another than, what was read before. Nothing was touched.
    #[error("log regression on {stream}: {found}")]
    LogRegression {
        /// The stream.
        stream: String,
        /// What is wrong with it.
        found: String,
    },
    /// A plan that cannot work, or a stage that panics wherever it is asked.
    #[error("partition cannot run: {reason}")]
    Unusable {
        /// Why.
        reason: String,
    },
    /// Another owner has claimed the partition.
    #[error("another owner has the partition")]
    Fenced {
        /// Where it showed.
        source: BusError,
    },
    /// The log does not answer.
    #[error("log does not answer")]
    Unavailable {
        /// What it said.
        source: BusError,
    },
    /// The stage panicked on a batch.
    #[error("stage panicked on {sequence} of source {source_index}: {said}")]
    Panicked {
        /// Index of the source.
        source_index: usize,
        /// Sequence of the batch.
        sequence: u64,
        /// The panic's words.
        said: String,
    },
    /// State in doubt: build it from the log.
    #[error("state in doubt: {reason}")]
    Doubt {
        /// Why.
        reason: String,
    },
    /// Asked to stop.
    #[error("stopped")]
    Stopped,
}

impl From<BusError> for Error {
    fn from(error: BusError) -> Self {
        if matches!(error, BusError::Fenced { .. }) {
            return Self::Fenced { source: error };
        }
        // A server whose disk was full when it wrote a stream's first record may begin it later. Nothing
        // of it was read before, so a state from the log begins where the stream does.
        if let BusError::Gap { expected: 1, .. } = &error {
            return Self::Doubt {
                reason: error.to_string(),
            };
        }
        if let BusError::LogRegression { stream, .. } | BusError::Gap { stream, .. } = &error {
            return Self::LogRegression {
                stream: stream.clone(),
                found: error.to_string(),
            };
        }
        if matches!(error, BusError::TooLarge { .. }) {
            // Trying again would give the same part.
            return Self::Unusable {
                reason: error.to_string(),
            };
        }
        Self::Unavailable { source: error }
    }
}

impl From<OutOfOrder> for Error {
    fn from(error: OutOfOrder) -> Self {
        Self::LogRegression {
            stream: format!("source {}", error.source_index),
            found: error.to_string(),
        }
    }
}

impl From<Misfit> for Error {
    fn from(error: Misfit) -> Self {
        match error {
            Misfit::Tail { .. } => Self::Doubt {
                reason: error.to_string(),
            },
            Misfit::Missing { .. } => Self::LogRegression {
                stream: "output log".into(),
                found: error.to_string(),
            },
            Misfit::Order { source, .. } => Self::LogRegression {
                stream: format!("source {}", source.source_index),
                found: format!("{error}: {source}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_begins_later_is_read_from_there_and_one_with_a_hole_is_not() {
        let gap = |expected| {
            Error::from(BusError::Gap {
                stream: "INTAKE_g1_urgent_0".into(),
                expected,
                found: expected + 1,
            })
        };
        assert!(matches!(gap(1), Error::Doubt { .. }));
        assert!(matches!(gap(2), Error::LogRegression { .. }));
    }
}
