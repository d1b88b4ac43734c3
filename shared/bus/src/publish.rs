//! One publish with its acknowledgement, and what each failure means.

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;

use crate::connection::{ACK_TIMEOUT, Bus};
use crate::error::Error;

/// Why a publish has no acknowledgement.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another message came in between: the fence holds.
    WrongLastSequence,
    /// Surely not stored: no space.
    Full(String),
    /// Surely not stored, and never will be: larger than the server takes.
    TooLarge,
    /// Surely not stored, and never will be.
    Refused(String),
    /// Stored or not, nobody knows; or surely not, but it passes.
    Unknown(String),
}

impl Failure {
    pub(crate) fn into_error(self, subject: &str, bytes: usize) -> Error {
        let subject = subject.to_owned();
        match self {
            Self::WrongLastSequence => Error::Fenced {
                subject,
                expected: 0,
            },
            Self::Full(reason) => Error::Full { subject, reason },
            Self::TooLarge => Error::TooLarge { subject, bytes },
            Self::Refused(reason) => Error::Refused {
                doing: format!("publishing on {subject}"),
                reason,
            },
            Self::Unknown(reason) => Error::unavailable(format!("publishing on {subject}"), reason),
        }
    }
}

/// The acknowledgement: sequence, and whether the stream had it already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) duplicate: bool,
}

/// Publishes and awaits the acknowledgement, until the connection is lost and for at most
/// [`ACK_TIMEOUT`].
pub(crate) async fn publish(
    bus: &Bus,
    subject: &str,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Result<Stored, Failure> {
    let subject = subject.to_owned();
    let exchange = async {
        let sent = match headers {
            Some(headers) => {
                bus.context
                    .publish_with_headers(subject, headers, payload)
                    .await
            }
            None => bus.context.publish(subject, payload).await,
        };
        sent?.await
    };
    let answer = tokio::select! {
        biased;
        answer = tokio::time::timeout(ACK_TIMEOUT, exchange) => answer,
        () = bus.lost() => return Err(Failure::Unknown("the connection was lost".into())),
    };
    match answer {
        Ok(Ok(ack)) => Ok(Stored {
            sequence: ack.sequence,
            duplicate: ack.duplicate,
        }),
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(Failure::Unknown("no acknowledgement in time".into())),
    }
}

fn classify(error: &PublishError) -> Failure {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Failure::WrongLastSequence,
        PublishErrorKind::MaxPayloadExceeded => Failure::TooLarge,
        // No responder: JetStream is not up yet, or the stream is gone.
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending => Failure::Unknown(error.to_string()),
        PublishErrorKind::WrongLastMessageId => Failure::Refused(error.to_string()),
        PublishErrorKind::Other => std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<jetstream::Error>())
            .map_or_else(|| Failure::Unknown(error.to_string()), classify_answer),
    }
}

fn classify_answer(answer: &jetstream::Error) -> Failure {
    let full = [
        ErrorCode::STREAM_STORE_FAILED,
        ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ];
    let code = answer.error_code();
    if full.contains(&code) {
        Failure::Full(answer.to_string())
    } else if code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT {
        Failure::WrongLastSequence
    } else if code == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM {
        Failure::TooLarge
    } else if code == ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT || answer.code() >= 500 {
        Failure::Unknown(answer.to_string())
    } else {
        Failure::Refused(answer.to_string())
    }
}
