//! A stretch of a stream: from a time on to the end that it had, read with a consumer of its own.

use balefire_bus::{Bus, Error, Log, Message, Tail};
use balefire_event::Timestamp;

/// Messages of one stream.
#[derive(Debug, Clone)]
pub struct Stretch {
    stream: String,
    first: u64,
    last: u64,
}

impl Stretch {
    /// From the first message that the server stored at a time or later.
    ///
    /// # Errors
    /// Where the log is out of reach.
    pub async fn since(bus: &Bus, stream: String, from: Timestamp) -> Result<Self, Error> {
        let (log, info) = (Log::new(bus), bus.stream_info(&stream).await?);
        let last = info.last_sequence;
        let (mut first, mut end) = (info.first_sequence.max(1), last.saturating_add(1));
        while first < end {
            let middle = first + (end - first) / 2;
            let stored = log.get(&stream, middle).await?;
            if stored.is_some_and(|message| message.stored_at >= from) {
                end = middle;
            } else {
                first = middle + 1;
            }
        }
        Ok(Self {
            stream,
            first,
            last,
        })
    }

    /// How many messages.
    #[must_use]
    pub const fn len(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where the log is out of reach.
    pub async fn read(&self, bus: &Bus) -> Result<Reading, Error> {
        let tail = Log::new(bus).read_all(&self.stream, self.first).await?;
        Ok(Reading {
            tail,
            last: self.last,
        })
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }
}

/// A stretch being read.
pub struct Reading {
    tail: Tail,
    last: u64,
}

impl Reading {
    /// The next message; `None` behind the last.
    ///
    /// # Errors
    /// Where the log is out of reach.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        let message = self.tail.next().await?;
        Ok(message.filter(|message| message.sequence <= self.last))
    }
}
