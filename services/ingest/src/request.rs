//! [`Request`]: what a caller hands in at once, and the limits it keeps.

use balefire_event::limits::{BATCH_EVENTS_MAX, NAME_BYTES_MAX, REQUEST_BYTES_MAX};
use balefire_wire::encoded_len;
use balefire_wire::ingest::v1::NativeEvent;
use bytes::Bytes;

use crate::outcome::Refusal;

/// The records of a request.
#[derive(Debug, Clone, Copy)]
pub enum Records<'r> {
    /// JSON records, and of each the number of identical ones before it; none: all 0.
    Raw(&'r [Bytes], &'r [u32]),
    /// Typed events.
    Typed(&'r [NativeEvent]),
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    /// Tenant of the caller.
    pub tenant: &'r str,
    /// Name of the source; empty: `native`.
    pub source: &'r str,
    /// History, with its span in nanoseconds.
    pub backfill: Option<i64>,
    /// With its index, the id of a record without one. Empty: none.
    pub idempotency_key: &'r str,
    /// The records.
    pub records: Records<'r>,
}

impl Records<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Raw(records, _) => records.len(),
            Self::Typed(events) => events.len(),
        }
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Raw(records, _) => records.iter().map(Bytes::len).sum(),
            Self::Typed(events) => events.iter().map(encoded_len).sum(),
        }
    }
}

impl Request<'_> {
    /// Whether it keeps the limits.
    ///
    /// # Errors
    /// The first that it does not.
    pub fn check(&self, bytes: usize) -> Result<(), Refusal> {
        if self.records.len() > BATCH_EVENTS_MAX {
            return Err(Refusal::too_large(
                "events",
                "a request may hold 512 events",
            ));
        }
        if bytes > REQUEST_BYTES_MAX {
            return Err(Refusal::too_large("events", "a request may have 4 MiB"));
        }
        if let Records::Raw(records, occurrences) = &self.records
            && !occurrences.is_empty()
            && occurrences.len() != records.len()
        {
            return Err(Refusal::invalid(
                "occurrences",
                "give one for each record, or none",
            ));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
        if self.source.len() > NAME_BYTES_MAX || !self.source.bytes().all(plain) {
            return Err(Refusal::invalid(
                "options.source",
                "at most 256 letters, digits and . _ - / :",
            ));
        }
        if self.backfill.is_some_and(|span| span < 0) {
            return Err(Refusal::invalid(
                "options.backfill_span_ns",
                "must not be negative",
            ));
        }
        Ok(())
    }
}
