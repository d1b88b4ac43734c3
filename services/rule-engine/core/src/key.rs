//! Group keys as bytes, and [`Keyed`]: values by tenant and key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use balefire_event::{Event, Field, KeyPart};

/// Writes the canonical key of an event into `key`, as [`balefire_event::escalation::canonical_key`]
/// does. False: the event lacks a field, and `key` is of no use. Identities cost no allocation.
pub(crate) fn write_key(key: &mut Vec<u8>, fields: &[Field], event: &Event<'_>) -> bool {
    key.clear();
    for field in fields {
        if let Field::Identity(kind) = field {
            let Some(identity) = event.identity(*kind) else {
                return false;
            };
            push(key, field.name().as_bytes());
            push(key, &identity.subject_ref.0);
        } else {
            let Some(part) = event.key_part(field) else {
                return false;
            };
            push(key, part.field.as_bytes());
            push(key, &part.canonical);
        }
    }
    true
}

fn push(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&(part.len() as u64).to_le_bytes());
    key.extend_from_slice(part);
}

/// The readable key of an event: those of the fields that it has.
pub(crate) fn key_parts(fields: &[Field], event: &Event<'_>) -> Vec<KeyPart> {
    fields
        .iter()
        .filter_map(|field| event.key_part(field))
        .collect()
}

/// The parts of a canonical key, as far as it can be read: of an identity there is a reference and
/// nothing readable.
pub(crate) fn parts_of(canonical: &[u8], fields: &[Field]) -> Vec<KeyPart> {
    let mut rest = canonical;
    let mut next = || {
        let (len, tail) = rest.split_first_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let (part, tail) = tail.split_at_checked(len)?;
        rest = tail;
        Some(part)
    };
    let mut parts = Vec::with_capacity(fields.len());
    while let (Some(name), Some(canonical)) = (next(), next()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let identity = matches!(Field::parse(&name), Field::Identity(_));
        parts.push(KeyPart {
            readable: if identity {
                String::new()
            } else {
                String::from_utf8_lossy(canonical).into_owned()
            },
            field: name,
            canonical: canonical.to_vec(),
        });
    }
    parts
}

/// Values by tenant and canonical key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<V> {
    tenants: BTreeMap<Arc<str>, HashMap<Box<[u8]>, V>>,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self {
            tenants: BTreeMap::new(),
        }
    }
}

impl<V: Default> Keyed<V> {
    pub(crate) fn get(&self, tenant: &str, key: &[u8]) -> Option<&V> {
        self.tenants.get(tenant)?.get(key)
    }

    /// Works on the value of a key, which is made where there is none.
    pub(crate) fn with<T>(
        &mut self,
        tenant: &Arc<str>,
        key: &[u8],
        work: impl FnOnce(&mut V) -> T,
    ) -> T {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(Arc::clone(tenant), HashMap::new());
        }
        let keys = self.tenants.entry(Arc::clone(tenant)).or_default();
        if let Some(value) = keys.get_mut(key) {
            return work(value);
        }
        work(keys.entry(key.into()).or_default())
    }

    /// Works on every value, in no order.
    pub(crate) fn each(&mut self, mut work: impl FnMut(&Arc<str>, &[u8], &mut V)) {
        for (tenant, keys) in &mut self.tenants {
            keys.iter_mut()
                .for_each(|(key, value)| work(tenant, key, value));
        }
    }

    /// Keeps the values that `keep` says, in no order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        for keys in self.tenants.values_mut() {
            keys.retain(|_, value| keep(value));
            if keys.len() * 4 < keys.capacity() {
                keys.shrink_to_fit();
            }
        }
        self.tenants.retain(|_, keys| !keys.is_empty());
    }

    /// All of them, by tenant and key.
    pub(crate) fn sorted(&self) -> Vec<(&Arc<str>, &[u8], &V)> {
        let mut all: Vec<_> = self
            .tenants
            .iter()
            .flat_map(|(tenant, keys)| keys.iter().map(move |(k, v)| (tenant, k.as_ref(), v)))
            .collect();
        all.sort_unstable_by_key(|(tenant, key, _)| (*tenant, *key));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.tenants.values().map(HashMap::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_event::escalation::canonical_key;
    use balefire_event::identity::TenantKey;
    use balefire_event::{Assurance, Identity, IdentityKind, SubjectRef};

    #[test]
    fn the_fast_key_is_the_canonical_key() {
        let tenant_key = TenantKey::default_of("t");
        let user = Identity {
            subject_ref: SubjectRef::of(&tenant_key, IdentityKind::User, "jgill"),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: None,
        };
        let event = Event {
            user: Some(user),
            model: "gpt-4o".into(),
            ..Event::default()
        };
        let fields = [Field::Identity(IdentityKind::User), Field::Model];
        let mut key = vec![1];
        assert!(write_key(&mut key, &fields, &event));
        let parts = key_parts(&fields, &event);
        let slow = canonical_key(
            parts
                .iter()
                .map(|part| (part.field.as_str(), part.canonical.as_slice())),
        );
        assert_eq!(key, slow);
        assert!(!write_key(&mut key, &[Field::Tool], &event));
    }
}
