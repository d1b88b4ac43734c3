//! The rule engine's half of [`Stage`]: events or matches of them in, escalations and matches out.

use std::collections::BTreeSet;

use balefire_event::{DedupId, Escalation, Event, Lane, Timestamp, Timing, partition};
use balefire_rule_engine_core::{BatchHeader, Effect, EngineConfig, Rekeyed};
use balefire_stream::Source;

use crate::fault::Fault;
use crate::log::{Batch, Origin, Rec};
use crate::place::{ESCALATIONS, Kind, rekeyed};
use crate::stage::{Core, Effects, Output, Stage, known_tenant};

/// What a window keeps under [`Fault::CapOnWindow`]: one more than the largest N.
const CAP: usize = 4;

impl Stage<'_> {
    /// Takes a batch in.
    pub(crate) fn count(&mut self, lane: usize, batch: &Batch, now: i64, effects: &mut Effects) {
        let lane = self.lane(lane);
        let header = self.header(batch);
        let mut found = Vec::new();
        if let Core::Engine(engine) = &mut self.core {
            engine.batch_start(lane, &header);
        }
        for (index, record) in (0u32..).zip(&batch.records) {
            self.record(index, lane, record, batch, &mut found);
        }
        if let Core::Engine(engine) = &mut self.core {
            if self.fault == Some(Fault::RekeyedWatermarkIgnored)
                && self.place.kind == Kind::Rekeyed
                && batch.received_at_max > Timestamp(0)
            {
                let at = batch.received_at_max.minus(self.world.bounds.skew);
                (0..self.world.partitions).for_each(|sender| engine.watermark(sender, at));
            }
            engine.batch_end(&mut found);
        }
        self.jump(batch, now, &mut found);
        self.settle(batch, found, effects);
    }

    /// A batch read again.
    pub(crate) fn count_again(&mut self, lane: usize, batch: &Batch, effects: &mut Effects) {
        let lane = self.lane(lane);
        let fault = self.fault;
        let Core::Engine(engine) = &mut self.core else {
            return;
        };
        let mut found = Vec::new();
        for record in &batch.records {
            let before = found.len();
            match record {
                Rec::Event(event) => {
                    let altered = altered(fault, event, batch);
                    if altered.is_none() && lost(fault, event) {
                        continue;
                    }
                    let event = altered.as_ref().unwrap_or(event);
                    engine.repair_event(lane, batch.tenant, event, &mut found);
                    look_no_further(fault, event.t, before, &mut found);
                }
                Rec::Match(matched) => {
                    let Rekeyed {
                        rule, generation, ..
                    } = **matched;
                    let event = &matched.event;
                    engine.repair_matched(batch.tenant, rule, generation, event, &mut found);
                    look_no_further(fault, event.t, before, &mut found);
                }
                _ => {}
            }
        }
        self.settle(batch, found, effects);
    }

    /// A batch read again for new rules.
    pub(crate) fn warm(&mut self, lane: usize, batch: &Batch, effects: &mut Effects) {
        let lane = self.lane(lane);
        let fault = self.fault;
        let Core::Engine(engine) = &mut self.core else {
            return;
        };
        let mut found = Vec::new();
        for record in &batch.records {
            let Rec::Event(event) = record else { continue };
            let altered = altered(fault, event, batch);
            if altered.is_none() && lost(fault, event) {
                continue;
            }
            let before = found.len();
            let event = altered.as_ref().unwrap_or(event);
            engine.backfill_event(lane, batch.tenant, event, &mut found);
            look_no_further(fault, event.t, before, &mut found);
        }
        self.settle(batch, found, effects);
    }

    /// Everything was read again.
    pub(crate) fn warm_end(&mut self, effects: &mut Effects) {
        let mut found = Vec::new();
        if let Core::Engine(engine) = &mut self.core {
            engine.backfill_end(&mut found);
        }
        self.settle(&Batch::tick(0), found, effects);
    }

    /// Every recorded step was gone through.
    pub(crate) fn redo_end(&mut self, effects: &mut Effects) {
        let mut found = Vec::new();
        if let Core::Engine(engine) = &mut self.core {
            engine.redo_end(&mut found);
        }
        if self.fault == Some(Fault::OwedDropped) {
            found.clear();
        }
        self.settle(&Batch::tick(0), found, effects);
    }

    /// REKEYED has no lanes.
    const fn lane(&self, lane: usize) -> Lane {
        match self.place.kind {
            Kind::Rekeyed => Lane::Normal,
            Kind::Joins | Kind::Events => Lane::ALL[lane],
        }
    }

    fn header(&self, batch: &Batch) -> BatchHeader<'static> {
        let mut header = BatchHeader {
            tenant: batch.tenant,
            lateness_max: batch.lateness_max,
            received_at_max: batch.received_at_max,
        };
        if self.fault == Some(Fault::TrimWithoutLateness) {
            header.lateness_max = batch.lateness_max.min(1);
        }
        header
    }

    fn record(
        &mut self,
        index: u32,
        lane: Lane,
        record: &Rec,
        batch: &Batch,
        found: &mut Vec<Effect>,
    ) {
        let (fault, kind) = (self.fault, self.place.kind);
        if let Rec::Event(event) = record
            && fault == Some(Fault::CapOnWindow)
            && self.is_capped(batch.tenant, event)
        {
            return;
        }
        let Core::Engine(engine) = &mut self.core else {
            return;
        };
        let before = found.len();
        match record {
            Rec::Event(event) => {
                let altered = altered(fault, event, batch);
                if altered.is_some() || !lost(fault, event) {
                    let event = altered.as_ref().unwrap_or(event);
                    engine.event(index, event, found);
                    look_no_further(fault, event.t, before, found);
                }
            }
            Rec::Match(matched) => {
                let event = &matched.event;
                // Of a generation that is not known: a dead letter, and so an id that is missing.
                engine.matched(matched.rule, matched.generation, event, found);
                look_no_further(fault, event.t, before, found);
            }
            Rec::Tick(at) => engine.tick(*at),
            Rec::Watermark { partition, at } => {
                let ignored = match kind {
                    Kind::Rekeyed => Fault::RekeyedWatermarkIgnored,
                    Kind::Joins | Kind::Events => Fault::CorrelatorWatermarkIgnored,
                };
                if fault != Some(ignored) {
                    engine.watermark(*partition, *at);
                }
            }
            Rec::Barrier { id, at } => {
                engine.barrier(*id, *at, source(batch.origin, lane), found);
            }
            Rec::Hint(_) | Rec::Stub(_) | Rec::Escalation(_) => {}
        }
    }

    /// Whether an event is older than the newest that its window keeps: of the deliberate fault.
    fn is_capped(&mut self, tenant: &'static str, event: &Event<'static>) -> bool {
        let (Timing::OnTime, Some(user)) = (event.timing, &event.user) else {
            return false;
        };
        let key = (tenant, user.subject_ref, event.category);
        let newest: &mut BTreeSet<(Timestamp, DedupId)> = self.newest.entry(key).or_default();
        newest.insert((event.t, event.dedup_id));
        if newest.len() > CAP {
            newest.pop_first();
        }
        !newest.contains(&(event.t, event.dedup_id))
    }

    /// Time as deliberate faults read it: ahead of the slowest lane.
    fn jump(&mut self, batch: &Batch, now: i64, found: &mut Vec<Effect>) {
        let at = match self.fault {
            Some(Fault::FasterLane) => batch.received_at_max,
            Some(Fault::ConsumerWatermark) => Timestamp(now),
            _ => return,
        };
        let Core::Engine(engine) = &mut self.core else {
            return;
        };
        for other in Lane::ALL {
            let header = BatchHeader {
                tenant: "",
                lateness_max: 0,
                received_at_max: at,
            };
            engine.batch_start(*other, &header);
            engine.batch_end(found);
        }
    }

    /// What the engine wants done, as its shell does it.
    fn settle(&mut self, batch: &Batch, found: Vec<Effect>, effects: &mut Effects) {
        for effect in found {
            match effect {
                Effect::Escalate(escalation) => {
                    let at = escalation.received_at;
                    let tenant = known_tenant(&escalation.tenant);
                    let record = Rec::Escalation(escalation);
                    effects.outputs.push(Output {
                        tenant,
                        ..nobodys(ESCALATIONS, record, Some(at))
                    });
                }
                Effect::Rekey(matched) => effects.outputs.push(self.matched(batch, matched)),
                Effect::Promise { at } => {
                    let partition = self.place.partition;
                    self.everywhere(&Rec::Watermark { partition, at }, None, effects);
                }
                Effect::BarrierOut { id, at } => {
                    let record = Rec::Barrier { id, at };
                    let own = nobodys(ESCALATIONS, record.clone(), Some(at));
                    effects.outputs.push(own);
                    if self.place.kind == Kind::Events {
                        self.everywhere(&record, Some(at), effects);
                    }
                }
                Effect::Repair(request) => {
                    self.repairs += 1;
                    let from = request.slots_from.min(request.events_from);
                    let before = effects.repair_from.unwrap_or(Timestamp::MAX);
                    effects.repair_from = Some(before.min(from));
                }
                Effect::DeadLetter { .. } => {}
            }
        }
    }

    fn matched(&self, batch: &Batch, matched: Box<Rekeyed>) -> Output {
        let partitions = self.world.partitions;
        let owner = partition::of_match(batch.tenant, &matched.rule, &matched.key, partitions);
        let to = if self.fault == Some(Fault::RekeyedToWrongOwner) {
            self.place.partition
        } else {
            owner
        };
        let event = &matched.event;
        Output {
            target: rekeyed(to),
            tenant: batch.tenant,
            received_at: Some(event.received_at),
            // Whoever reads it must know the generation.
            revision: event.control_revision.max(matched.generation),
            lateness: batch.lateness_max.max(event.lateness),
            record: Rec::Match(matched),
        }
    }

    /// To every REKEYED partition.
    fn everywhere(&self, record: &Rec, at: Option<Timestamp>, effects: &mut Effects) {
        for to in 0..self.world.partitions {
            effects
                .outputs
                .push(nobodys(rekeyed(to), record.clone(), at));
        }
    }
}

const fn nobodys(target: usize, record: Rec, received_at: Option<Timestamp>) -> Output {
    Output {
        target,
        tenant: "",
        record,
        received_at,
        revision: 0,
        lateness: 0,
    }
}

/// Which input of an engine a batch came in on.
fn source(origin: Origin, lane: Lane) -> Source {
    match origin {
        Origin::Door | Origin::Ticker => Source::Door(lane),
        Origin::Stage(place) if place.joins() => Source::Joined {
            partition: place.partition,
            lane,
        },
        Origin::Stage(place) => EngineConfig::rekeyed_source(place.partition),
    }
}

/// The event as a fault changes it.
fn altered(
    fault: Option<Fault>,
    event: &Event<'static>,
    batch: &Batch,
) -> Option<Box<Event<'static>>> {
    let mut event = event.clone();
    match fault? {
        Fault::NoDedupe => {
            let mut id = event.dedup_id.0;
            id[8..].copy_from_slice(&event.received_at.0.to_le_bytes());
            event.dedup_id = DedupId(id);
        }
        Fault::SlotByArrival => event.t = event.received_at,
        Fault::RevisionOfBatch => event.control_revision = batch.revision_max,
        _ => return None,
    }
    Some(Box::new(event))
}

fn lost(fault: Option<Fault>, event: &Event<'static>) -> bool {
    let amendment = event.join.as_ref().is_some_and(|join| join.amendment);
    fault == Some(Fault::AmendmentDropped) && amendment
}

/// What breaches at another event than the one just taken in goes unseen: of the deliberate fault.
fn look_no_further(fault: Option<Fault>, t: Timestamp, before: usize, found: &mut Vec<Effect>) {
    if fault != Some(Fault::NoLookAhead) {
        return;
    }
    let seen = |one: &Escalation| one.rearm == 0 || one.breach_at <= t;
    let kept = found.drain(before..).filter(|effect| match effect {
        Effect::Escalate(escalation) => seen(escalation),
        _ => true,
    });
    let kept: Vec<Effect> = kept.collect();
    found.extend(kept);
}
