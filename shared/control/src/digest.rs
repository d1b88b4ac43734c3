//! What a request asks, as a digest: the same request id must stand for the same request.

use std::collections::BTreeMap;

use balefire_event::digest::FieldHasher;

use crate::Spec;
use crate::decide::{Ask, Guard, Request};

fn hash_object(
    hasher: &mut FieldHasher,
    spec: &Spec,
    labels: &BTreeMap<String, String>,
    managed_by: &str,
) {
    for (name, value) in spec {
        hasher.field(name.as_bytes());
        value.hash(hasher);
    }
    for (name, text) in labels {
        hasher.field(name.as_bytes()).field(text.as_bytes());
    }
    hasher.field(managed_by.as_bytes());
}

fn hash_guard(hasher: &mut FieldHasher, guard: &Guard) {
    hasher
        .field(&guard.expected_revision.to_le_bytes())
        .field(guard.managed_by.as_bytes())
        .number(i64::from(guard.overriding));
}

/// BLAKE3 of what is asked; not of why.
pub(crate) fn digest(request: &Request) -> [u8; 32] {
    let mut hasher = FieldHasher::new("balefire control request v1");
    hasher
        .field(request.kind.as_str().as_bytes())
        .field(request.name.as_bytes());
    match &request.ask {
        Ask::Create {
            spec,
            labels,
            managed_by,
        } => {
            hasher.number(1);
            hash_object(&mut hasher, spec, labels, managed_by);
        }
        Ask::Update {
            mask,
            spec,
            labels,
            managed_by,
            guard,
        } => {
            hasher.number(2);
            for path in mask {
                hasher.field(path.as_bytes());
            }
            hash_object(&mut hasher, spec, labels, managed_by);
            hash_guard(&mut hasher, guard);
        }
        Ask::Delete {
            allow_missing,
            guard,
        } => {
            hasher.number(3).number(i64::from(*allow_missing));
            hash_guard(&mut hasher, guard);
        }
    }
    hasher.digest()
}
