//! [`Coverage`]: how well joining works, by tenant and source, and whose the events are, by
//! application and category too.

use std::collections::BTreeMap;

use balefire_event::Groups;

use crate::limits::{SOURCE_OTHER, SOURCES_MAX};

/// Counts of one source since the correlator started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that came for joining.
    pub events: u64,
    /// Joined before they were passed on.
    pub joined: u64,
    /// Passed on as partial.
    pub partial: u64,
    /// Records that amended an event passed on before.
    pub amended: u64,
    /// Events that were passed on with users of equal authority that disagree.
    pub conflicting: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.joined += other.joined;
        self.partial += other.partial;
        self.amended += other.amended;
        self.conflicting += other.conflicting;
    }
}

/// Counts by tenant and source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    sources: BTreeMap<(Box<str>, Box<str>), Counts>,
    /// Whose the events are, by application and category too.
    pub groups: Groups,
}

impl Coverage {
    /// The counts of every source of a tenant, by name.
    pub fn sources(&self, tenant: &str) -> impl Iterator<Item = (&str, &Counts)> {
        let of_tenant = self
            .sources
            .iter()
            .filter(move |((owner, _), _)| &**owner == tenant);
        of_tenant.map(|((_, name), counts)| (&**name, counts))
    }

    /// Of all tenants and sources.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.sources.values().for_each(|counts| total.add(counts));
        total
    }

    /// Adds another partition's.
    pub fn add(&mut self, other: &Self) {
        for ((tenant, source), counts) in &other.sources {
            self.of(tenant, source).add(counts);
        }
        self.groups.add(&other.groups);
    }

    pub(crate) fn of(&mut self, tenant: &str, source: &str) -> &mut Counts {
        let key = (Box::from(tenant), Box::from(source));
        let known = self.sources.len() < SOURCES_MAX || self.sources.contains_key(&key);
        let key = if known {
            key
        } else {
            (key.0, SOURCE_OTHER.into())
        };
        self.sources.entry(key).or_default()
    }
}
