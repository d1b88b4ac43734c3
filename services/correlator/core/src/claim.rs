//! [`Claims`]: which identities the hints claim for which keys, and when.
//!
//! Hints that say the same are one fact, and hints of one fact for one key that lie at most 2·J
//! apart are one claim over a stretch of time: every moment between two such hints lies within
//! J of one of them, so nothing is lost by it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use balefire_event::digest::FieldHasher;
use balefire_event::{Assurance, DedupId, Hint, Identity, Sealed, SubjectRef, Timestamp};

use crate::key::KeyHash;
use crate::limits::{CLAIMS_MAX, CLAIMS_PER_KEY_MAX};
use crate::stretch::{Range, Stretch};

/// Fields a hint may fill, in the order of [`Fact::fills`].
pub(crate) const FILLABLE: [&str; 3] = ["model", "endpoint", "src_ip"];
/// Longest J taken from a hint, nanoseconds.
const JOIN_HORIZON_MAX: i64 = 24 * balefire_event::time::HOUR;

/// Digest of everything a fact says.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct FactId([u8; 16]);

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Label {
    scheme: u32,
    key_epoch: u32,
    data: Box<[u8]>,
}

/// What hints say of an identity.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fact {
    pub(crate) subject: SubjectRef,
    assurance: Assurance,
    via: Box<str>,
    label: Option<Label>,
    pub(crate) source: Box<str>,
    /// J, nanoseconds.
    pub(crate) horizon: i64,
    pub(crate) authority: u32,
    /// Values for [`FILLABLE`]; empty: says nothing.
    pub(crate) fills: [Box<str>; 3],
    claims: usize,
    /// Kept events that it reached.
    events: usize,
}

/// What a hint says of a field; empty: nothing.
fn fill<'h>(hint: &'h Hint<'_>, name: &str) -> &'h str {
    let said = hint.facts.iter().find(|(field, _)| field == name);
    said.map_or("", |(_, value)| value.as_ref())
}

impl FactId {
    pub(crate) fn of(hint: &Hint<'_>) -> Self {
        let identity = &hint.identity;
        let mut hasher = FieldHasher::new("balefire correlator fact v1");
        hasher
            .field(&identity.subject_ref.0)
            .field(identity.assurance.as_str().as_bytes())
            .field(identity.via.as_bytes())
            .field(hint.source.as_bytes())
            .number(Claims::horizon_of(hint))
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

impl Fact {
    fn of(hint: &Hint<'_>) -> Self {
        Self {
            subject: hint.identity.subject_ref,
            assurance: hint.identity.assurance,
            via: hint.identity.via.as_ref().into(),
            label: hint.identity.label.as_ref().map(|label| Label {
                scheme: label.scheme,
                key_epoch: label.key_epoch,
                data: label.data.as_ref().into(),
            }),
            source: hint.source.as_ref().into(),
            horizon: Claims::horizon_of(hint),
            authority: hint.authority,
            fills: FILLABLE.map(|name| fill(hint, name).into()),
            claims: 0,
            events: 0,
        }
    }

    /// The identity, as a record joined through it carries it.
    pub(crate) fn identity(&self, assurance: Assurance, via: String) -> Identity<'static> {
        Identity {
            subject_ref: self.subject,
            kind: balefire_event::IdentityKind::User,
            assurance,
            via: via.into(),
            label: self.label.as_ref().map(|label| Sealed {
                scheme: label.scheme,
                key_epoch: label.key_epoch,
                data: label.data.to_vec().into(),
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
    fn hint(&self, received_at: Timestamp, join_horizon: i64, dedup_id: DedupId) -> Hint<'static> {
        let facts = FILLABLE.iter().zip(&self.fills);
        Hint {
            keys: Vec::new(),
            identity: self.identity(self.assurance, self.via.as_ref().to_owned()),
            source: self.source.as_ref().to_owned().into(),
            received_at,
            join_horizon,
            authority: self.authority,
            facts: facts
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (Cow::Borrowed(*name), value.as_ref().to_owned().into()))
                .collect(),
            dedup_id,
        }
    }
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Claim {
    fact: FactId,
    stretch: Stretch,
    /// Record its first hint came from.
    dedup_id: DedupId,
    /// Where it was forwarded for stubs: (INTAKE partition, moments it reaches there).
    forwarded: Vec<(u32, Range)>,
}

impl Claim {
    /// Notes moments that were forwarded to a partition.
    fn tell(&mut self, target: u32, (from, till): Range) {
        let overlaps =
            |(to, range): &&mut (u32, Range)| *to == target && range.0 <= till && from <= range.1;
        match self.forwarded.iter_mut().find(overlaps) {
            Some((_, range)) => *range = (range.0.min(from), range.1.max(till)),
            None => self.forwarded.push((target, (from, till))),
        }
    }
}

/// A claim that reaches a moment.
pub(crate) struct Reach {
    pub(crate) id: FactId,
    /// Nanoseconds to the nearest hint.
    pub(crate) distance: i64,
}

/// Every fact by key.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Claims {
    facts: BTreeMap<FactId, Fact>,
    by_key: BTreeMap<KeyHash, Vec<Claim>>,
    /// (last + J, key, fact, first) of every claim.
    expiry: BTreeSet<(Timestamp, KeyHash, FactId, Timestamp)>,
    /// An event at or before it may have missed a claim that was dropped.
    horizon: Timestamp,
}

impl Claims {
    pub(crate) fn new() -> Self {
        Self {
            facts: BTreeMap::new(),
            by_key: BTreeMap::new(),
            expiry: BTreeSet::new(),
            horizon: Timestamp::MIN,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.expiry.len()
    }

    /// Claims dropped for good reach up to here.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// J as it is used of a hint.
    pub(crate) fn horizon_of(hint: &Hint<'_>) -> i64 {
        hint.join_horizon.clamp(0, JOIN_HORIZON_MAX)
    }

    /// Learns a hint, whose fact is `id`, for a key: the moments it newly reaches, `None` where none.
    pub(crate) fn learn(&mut self, key: KeyHash, id: FactId, hint: &Hint<'_>) -> Option<Range> {
        let (j, at) = (Self::horizon_of(hint), hint.received_at);
        // Nearly every key has one claim: room for more of them would be most of what is kept.
        let claims = self
            .by_key
            .entry(key)
            .or_insert_with(|| Vec::with_capacity(1));
        let near = claims
            .iter_mut()
            .filter(|claim| claim.fact == id && claim.stretch.distance(at) <= 2 * j)
            .min_by_key(|claim| claim.stretch.distance(at));
        let Some(claim) = near else {
            claims.push(Claim {
                fact: id,
                stretch: Stretch::at(at),
                dedup_id: hint.dedup_id,
                forwarded: Vec::new(),
            });
            let fact = self.facts.entry(id).or_insert_with(|| Fact::of(hint));
            fact.claims += 1;
            self.expiry.insert((at.plus(j), key, id, at));
            return Some((at.minus(j), at.plus(j)));
        };
        let before = claim.stretch;
        if before.distance(at) == 0 {
            return None;
        }
        claim.stretch.extend(at);
        let after = claim.stretch;
        self.expiry
            .remove(&(before.last.plus(j), key, id, before.first));
        self.expiry
            .insert((after.last.plus(j), key, id, after.first));
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
            let fact = self.facts.get(&claim.fact)?;
            let distance = claim.stretch.distance(at);
            (distance <= fact.horizon).then_some(Reach {
                id: claim.fact,
                distance,
            })
        })
    }

    /// What a fact says, as long as a claim or a kept event has it.
    pub(crate) fn fact(&self, id: FactId) -> Option<&Fact> {
        self.facts.get(&id)
    }

    /// A kept event was reached by a fact: it stays until [`Claims::let_go`], its claims or not.
    pub(crate) fn hold(&mut self, id: FactId) {
        if let Some(fact) = self.facts.get_mut(&id) {
            fact.events += 1;
        }
    }

    /// The event is kept no longer.
    pub(crate) fn let_go(&mut self, id: FactId) {
        self.release(id, |fact| &mut fact.events);
    }

    fn release(&mut self, id: FactId, of: impl Fn(&mut Fact) -> &mut usize) {
        let Some(fact) = self.facts.get_mut(&id) else {
            return;
        };
        let count = of(fact);
        *count = count.saturating_sub(1);
        if fact.claims + fact.events == 0 {
            self.facts.remove(&id);
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
            let Some(fact) = self.facts.get(&claim.fact) else {
                continue;
            };
            let reach = claim.stretch.reach(fact.horizon);
            let told =
                |(to, (from, till)): &(u32, Range)| *to == target && (*from..=*till).contains(&at);
            if at < reach.0 || reach.1 < at || claim.forwarded.iter().any(told) {
                continue;
            }
            let j = fact.horizon.min(at.since(reach.0)).min(reach.1.since(at));
            claim.tell(target, (at.minus(j), at.plus(j)));
            hints.push(fact.hint(at, j, claim.dedup_id));
        }
        hints
    }

    /// Drops claims that reach nothing from `low_watermark` on.
    pub(crate) fn trim(&mut self, low_watermark: Timestamp) {
        while let Some((end, ..)) = self.expiry.first()
            && *end < low_watermark
        {
            self.horizon = self.horizon.max(*end);
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
        let crowded = |claims: &Vec<Claim>| claims.len() > CLAIMS_PER_KEY_MAX;
        if self.by_key.get(&key).is_some_and(crowded) {
            let claims = self.by_key.get(&key).into_iter().flatten();
            let oldest = claims
                .filter_map(|claim| {
                    let j = self.facts.get(&claim.fact)?.horizon;
                    Some((
                        claim.stretch.last.plus(j),
                        key,
                        claim.fact,
                        claim.stretch.first,
                    ))
                })
                .min();
            if let Some(entry) = oldest {
                self.expiry.remove(&entry);
                self.drop_claim(entry);
                dropped += 1;
            }
        }
        dropped
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.expiry.pop_first() {
            self.drop_claim(entry);
        }
    }

    fn drop_claim(&mut self, (_, key, id, first): (Timestamp, KeyHash, FactId, Timestamp)) {
        if let Some(claims) = self.by_key.get_mut(&key) {
            if let Some(at) = claims
                .iter()
                .position(|claim| claim.fact == id && claim.stretch.first == first)
            {
                claims.swap_remove(at);
            }
            if claims.is_empty() {
                self.by_key.remove(&key);
            }
        }
        self.release(id, |fact| &mut fact.claims);
    }
}
