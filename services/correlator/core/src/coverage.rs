//! [`Coverage`]: how well joining works, by source.

use std::collections::BTreeMap;

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

/// Counts by source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    sources: BTreeMap<Box<str>, Counts>,
}

impl Coverage {
    /// The counts of every source met, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Counts)> {
        self.sources.iter().map(|(name, counts)| (&**name, counts))
    }

    /// Adds another partition's.
    pub fn add(&mut self, other: &Self) {
        for (source, counts) in &other.sources {
            self.of(source).add(counts);
        }
    }

    pub(crate) fn of(&mut self, source: &str) -> &mut Counts {
        let known = self.sources.contains_key(source) || self.sources.len() < SOURCES_MAX;
        let name = if known { source } else { SOURCE_OTHER };
        self.sources.entry(name.into()).or_default()
    }
}
