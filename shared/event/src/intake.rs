//! Records of INTAKE beside the events themselves.

use crate::event::{CorrelationKey, Identity};
use crate::ids::DedupId;
use crate::time::Timestamp;

/// What one record told of an identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint {
    /// Keys it can be joined by.
    pub keys: Vec<CorrelationKey<'static>>,
    /// The identity it names.
    pub identity: Identity<'static>,
    /// Source that said so.
    pub source: String,
    /// Arrival.
    pub received_at: Timestamp,
    /// J of the source, nanoseconds.
    pub join_horizon: i64,
    /// Authority of the source; higher wins the label.
    pub authority: u32,
    /// Other fields it can fill: (field name, text), such as ("model", "gpt-4o").
    pub facts: Vec<(String, String)>,
    /// Record it came from.
    pub dedup_id: DedupId,
}

/// Tells the partition of a further key where an event with several keys lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stub {
    /// The key this partition is of.
    pub key: CorrelationKey<'static>,
    /// The event.
    pub dedup_id: DedupId,
    /// INTAKE partition where it lies.
    pub partition: u32,
    /// Its first key.
    pub first_key: CorrelationKey<'static>,
    /// Arrival of the event.
    pub received_at: Timestamp,
}
