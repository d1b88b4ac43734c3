//! Settling an event: every user that the claims name for it, and the records this makes.
//!
//! Association is a union over keys, hints and copies. Only the label shown, the way it was
//! found and the assurance are chosen: by authority, then by the nearest received_at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use balefire_event::digest::FieldHasher;
use balefire_event::{Assurance, Event, Join, Naming, SubjectRef, partition};

use crate::claim::Claims;
use crate::coverage::Coverage;
use crate::entry::{Copy, Entry, Fill, Met, Told};
use crate::fact::{FILLABLE, Fact, FactId};
use crate::limits::{FACTS_PER_EVENT_MAX, TOLD_PER_EVENT_MAX};
use crate::record::Effect;

/// Where a settled record goes.
pub(crate) struct Desk<'a> {
    /// EVENTS partitions.
    pub(crate) partitions: u32,
    pub(crate) coverage: &'a mut Coverage,
    pub(crate) alarms: &'a mut u64,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// A fact that reaches an event.
struct Match<'c> {
    id: FactId,
    fact: &'c Fact,
    /// By an id of the call or the conversation, not by what owns it.
    direct: bool,
    /// Place of the best key among the event's.
    rank: usize,
    distance: i64,
}

impl Match<'_> {
    fn strength(&self) -> ((bool, u32), Reverse<i64>, Reverse<usize>, FactId) {
        (
            self.authority(),
            Reverse(self.distance),
            Reverse(self.rank),
            self.id,
        )
    }

    /// Whoever names the user of the call knows better than who names the owner of its key.
    fn authority(&self) -> (bool, u32) {
        (self.direct, self.fact.authority)
    }
}

/// Notes which facts reach an event now, beside those that did before.
fn meet(entry: &mut Entry, claims: &mut Claims, alarms: &mut u64) {
    let Entry {
        keys, copies, met, ..
    } = entry;
    for (rank, key) in keys.iter().enumerate() {
        for copy in copies.iter() {
            let mut new = Vec::new();
            for reach in claims.reaching(key.hash, copy.received_at) {
                if let Some(met) = met.iter_mut().find(|met| met.fact == reach.id) {
                    met.distance = met.distance.min(reach.distance);
                    met.rank = met.rank.min(rank);
                } else if met.len() >= FACTS_PER_EVENT_MAX {
                    *alarms += 1;
                } else {
                    new.push(reach.id);
                    met.push(Met {
                        fact: reach.id,
                        rank,
                        distance: reach.distance,
                    });
                }
            }
            for id in new {
                claims.hold(id);
            }
        }
    }
}

/// Every fact that ever reached an event, by its id.
fn matches<'c>(entry: &Entry, claims: &'c Claims) -> Vec<Match<'c>> {
    let known = |met: &Met| {
        Some(Match {
            id: met.fact,
            fact: claims.fact(met.fact)?,
            direct: entry
                .keys
                .get(met.rank)
                .is_some_and(|key| key.kind.is_of_a_call()),
            rank: met.rank,
            distance: met.distance,
        })
    };
    let mut matches: Vec<Match<'c>> = entry.met.iter().filter_map(known).collect();
    matches.sort_by_key(|found| found.id);
    matches
}

fn fill_of(entry: &Entry, fact: &Fact) -> Fill {
    let mut fill = [0; 3];
    for ((slot, lacks), value) in fill.iter_mut().zip(entry.lacks).zip(fact.fills()) {
        if lacks && !value.is_empty() {
            let [a, b, c, d, e, f, g, h, ..] = FieldHasher::new("balefire correlator fill v1")
                .field(value.as_bytes())
                .id();
            *slot = u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1);
        }
    }
    fill
}

/// Whether a record with `wide` says all that one with `narrow` would.
fn covers(wide: &Fill, narrow: &Fill) -> bool {
    wide.iter().zip(narrow).all(|(w, n)| *n == 0 || w == n)
}

/// One user of an event.
struct Named<'c, 'm> {
    /// Gives the label.
    best: &'m Match<'c>,
    assurance: Assurance,
    /// What its facts fill, the fullest first.
    fills: Vec<(Fill, &'c Fact)>,
}

fn named<'c, 'm>(entry: &Entry, matches: &'m [Match<'c>]) -> BTreeMap<SubjectRef, Named<'c, 'm>> {
    let top = matches.iter().map(Match::authority).max();
    let at_top: BTreeSet<SubjectRef> = matches
        .iter()
        .filter(|found| Some(found.authority()) == top)
        .map(|found| found.fact.subject)
        .collect();
    let mut users: BTreeMap<SubjectRef, Named<'c, 'm>> = BTreeMap::new();
    for found in matches {
        let user = found.fact.subject;
        let fill = (fill_of(entry, found.fact), found.fact);
        let named = users.entry(user).or_insert_with(|| Named {
            best: found,
            assurance: Assurance::Joined,
            fills: Vec::new(),
        });
        if found.strength() > named.best.strength() {
            named.best = found;
        }
        named.fills.push(fill);
    }
    for (user, named) in &mut users {
        // In doubt is everybody but a single user whom the best authority names: whoever that
        // authority contradicts, too.
        named.assurance = if at_top.len() == 1 && at_top.contains(user) {
            named.best.fact.joined()
        } else {
            Assurance::Conflicting
        };
        let empty = |fill: &Fill| fill.map(|slot| slot == 0);
        let empties = |fill: &Fill| empty(fill).into_iter().filter(|e| *e).count();
        named
            .fills
            .sort_by_key(|(fill, _)| (empties(fill), empty(fill), *fill));
        named.fills.dedup_by_key(|(fill, _)| *fill);
    }
    users
}

/// Emits what the claims say of an event and was not said before. Returns whether anybody is
/// named.
pub(crate) fn settle(entry: &mut Entry, claims: &mut Claims, desk: &mut Desk<'_>) -> bool {
    meet(entry, claims, desk.alarms);
    let matches = matches(entry, claims);
    let users = named(entry, &matches);
    count(entry, &users, desk);
    for copy in 0..entry.copies.len() {
        for (user, named) in &users {
            for (fill, fact) in &named.fills {
                let told = Told {
                    copy,
                    user: *user,
                    fill: *fill,
                    assurance: named.assurance,
                };
                if is_new(entry, &told, desk) {
                    tell(entry, told, named, fact, desk);
                }
            }
        }
    }
    !users.is_empty()
}

/// Counts an event that claims name as whose it is now; one that was passed on before this
/// process began is not counted.
fn count(entry: &mut Entry, users: &BTreeMap<SubjectRef, Named<'_, '_>>, desk: &mut Desk<'_>) {
    let certain = |named: &Named<'_, '_>| named.assurance != Assurance::Conflicting;
    let naming = match users.len() {
        0 => return,
        _ if users.values().any(certain) => Naming::Human,
        _ => Naming::Conflicting,
    };
    let passed = entry.copies.iter().any(|copy| copy.passed);
    if entry.counted == Some(naming) || (entry.counted.is_none() && passed) {
        return;
    }
    if let Some((tenant, event)) = entry.packed.open() {
        desk.coverage
            .groups
            .named(tenant, &event, entry.counted, naming);
        entry.counted = Some(naming);
    }
}

fn is_new(entry: &Entry, told: &Told, desk: &mut Desk<'_>) -> bool {
    if entry
        .copies
        .get(told.copy)
        .is_none_or(|copy| copy.stood_for)
    {
        return false;
    }
    let before = || {
        let of_user = entry.told.iter().filter(|t| t.copy == told.copy);
        of_user.filter(|t| t.user == told.user)
    };
    let content = before().any(|t| covers(&t.fill, &told.fill));
    // The last word on a user is the one that holds.
    let assurance = before()
        .next_back()
        .is_some_and(|t| t.assurance == told.assurance);
    if content && assurance {
        return false;
    }
    if entry.told.len() >= TOLD_PER_EVENT_MAX {
        *desk.alarms += 1;
        return false;
    }
    true
}

fn tell(entry: &mut Entry, told: Told, named: &Named<'_, '_>, fact: &Fact, desk: &mut Desk<'_>) {
    let Some((tenant, event)) = entry.packed.open() else {
        *desk.alarms += 1;
        return;
    };
    let Some(copy) = entry.copies.get_mut(told.copy) else {
        return;
    };
    let (tenant, mut event) = (tenant.to_owned(), event.into_owned());
    stamp(&mut event, copy);
    let counts = desk.coverage.of(&tenant, &event.source);
    if copy.passed {
        counts.amended += 1;
    } else {
        counts.joined += 1;
    }
    let conflicting = |told: &Told| told.assurance == Assurance::Conflicting;
    if conflicting(&told) && !entry.told.iter().any(conflicting) {
        counts.conflicting += 1;
    }
    let kind = entry.keys.get(named.best.rank).map(|key| key.kind);
    let via = format!(
        "join:{}:{}",
        kind.map_or("", |kind| kind.as_str()),
        named.best.fact.source()
    );
    event.user = Some(named.best.fact.identity(told.assurance, via));
    let mut filled = vec!["user_id".to_owned()];
    let slots = [&mut event.model, &mut event.endpoint, &mut event.src_ip];
    for (((slot, name), digest), value) in slots
        .into_iter()
        .zip(FILLABLE)
        .zip(told.fill)
        .zip(fact.fills())
    {
        if digest != 0 {
            *slot = value.to_owned().into();
            filled.push(name.to_owned());
        }
    }
    event.join = Some(Join {
        partial: false,
        amendment: copy.passed,
        filled,
    });
    copy.passed = true;
    entry.told.push(told);
    desk.effects.push(Effect::Emit {
        lane: entry.lane,
        partition: partition::of_subject(&tenant, &told.user, desk.partitions),
        tenant,
        event: Box::new(event),
    });
}

/// Passes an event on without a user, in every copy that was not passed on yet.
pub(crate) fn pass_partial(entry: &mut Entry, desk: &mut Desk<'_>) {
    let Some((tenant, event)) = entry.packed.open() else {
        *desk.alarms += 1;
        return;
    };
    for copy in entry.copies.iter_mut() {
        if copy.stood_for || copy.passed {
            continue;
        }
        copy.passed = true;
        let mut event = event.clone().into_owned();
        stamp(&mut event, copy);
        event.join = Some(Join {
            partial: true,
            amendment: false,
            filled: Vec::new(),
        });
        desk.coverage.of(tenant, &event.source).partial += 1;
        let naming = Naming::of(&event);
        if entry.counted != Some(naming) {
            desk.coverage
                .groups
                .named(tenant, &event, entry.counted, naming);
            entry.counted = Some(naming);
        }
        desk.effects.push(Effect::Emit {
            lane: entry.lane,
            partition: partition::of_event(tenant, &event.dedup_id, desk.partitions),
            tenant: tenant.to_owned(),
            event: Box::new(event),
        });
    }
}

fn stamp(event: &mut Event<'_>, copy: &Copy) {
    event.received_at = copy.received_at;
    event.t = copy.t;
    event.timing = copy.timing;
    event.control_revision = copy.control_revision;
}
