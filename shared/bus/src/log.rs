//! The low-rate logs: CONTROL, DEADLETTERS, EVIDENCE, AUDIT. One acknowledged record at a time.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use balefire_event::Timestamp;
use bytes::Bytes;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::Error;
use crate::message::{Message, Place};
use crate::publish::{Failure, Stored, publish};
use crate::pump::{self, Pump};
use crate::reader::Start;

/// An append is tried again for this long.
pub const APPEND_GIVE_UP: Duration = Duration::from_secs(10);
const RETRY_DELAY: Duration = Duration::from_millis(100);
const TAIL_QUEUE_MAX: usize = 64;

/// Appends to, and reads from, streams one record at a time.
#[derive(Debug, Clone)]
pub struct Log {
    bus: Bus,
}

impl Log {
    /// On a connection.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    /// Stores `payload` and returns its place, acknowledged. Tried again for
    /// [`APPEND_GIVE_UP`]: without a `msg_id` a lost acknowledgement leaves the record twice;
    /// with one the stream drops a repeat within its duplicate window (2 min).
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::TooLarge`] at once, [`Error::Unavailable`] in the end.
    pub async fn append(
        &self,
        subject: &str,
        payload: Bytes,
        msg_id: Option<&str>,
    ) -> Result<Place, Error> {
        self.store(subject, payload, msg_id)
            .await
            .map(|stored| Place {
                sequence: stored.sequence,
                index: 0,
            })
    }

    /// Stores `payload` as the record after sequence `last` of the subject's stream, or not at
    /// all. Tried once: where the acknowledgement is lost nobody knows without reading the log.
    ///
    /// # Errors
    /// [`Error::Fenced`] where something was stored since; else as [`Log::append`].
    pub async fn append_after(
        &self,
        subject: &str,
        payload: Bytes,
        last: u64,
    ) -> Result<Place, Error> {
        let size = payload.len();
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        match publish(&self.bus, subject, Some(headers), payload).await {
            Ok(stored) => Ok(Place {
                sequence: stored.sequence,
                index: 0,
            }),
            Err(failure) => Err(failure.into_error(subject, size)),
        }
    }

    pub(crate) async fn store(
        &self,
        subject: &str,
        payload: Bytes,
        msg_id: Option<&str>,
    ) -> Result<Stored, Error> {
        let give_up = Instant::now() + APPEND_GIVE_UP;
        let size = payload.len();
        loop {
            if !self.bus.connected_by(give_up).await {
                let reason = Failure::Unknown("nats is not connected".into());
                return Err(reason.into_error(subject, size));
            }
            let headers = msg_id.map(|id| {
                let mut headers = HeaderMap::new();
                headers.insert(NATS_MESSAGE_ID, id);
                headers
            });
            match publish(&self.bus, subject, headers, payload.clone()).await {
                Ok(stored) => return Ok(stored),
                Err(Failure::Unknown(reason)) if Instant::now() < give_up => {
                    tracing::debug!(subject, reason, "appending again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(failure) => return Err(failure.into_error(subject, size)),
            }
        }
    }

    /// The records of `stream` from sequence `from` to the last one there is now.
    ///
    /// # Errors
    /// [`Error::StreamMissing`], [`Error::Unavailable`].
    pub async fn read_all(&self, stream: &str, from: u64) -> Result<Tail, Error> {
        let info = self.bus.stream_info(stream).await?;
        let first = from.max(info.first_sequence).max(1);
        Ok(Tail {
            stream: stream.to_owned(),
            until: Some(info.last_sequence),
            next: first,
            pump: (first <= info.last_sequence)
                .then(|| pump::spawn(&self.bus, stream, Start::Sequence(first), TAIL_QUEUE_MAX)),
        })
    }

    /// The records of `stream` that were stored at `since` or later, to the last one there is now.
    ///
    /// # Errors
    /// [`Error::StreamMissing`], [`Error::Unavailable`].
    pub async fn read_since(&self, stream: &str, since: Timestamp) -> Result<Tail, Error> {
        let info = self.bus.stream_info(stream).await?;
        let any = info.first_sequence <= info.last_sequence && info.last_at >= since;
        Ok(Tail {
            stream: stream.to_owned(),
            until: Some(if any { info.last_sequence } else { 0 }),
            next: 1,
            pump: any.then(|| pump::spawn(&self.bus, stream, Start::Time(since), TAIL_QUEUE_MAX)),
        })
    }

    /// The records of `stream` from sequence `from`, and those to come, for ever.
    #[must_use]
    pub fn tail(&self, stream: &str, from: u64) -> Tail {
        Tail {
            stream: stream.to_owned(),
            until: None,
            next: from,
            pump: Some(pump::spawn(
                &self.bus,
                stream,
                Start::Sequence(from),
                TAIL_QUEUE_MAX,
            )),
        }
    }

    /// The record at `sequence`, from the stream's leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn get(&self, stream: &str, sequence: u64) -> Result<Option<Message>, Error> {
        get(&self.bus, stream, Which::Sequence(sequence))
            .await
            .map(|found| found.map(|stored| Message::from_stored(&stored)))
    }

    /// The last record on `subject`, from the stream's leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn get_last(&self, stream: &str, subject: &str) -> Result<Option<Message>, Error> {
        get(&self.bus, stream, Which::LastOf(subject))
            .await
            .map(|found| found.map(|stored| Message::from_stored(&stored)))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    Sequence(u64),
    LastOf(&'a str),
}

pub(crate) async fn get(
    bus: &Bus,
    stream: &str,
    which: Which<'_>,
) -> Result<Option<async_nats::jetstream::message::StreamMessage>, Error> {
    let doing = || format!("reading {stream} {which:?}");
    let handle = bus
        .context
        .get_stream_no_info(stream)
        .await
        .map_err(|e| Error::unavailable(doing(), e))?;
    let found = match which {
        Which::Sequence(sequence) => handle.get_raw_message(sequence).await,
        Which::LastOf(subject) => handle.get_last_raw_message_by_subject(subject).await,
    };
    let error = match found {
        Ok(stored) => return Ok(Some(stored)),
        Err(error) => error,
    };
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => Ok(None),
        LastRawMessageErrorKind::JetStream(answer) if answer.code() < 500 => Err(Error::Refused {
            doing: doing(),
            reason: answer.to_string(),
        }),
        LastRawMessageErrorKind::InvalidSubject => Err(Error::Refused {
            doing: doing(),
            reason: error.to_string(),
        }),
        LastRawMessageErrorKind::JetStream(_) | LastRawMessageErrorKind::Other => {
            Err(Error::unavailable(doing(), error))
        }
    }
}

/// Records of one stream in order.
pub struct Tail {
    stream: String,
    until: Option<u64>,
    next: u64,
    pump: Option<Pump>,
}

impl Tail {
    /// The next record; `None` after the last one of [`Log::read_all`]. Cancel-safe.
    ///
    /// # Errors
    /// As [`crate::LaneReader::next`].
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        if self.until.is_some_and(|until| self.next > until) {
            self.pump = None;
            return Ok(None);
        }
        let ended = || Error::Ended {
            stream: self.stream.clone(),
        };
        let pump = self.pump.as_mut().ok_or_else(ended)?;
        let message = pump.messages.recv().await.ok_or_else(ended)??;
        self.next = message.sequence + 1;
        Ok(Some(message))
    }
}
