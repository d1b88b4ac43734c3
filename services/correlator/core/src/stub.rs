//! [`Stubs`]: events that lie in another partition and carry a key of this one.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{CorrelationKey, DedupId, KeyKind, Stub, Timestamp};

use crate::changed::Changed;
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
    by_key: BTreeMap<StubKey, Place>,
    #[serde(skip)]
    by_age: BTreeSet<(Timestamp, KeyHash, DedupId)>,
    horizon: Timestamp,
    #[serde(skip)]
    pub(crate) changed: Changed<StubKey>,
}

/// Which stub: its key, when it was received, its event.
pub(crate) type StubKey = (KeyHash, Timestamp, DedupId);

impl Stubs {
    pub(crate) fn new() -> Self {
        Self::of(BTreeMap::new(), Timestamp::MIN)
    }

    /// Of what a checkpoint holds; [`Stubs::rebuild`] makes the rest.
    pub(crate) fn of(by_key: BTreeMap<StubKey, Place>, horizon: Timestamp) -> Self {
        Self {
            by_key,
            by_age: BTreeSet::new(),
            horizon,
            changed: Changed::default(),
        }
    }

    /// Makes the index by age again.
    pub(crate) fn rebuild(&mut self) {
        let keys = self.by_key.keys();
        self.by_age = keys.map(|(key, at, id)| (*at, *key, *id)).collect();
        self.changed = Changed::default();
    }

    /// From here on changes are noted; everything has changed.
    pub(crate) fn change_all(&mut self) {
        self.changed.begin(self.by_key.keys().copied());
    }

    pub(crate) const fn by_key(&self) -> &BTreeMap<StubKey, Place> {
        &self.by_key
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
        let known = (key, stub.received_at, stub.dedup_id);
        self.by_age.insert((stub.received_at, key, stub.dedup_id));
        self.by_key.insert(known, place);
        self.changed.note(known);
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
            self.changed.note((key, at, id));
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
