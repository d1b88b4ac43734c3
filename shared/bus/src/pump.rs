//! Reads one stream in order, for ever, into a bounded queue.
//!
//! An ordered pull consumer of our own: ephemeral, unacknowledged, made again from the next
//! sequence after any error. Sequences follow each other without a hole; a hole that a fresh
//! consumer shows again is a gap of the log and ends the reading.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use balefire_event::Timestamp;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::connection::Bus;
use crate::error::Error;
use crate::message::{Message, StreamInfo};
use crate::reader::Start;

/// Messages of one pull; half as many again may wait in the client.
const PULL_MESSAGES: usize = 128;
/// Bytes of one pull, likewise.
const PULL_BYTES: usize = 4 * 1024 * 1024;
/// A pull is renewed after this time.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// A consumer silent for two of these is made again.
const PULL_HEARTBEAT: Duration = Duration::from_secs(1);
/// The server forgets a consumer nobody reads after this time.
const CONSUMER_IDLE: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// A running reader of one stream; dropping it stops it.
pub(crate) struct Pump {
    pub(crate) messages: mpsc::Receiver<Result<Message, Error>>,
    _task: AbortOnDropHandle<()>,
}

/// Starts reading `stream`; at most `capacity` messages wait.
pub(crate) fn spawn(bus: &Bus, stream: &str, start: Start, capacity: usize) -> Pump {
    let (sender, messages) = mpsc::channel(capacity);
    let cursor = Cursor {
        bus: bus.clone(),
        stream: stream.to_owned(),
        start,
        created: None,
    };
    Pump {
        messages,
        _task: AbortOnDropHandle::new(tokio::spawn(run(cursor, sender))),
    }
}

struct Cursor {
    bus: Bus,
    stream: String,
    start: Start,
    /// When the stream read so far was created: another one of its name is another log.
    created: Option<Timestamp>,
}

enum End {
    /// Nobody listens any more.
    Closed,
    /// Worth another consumer; `read` tells whether this one gave anything.
    Again { read: bool, error: Error },
    /// The log is not what it was.
    Fatal(Error),
}

async fn run(mut cursor: Cursor, sender: mpsc::Sender<Result<Message, Error>>) {
    let mut delay = RETRY_FIRST;
    loop {
        match cursor.session(&sender).await {
            End::Closed => return,
            End::Fatal(error) => {
                // A closed queue is no loss: nobody wants to know.
                let _ = sender.send(Err(error)).await;
                return;
            }
            End::Again { read, error } => {
                if read {
                    delay = RETRY_FIRST;
                }
                tracing::debug!(stream = %cursor.stream, %error, "reading again from a fresh consumer");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RETRY_MAX);
            }
        }
    }
}

impl Cursor {
    /// Reads with one consumer until it fails.
    async fn session(&mut self, sender: &mpsc::Sender<Result<Message, Error>>) -> End {
        let mut read = false;
        let mut deliveries = match self.open().await {
            Ok(deliveries) => deliveries,
            Err(error @ (Error::LogRegression { .. } | Error::Gap { .. })) => {
                return End::Fatal(error);
            }
            Err(error) => return End::Again { read, error },
        };
        loop {
            let delivered = tokio::select! {
                biased;
                delivered = deliveries.next() => delivered,
                () = sender.closed() => return End::Closed,
            };
            let message = match delivered {
                Some(Ok(delivered)) => Message::from_delivered(delivered, &self.stream),
                Some(Err(error)) => Err(Error::unavailable(self.doing(), error)),
                None => Err(Error::unavailable(self.doing(), "the consumer ended")),
            };
            let message = match message {
                Ok(message) => message,
                Err(error) => return End::Again { read, error },
            };
            if let Start::Sequence(expected) = self.start
                && message.sequence != expected
            {
                let error = Error::Gap {
                    stream: self.stream.clone(),
                    expected,
                    found: message.sequence,
                };
                // Lost on the way, or lost in the log? A fresh consumer tells.
                return if read {
                    End::Again { read, error }
                } else {
                    End::Fatal(error)
                };
            }
            read = true;
            self.start = Start::Sequence(message.sequence + 1);
            if sender.send(Ok(message)).await.is_err() {
                return End::Closed;
            }
        }
    }

    fn doing(&self) -> String {
        format!("reading {}", self.stream)
    }

    async fn open(&mut self) -> Result<pull::Stream, Error> {
        let info = self.bus.stream_info(&self.stream).await?;
        self.check(&info)?;
        let config = pull::Config {
            name: Some(self.bus.unique_name()),
            deliver_policy: self.deliver_policy()?,
            ack_policy: AckPolicy::None,
            inactive_threshold: CONSUMER_IDLE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self
            .bus
            .context
            .create_consumer_on_stream(config, &self.stream)
            .await
            .map_err(|e| Error::unavailable(self.doing(), e))?;
        consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .max_bytes_per_batch(PULL_BYTES)
            .expires(PULL_EXPIRES)
            .heartbeat(PULL_HEARTBEAT)
            .messages()
            .await
            .map_err(|e| Error::unavailable(self.doing(), e))
    }

    /// Is this still the log that was read before?
    fn check(&mut self, info: &StreamInfo) -> Result<(), Error> {
        let regression = |expected, found: String| {
            Err(Error::LogRegression {
                stream: self.stream.clone(),
                expected,
                found,
            })
        };
        let next = match self.start {
            Start::Sequence(next) => next.max(1),
            Start::Earliest | Start::Time(_) => 0,
        };
        match self.created {
            Some(created) if created != info.created => {
                return regression(
                    next,
                    format!("the stream was made anew at {}", info.created),
                );
            }
            Some(_) => {}
            None => self.created = Some(info.created),
        }
        if next == 0 {
            return Ok(());
        }
        if next > info.last_sequence + 1 {
            return regression(next, format!("the last is {}", info.last_sequence));
        }
        if next < info.first_sequence {
            return Err(Error::Gap {
                stream: self.stream.clone(),
                expected: next,
                found: info.first_sequence,
            });
        }
        self.start = Start::Sequence(next);
        Ok(())
    }

    fn deliver_policy(&self) -> Result<DeliverPolicy, Error> {
        Ok(match self.start {
            Start::Earliest => DeliverPolicy::All,
            Start::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            Start::Time(time) => DeliverPolicy::ByStartTime {
                start_time: async_nats::datetime::from_nanos(i128::from(time.0.max(0)))
                    .map_err(|e| Error::unavailable(self.doing(), e))?,
            },
        })
    }
}
