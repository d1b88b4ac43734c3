//! [`Kind`]: what an object is.

use crate::field::Field;
use crate::schema;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A rule file.
    Rule,
    /// Which receivers are told of what.
    Route,
    /// Who is told.
    Receiver,
    /// Nobody is told for a while.
    Silence,
    /// What is known of a producer.
    Source,
    /// Severities of a source in the words of Balefire.
    SeverityMap,
    /// Two identities that are one.
    IdentityAlias,
    /// A credential of a caller.
    ApiKey,
    /// A tenant.
    Tenant,
}

impl Kind {
    /// Every kind, in the order in which things are best made: what others name comes first.
    pub const ALL: [Self; 9] = [
        Self::Tenant,
        Self::ApiKey,
        Self::Source,
        Self::SeverityMap,
        Self::IdentityAlias,
        Self::Rule,
        Self::Receiver,
        Self::Route,
        Self::Silence,
    ];

    /// Its name in files, commands and addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Route => "route",
            Self::Receiver => "receiver",
            Self::Silence => "silence",
            Self::Source => "source",
            Self::SeverityMap => "severity_map",
            Self::IdentityAlias => "identity_alias",
            Self::ApiKey => "api_key",
            Self::Tenant => "tenant",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What a spec of this kind can hold.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Rule => schema::RULE,
            Self::Route => schema::ROUTE,
            Self::Receiver => schema::RECEIVER,
            Self::Silence => schema::SILENCE,
            Self::Source => schema::SOURCE,
            Self::SeverityMap => schema::SEVERITY_MAP,
            Self::IdentityAlias => schema::IDENTITY_ALIAS,
            Self::ApiKey => schema::API_KEY,
            Self::Tenant => schema::TENANT,
        }
    }

    /// The field of a name.
    #[must_use]
    pub fn field(self, name: &str) -> Option<&'static Field> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// Whether it is of the whole platform: only the tenant `default` may change it.
    #[must_use]
    pub const fn of_platform(self) -> bool {
        matches!(self, Self::Rule | Self::Tenant)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
