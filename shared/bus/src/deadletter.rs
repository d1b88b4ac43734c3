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
        let id = format!("dl:{}:{}:{}", origin.stream, origin.sequence, origin.index);
        let stored = self.log.store(&self.subject, payload, Some(&id)).await?;
        if stored.duplicate {
            tracing::debug!(id, "dead letter was there already");
        }
        metrics::counter!("balefire_dead_letters_total", "subject" => self.subject.clone())
            .increment(u64::from(!stored.duplicate));
        Ok(Place {
            sequence: stored.sequence,
            index: 0,
        })
    }
}
