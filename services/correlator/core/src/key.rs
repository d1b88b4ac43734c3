//! [`KeyHash`]: a correlation key of a tenant, as the indices hold it.

use balefire_event::digest::FieldHasher;
use balefire_event::{CorrelationKey, KeyKind};

/// Digest of (tenant, kind, value). Keys of different kinds or tenants never meet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct KeyHash(pub(crate) [u8; 16]);

impl KeyHash {
    pub(crate) fn of(tenant: &str, key: &CorrelationKey<'_>) -> Self {
        Self(
            FieldHasher::new("balefire correlator key v1")
                .field(tenant.as_bytes())
                .field(key.kind.as_str().as_bytes())
                .field(key.value.as_bytes())
                .id(),
        )
    }
}

/// A key of a kept record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct TypedKey {
    pub(crate) hash: KeyHash,
    pub(crate) kind: KeyKind,
}

/// The typed keys of a record, in its order.
pub(crate) fn typed_keys(tenant: &str, keys: &[CorrelationKey<'_>]) -> Vec<TypedKey> {
    keys.iter()
        .map(|key| TypedKey {
            hash: KeyHash::of(tenant, key),
            kind: key.kind,
        })
        .collect()
}
