//! The set of escalation ids by the definitions of SEMANTICS, over everything the door wrote.
//! Shares no code with the cores but the formulas of ids.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::escalation::canonical_key;
use balefire_event::{
    Category, DedupId, EscalationId, Event, Hint, IdentityKind, RuleId, SubjectRef, Timing,
    partition,
};

use crate::grouping::Grouped;
use crate::log::{Rec, StreamId};
use crate::place::{Kind, Place};
use crate::rules::{Counted, Looked, Plain};
use crate::world::{START, UNIT, World};

/// An event as it counts for somebody.
#[derive(Debug, Clone)]
struct Pair {
    tenant: &'static str,
    user: Option<SubjectRef>,
    /// Agent, API key, session.
    actors: [Option<SubjectRef>; 3],
    dedup_id: DedupId,
    t: i64,
    on_time: bool,
    revision: u64,
    category: Category,
    model: String,
    direct: bool,
}

/// Of a windowed escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Who counts it.
    pub(crate) place: Place,
    rule: RuleId,
    key: Vec<u8>,
    breach: i64,
}

/// What must be in ESCALATIONS.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) windowed: BTreeMap<EscalationId, Slot>,
    pub(crate) single: BTreeSet<EscalationId>,
    /// Of events that more than one record was written of.
    pub(crate) copied: BTreeSet<EscalationId>,
}

/// Which records count, and by which keys they join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// Index of the schedule up to which they lie.
    pub(crate) until: usize,
    /// Only by an event's first key: what needs no other partition.
    pub(crate) first_key: bool,
}

impl Scope {
    pub(crate) const ALL: Self = Self {
        until: usize::MAX,
        first_key: false,
    };
}

pub(crate) fn expected(world: &World, scope: Scope) -> Expected {
    let pairs = pairs(world, scope);
    let mut found = Expected::default();
    for (index, (first, rules)) in world.rule_sets.iter().enumerate() {
        let next = world.rule_sets.get(index + 1);
        let valid = *first..next.map_or(u64::MAX, |(next, _)| *next);
        for rule in rules {
            let matching = pairs.iter().filter(|pair| {
                rule.categories.contains(&pair.category)
                    && rule.model.is_none_or(|model| pair.model == model)
            });
            match rule.counted {
                None => {
                    for pair in matching.filter(|pair| valid.contains(&pair.revision)) {
                        found.single.insert(single(rule.id, pair));
                    }
                }
                Some(counted) => {
                    let matching: Vec<&Pair> = matching.collect();
                    windows(world, rule, counted, &matching, &valid, &mut found);
                }
            }
        }
    }
    found.copied = copied(world, &pairs);
    found
}

fn single(rule: RuleId, pair: &Pair) -> EscalationId {
    EscalationId::single(pair.tenant, &rule, &pair.dedup_id)
}

/// Per tenant and key: entries with their values, and whether each may breach.
type Keyed = BTreeMap<(&'static str, Vec<u8>), BTreeMap<(i64, DedupId, u64), bool>>;

/// The canonical key that a pair counts by; `None`: it lacks a part.
fn key(by: Grouped, pair: &Pair) -> Option<Vec<u8>> {
    let subject = |name, subject: Option<SubjectRef>| Some((name, subject?.0.to_vec()));
    let [agent, api_key, session] = pair.actors;
    let agent = || subject("agent_id", agent);
    let api_key = || subject("api_key_id", api_key);
    let parts = match by {
        Grouped::User => vec![subject("user_id", pair.user)?],
        Grouped::Agent => vec![agent()?],
        Grouped::ApiKey => vec![api_key()?],
        Grouped::Session => vec![subject("session_id", session)?],
        Grouped::AgentAndKey => vec![agent()?, api_key()?],
        Grouped::Model if pair.model.is_empty() => return None,
        Grouped::Model => vec![("model", pair.model.clone().into_bytes())],
        Grouped::Tenant => Vec::new(),
    };
    let parts = parts.iter();
    Some(canonical_key(
        parts.map(|(name, part)| (*name, part.as_slice())),
    ))
}

/// Which engine counts a key.
fn counts(world: &World, rule: &Plain, by: Grouped, tenant: &str, key: &[u8]) -> Place {
    let count = world.partitions;
    match by {
        Grouped::User => {
            let subject = key.last_chunk().map_or([0; 16], |subject| *subject);
            Place {
                kind: Kind::Events,
                partition: partition::of_subject(tenant, &SubjectRef(subject), count),
            }
        }
        _ => Place {
            kind: Kind::Rekeyed,
            partition: partition::of_match(tenant, &rule.id, key, count),
        },
    }
}

/// Whether the entries of a window, by time and value, are what is looked for.
fn breaches(counted: Counted, inside: &[(i64, u64)]) -> bool {
    let values = || inside.iter().map(|(_, value)| *value);
    let times = |step| {
        inside
            .iter()
            .filter(move |(_, v)| *v == step)
            .map(|(t, _)| *t)
    };
    match counted.what {
        Looked::Events => inside.len() as u64 > counted.n,
        Looked::Distinct | Looked::Models => {
            values().collect::<BTreeSet<u64>>().len() as u64 > counted.n
        }
        Looked::Sum => values().sum::<u64>() > counted.n,
        Looked::Unordered => times(0).next().is_some() && times(1).next().is_some(),
        Looked::Ordered => times(0).any(|first| times(1).any(|second| first <= second)),
    }
}

fn windows(
    world: &World,
    rule: &Plain,
    counted: Counted,
    pairs: &[&Pair],
    valid: &std::ops::Range<u64>,
    found: &mut Expected,
) {
    let mut keys = Keyed::new();
    for pair in pairs.iter().filter(|pair| pair.on_time) {
        let Some(key) = key(counted.by, pair) else {
            continue;
        };
        let Some(value) = counted.what.value(pair.dedup_id.0[0], &pair.model) else {
            continue;
        };
        let entries = keys.entry((pair.tenant, key)).or_default();
        let may = entries.entry((pair.t, pair.dedup_id, value)).or_default();
        *may |= valid.contains(&pair.revision);
    }
    for ((tenant, key), entries) in &keys {
        for ((t, ..), may) in entries {
            let inside = entries
                .keys()
                .filter(|(u, ..)| t - counted.window <= *u && u <= t);
            let inside: Vec<(i64, u64)> = inside.map(|(u, _, value)| (*u, *value)).collect();
            if !may || !breaches(counted, &inside) {
                continue;
            }
            let start = t - t.rem_euclid(counted.rearm);
            let id = EscalationId::windowed(
                tenant,
                &rule.id,
                key,
                counted.rearm,
                balefire_event::Timestamp(start),
            );
            let slot = Slot {
                place: counts(world, rule, counted.by, tenant, key),
                rule: rule.id,
                key: key.clone(),
                breach: (t - START) / UNIT,
            };
            found.windowed.insert(id, slot);
        }
    }
}

fn pairs(world: &World, scope: Scope) -> Vec<Pair> {
    let mut hints: Vec<(&'static str, &Hint)> = Vec::new();
    let mut joined: BTreeMap<(&'static str, DedupId), Vec<&Event<'static>>> = BTreeMap::new();
    let mut pairs = Vec::new();
    // When each record came whose time is its arrival, and whether it counts.
    let mut clocks: BTreeMap<(StreamId, DedupId), Vec<(i64, bool)>> = BTreeMap::new();
    for (stream, tenant, record) in world.told(scope.until) {
        match record {
            Rec::Hint(hint) => hints.push((tenant, hint)),
            Rec::Event(event) if event.user.is_some() || event.keys.is_empty() => {
                let of_arrival = event.t == event.received_at && event.t != event.occurred_at;
                let seen = clocks.entry((stream, event.dedup_id)).or_default();
                let at = event.received_at.0;
                let near = |other: &i64| (at - other).abs() <= world.bounds.memory;
                // What has the stamps of one that counts is that one again.
                let copy = !seen.contains(&(at, true)) && seen.iter().any(|(other, _)| near(other));
                if event.t == event.received_at {
                    seen.push((at, !(of_arrival && copy)));
                }
                let user = event.user.as_ref().map(|user| user.subject_ref);
                let mut pair = pair(tenant, event, user, None, true);
                pair.on_time &= !(of_arrival && copy);
                pairs.push(pair);
            }
            Rec::Event(event) => {
                joined
                    .entry((tenant, event.dedup_id))
                    .or_default()
                    .push(event);
            }
            Rec::Stub(_)
            | Rec::Tick(_)
            | Rec::Watermark { .. }
            | Rec::Barrier { .. }
            | Rec::Match(_)
            | Rec::Escalation(_) => {}
        }
    }
    for ((tenant, _), records) in &joined {
        for event in records {
            pairs.push(pair(tenant, event, None, None, false));
        }
        for (_, hint) in hints.iter().filter(|(of, _)| of == tenant) {
            if belongs(records, hint, scope) {
                for event in records {
                    let user = Some(hint.identity.subject_ref);
                    pairs.push(pair(tenant, event, user, Some(hint), false));
                }
            }
        }
    }
    pairs
}

/// Whether some record of an event and the hint lie at most J apart and share a key.
fn belongs(records: &[&Event<'static>], hint: &Hint, scope: Scope) -> bool {
    records.iter().any(|event| {
        let keys = if scope.first_key { 1 } else { event.keys.len() };
        let apart = (event.received_at.0 - hint.received_at.0).abs();
        apart <= hint.join_horizon
            && event
                .keys
                .iter()
                .take(keys)
                .any(|key| hint.keys.contains(key))
    })
}

fn pair(
    tenant: &'static str,
    event: &Event<'static>,
    user: Option<SubjectRef>,
    hint: Option<&Hint<'static>>,
    direct: bool,
) -> Pair {
    let mut model = event.model.to_string();
    if let Some((_, told)) = hint.and_then(|hint| hint.facts.first())
        && model.is_empty()
    {
        told.as_ref().clone_into(&mut model);
    }
    let actor = |kind| {
        let mut actors = event.actors.iter();
        actors
            .find(|actor| actor.kind == kind)
            .map(|actor| actor.subject_ref)
    };
    Pair {
        tenant,
        user,
        actors: [
            IdentityKind::Agent,
            IdentityKind::ApiKey,
            IdentityKind::Session,
        ]
        .map(actor),
        dedup_id: event.dedup_id,
        t: event.t.0,
        on_time: event.timing == Timing::OnTime,
        revision: event.control_revision,
        category: event.category,
        model,
        direct,
    }
}

/// Windowless ids that may come more than once: of events with several records.
fn copied(world: &World, pairs: &[Pair]) -> BTreeSet<EscalationId> {
    let mut records: BTreeMap<(&'static str, DedupId), u32> = BTreeMap::new();
    for (_, tenant, record) in world.told(usize::MAX) {
        if let Rec::Event(event) = record {
            *records.entry((tenant, event.dedup_id)).or_default() += 1;
        }
    }
    let several = |pair: &&Pair| {
        !pair.direct
            || records
                .get(&(pair.tenant, pair.dedup_id))
                .is_some_and(|n| *n > 1)
    };
    let rules = world.rule_sets.iter().flat_map(|(_, rules)| rules);
    rules
        .flat_map(|rule| {
            pairs
                .iter()
                .filter(several)
                .map(|pair| single(rule.id, pair))
        })
        .collect()
}
