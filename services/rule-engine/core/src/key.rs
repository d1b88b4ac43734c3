//! Group keys: the canonical bytes that ids hash, and [`Key`], by which the state knows them.

use balefire_event::digest::FieldHasher;
use balefire_event::escalation::canonical_key;
use balefire_event::{Event, Field, KeyPart};
use serde::{Deserialize, Serialize};

/// A group key in sixteen bytes: of one identity alone its `SubjectRef`, of anything else the
/// start of a BLAKE3 of the canonical key. Nobody can make two keys meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key(pub(crate) [u8; 16]);

impl Key {
    /// Of an event; `None`: it lacks a field. An identity alone costs nothing; `scratch` is
    /// where another key is written.
    pub(crate) fn of(scratch: &mut Vec<u8>, fields: &[Field], event: &Event<'_>) -> Option<Self> {
        if let [Field::Identity(kind)] = fields {
            return Some(Self(event.identity(*kind)?.subject_ref.0));
        }
        write_key(scratch, fields, event).then(|| Self::hashed(scratch))
    }

    /// Of the key that an escalation shows.
    pub(crate) fn of_parts(parts: &[KeyPart]) -> Self {
        if let [part] = parts
            && let Field::Identity(_) = Field::parse(&part.field)
            && let Ok(subject) = part.canonical.as_slice().try_into()
        {
            return Self(subject);
        }
        Self::hashed(&Self::canonical(parts))
    }

    /// The whole key that an escalation shows, as ids hash it.
    pub(crate) fn canonical(parts: &[KeyPart]) -> Vec<u8> {
        let parts = parts.iter();
        canonical_key(parts.map(|part| (part.field.as_str(), part.canonical.as_slice())))
    }

    fn hashed(canonical: &[u8]) -> Self {
        Self(
            FieldHasher::new("balefire window key v1")
                .field(canonical)
                .id(),
        )
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn an_escalation_shows_the_key_that_its_event_had() {
        let tenant_key = TenantKey::default_of("t");
        let identity = |kind| Identity {
            subject_ref: SubjectRef::of(&tenant_key, kind, "jgill"),
            kind,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: None,
        };
        let event = Event {
            user: Some(identity(IdentityKind::User)),
            actors: vec![identity(IdentityKind::Agent)],
            model: "GPT-4o".into(),
            ..Event::default()
        };
        let (user, agent) = (
            Field::Identity(IdentityKind::User),
            Field::Identity(IdentityKind::Agent),
        );
        let groupings = [
            vec![],
            vec![user.clone()],
            vec![agent.clone()],
            vec![Field::Model],
            vec![user.clone(), Field::Model],
            vec![user, agent],
        ];
        let mut seen = std::collections::BTreeSet::new();
        for fields in groupings {
            let key = Key::of(&mut Vec::new(), &fields, &event).expect("it has every field");
            assert_eq!(Key::of_parts(&key_parts(&fields, &event)), key);
            assert!(seen.insert(key), "no two groupings share a key");
        }
        let none = Key::of(&mut Vec::new(), &[Field::Tool], &event);
        assert_eq!(none, None);
    }
}
