//! What ingest knows about a request before it looks at a record.

use std::sync::Arc;

use balefire_event::identity::TenantKey;
use balefire_event::stamp::{ClockPolicy, JOIN_HORIZON};
use balefire_event::time::{HOUR, MINUTE};
use balefire_event::{Assurance, Event};

use crate::alias::Aliases;
use crate::owner::Owned;
use crate::redact::{self, Masked};

/// Longest span of a backfill, nanoseconds: ten years.
pub const BACKFILL_SPAN_MAX: i64 = 10 * 366 * 24 * HOUR;

/// What is declared about a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its clock and lateness bound.
    pub clock: ClockPolicy,
    /// J: how far apart in arrival a record and an identity may lie, nanoseconds.
    pub join_horizon: i64,
    /// H, nanoseconds; 0: the correlator's own.
    pub hold: i64,
    /// What belongs to the users that it names.
    pub owners: Owned,
    /// Higher wins the label people see.
    pub authority: u32,
    /// How far an identity it names can be trusted.
    pub assurance: Assurance,
}

/// Sources whose vendors deliver late, with the lateness bound L and the horizon J that fit what their
/// pages say. A declaration says otherwise.
const LATE: [(&str, i64, i64); 3] = [
    ("cloudtrail", HOUR, 30 * MINUTE),
    ("databricks", 2 * HOUR, 75 * MINUTE),
    ("databricks-audit", 2 * HOUR, 45 * MINUTE),
];

impl Source {
    /// A source nobody declared: default clock and horizon, its identities are claims.
    #[must_use]
    pub fn undeclared(name: &str, clock: ClockPolicy) -> Self {
        let late = LATE.iter().find(|(late, ..)| *late == name);
        let (lateness, join_horizon) = late.map_or((0, 0), |(_, l, j)| (*l, *j));
        Self {
            name: name.to_owned(),
            clock: ClockPolicy {
                lateness: clock.lateness.max(lateness),
                ..clock
            },
            join_horizon: join_horizon.max(JOIN_HORIZON),
            hold: 0,
            owners: Owned::by(name),
            authority: 0,
            assurance: Assurance::Claimed,
        }
    }
}

/// The caller's side of a request: the same for each of its records.
#[derive(Debug, Clone)]
pub struct Door {
    /// Tenant of the caller, never of the payload.
    pub tenant: String,
    /// Key that the tenant's subjects are hashed under.
    pub key: TenantKey,
    /// The source.
    pub source: Source,
    /// History: counts by its own time; nobody is told.
    pub backfill: bool,
    /// Partitions of INTAKE and EVENTS, a power of two.
    pub partitions: u32,
    /// Identities that stand for others. `None`: no one does.
    pub aliases: Option<Arc<Aliases>>,
    /// What some source of the tenant vouches for owners of; a new door knows of none.
    pub owned: Owned,
    /// Masks nothing: what masking costs is measured against it.
    #[cfg(feature = "unmasked")]
    pub unmasked: bool,
}

impl Door {
    /// For a caller's tenant under its default key.
    #[must_use]
    pub fn new(tenant: &str, source: Source, partitions: u32) -> Self {
        Self {
            tenant: tenant.to_owned(),
            key: TenantKey::default_of(tenant),
            source,
            backfill: false,
            partitions,
            aliases: None,
            owned: Owned::default(),
            #[cfg(feature = "unmasked")]
            unmasked: false,
        }
    }

    /// With identities that stand for others.
    #[must_use]
    pub fn knowing(mut self, aliases: Option<Arc<Aliases>>) -> Self {
        self.aliases = aliases;
        self
    }

    /// With what some source of the tenant vouches for owners of.
    #[must_use]
    pub fn owning(mut self, owned: Owned) -> Self {
        self.owned = owned;
        self
    }

    /// Masks an event.
    pub(crate) fn mask(&self, event: &mut Event<'_>) -> Masked {
        #[cfg(feature = "unmasked")]
        if self.unmasked {
            return Masked::default();
        }
        redact::event(event)
    }

    /// For history that spans `span` nanoseconds: the span, and an hour for the way here, is its
    /// lateness bound where that is more than the source's own.
    #[must_use]
    pub fn backfilling(mut self, span: i64) -> Self {
        let lateness = span.clamp(0, BACKFILL_SPAN_MAX);
        self.backfill = true;
        self.source.clock.lateness = self.source.clock.lateness.max(lateness);
        self
    }
}

/// Which of several identical records one is, where it has no id of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Provenance<'a> {
    /// How many identical records, byte for byte, came before it. Trim lines first.
    pub occurrence: u32,
    /// An id given by the request (Idempotency-Key and index). Empty: none.
    pub fallback_id: &'a str,
}
