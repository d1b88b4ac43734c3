//! Whose an API key, a workload or an agent is, where a source vouches for it.
//!
//! A source that is known or declared to names owners: where a record of it names a user beside an API key,
//! that is a hint under the key itself. An event that names the key and no user carries it as one
//! more key to be joined by, behind those of its call. So what is learnt is joined by the one rule:
//! by stamps, at most J apart, whatever comes first. Nothing is remembered here.

use balefire_event::{CorrelationKey, Event, Identity, IdentityKind, KeyKind};

/// What can belong to a user, with the kind of its key.
const KINDS: [(IdentityKind, KeyKind); 3] = [
    (IdentityKind::ApiKey, KeyKind::ApiKey),
    (IdentityKind::ServicePrincipal, KeyKind::ServicePrincipal),
    (IdentityKind::Agent, KeyKind::Agent),
];

/// Kinds of identity that belong to users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owned([bool; KINDS.len()]);

impl Owned {
    /// Of their words; others are passed over.
    pub fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let mut owned = Self::default();
        for word in words {
            for (has, (kind, _)) in owned.0.iter_mut().zip(KINDS) {
                *has |= kind.as_str() == word;
            }
        }
        owned
    }

    /// What a source vouches for as long as it is not declared.
    #[must_use]
    pub fn by(source: &str) -> Self {
        match source {
            // A consumer's credential; a subscription of a developer's; an access key of a person's.
            "kong" | "azure-apim" | "cloudtrail" => Self::api_keys(),
            _ => Self::default(),
        }
    }

    /// What some source vouches for without being declared.
    #[must_use]
    pub fn api_keys() -> Self {
        Self::of([IdentityKind::ApiKey.as_str()])
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        for (has, other) in self.0.iter_mut().zip(others.0) {
            *has |= other;
        }
        self
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The keys of what an event names of these kinds, in a fixed order.
    #[must_use]
    pub fn keys(self, event: &Event<'_>) -> Vec<CorrelationKey<'static>> {
        let kinds = self.0.into_iter().zip(KINDS).filter(|(has, _)| *has);
        let keys = kinds.filter_map(|(_, (kind, key))| Some(key_of(key, event.identity(kind)?)));
        keys.collect()
    }
}

/// By the subject: what was sent as an id of a key may be the key.
fn key_of(kind: KeyKind, identity: &Identity<'_>) -> CorrelationKey<'static> {
    CorrelationKey {
        kind,
        value: identity.subject_ref.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_event::SubjectRef;
    use balefire_event::identity::TenantKey;

    fn named(kind: IdentityKind, value: &str) -> Identity<'static> {
        Identity {
            subject_ref: SubjectRef::of(&TenantKey::default_of("acme"), kind, value),
            kind,
            assurance: balefire_event::Assurance::Claimed,
            via: "".into(),
            label: None,
        }
    }

    #[test]
    fn an_event_has_keys_of_what_is_declared_and_named() {
        let event = Event {
            actors: vec![
                named(IdentityKind::Agent, "planner"),
                named(IdentityKind::ApiKey, "k1"),
                named(IdentityKind::Session, "s1"),
            ],
            ..Event::default()
        };
        let kinds = |owned: Owned| -> Vec<KeyKind> {
            owned.keys(&event).into_iter().map(|key| key.kind).collect()
        };
        let keys = Owned::of(["api_key", "service_principal", "session", "user"]);
        assert_eq!(kinds(keys), [KeyKind::ApiKey]);
        assert_eq!(
            kinds(keys.and(Owned::of(["agent"]))),
            [KeyKind::ApiKey, KeyKind::Agent]
        );
        assert!(Owned::of(["session"]).is_empty() && kinds(Owned::default()).is_empty());
        let said = keys.keys(&event).remove(0).value;
        assert!(said.len() == 32 && !said.contains("k1"), "{said}");
    }
}
