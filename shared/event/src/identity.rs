//! Subjects: canonical values and their keyed references (SEMANTICS §8).

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use crate::category::IdentityKind;
use crate::digest::FieldHasher;
use crate::ids::SubjectRef;

/// The key that subjects are hashed under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TenantKey(pub [u8; 32]);

impl TenantKey {
    /// The documented default: BLAKE3 of this text and the tenant, so that ids of tests can be
    /// made again by anyone.
    #[must_use]
    pub fn default_of(tenant: &str) -> Self {
        Self(
            FieldHasher::new("balefire default tenant key v1")
                .field(tenant.as_bytes())
                .digest(),
        )
    }
}

impl std::fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TenantKey(..)")
    }
}

/// NFKC, trimmed; an e-mail address in lower case.
#[must_use]
pub fn canonical(value: &str) -> Cow<'_, str> {
    let trimmed = value.trim();
    if trimmed.is_ascii() {
        // NFKC changes none of it.
        let lower = trimmed.contains('@') && trimmed.bytes().any(|b| b.is_ascii_uppercase());
        return if lower {
            Cow::Owned(trimmed.to_ascii_lowercase())
        } else {
            Cow::Borrowed(trimmed)
        };
    }
    let normal = match is_nfkc_quick(trimmed.chars()) {
        IsNormalized::Yes => Cow::Borrowed(trimmed),
        IsNormalized::No | IsNormalized::Maybe => {
            Cow::Owned(trimmed.nfkc().collect::<String>().trim().to_owned())
        }
    };
    if normal.contains('@') && normal.chars().any(char::is_uppercase) {
        return Cow::Owned(normal.to_lowercase());
    }
    normal
}

impl SubjectRef {
    /// Of a value as a source wrote it.
    #[must_use]
    pub fn of(key: &TenantKey, kind: IdentityKind, value: &str) -> Self {
        Self(
            FieldHasher::keyed(&key.0, "balefire subject v1")
                .field(kind.as_str().as_bytes())
                .field(canonical(value).as_bytes())
                .id(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_subject_in_any_letter_case() {
        let key = TenantKey::default_of("default");
        let of = |v| SubjectRef::of(&key, IdentityKind::User, v);
        assert_eq!(of("JGill@Example.com "), of("jgill@example.com"));
        assert_ne!(of("Jgill"), of("jgill"));
        assert_ne!(of("a"), SubjectRef::of(&key, IdentityKind::Agent, "a"));
        assert_eq!(canonical("ｊgill"), "jgill");
    }
}
