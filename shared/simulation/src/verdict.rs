//! [`Outcome`]: what a run left behind, against what the definitions ask.

use std::collections::{BTreeMap, BTreeSet};

use balefire_driver::ledger::RunList;
use balefire_event::{BarrierId, EscalationId, EscalationKind, RuleId};

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::log::{Log, Origin, Rec, StreamId};
use crate::oracle::{Scope, expected};
use crate::owner::Session;
use crate::place::{Kind, Place};
use crate::stage::Stage;
use crate::world::World;

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Ids that the definitions do not ask for.
    pub wrong: u64,
    /// Ids that they ask for and the log does not have.
    pub missing: u64,
    /// States that differ from the one that the recorded lists give.
    pub digest_diff: u64,
    /// Ids that came again where nothing allows it.
    pub repeats: u64,
    /// Records whose kind or episode is not the fold's.
    pub fold: u64,
    /// Escalated slots that were closed twice, too early, or never.
    pub closed: u64,
    /// Barriers that came too early, or never.
    pub barriers: u64,
    /// Repairs in a world where nothing asks for one.
    pub needless: u64,
    /// What else must never happen: a log that contradicts itself, no rest.
    pub broken: u64,
    /// Ids in the log.
    pub escalations: u64,
    /// Windowless ids of copied events that came again, as documented.
    pub copies: u64,
    /// Repairs done.
    pub repairs: u64,
    /// Owners that crashed.
    pub crashes: u64,
    /// What was found, in words; of a single run.
    pub said: Vec<String>,
}

impl Outcome {
    /// Whether everything is as the definitions ask.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.wrong
            + self.missing
            + self.digest_diff
            + self.repeats
            + self.fold
            + self.closed
            + self.barriers
            + self.needless
            + self.broken
            == 0
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.digest_diff += other.digest_diff;
        self.repeats += other.repeats;
        self.fold += other.fold;
        self.closed += other.closed;
        self.barriers += other.barriers;
        self.needless += other.needless;
        self.broken += other.broken;
        self.escalations += other.escalations;
        self.copies += other.copies;
        self.repairs += other.repairs;
        self.crashes += other.crashes;
    }

    /// The names of what does not hold.
    #[must_use]
    pub fn failures(&self) -> Vec<&'static str> {
        let counts = [
            ("wrong", self.wrong),
            ("missing", self.missing),
            ("digest_diff", self.digest_diff),
            ("repeats", self.repeats),
            ("fold", self.fold),
            ("closed", self.closed),
            ("barriers", self.barriers),
            ("needless_repairs", self.needless),
            ("broken", self.broken),
        ];
        let failed = counts.iter().filter(|(_, count)| *count > 0);
        failed.map(|(name, _)| *name).collect()
    }

    /// The line that `sim` prints.
    #[must_use]
    pub fn line(&self, seeds: u64) -> String {
        format!(
            "seeds={seeds} wrong={} missing={} digest_diff={} repeats={} fold={} closed={} barriers={} \
             needless_repairs={} broken={} escalations={} copies={} repairs={} crashes={}",
            self.wrong,
            self.missing,
            self.digest_diff,
            self.repeats,
            self.fold,
            self.closed,
            self.barriers,
            self.needless,
            self.broken,
            self.escalations,
            self.copies,
            self.repairs,
            self.crashes
        )
    }
}

pub(crate) fn judge(world: &World, cluster: &mut Cluster<'_>, fault: Option<Fault>) -> Outcome {
    let mut outcome = Outcome {
        repairs: cluster.repairs,
        crashes: cluster.crashes,
        ..Outcome::default()
    };
    ids(world, &cluster.log, &mut outcome);
    for partition in 0..world.partitions {
        fold(&cluster.log, partition, &mut outcome);
        closed(world, &cluster.log, partition, &mut outcome);
    }
    barriers(world, &cluster.log, &mut outcome);
    // What the correlators promise does not cover what their own repairs emit.
    // Older matches of a rule that is new come behind promises given before it was known.
    let behind = cluster.join_repairs > 0 || world.learns_elsewhere();
    if world.calm && !behind {
        let states = cluster.sessions().map(|session| &session.stage);
        outcome.needless = states.map(Stage::stragglers).sum();
        if outcome.needless > 0 {
            outcome.said.push("a repair in a calm world".to_owned());
        }
    }
    digests(world, cluster, fault, &mut outcome);
    outcome.broken += cluster.broken.len() as u64;
    outcome.said.append(&mut cluster.broken);
    outcome
}

fn ids(world: &World, log: &Log, outcome: &mut Outcome) {
    let expected = expected(world, Scope::ALL);
    let mut found: BTreeSet<EscalationId> = BTreeSet::new();
    for partition in 0..world.partitions {
        for batch in log.all(StreamId::Escalations(partition)) {
            for record in &batch.records {
                let Rec::Escalation(escalation) = record else {
                    continue;
                };
                let id = escalation.escalation_id;
                let tells = match escalation.kind {
                    EscalationKind::Raised | EscalationKind::Continued => true,
                    EscalationKind::Closed | EscalationKind::Amended => false,
                };
                if !tells || found.insert(id) {
                    continue;
                }
                if expected.copied.contains(&id) {
                    outcome.copies += 1;
                } else {
                    outcome.repeats += 1;
                    outcome
                        .said
                        .push(format!("repeated: {}", shown(escalation)));
                }
            }
        }
    }
    outcome.escalations = found.len() as u64;
    let wanted: BTreeSet<EscalationId> = expected
        .windowed
        .keys()
        .copied()
        .chain(expected.single.iter().copied())
        .collect();
    for id in found.difference(&wanted) {
        outcome.wrong += 1;
        outcome.said.push(format!("wrong: {id}"));
    }
    for id in wanted.difference(&found) {
        outcome.missing += 1;
        let windowed = expected.windowed.get(id);
        outcome.said.push(format!("missing: {id}, {windowed:?}"));
    }
}

fn shown(escalation: &balefire_event::Escalation) -> String {
    format!(
        "{} {} {} {:?} slot {} of {}, {:?}",
        escalation.escalation_id,
        escalation.tenant,
        escalation.rule_name,
        escalation.kind,
        escalation.slot_start.0,
        escalation.rearm,
        escalation.key.first().map(|part| part.canonical.clone()),
    )
}

fn is_closed(escalation: &balefire_event::Escalation) -> bool {
    escalation.kind == EscalationKind::Closed
}

/// Every escalated slot is closed once, behind what was told of it, and not before the watermark
/// can have passed its end + L + F: no clock is more than S/2 ahead of the server's. The end of the
/// world is late enough for all.
fn closed(world: &World, log: &Log, partition: u32, outcome: &mut Outcome) {
    let bounds = &world.bounds;
    let reach = bounds.lateness + bounds.ahead + bounds.skew / 2;
    let mut open: BTreeMap<EscalationId, bool> = BTreeMap::new();
    for batch in log.all(StreamId::Escalations(partition)) {
        for record in &batch.records {
            let Rec::Escalation(escalation) = record else {
                continue;
            };
            if escalation.rearm == 0 {
                continue;
            }
            let known = open.get(&escalation.escalation_id).copied();
            if !is_closed(escalation) {
                open.entry(escalation.escalation_id).or_insert(true);
                continue;
            }
            open.insert(escalation.escalation_id, false);
            let end = escalation.slot_start.plus(escalation.rearm);
            let early = batch.stored_at < end.plus(reach).0;
            if known != Some(true) || escalation.received_at < end || early {
                outcome.closed += 1;
                outcome.said.push(format!("closed: {}", shown(escalation)));
            }
        }
    }
    for (id, _) in open.iter().filter(|(_, open)| **open) {
        outcome.closed += 1;
        outcome.said.push(format!("never closed: {id}"));
    }
}

/// Kind and episode of every windowed record are what those before it in its log say.
fn fold(log: &Log, partition: u32, outcome: &mut Outcome) {
    type Key = (String, RuleId, Vec<(String, Vec<u8>)>, i64);
    let mut keys: BTreeMap<Key, BTreeMap<i64, EscalationId>> = BTreeMap::new();
    for batch in log.all(StreamId::Escalations(partition)) {
        for record in &batch.records {
            let Rec::Escalation(escalation) = record else {
                continue;
            };
            if escalation.rearm == 0 || is_closed(escalation) {
                continue;
            }
            let parts = escalation.key.iter();
            let parts = parts.map(|part| (part.field.clone(), part.canonical.clone()));
            let key = (
                escalation.tenant.clone(),
                escalation.rule_id,
                parts.collect(),
                escalation.rearm,
            );
            let known = keys.entry(key).or_default();
            let start = escalation.slot_start.0;
            if known.contains_key(&start) {
                continue;
            }
            let before = known.get(&(start - escalation.rearm));
            let episode = before
                .or_else(|| known.get(&(start + escalation.rearm)))
                .copied();
            let said = match escalation.kind {
                EscalationKind::Raised => None,
                EscalationKind::Continued | EscalationKind::Closed | EscalationKind::Amended => {
                    Some(escalation.episode_id)
                }
            };
            if said != episode {
                outcome.fold += 1;
                outcome.said.push(format!("fold: {}", shown(escalation)));
            }
            known.insert(start, episode.unwrap_or(escalation.escalation_id));
        }
    }
}

/// What was accepted before a barrier and needs no other partition is in ESCALATIONS before it.
fn barriers(world: &World, log: &Log, outcome: &mut Outcome) {
    for barrier in &world.barriers {
        let scope = Scope {
            until: barrier.index,
            first_key: true,
        };
        let before = expected(world, scope);
        for partition in 0..world.partitions {
            for kind in [Kind::Events, Kind::Rekeyed] {
                let place = Place { kind, partition };
                let wanted = before
                    .windowed
                    .iter()
                    .filter(|(_, slot)| slot.place == place);
                let wanted: BTreeSet<EscalationId> = wanted.map(|(id, _)| *id).collect();
                let said = match until(log, place, barrier.id) {
                    None => "never came",
                    Some(found) if !wanted.is_subset(&found) => "came too early",
                    Some(_) => continue,
                };
                outcome.barriers += 1;
                outcome
                    .said
                    .push(format!("a barrier {said} out of {place:?}"));
            }
        }
    }
}

/// What an engine had told when a barrier came out of it.
fn until(log: &Log, place: Place, barrier: BarrierId) -> Option<BTreeSet<EscalationId>> {
    let mut found = BTreeSet::new();
    let batches = log.all(StreamId::Escalations(place.partition)).iter();
    for batch in batches.filter(|batch| batch.origin == Origin::Stage(place)) {
        for record in &batch.records {
            match record {
                Rec::Escalation(escalation) => {
                    found.insert(escalation.escalation_id);
                }
                Rec::Barrier { id, .. } if *id == barrier => return Some(found),
                _ => {}
            }
        }
    }
    None
}

/// The state of every last owner, however often it was restored, is the one that the recorded
/// lists give from the beginning.
fn digests(world: &World, cluster: &mut Cluster<'_>, fault: Option<Fault>, outcome: &mut Outcome) {
    let owners: Vec<(Place, usize, String, RunList)> = cluster
        .sessions()
        .filter(|session| cluster.owns(session))
        .map(|session| {
            let Session {
                stage,
                ledger,
                place,
                ..
            } = session;
            (*place, stage.sets(), stage.digest(), ledger.list().clone())
        })
        .collect();
    for (place, sets, live, tail) in owners {
        let rebuilt = Session::open(world, place, sets, fault, &mut cluster.log, None);
        let digest = rebuilt.map(|mut session| {
            let told = session.outputs.iter().map(|output| &output.record);
            for record in told.filter(|record| matches!(record, Rec::Escalation(_))) {
                outcome.broken += 1;
                let said = format!("owed at rest by {place:?}: {record}");
                outcome.said.push(said);
            }
            session.outputs.clear();
            session.go_through(&cluster.log, &tail);
            session.stage.digest()
        });
        if digest.as_ref().ok() != Some(&live) {
            outcome.digest_diff += 1;
            outcome.said.push(format!(
                "digest of {place:?}: live {live}, rebuilt {digest:?}"
            ));
        }
    }
}
