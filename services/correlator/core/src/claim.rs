//! [`Claims`]: which identities the hints claim for which keys, and when.
//!
//! Hints that say the same are one fact, and hints of one fact for one key that lie at most 2·J
//! apart are one claim over a stretch of time: every moment between two such hints lies within
//! J of one of them, so nothing is lost by it.

use std::collections::BTreeMap;

use balefire_event::{DedupId, Hint, Timestamp};
use smallvec::SmallVec;

use crate::changed::Changed;
use crate::expiry::Expiry;
use crate::fact::{Fact, FactId, horizon_of};
use crate::key::KeyHash;
use crate::limits::{CLAIMS_MAX, CLAIMS_PER_KEY_MAX};
use crate::stretch::{Range, Stretch};

/// A fact, and why it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Held {
    pub(crate) fact: Fact,
    /// Claims of it.
    #[serde(skip)]
    claims: u32,
    /// Kept events that it reached.
    #[serde(skip)]
    events: u32,
}

impl Held {
    pub(crate) const fn of(fact: Fact) -> Self {
        Self {
            fact,
            claims: 0,
            events: 0,
        }
    }
}

/// That a fact holds for a key, over a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Claim {
    fact: FactId,
    stretch: Stretch,
    /// J of the fact, nanoseconds.
    horizon: i64,
    /// Record its first hint came from.
    dedup_id: DedupId,
    /// Few are.
    forwarded: Option<Box<Forwarded>>,
}

/// Where a claim was forwarded for stubs: (INTAKE partition, moments it reaches there).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Forwarded(Vec<(u32, Range)>);

impl Claim {
    /// When it reaches nothing more.
    fn end(&self) -> Timestamp {
        self.stretch.last.plus(self.horizon)
    }

    /// Whether it was forwarded to a partition for a moment.
    fn is_told(&self, target: u32, at: Timestamp) -> bool {
        let told = self.forwarded.iter().flat_map(|told| &told.0);
        let mut there = told.filter(|(to, _)| *to == target);
        there.any(|(_, (from, till))| (*from..=*till).contains(&at))
    }

    /// Notes moments that were forwarded to a partition.
    fn tell(&mut self, target: u32, (from, till): Range) {
        let overlaps =
            |(to, range): &&mut (u32, Range)| *to == target && range.0 <= till && from <= range.1;
        let Forwarded(told) = &mut **self.forwarded.get_or_insert_default();
        match told.iter_mut().find(overlaps) {
            Some((_, range)) => *range = (range.0.min(from), range.1.max(till)),
            None => told.push((target, (from, till))),
        }
    }
}

/// A claim that reaches a moment.
pub(crate) struct Reach {
    pub(crate) id: FactId,
    /// Nanoseconds to the nearest hint.
    pub(crate) distance: i64,
}

/// The claims of a key. Nearly every key has one.
pub(crate) type OfKey = SmallVec<[Claim; 1]>;

/// Every fact by key.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Claims {
    facts: BTreeMap<FactId, Held>,
    by_key: BTreeMap<KeyHash, OfKey>,
    #[serde(skip)]
    expiry: Expiry,
    /// An event at or before it may have missed a claim that was dropped.
    horizon: Timestamp,
    #[serde(skip)]
    pub(crate) changed_facts: Changed<FactId>,
    #[serde(skip)]
    pub(crate) changed_keys: Changed<KeyHash>,
}

impl Claims {
    pub(crate) fn new() -> Self {
        Self::of(BTreeMap::new(), BTreeMap::new(), Timestamp::MIN)
    }

    /// Of what a checkpoint holds; [`Claims::rebuild`] makes the rest.
    pub(crate) fn of(
        facts: BTreeMap<FactId, Held>,
        by_key: BTreeMap<KeyHash, OfKey>,
        horizon: Timestamp,
    ) -> Self {
        Self {
            facts,
            by_key,
            expiry: Expiry::default(),
            horizon,
            changed_facts: Changed::default(),
            changed_keys: Changed::default(),
        }
    }

    /// Counts again what each fact is kept for, given those that reached kept events. False: something
    /// is of a fact that is not there, or cannot be read.
    pub(crate) fn rebuild(&mut self, met: impl Iterator<Item = FactId>) -> bool {
        self.expiry = Expiry::default();
        for held in self.facts.values_mut() {
            (held.claims, held.events) = (0, 0);
        }
        for (key, claims) in &self.by_key {
            for claim in claims {
                let Some(held) = self.facts.get_mut(&claim.fact) else {
                    return false;
                };
                held.claims += 1;
                self.expiry.add(claim.end(), *key);
            }
        }
        for id in met {
            let Some(held) = self.facts.get_mut(&id) else {
                return false;
            };
            held.events += 1;
        }
        let sound = |held: &Held| held.claims + held.events > 0 && held.fact.is_readable();
        self.facts.values().all(sound) && self.by_key.values().all(|claims| !claims.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.expiry.len()
    }

    /// Claims dropped for good reach up to here.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    pub(crate) const fn facts(&self) -> &BTreeMap<FactId, Held> {
        &self.facts
    }

    pub(crate) const fn by_key(&self) -> &BTreeMap<KeyHash, OfKey> {
        &self.by_key
    }

    /// From here on changes are noted; everything has changed.
    pub(crate) fn change_all(&mut self) {
        self.changed_facts.begin(self.facts.keys().copied());
        self.changed_keys.begin(self.by_key.keys().copied());
    }

    /// Learns a hint, whose fact is `id`, for a key: the moments it newly reaches, `None` where none.
    pub(crate) fn learn(&mut self, key: KeyHash, id: FactId, hint: &Hint<'_>) -> Option<Range> {
        let (j, at) = (horizon_of(hint), hint.received_at);
        let claims = self.by_key.entry(key).or_default();
        let near = claims
            .iter_mut()
            .filter(|claim| claim.fact == id && claim.stretch.distance(at) <= 2 * j)
            .min_by_key(|claim| claim.stretch.distance(at));
        let Some(claim) = near else {
            claims.push(Claim {
                fact: id,
                stretch: Stretch::at(at),
                horizon: j,
                dedup_id: hint.dedup_id,
                forwarded: None,
            });
            let held = self.facts.entry(id).or_insert_with(|| {
                self.changed_facts.note(id);
                Held::of(Fact::of(hint))
            });
            held.claims += 1;
            self.expiry.add(at.plus(j), key);
            self.changed_keys.note(key);
            return Some((at.minus(j), at.plus(j)));
        };
        let before = claim.stretch;
        if before.distance(at) == 0 {
            return None;
        }
        self.changed_keys.note(key);
        let end = claim.end();
        claim.stretch.extend(at);
        if claim.end() != end {
            self.expiry.remove(end, key);
            self.expiry.add(claim.end(), key);
        }
        Some(if at < before.first {
            (at.minus(j), before.first.minus(j))
        } else {
            (before.last.plus(j), at.plus(j))
        })
    }

    /// The claims of a key that reach a moment.
    pub(crate) fn reaching(&self, key: KeyHash, at: Timestamp) -> impl Iterator<Item = Reach> {
        let claims = self.by_key.get(&key).into_iter().flatten();
        claims.filter_map(move |claim| {
            let distance = claim.stretch.distance(at);
            (distance <= claim.horizon).then_some(Reach {
                id: claim.fact,
                distance,
            })
        })
    }

    /// What a fact says, as long as a claim or a kept event has it.
    pub(crate) fn fact(&self, id: FactId) -> Option<&Fact> {
        self.facts.get(&id).map(|held| &held.fact)
    }

    /// A kept event was reached by a fact: it stays until [`Claims::let_go`], its claims or not.
    pub(crate) fn hold(&mut self, id: FactId) {
        if let Some(held) = self.facts.get_mut(&id) {
            held.events += 1;
        }
    }

    /// The event is kept no longer.
    pub(crate) fn let_go(&mut self, id: FactId) {
        self.release(id, |held| &mut held.events);
    }

    fn release(&mut self, id: FactId, of: impl Fn(&mut Held) -> &mut u32) {
        let Some(held) = self.facts.get_mut(&id) else {
            return;
        };
        let count = of(held);
        *count = count.saturating_sub(1);
        if held.claims + held.events == 0 {
            self.facts.remove(&id);
            self.changed_facts.note(id);
        }
    }

    /// The hints that INTAKE partition `target` lacks to know what is claimed for a key at a
    /// moment. What was forwarded before is left out.
    ///
    /// Such a hint is centred on the moment, with a J that reaches no further than the claim:
    /// so it is true wherever it is applied, and the partition of a recent event need not look
    /// for older ones that an old hint's own stamp would reach.
    pub(crate) fn forward(
        &mut self,
        key: KeyHash,
        at: Timestamp,
        target: u32,
    ) -> Vec<Hint<'static>> {
        let mut hints = Vec::new();
        for claim in self.by_key.get_mut(&key).into_iter().flatten() {
            let Some(held) = self.facts.get(&claim.fact) else {
                continue;
            };
            let reach = claim.stretch.reach(claim.horizon);
            if at < reach.0 || reach.1 < at || claim.is_told(target, at) {
                continue;
            }
            let j = claim.horizon.min(at.since(reach.0)).min(reach.1.since(at));
            claim.tell(target, (at.minus(j), at.plus(j)));
            hints.push(held.fact.hint(at, j, claim.dedup_id));
            self.changed_keys.note(key);
        }
        hints
    }

    /// Drops claims that reach nothing from `low_watermark` on.
    pub(crate) fn trim(&mut self, low_watermark: Timestamp) {
        while let Some(end) = self.expiry.first()
            && end < low_watermark
        {
            self.horizon = self.horizon.max(end);
            self.drop_first();
        }
    }

    /// Drops what is over the limits, the oldest first. Returns how many.
    pub(crate) fn enforce(&mut self, key: KeyHash) -> u64 {
        let mut dropped = 0;
        while self.expiry.len() > CLAIMS_MAX {
            self.drop_first();
            dropped += 1;
        }
        let claims = self.by_key.get(&key);
        if let Some(claims) = claims.filter(|claims| claims.len() > CLAIMS_PER_KEY_MAX)
            && let Some(end) = claims.iter().map(Claim::end).min()
        {
            self.expiry.remove(end, key);
            self.drop_claim(end, key);
            dropped += 1;
        }
        dropped
    }

    fn drop_first(&mut self) {
        if let Some((end, key)) = self.expiry.pop_first() {
            self.drop_claim(end, key);
        }
    }

    /// Drops the first claim of a key that ends then.
    fn drop_claim(&mut self, end: Timestamp, key: KeyHash) {
        let Some(claims) = self.by_key.get_mut(&key) else {
            return;
        };
        let ending = claims.iter().enumerate();
        let ending = ending.filter(|(_, claim)| claim.end() == end);
        let first = ending.min_by_key(|(_, claim)| (claim.fact, claim.stretch.first));
        let Some(at) = first.map(|(at, _)| at) else {
            return;
        };
        let dropped = claims.swap_remove(at);
        if claims.is_empty() {
            self.by_key.remove(&key);
        }
        self.changed_keys.note(key);
        self.release(dropped.fact, |held| &mut held.claims);
    }
}
