//! What was published: escalations of a partition, and matches that were sent on.

use std::collections::BTreeMap;
use std::fmt;

use balefire_bus::{Log, Topology};
use balefire_driver::Plan;
use balefire_event::{DedupId, EscalationId, EscalationKind, Lane, RuleId};
use balefire_rule_engine_core::{Facts, Rekeyed};
use balefire_wire::{BatchView, RecordView};

use super::Verdict;
use crate::{Error, wiring};

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) stream: String,
    pub(super) sequence: u64,
    pub(super) index: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            sequence,
            index,
        } = self;
        write!(f, "{stream} at {sequence}, record {index}")
    }
}

pub(super) const fn names_an_id(kind: EscalationKind) -> bool {
    matches!(kind, EscalationKind::Raised | EscalationKind::Continued)
}

/// The escalations of one stage's partition.
pub(super) struct Published {
    stream: String,
    subject: String,
    lanes: Vec<i32>,
    next: u64,
    pub(super) records: Vec<(Place, EscalationId, Facts)>,
    /// Highest sequence that a whole step names, source by source.
    pub(super) covered: Vec<u64>,
}

impl Published {
    pub(super) fn new(topology: &Topology, plan: &Plan) -> Self {
        let target = plan.targets.get(wiring::ESCALATIONS);
        let lane = |lane: Option<Lane>| lane.map_or(0, Lane::number);
        Self {
            stream: topology.escalations_stream(plan.partition),
            subject: target.map_or_else(String::new, |target| target.subject.clone()),
            lanes: plan.sources.iter().map(|s| lane(s.lane)).collect(),
            next: 1,
            records: Vec::new(),
            covered: vec![0; plan.sources.len()],
        }
    }

    /// Reads what came since.
    pub(super) async fn read_on(&mut self, log: &Log, verdict: &mut Verdict) -> Result<(), Error> {
        let mut tail = log.read_all(&self.stream, self.next).await?;
        while let Some(message) = tail.next().await? {
            self.next = message.sequence + 1;
            if message.subject != self.subject {
                continue;
            }
            let at = |index| Place {
                stream: self.stream.clone(),
                sequence: message.sequence,
                index,
            };
            let batch = match BatchView::parse(&message.payload) {
                Ok(batch) => batch,
                Err(error) => {
                    verdict.faults.push(format!("{}: {error}", at(0)));
                    continue;
                }
            };
            for (index, record) in (0u32..).zip(batch.records()) {
                match record {
                    Ok(RecordView::Escalation(one)) if names_an_id(one.kind) => {
                        let facts = Facts::of(&one);
                        self.records.push((at(index), one.escalation_id, facts));
                    }
                    Ok(_) => {}
                    Err(error) => verdict.faults.push(format!("{}: {error}", at(index))),
                }
            }
            let whole = batch.step.as_ref().filter(|step| step.last_part);
            for run in whole.iter().flat_map(|step| &step.inputs) {
                let lane = self.lanes.iter().position(|lane| *lane == run.lane);
                if let Some(covered) = lane.and_then(|lane| self.covered.get_mut(lane)) {
                    let last = run.first_sequence.saturating_add(run.count);
                    *covered = last.saturating_sub(1).max(*covered);
                }
            }
        }
        Ok(())
    }
}

/// Which match: the REKEYED partition, rule, first revision of its generation, event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MatchId(u32, RuleId, u64, DedupId);

impl MatchId {
    pub(super) const fn of(to: u32, found: &Rekeyed) -> Self {
        Self(to, found.rule, found.generation, found.event.dedup_id)
    }
}

impl fmt::Display for MatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(to, rule, generation, dedup_id) = self;
        let rule = rule.to_uuid();
        write!(
            f,
            "rule {rule} of revision {generation} and event {dedup_id}, for partition {to}"
        )
    }
}

/// All matches in REKEYED, by the partition that sent them.
#[derive(Default)]
pub(super) struct Matches {
    next: BTreeMap<u32, u64>,
    sent: BTreeMap<u32, BTreeMap<MatchId, Place>>,
}

impl Matches {
    /// Reads what came since.
    pub(super) async fn read_on(&mut self, log: &Log, topology: &Topology) -> Result<(), Error> {
        for to in 0..topology.partitions {
            let stream = topology.rekeyed_stream(to);
            let next = self.next.entry(to).or_insert(1);
            let mut tail = log.read_all(&stream, *next).await?;
            while let Some(message) = tail.next().await? {
                *next = message.sequence + 1;
                let (Some(sender), Ok(batch)) = (
                    wiring::sender(&message.subject),
                    BatchView::parse(&message.payload),
                ) else {
                    continue;
                };
                let sent = self.sent.entry(sender).or_default();
                for (index, record) in (0u32..).zip(batch.records()) {
                    if let Ok(RecordView::Match {
                        rule_id,
                        generation,
                        event,
                    }) = record
                    {
                        let id = MatchId(to, rule_id, generation, event.dedup_id);
                        sent.entry(id).or_insert_with(|| Place {
                            stream: stream.clone(),
                            sequence: message.sequence,
                            index,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The first one, by its place, that nothing gives.
    pub(super) fn unexpected(
        &self,
        sender: u32,
        derived: &BTreeMap<MatchId, bool>,
    ) -> Option<(MatchId, Place)> {
        let sent = self.sent.get(&sender)?.iter();
        let unexpected = sent.filter(|(id, _)| !derived.contains_key(id));
        let first = unexpected.min_by_key(|(_, at)| (*at).clone());
        first.map(|(id, at)| (*id, at.clone()))
    }

    /// One that was not sent.
    pub(super) fn missing(
        &self,
        sender: u32,
        derived: &BTreeMap<MatchId, bool>,
    ) -> Option<MatchId> {
        let sent = self.sent.get(&sender);
        let lacks = |id: &MatchId| sent.is_none_or(|sent| !sent.contains_key(id));
        let mut due = derived.iter().filter(|(_, due)| **due);
        due.find(|(id, _)| lacks(id)).map(|(id, _)| *id)
    }
}
