//! [`Stubs`]: events that lie in another partition and carry a key of this one.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{CorrelationKey, DedupId, KeyKind, Stub, Timestamp};

use crate::claim::Claims;
use crate::key::KeyHash;
use crate::limits::STUBS_MAX;
use crate::record::Effect;
use crate::stretch::Range;

/// Where the event lies, and the key in full.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    pub(crate) tenant: Box<str>,
    pub(crate) kind: KeyKind,
    pub(crate) value: Box<str>,
    pub(crate) partition: u32,
}

impl Place {
    /// The key this partition is of.
    pub(crate) fn key(&self) -> CorrelationKey<'static> {
        CorrelationKey {
            kind: self.kind,
            value: self.value.as_ref().to_owned().into(),
        }
    }
}

/// Every stub, by key and age.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stubs {
    by_key: BTreeMap<(KeyHash, Timestamp, DedupId), Place>,
    by_age: BTreeSet<(Timestamp, KeyHash, DedupId)>,
    horizon: Timestamp,
}

impl Stubs {
    pub(crate) fn new() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_age: BTreeSet::new(),
            horizon: Timestamp::MIN,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Newest stub dropped for good.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    pub(crate) fn learn(&mut self, tenant: &str, key: KeyHash, stub: &Stub) {
        let place = Place {
            tenant: tenant.into(),
            kind: stub.key.kind,
            value: stub.key.value.as_ref().into(),
            partition: stub.partition,
        };
        self.by_age.insert((stub.received_at, key, stub.dedup_id));
        self.by_key
            .insert((key, stub.received_at, stub.dedup_id), place);
    }

    /// Stubs of a key received in a range.
    pub(crate) fn within(
        &self,
        key: KeyHash,
        (from, to): Range,
    ) -> impl Iterator<Item = (Timestamp, &Place)> {
        let (first, last) = (DedupId([0; 16]), DedupId([0xff; 16]));
        self.by_key
            .range((key, from, first)..=(key, to, last))
            .map(|((_, at, _), place)| (*at, place))
    }

    /// Drops what is older than `bound`.
    pub(crate) fn trim(&mut self, bound: Timestamp) {
        while let Some((at, ..)) = self.by_age.first()
            && *at < bound
        {
            self.horizon = self.horizon.max(*at);
            self.drop_first();
        }
    }

    /// Drops what is over the limit, the oldest first. Returns how many.
    pub(crate) fn enforce(&mut self) -> u64 {
        let mut dropped = 0;
        while self.by_key.len() > STUBS_MAX {
            self.drop_first();
            dropped += 1;
        }
        dropped
    }

    fn drop_first(&mut self) {
        if let Some((at, key, id)) = self.by_age.pop_first() {
            self.by_key.remove(&(key, at, id));
        }
    }
}

/// Forwards what is claimed for a key to where the stubs of a range say the events lie.
pub(crate) fn answer(
    claims: &mut Claims,
    stubs: &Stubs,
    key: KeyHash,
    range: Range,
    effects: &mut Vec<Effect>,
) {
    for (at, place) in stubs.within(key, range) {
        for mut hint in claims.forward(key, at, place.partition) {
            hint.keys = vec![place.key()];
            effects.push(Effect::Forward {
                tenant: place.tenant.as_ref().to_owned(),
                partition: place.partition,
                hint: Box::new(hint),
            });
        }
    }
}
