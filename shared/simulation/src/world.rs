//! [`World`]: what happens in a run, drawn from its seed: periods, rules, what the door writes
//! and when, who stands still.

use balefire_correlator_core::Config;
use balefire_event::{BarrierId, Event, Hint, Lane, Timestamp};
use balefire_rule_engine_core::{EngineConfig, Part};
use balefire_stream::Source;

use crate::door::Door;
use crate::log::{Batch, Origin, Rec, StreamId};
use crate::place::{Kind, Place};
use crate::rng::Rng;
use crate::rules::{Plain, rule_sets};

/// The unit of time: a second, in which correlators tell their watermarks.
pub(crate) const UNIT: i64 = 1_000_000_000;
/// When a run begins.
pub(crate) const START: i64 = 10_000 * UNIT;

/// Periods, nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// S.
    pub(crate) skew: i64,
    /// F.
    pub(crate) ahead: i64,
    /// L of sources without their own.
    pub(crate) lateness: i64,
    /// J of the correlator before it met a hint.
    pub(crate) join_horizon: i64,
    /// H.
    pub(crate) hold: i64,
    /// D.
    pub(crate) memory: i64,
}

/// What the door wrote into one stream.
#[derive(Debug, Clone)]
pub(crate) struct Laid {
    pub(crate) at: i64,
    pub(crate) stream: StreamId,
    pub(crate) batch: Batch,
    /// Which records the oracle reads; a hint lies in several streams and counts once.
    pub(crate) told: Vec<bool>,
}

/// A stage that reads nothing for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stall {
    pub(crate) place: Place,
    /// `None`: every lane.
    pub(crate) lane: Option<usize>,
    pub(crate) from: i64,
    pub(crate) till: i64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Barrier {
    pub(crate) id: BarrierId,
    /// Index in the schedule of its first record.
    pub(crate) index: usize,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    pub(crate) partitions: u32,
    pub(crate) rule_sets: Vec<(u64, Vec<Plain>)>,
    /// When the control log has each rule set.
    pub(crate) control_at: Vec<i64>,
    /// In the order of the log.
    pub(crate) schedule: Vec<Laid>,
    pub(crate) barriers: Vec<Barrier>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) span: i64,
    /// Nothing that asks for a repair happens: none may be asked for.
    pub(crate) calm: bool,
    /// Chances in a hundred, at each action of an owner.
    pub(crate) crash: i64,
    /// That an owner ticks though it has no timer.
    pub(crate) ticks: i64,
    /// How much owners do in a unit of time: the watermark follows closely, or lags.
    pub(crate) pace: i64,
    /// How many records a part of a step takes.
    pub(crate) part_records_max: usize,
}

impl World {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let lateness = rng.pick(&[1, 2, 4, 8, 16]) * UNIT;
        let bounds = Bounds {
            skew: rng.pick(&[0, 2, 4]) * UNIT,
            ahead: rng.pick(&[0, 1, 2]) * UNIT,
            lateness,
            join_horizon: rng.pick(&[2, 4, 8]) * UNIT,
            hold: rng.pick(&[0, 1, 3]) * UNIT,
            memory: 6 * UNIT,
        };
        let partitions = rng.pick(&[1, 1, 2, 2, 4]);
        let swift = rng.chance(20);
        let span = rng.pick(&[12, 30, 60]) * UNIT;
        let calm = rng.chance(35);
        let sets = rng.pick(&[1, 1, 2, 3]);
        let rule_sets = rule_sets(rng, sets);
        let mut control_at: Vec<i64> = (1..sets).map(|_| START + rng.below(span)).collect();
        control_at.insert(0, 0);
        control_at.sort_unstable();
        let mut world = Self {
            bounds,
            partitions,
            rule_sets,
            control_at,
            schedule: Vec::new(),
            barriers: Vec::new(),
            stalls: Vec::new(),
            span,
            calm,
            crash: rng.pick(&[0, 1, 3]),
            ticks: if swift { 100 } else { rng.pick(&[5, 30]) },
            pace: if swift { 4 * i64::from(partitions) } else { 1 },
            part_records_max: rng.pick(&[1, 1, 2, 100]),
        };
        world.schedule = Door::new(&world).records(rng);
        world.place_barriers(rng);
        world.merge(rng);
        world.stall(rng);
        world
    }

    /// Barriers, as the door places them: in every lane of every partition of both logs.
    fn place_barriers(&mut self, rng: &mut Rng) {
        let mut placed: Vec<(i64, BarrierId)> = Vec::new();
        for number in 0..rng.pick(&[0u8, 1, 2]) {
            let at = START + rng.below(self.span + 20 * UNIT);
            placed.push((at, BarrierId([number + 1; 16])));
        }
        for (at, id) in &placed {
            let record = Rec::Barrier {
                id: *id,
                at: Timestamp(*at),
            };
            for partition in 0..self.partitions {
                for &lane in Lane::ALL {
                    for stream in [
                        StreamId::intake(lane, partition),
                        StreamId::events(lane, partition),
                    ] {
                        self.schedule.push(Laid {
                            at: *at,
                            stream,
                            batch: Batch {
                                origin: Origin::Door,
                                records: vec![record.clone()],
                                // As every batch of the door.
                                revision_max: self.revision(*at),
                                ..Batch::tick(*at)
                            },
                            told: vec![false],
                        });
                    }
                }
            }
        }
        self.schedule.sort_by_key(|laid| laid.at);
    }

    /// The newest revision that the control log has at a time.
    fn revision(&self, at: i64) -> u64 {
        let known = self.control_at.iter().filter(|since| **since <= at);
        known.count().saturating_sub(1) as u64
    }

    /// Whether a rule counted in REKEYED is new in a later revision.
    pub(crate) fn learns_elsewhere(&self) -> bool {
        let mut sets = self.rule_sets.iter().skip(1).flat_map(|(_, rules)| rules);
        sets.any(|rule| rule.is_elsewhere() && !self.began_with(rule))
    }

    fn began_with(&self, rule: &Plain) -> bool {
        let first = self.rule_sets.first().into_iter();
        first
            .flat_map(|(_, rules)| rules)
            .any(|known| known.spec(None).signature == rule.spec(None).signature)
    }

    /// Some neighbours of one stream and tenant become one batch. Notes where barriers lie.
    fn merge(&mut self, rng: &mut Rng) {
        let mut merged: Vec<Laid> = Vec::new();
        for laid in std::mem::take(&mut self.schedule) {
            if let [Rec::Barrier { id, .. }] = laid.batch.records.as_slice() {
                if self.barriers.iter().all(|known| known.id != *id) {
                    self.barriers.push(Barrier {
                        id: *id,
                        index: merged.len(),
                    });
                }
                merged.push(laid);
                continue;
            }
            let joins = |last: &Laid| {
                last.stream == laid.stream
                    && last.at == laid.at
                    && last.batch.tenant == laid.batch.tenant
                    && !matches!(last.batch.records.as_slice(), [Rec::Barrier { .. }])
            };
            match merged.last_mut() {
                Some(last) if joins(last) && rng.chance(70) => {
                    let (to, from) = (&mut last.batch, laid.batch);
                    to.received_at_max = to.received_at_max.max(from.received_at_max);
                    to.lateness_max = to.lateness_max.max(from.lateness_max);
                    to.revision_max = to.revision_max.max(from.revision_max);
                    to.records.extend(from.records);
                    last.told.extend(laid.told);
                }
                Some(_) | None => merged.push(laid),
            }
        }
        self.schedule = merged;
    }

    fn stall(&mut self, rng: &mut Rng) {
        for _ in 0..rng.pick(&[0, 0, 1, 2, 3]) {
            let from = START + rng.below(self.span);
            let long = rng.pick(&[5, 20, 100]);
            self.stalls.push(Stall {
                place: Place {
                    kind: rng.pick(&[Kind::Joins, Kind::Joins, Kind::Events, Kind::Rekeyed]),
                    partition: u32::try_from(rng.below(self.partitions.into())).unwrap_or(0),
                },
                lane: (!self.calm && rng.chance(60)).then(|| rng.index(3)),
                from,
                till: from + long * UNIT,
            });
        }
    }

    pub(crate) fn stalled(&self, place: Place, lane: usize, now: i64) -> bool {
        self.stalls.iter().any(|stall| {
            stall.place == place
                && stall.lane.is_none_or(|stalled| stalled == lane)
                && (stall.from..stall.till).contains(&now)
        })
    }

    /// The records of the door as the oracle reads them, up to an index of the schedule.
    pub(crate) fn told(
        &self,
        until: usize,
    ) -> impl Iterator<Item = (StreamId, &'static str, &Rec)> {
        self.schedule.iter().take(until).flat_map(|laid| {
            let records = laid.batch.records.iter().zip(&laid.told);
            let told = records.filter(|(_, told)| **told);
            told.map(|(record, _)| (laid.stream, laid.batch.tenant, record))
        })
    }

    pub(crate) fn engine_config(&self, part: Part) -> EngineConfig {
        let sources = match part {
            Part::Rekeyed { sources } => (0..sources).map(EngineConfig::rekeyed_source).collect(),
            Part::Events | Part::Whole => Source::all(self.partitions),
        };
        EngineConfig {
            skew: self.bounds.skew,
            ahead: self.bounds.ahead,
            join_horizon: self.bounds.join_horizon,
            untrusted_memory: self.bounds.memory,
            sweep_every: UNIT,
            keeps_all: false,
            barrier_sources: sources,
        }
    }

    pub(crate) fn join_config(&self, partition: u32) -> Config {
        Config {
            partition,
            partitions: self.partitions,
            hold: self.bounds.hold,
            hold_urgent: self.bounds.hold / 2,
            join_horizon: self.bounds.join_horizon,
            skew: self.bounds.skew,
        }
    }
}

/// A batch of the door of one record.
pub(crate) fn batch_of_event(
    tenant: &'static str,
    lateness_max: i64,
    event: Event<'static>,
) -> Batch {
    Batch {
        tenant,
        origin: Origin::Door,
        lateness_max,
        received_at_max: event.received_at,
        revision_max: event.control_revision,
        records: vec![Rec::Event(Box::new(event))],
        step: None,
        stored_at: 0,
    }
}

/// The same of a hint.
pub(crate) fn batch_of_hint(tenant: &'static str, lateness_max: i64, hint: Hint<'static>) -> Batch {
    Batch {
        tenant,
        origin: Origin::Door,
        lateness_max,
        received_at_max: hint.received_at,
        revision_max: 0,
        records: vec![Rec::Hint(Box::new(hint))],
        step: None,
        stored_at: 0,
    }
}
