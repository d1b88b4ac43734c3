//! Why a record was refused. Never holds what the record said.

use std::borrow::Cow;

/// Longest field name that a violation repeats, bytes.
const FIELD_BYTES_MAX: usize = 64;

/// Stable code of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A field that every record needs is not there.
    Missing,
    /// Not of the form or type that the field has.
    Malformed,
    /// Of the right type, outside of what is allowed.
    OutOfRange,
    /// Larger, longer, deeper or more than allowed.
    TooLarge,
    /// A word that is in no list.
    UnknownValue,
    /// Contradicts another field or the caller.
    Conflict,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::Malformed,
        Self::OutOfRange,
        Self::TooLarge,
        Self::UnknownValue,
        Self::Conflict,
    ];

    /// The code, as clients and metrics see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::OutOfRange => "out_of_range",
            Self::TooLarge => "too_large",
            Self::UnknownValue => "unknown_value",
            Self::Conflict => "conflict",
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {description}", if field.is_empty() { "record" } else { field })]
pub struct Violation {
    /// The field as the record names it. Empty: the record as a whole.
    pub field: Cow<'static, str>,
    /// Stable code.
    pub reason: Reason,
    /// What is wrong and what to send instead.
    pub description: Cow<'static, str>,
}

impl Violation {
    /// Of a field with a fixed name.
    #[must_use]
    pub const fn new(field: &'static str, reason: Reason, description: &'static str) -> Self {
        Self {
            field: Cow::Borrowed(field),
            reason,
            description: Cow::Borrowed(description),
        }
    }

    /// Of a field that the record itself named. A name that is no plain identifier could be
    /// anything, a secret too, and is not repeated.
    #[must_use]
    pub fn named(field: &str, reason: Reason, description: &'static str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let shown = field.len() <= FIELD_BYTES_MAX && field.bytes().all(plain);
        Self {
            field: Cow::Owned(if shown { field } else { "extensions" }.to_owned()),
            reason,
            description: Cow::Borrowed(description),
        }
    }
}
