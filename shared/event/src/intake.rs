//! Records of INTAKE beside the events themselves.

use crate::event::{CorrelationKey, Identity, Text};
use crate::ids::DedupId;
use crate::time::Timestamp;

/// What one record told of an identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint<'a> {
    /// Keys it can be joined by.
    pub keys: Vec<CorrelationKey<'a>>,
    /// The identity it names.
    pub identity: Identity<'a>,
    /// Source that said so.
    pub source: Text<'a>,
    /// Arrival.
    pub received_at: Timestamp,
    /// J of the source, nanoseconds.
    pub join_horizon: i64,
    /// Authority of the source; higher wins the label.
    pub authority: u32,
    /// Other fields it can fill: (field name, text), such as ("model", "gpt-4o").
    pub facts: Vec<(Text<'a>, Text<'a>)>,
    /// Record it came from.
    pub dedup_id: DedupId,
}

impl Hint<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Hint<'static> {
        let owned = |text: Text<'_>| Text::Owned(text.into_owned());
        let keys = self.keys.into_iter().map(CorrelationKey::into_owned);
        let facts = self.facts.into_iter();
        Hint {
            keys: keys.collect(),
            identity: self.identity.into_owned(),
            source: owned(self.source),
            received_at: self.received_at,
            join_horizon: self.join_horizon,
            authority: self.authority,
            facts: facts
                .map(|(name, text)| (owned(name), owned(text)))
                .collect(),
            dedup_id: self.dedup_id,
        }
    }
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
