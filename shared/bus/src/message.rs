//! What is read from a stream.

use async_nats::jetstream::message::StreamMessage;
use balefire_event::Timestamp;
use bytes::Bytes;

use crate::error::Error;

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its sequence in the stream, from 1.
    pub sequence: u64,
    /// When the server stored it, by the server's clock.
    pub stored_at: Timestamp,
    /// The subject it was published on.
    pub subject: String,
    /// The record.
    pub payload: Bytes,
}

/// Where an acknowledged record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Sequence in its stream, from 1.
    pub sequence: u64,
    /// Index within the batch, from 0.
    pub index: u32,
}

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub stream: String,
    /// The lowest sequence still there; of an empty stream the next one.
    pub first_sequence: u64,
    /// When the server stored that; of an empty stream long ago.
    pub first_at: Timestamp,
    /// The highest sequence ever given; 0 before the first.
    pub last_sequence: u64,
    /// When the server stored that; before the first long ago.
    pub last_at: Timestamp,
    /// When the stream was created: tells a stream from its successor of the same name.
    pub created: Timestamp,
    /// Stored bytes.
    pub bytes: u64,
}

impl StreamInfo {
    pub(crate) fn of(stream: &str, info: &async_nats::jetstream::stream::Info) -> Self {
        Self {
            stream: stream.to_owned(),
            first_sequence: info.state.first_sequence,
            first_at: timestamp(info.state.first_timestamp.unix_timestamp_nanos()),
            last_sequence: info.state.last_sequence,
            last_at: timestamp(info.state.last_timestamp.unix_timestamp_nanos()),
            created: timestamp(info.created.unix_timestamp_nanos()),
            bytes: info.state.bytes,
        }
    }
}

impl Message {
    pub(crate) fn from_stored(stored: &StreamMessage) -> Self {
        Self {
            sequence: stored.sequence,
            stored_at: timestamp(stored.time.unix_timestamp_nanos()),
            subject: stored.subject.to_string(),
            payload: stored.payload.clone(),
        }
    }

    /// From a delivered message; its place is in the acknowledgement subject.
    pub(crate) fn from_delivered(
        delivered: async_nats::jetstream::Message,
        stream: &str,
    ) -> Result<Self, Error> {
        let (sequence, stored_at) = {
            let info = delivered
                .info()
                .map_err(|e| Error::unavailable(format!("reading {stream}"), e))?;
            (
                info.stream_sequence,
                timestamp(info.published.unix_timestamp_nanos()),
            )
        };
        let (message, _) = delivered.split();
        Ok(Self {
            sequence,
            stored_at,
            subject: message.subject.to_string(),
            payload: message.payload,
        })
    }
}

/// Nanoseconds of the server's clock; times beyond the range end at its ends.
pub(crate) fn timestamp(nanos: i128) -> Timestamp {
    Timestamp(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
}
