//! Which partition a record belongs to. A count is a power of two.

use crate::category::KeyKind;
use crate::digest::FieldHasher;
use crate::ids::{DedupId, RuleId, SubjectRef};

fn low_bits(id: [u8; 16], partitions: u32) -> u32 {
    let [a, b, c, d, ..] = id;
    u32::from_le_bytes([a, b, c, d]) & partitions.saturating_sub(1)
}

/// Of an event or escalation whose user is known.
#[must_use]
pub fn of_subject(tenant: &str, subject: &SubjectRef, partitions: u32) -> u32 {
    let mut hasher = FieldHasher::new("balefire partition subject v1");
    low_bits(
        hasher.field(tenant.as_bytes()).field(&subject.0).id(),
        partitions,
    )
}

/// Of an event that nobody is known for.
#[must_use]
pub fn of_event(tenant: &str, dedup: &DedupId, partitions: u32) -> u32 {
    let mut hasher = FieldHasher::new("balefire partition event v1");
    low_bits(
        hasher.field(tenant.as_bytes()).field(&dedup.0).id(),
        partitions,
    )
}

/// Of a record of INTAKE, by a correlation key.
#[must_use]
pub fn of_key(tenant: &str, kind: KeyKind, value: &str, partitions: u32) -> u32 {
    let mut hasher = FieldHasher::new("balefire partition key v1");
    hasher
        .field(tenant.as_bytes())
        .field(kind.as_str().as_bytes())
        .field(value.as_bytes());
    low_bits(hasher.id(), partitions)
}

/// Of a match in REKEYED, by rule and canonical key.
#[must_use]
pub fn of_match(tenant: &str, rule: &RuleId, key: &[u8], partitions: u32) -> u32 {
    let mut hasher = FieldHasher::new("balefire partition match v1");
    hasher.field(tenant.as_bytes()).field(&rule.0).field(key);
    low_bits(hasher.id(), partitions)
}
