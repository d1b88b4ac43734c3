//! [`Fact`]: what hints say of an identity, nearly all of it in one piece of memory.

use std::borrow::Cow;

use balefire_event::digest::FieldHasher;
use balefire_event::{
    Assurance, DedupId, Hint, Identity, IdentityKind, Sealed, SubjectRef, Timestamp,
};

use crate::bytes::{Reader, Writer};

/// Fields a hint may fill, in the order of [`Said::fills`].
pub(crate) const FILLABLE: [&str; 3] = ["model", "endpoint", "src_ip"];
/// Longest J taken from a hint, nanoseconds.
const JOIN_HORIZON_MAX: i64 = 24 * balefire_event::time::HOUR;

/// J as it is used of a hint.
pub(crate) fn horizon_of(hint: &Hint<'_>) -> i64 {
    hint.join_horizon.clamp(0, JOIN_HORIZON_MAX)
}

/// What a hint says of a field; empty: nothing.
fn fill<'h>(hint: &'h Hint<'_>, name: &str) -> &'h str {
    let said = hint.facts.iter().find(|(field, _)| field == name);
    said.map_or("", |(_, value)| value.as_ref())
}

/// Digest of everything a fact says.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct FactId(pub(crate) [u8; 16]);

impl FactId {
    pub(crate) fn of(hint: &Hint<'_>) -> Self {
        let identity = &hint.identity;
        let mut hasher = FieldHasher::new("balefire correlator fact v1");
        hasher
            .field(&identity.subject_ref.0)
            .field(identity.assurance.as_str().as_bytes())
            .field(identity.via.as_bytes())
            .field(hint.source.as_bytes())
            .number(horizon_of(hint))
            .number(i64::from(hint.authority));
        if let Some(label) = &identity.label {
            hasher
                .number(i64::from(label.scheme))
                .number(i64::from(label.key_epoch))
                .field(&label.data);
        }
        for name in FILLABLE {
            hasher.field(fill(hint, name).as_bytes());
        }
        Self(hasher.id())
    }
}

/// What hints say of an identity, but for J, which each claim has.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fact {
    pub(crate) subject: SubjectRef,
    assurance: Assurance,
    pub(crate) authority: u32,
    /// [`Said`], as a piece each would be most of what is kept.
    said: Box<[u8]>,
}

/// The texts of a fact.
#[derive(Debug, Default)]
struct Said<'f> {
    via: &'f str,
    source: &'f str,
    /// Values for [`FILLABLE`]; empty: says nothing.
    fills: [&'f str; 3],
    label: Option<Sealed<'f>>,
}

impl<'f> Said<'f> {
    fn of(bytes: &'f [u8]) -> Option<Self> {
        let mut input = Reader(bytes);
        let said = Self {
            via: input.text()?,
            source: input.text()?,
            fills: [input.text()?, input.text()?, input.text()?],
            label: input.label()?,
        };
        input.0.is_empty().then_some(said)
    }
}

impl Fact {
    pub(crate) fn of(hint: &Hint<'_>) -> Self {
        let mut out = Writer(Vec::with_capacity(128));
        out.text(&hint.identity.via);
        out.text(&hint.source);
        for name in FILLABLE {
            out.text(fill(hint, name));
        }
        out.label(hint.identity.label.as_ref());
        Self {
            subject: hint.identity.subject_ref,
            assurance: hint.identity.assurance,
            authority: hint.authority,
            said: out.0.into_boxed_slice(),
        }
    }

    /// Whether it is as it was written.
    pub(crate) fn is_readable(&self) -> bool {
        Said::of(&self.said).is_some()
    }

    /// Checked where it comes from elsewhere.
    fn said(&self) -> Said<'_> {
        Said::of(&self.said).unwrap_or_default()
    }

    pub(crate) fn source(&self) -> &str {
        self.said().source
    }

    /// Values for [`FILLABLE`]; empty: says nothing.
    pub(crate) fn fills(&self) -> [&str; 3] {
        self.said().fills
    }

    /// The identity, as a record joined through it carries it.
    pub(crate) fn identity(&self, assurance: Assurance, via: String) -> Identity<'static> {
        Identity {
            subject_ref: self.subject,
            kind: IdentityKind::User,
            assurance,
            via: via.into(),
            label: self.said().label.map(|label| Sealed {
                scheme: label.scheme,
                key_epoch: label.key_epoch,
                data: label.data.into_owned().into(),
            }),
        }
    }

    /// Verified where its source authenticated the user, else joined.
    pub(crate) fn joined(&self) -> Assurance {
        match self.assurance {
            Assurance::Verified => Assurance::Verified,
            Assurance::Claimed | Assurance::Joined | Assurance::Conflicting => Assurance::Joined,
        }
    }

    /// A hint that says this, without keys.
    pub(crate) fn hint(
        &self,
        received_at: Timestamp,
        join_horizon: i64,
        dedup_id: DedupId,
    ) -> Hint<'static> {
        let Said {
            via, source, fills, ..
        } = self.said();
        let facts = FILLABLE.into_iter().zip(fills);
        Hint {
            keys: Vec::new(),
            identity: self.identity(self.assurance, via.to_owned()),
            source: source.to_owned().into(),
            received_at,
            join_horizon,
            authority: self.authority,
            facts: facts
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (Cow::Borrowed(name), value.to_owned().into()))
                .collect(),
            dedup_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hint(words: &[String], numbers: (u32, u32, u32), some: bool) -> Hint<'static> {
        let word = |at: usize| Cow::<str>::Owned(words.get(at).cloned().unwrap_or_default());
        let fill = |at: usize| (Cow::Borrowed(FILLABLE[at]), word(at));
        let facts = (0..3).map(fill).filter(|(_, value)| !value.is_empty());
        Hint {
            keys: Vec::new(),
            identity: Identity {
                subject_ref: SubjectRef([7; 16]),
                kind: IdentityKind::User,
                assurance: Assurance::Verified,
                via: word(3),
                label: some.then(|| Sealed {
                    scheme: numbers.0,
                    key_epoch: numbers.1,
                    data: word(4).into_owned().into_bytes().into(),
                }),
            },
            source: word(5),
            received_at: Timestamp(3),
            join_horizon: 9,
            authority: numbers.2,
            facts: facts.collect(),
            dedup_id: DedupId([4; 16]),
        }
    }

    proptest! {
        #[test]
        fn a_fact_says_what_its_hint_did(
            words in prop::collection::vec(".{0,9}", 0..7),
            numbers in any::<(u32, u32, u32)>(),
            some in any::<bool>(),
        ) {
            let hint = hint(&words, numbers, some);
            let fact = Fact::of(&hint);
            prop_assert!(fact.is_readable());
            let again = fact.hint(hint.received_at, hint.join_horizon, hint.dedup_id);
            prop_assert_eq!(again, hint);
        }

        #[test]
        fn what_is_cut_off_is_not_readable(at in any::<prop::sample::Index>()) {
            let words = ["m", "", "10.0.0.1", "user_id", "ann", "gateway"].map(String::from);
            let mut fact = Fact::of(&hint(&words, (0, 1, 2), true));
            fact.said = fact.said[..at.index(fact.said.len())].into();
            prop_assert!(!fact.is_readable());
        }
    }
}
