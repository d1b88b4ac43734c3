//! [`Grouped`]: what a rule of a world counts by.

use balefire_event::{Field, IdentityKind};

use crate::rng::Rng;

/// What makes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grouped {
    User,
    Agent,
    ApiKey,
    Session,
    /// Two actors at once.
    AgentAndKey,
    /// May be filled by an identity.
    Model,
    /// Nothing: all of a tenant.
    Tenant,
}

impl Grouped {
    /// One without the user: counted in REKEYED.
    pub(crate) fn elsewhere(rng: &mut Rng) -> Self {
        rng.pick(&[
            Self::Agent,
            Self::Agent,
            Self::ApiKey,
            Self::Session,
            Self::AgentAndKey,
            Self::Model,
            Self::Tenant,
        ])
    }

    /// As the engine is told.
    pub(crate) fn fields(self) -> Vec<Field> {
        let (agent, key) = (
            Field::Identity(IdentityKind::Agent),
            Field::Identity(IdentityKind::ApiKey),
        );
        match self {
            Self::User => vec![Field::Identity(IdentityKind::User)],
            Self::Agent => vec![agent],
            Self::ApiKey => vec![key],
            Self::Session => vec![Field::Identity(IdentityKind::Session)],
            Self::AgentAndKey => vec![agent, key],
            Self::Model => vec![Field::Model],
            Self::Tenant => Vec::new(),
        }
    }
}
