//! What cannot go on: published as a copy, acknowledged, before anything else is done with it.

use bytes::Bytes;

use crate::connection::Bus;
use crate::error::Error;
use crate::log::Log;
use crate::message::Place;
use crate::topology;

/// Publishes the dead letters of one stage.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    log: Log,
    subject: String,
}

/// Where the dead record lies, or lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its stream.
    pub stream: &'a str,
    /// Its sequence.
    pub sequence: u64,
    /// Its index in the batch; 0 for a whole record.
    pub index: u32,
}

impl Origin<'_> {
    /// What the log's duplicate check knows its letter by.
    #[must_use]
    pub fn id(&self) -> String {
        format!("dl:{}:{}:{}", self.stream, self.sequence, self.index)
    }
}

impl DeadLetters {
    /// For a stage: the name of its role, such as `rule-engine`.
    #[must_use]
    pub fn new(bus: &Bus, stage: &str) -> Self {
        Self {
            log: Log::new(bus),
            subject: topology::deadletters(stage),
        }
    }

    /// Stores `payload` (the dead letter, with its reason and its copy). The same origin within
    /// the duplicate window is stored once; the place is then the first one's.
    ///
    /// # Errors
    /// As [`Log::append`]: until it is stored the original must not be passed over.
    pub async fn publish(&self, origin: Origin<'_>, payload: Bytes) -> Result<Place, Error> {
        self.publish_batch(&origin.id(), 1, payload).await
    }

    /// Stores `payload` with so many dead letters as one message. The same `id` within the duplicate
    /// window is stored once.
    ///
    /// # Errors
    /// As [`Log::append`]: until it is stored the originals must not be passed over.
    pub async fn publish_batch(
        &self,
        id: &str,
        letters: u64,
        payload: Bytes,
    ) -> Result<Place, Error> {
        let stored = self.log.store(&self.subject, payload, Some(id)).await?;
        let new = match stored.duplicate {
            true => {
                tracing::debug!(id, "dead letters were there already");
                0
            }
            false => letters,
        };
        metrics::counter!("balefire_dead_letters_total", "subject" => self.subject.clone())
            .increment(new);
        Ok(Place {
            sequence: stored.sequence,
            index: 0,
        })
    }
}
