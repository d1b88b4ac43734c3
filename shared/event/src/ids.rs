//! Ids: fixed-length digests with the formulas of SEMANTICS.

use crate::digest::FieldHasher;
use crate::time::Timestamp;

/// Bytes that are not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes or twice as many hex digits")]
pub struct MalformedId {
    /// How many bytes the id has.
    pub expected: usize,
}

const fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// From exactly as many bytes as the id has.
            ///
            /// # Errors
            /// Any other length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, MalformedId> {
                bytes.try_into().map(Self).map_err(|_| MalformedId { expected: $len })
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Its hex digits.
            pub fn hex(&self) -> [u8; 2 * $len] {
                let mut text = [0; 2 * $len];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
                }
                text
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = MalformedId;
            /// Reads lower- or upper-case hex.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let malformed = MalformedId { expected: $len };
                if text.len() != 2 * $len || !text.is_ascii() {
                    return Err(malformed);
                }
                let mut bytes = [0u8; $len];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| malformed.clone())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed.clone())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

id! {
    /// Which detection an event is: copies of one detection share it.
    DedupId, 16
}
id! {
    /// Who: keyed BLAKE3 of (kind, canonical value).
    SubjectRef, 16
}
id! {
    /// Which escalation: the same under every order of arrival.
    EscalationId, 16
}
id! {
    /// UUID of a rule.
    RuleId, 16
}
id! {
    /// A barrier.
    BarrierId, 16
}
id! {
    /// A full BLAKE3 digest.
    Digest, 32
}

/// What the id of a heartbeat begins with.
const HEARTBEAT: [u8; 4] = *b"beat";

impl BarrierId {
    /// A heartbeat's: a barrier that the platform places itself, which nobody waits for and which
    /// releases nothing that is held.
    #[must_use]
    pub fn heartbeat(random: [u8; 12]) -> Self {
        let mut id = [0; 16];
        let bytes = HEARTBEAT.iter().chain(&random);
        id.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// Whether it is a heartbeat.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        self.0.starts_with(&HEARTBEAT)
    }
}

impl DedupId {
    /// `decision` is the digest of the decision fields ([`crate::Event::decision_digest`]).
    #[must_use]
    pub fn of(tenant: &str, source: &str, event_id: &str, decision: &Digest) -> Self {
        Self(
            FieldHasher::new("balefire dedup v1")
                .field(tenant.as_bytes())
                .field(source.as_bytes())
                .field(event_id.as_bytes())
                .field(&decision.0)
                .id(),
        )
    }
}

impl EscalationId {
    /// Of a slot of a windowed rule. `key` is the canonical group key
    /// ([`crate::escalation::canonical_key`]), `rearm` R and `slot_start` slot·R in nanoseconds.
    #[must_use]
    pub fn windowed(
        tenant: &str,
        rule: &RuleId,
        key: &[u8],
        rearm: i64,
        slot_start: Timestamp,
    ) -> Self {
        Self(
            FieldHasher::new("balefire escalation window v1")
                .field(tenant.as_bytes())
                .field(&rule.0)
                .field(key)
                .number(rearm)
                .number(slot_start.0)
                .id(),
        )
    }

    /// Of a single event under a windowless rule.
    #[must_use]
    pub fn single(tenant: &str, rule: &RuleId, dedup: &DedupId) -> Self {
        Self(
            FieldHasher::new("balefire escalation single v1")
                .field(tenant.as_bytes())
                .field(&rule.0)
                .field(&dedup.0)
                .id(),
        )
    }
}

impl RuleId {
    /// From the usual text form of a UUID.
    ///
    /// # Errors
    /// Where the text is no UUID.
    pub fn from_uuid(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::parse_str(text).map(|uuid| Self(uuid.into_bytes()))
    }

    /// The usual text form.
    #[must_use]
    pub fn to_uuid(self) -> String {
        uuid::Uuid::from_bytes(self.0).to_string()
    }
}
