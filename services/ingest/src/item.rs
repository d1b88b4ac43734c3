//! What waits for a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use balefire_bus::Weight;
use balefire_event::stamp::ClockPolicy;
use balefire_event::{BarrierId, Stub, Timestamp, Timing};
use balefire_wire::event_codec::STAMPS_LEN_MAX;
use balefire_wire::{event_record_len, hint_codec};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of a key, identity or fact beside its text.
const PART_BYTES: usize = 48;
/// Bytes of a barrier.
const BARRIER_BYTES: usize = 40;

/// A request on its way: its share of the budget is free again when its last item is stored.
#[derive(Debug)]
pub struct InFlight {
    /// One number a record: its timing, once it is stamped.
    timings: Box<[AtomicI32]>,
    _budget: OwnedSemaphorePermit,
}

impl InFlight {
    /// Of a request with so many records.
    pub fn new(records: usize, budget: OwnedSemaphorePermit) -> Self {
        Self {
            timings: (0..records).map(|_| AtomicI32::new(0)).collect(),
            _budget: budget,
        }
    }

    /// The timing that a record was last stamped with.
    pub fn timing(&self, record: usize) -> Option<Timing> {
        let number = self.timings.get(record)?.load(Ordering::Acquire);
        Timing::from_number(number)
    }

    /// Remembers it.
    pub fn stamped(&self, record: usize, timing: Timing) {
        if let Some(slot) = self.timings.get(record) {
            slot.store(timing.number(), Ordering::Release);
        }
    }
}

/// One record to be.
#[derive(Debug)]
pub enum Item {
    /// An event without its stamps.
    Event {
        /// Encoded, but for the stamps.
        fixed: Bytes,
        /// What it is stamped by.
        occurred_at: Timestamp,
        /// Likewise.
        clock: ClockPolicy,
        /// Its place in its request.
        record: usize,
        /// Its request.
        request: Arc<InFlight>,
    },
    /// A hint, without its time of arrival.
    Hint {
        /// Encoded, but for that.
        fixed: Bytes,
        /// Holds the budget until it is stored.
        #[expect(dead_code, reason = "held, never looked at")]
        request: Arc<InFlight>,
    },
    /// A stub, likewise.
    Stub {
        /// It.
        stub: Box<Stub>,
        /// Holds the budget until it is stored.
        #[expect(dead_code, reason = "held, never looked at")]
        request: Arc<InFlight>,
    },
    /// A barrier.
    Barrier {
        /// Which.
        id: BarrierId,
        /// When it was placed.
        at: Timestamp,
    },
}

impl Weight for Item {
    fn weight(&self) -> usize {
        match self {
            Self::Event { fixed, .. } => event_record_len(fixed.len() + STAMPS_LEN_MAX),
            Self::Hint { fixed, .. } => event_record_len(fixed.len() + hint_codec::STAMP_LEN),
            Self::Stub { stub, .. } => {
                stub.key.value.len() + stub.first_key.value.len() + 3 * PART_BYTES
            }
            Self::Barrier { .. } => BARRIER_BYTES,
        }
    }
}
