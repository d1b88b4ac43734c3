//! Small random logs, and a driver that feeds them to an engine as a shell does: lanes in any
//! interleaving, repairs, crashes with older checkpoints, loss of the store.

#![expect(dead_code, reason = "each test takes the part it needs")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test ends where it is wrong, and its numbers are small"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::identity::TenantKey;
use balefire_event::{
    Assurance, Category, DedupId, Digest, Escalation, Event, Field, Identity, IdentityKind, Lane,
    RuleId, Sealed, Severity, SubjectRef, Timestamp, Timing,
};
use balefire_rule::{Measure, RuleKind, Threshold};
use balefire_rule_engine_core::{
    BatchHeader, Effect, Engine, EngineConfig, EngineState, Matcher, RuleSpec,
};

pub const TENANT: &str = "default";

/// A generator of no quality and full reproducibility.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed ^ 0x9e37_79b9_7f4a_7c15);
        rng.below(2);
        rng.below(2);
        rng
    }
    pub fn below(&mut self, n: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % n
    }
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high - low + 1)
    }
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as i64)).unwrap()]
    }
    pub fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }
}

/// Matches one category.
pub struct OfCategory(pub Category);

impl Matcher for OfCategory {
    fn matches(&self, event: &Event<'_>) -> bool {
        event.category == self.0
    }
    fn reads(&self, field: &Field) -> bool {
        *field == Field::Category
    }
}

/// Counts guardrail blocks by user; periods in nanoseconds.
pub fn spec(id: u8, n: u64, window: i64, rearm: i64) -> RuleSpec {
    let group_by = vec![Field::Identity(IdentityKind::User)];
    RuleSpec {
        id: RuleId([id; 16]),
        name: format!("rule_{id}"),
        title: String::new(),
        severity: Severity::High,
        key_fields: group_by.clone(),
        kind: RuleKind::Threshold(Threshold {
            measure: Measure::Events,
            n,
            window,
            rearm,
            group_by,
        }),
        actions: Vec::new(),
        audiences: Vec::new(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        shadow: false,
        categories: vec![Category::GuardrailBlock],
        signature: Digest(
            FieldHasher::new("test rule")
                .number(n as i64)
                .number(window)
                .number(rearm)
                .digest(),
        ),
        matcher: Arc::new(OfCategory(Category::GuardrailBlock)),
    }
}

pub fn user(name: &str) -> Identity<'static> {
    let key = TenantKey::default_of(TENANT);
    Identity {
        subject_ref: SubjectRef::of(&key, IdentityKind::User, name),
        kind: IdentityKind::User,
        assurance: Assurance::Verified,
        via: "user_id".into(),
        label: Some(Sealed::plain(name.to_owned().into())),
    }
}

/// One record of a lane.
#[derive(Debug, Clone)]
pub struct Record {
    pub stored_at: i64,
    pub lateness: i64,
    pub received_at: i64,
    /// `None`: a tick.
    pub event: Option<Event<'static>>,
}

impl Record {
    fn of(stored_at: i64, lateness: i64, event: &Event<'static>) -> Self {
        Self {
            stored_at,
            lateness,
            received_at: event.received_at.0,
            event: Some(event.clone()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub skew: i64,
    pub ahead: i64,
    pub memory: i64,
}

impl Bounds {
    pub fn config(self) -> EngineConfig {
        EngineConfig {
            skew: self.skew,
            ahead: self.ahead,
            join_horizon: 0,
            untrusted_memory: self.memory,
            sweep_every: 1,
            keeps_all: false,
            barrier_sources: BTreeSet::new(),
        }
    }
}

pub struct World {
    pub bounds: Bounds,
    pub lanes: [Vec<Record>; 3],
    pub rule_sets: Vec<(u64, Vec<RuleSpec>)>,
    pub lateness: i64,
}

impl World {
    pub fn events(&self) -> impl Iterator<Item = &Event<'static>> + Clone {
        self.lanes.iter().flatten().filter_map(|r| r.event.as_ref())
    }
    pub fn engine(&self) -> Engine {
        Engine::with_specs(0, &self.rule_sets, self.bounds.config()).unwrap()
    }
}

/// Which hazards a world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hazards {
    pub copies: bool,
    pub copies_change_revision: bool,
    pub late: bool,
    pub future: bool,
    pub other_lateness: bool,
    pub raised_lateness: bool,
    pub dead_letters: bool,
    pub generations: bool,
}

impl Hazards {
    pub fn of(bits: u64) -> Self {
        let bit = |n: u64| bits >> n & 1 == 1;
        Self {
            copies: bit(0),
            copies_change_revision: bit(1),
            late: bit(2),
            future: bit(3),
            other_lateness: bit(4),
            raised_lateness: bit(5),
            dead_letters: bit(6),
            generations: bit(7),
        }
    }
}

pub fn stamped(occurred: i64, received: i64, lateness: i64, ahead: i64) -> Timing {
    if occurred > received + ahead {
        Timing::Future
    } else if occurred < received - lateness {
        Timing::Late
    } else {
        Timing::OnTime
    }
}

pub fn world(rng: &mut Rng, hazards: Hazards, small: bool) -> World {
    let bounds = Bounds {
        skew: rng.pick(&[0, 2, 4]),
        ahead: rng.pick(&[0, 1, 2]),
        memory: 0,
    };
    let lateness = rng.pick(&[1, 2, 4, 8]);
    let (n, w) = (rng.between(0, 3), rng.between(1, 8));
    let r = rng.pick(&[1, 2, 3, w, w, 2 * w, 12, 20]);
    let span = rng.pick(&[15, 40, 80]);
    let mut raw = raw_events(rng, hazards, bounds, lateness, span, small);
    for lane in 0..3 {
        let every = rng.pick(&[3, 7, 15]);
        for stored_at in (0..span + 100).step_by(usize::try_from(every).unwrap()) {
            raw.push((
                lane,
                Record {
                    stored_at,
                    lateness,
                    received_at: stored_at,
                    event: None,
                },
            ));
        }
    }
    raw.sort_by_key(|(_, record)| record.stored_at);
    let mut lanes = [Vec::new(), Vec::new(), Vec::new()];
    for (lane, record) in raw {
        lanes[lane].push(record);
    }
    let mut rule_sets = vec![(0, vec![spec(1, n as u64, w, r)])];
    if hazards.generations {
        let (n, w) = (rng.between(0, 3), rng.between(1, 8));
        let r = if rng.chance(50) {
            r
        } else {
            rng.pick(&[1, 2, 3, 5, 12])
        };
        rule_sets.push((1, vec![spec(1, n as u64, w, r)]));
    }
    World {
        bounds,
        lanes,
        rule_sets,
        lateness,
    }
}

fn raw_events(
    rng: &mut Rng,
    hazards: Hazards,
    bounds: Bounds,
    lateness: i64,
    span: i64,
    small: bool,
) -> Vec<(usize, Record)> {
    let changed_at = rng.between(1, span);
    let count = if small {
        rng.between(3, 8)
    } else {
        rng.between(6, 24)
    };
    let mut raw = Vec::new();
    for index in 0..count {
        let mut stored = rng.below(span);
        let lane = usize::try_from(rng.below(3)).unwrap();
        let own = if hazards.other_lateness && rng.chance(50) {
            rng.pick(&[0, 2, 30])
        } else {
            lateness
        };
        let own = if hazards.raised_lateness && stored > span / 2 && rng.chance(40) {
            span
        } else {
            own
        };
        let received = stored + rng.between(-(bounds.skew / 2), bounds.skew / 2);
        let occurred = match rng.below(100) {
            0..10 if hazards.late => received - own - rng.between(1, 10),
            10..20 if hazards.future => received + bounds.ahead + rng.between(1, 10),
            20..70 => received - rng.between(0, own),
            _ => received + rng.between(0, bounds.ahead),
        };
        if hazards.dead_letters && rng.chance(15) {
            stored += rng.between(10, 80);
        }
        let revision = u64::from(stored >= changed_at && !rng.chance(20));
        let name = rng.pick(&[Some("k"), Some("k"), Some("k"), Some("m"), None]);
        let mut event = Event {
            dedup_id: DedupId([u8::try_from(index).unwrap(); 16]),
            event_id: format!("e{index}").into(),
            occurred_at: Timestamp(occurred),
            received_at: Timestamp(received),
            t: Timestamp(occurred),
            timing: stamped(occurred, received, own, bounds.ahead),
            control_revision: revision,
            category: Category::GuardrailBlock,
            user: name.map(user),
            lateness: own,
            ..Event::default()
        };
        raw.push((lane, Record::of(stored, own.max(lateness), &event)));
        while hazards.copies && rng.chance(35) {
            let reach = rng.pick(&[3, 10, span]);
            stored += rng.between(0, reach);
            let received = stored + rng.between(-(bounds.skew / 2), bounds.skew / 2);
            event.received_at = Timestamp(received);
            event.timing = stamped(occurred, received, own, bounds.ahead);
            if hazards.copies_change_revision {
                event.control_revision = u64::from(stored >= changed_at && !rng.chance(20));
            }
            raw.push((lane, Record::of(stored, own.max(lateness), &event)));
        }
    }
    raw
}

/// What ESCALATIONS holds.
#[derive(Debug, Clone)]
pub struct Logged {
    pub stored_at: i64,
    pub escalation: Escalation,
}

/// An owner of the partition.
pub struct Owner<'w> {
    pub world: &'w World,
    pub engine: Engine,
    pub positions: [usize; 3],
    pub now: i64,
    pub out: Vec<Logged>,
    pub repairs: usize,
}

impl<'w> Owner<'w> {
    pub fn new(world: &'w World) -> Self {
        Self {
            world,
            engine: world.engine(),
            positions: [0; 3],
            now: 0,
            out: Vec::new(),
            repairs: 0,
        }
    }

    pub fn done(&self) -> bool {
        (0..3).all(|lane| self.positions[lane] == self.world.lanes[lane].len())
    }

    /// Lanes whose next record is stored by now.
    pub fn ready(&self) -> Vec<usize> {
        (0..3)
            .filter(|lane| {
                self.world.lanes[*lane]
                    .get(self.positions[*lane])
                    .is_some_and(|record| record.stored_at <= self.now)
            })
            .collect()
    }

    /// Takes in the next record of a lane.
    pub fn consume(&mut self, lane: usize) {
        let record = &self.world.lanes[lane][self.positions[lane]];
        self.positions[lane] += 1;
        let header = BatchHeader {
            tenant: TENANT,
            lateness_max: record.lateness,
            received_at_max: Timestamp(record.received_at),
        };
        let mut effects = Vec::new();
        self.engine.batch_start(Lane::ALL[lane], &header);
        match &record.event {
            Some(event) => self.engine.event(0, event, &mut effects),
            None => self.engine.tick(Timestamp(record.received_at)),
        }
        self.engine.batch_end(&mut effects);
        for effect in effects {
            match effect {
                Effect::Escalate(escalation) => self.log(*escalation),
                Effect::Repair(request) => {
                    self.repairs += 1;
                    self.repair(request.events_from, request.slots_from);
                }
                Effect::DeadLetter { .. }
                | Effect::BarrierOut { .. }
                | Effect::Rekey(_)
                | Effect::Promise { .. } => panic!("{effect:?}"),
            }
        }
    }

    pub fn log(&mut self, escalation: Escalation) {
        let stored_at = self.now;
        self.out.push(Logged {
            stored_at,
            escalation,
        });
    }

    fn load(&mut self, from: Option<Timestamp>) {
        for logged in &self.out {
            if from.is_none_or(|from| logged.stored_at >= from.0) {
                self.engine.load_escalation(&logged.escalation);
            }
        }
    }

    fn repair(&mut self, events_from: Timestamp, slots_from: Timestamp) {
        assert!(slots_from <= events_from);
        self.engine.repair_begin();
        self.load(Some(slots_from));
        let mut effects = Vec::new();
        for lane in 0..3 {
            for record in &self.world.lanes[lane][..self.positions[lane]] {
                if record.stored_at < events_from.0 {
                    continue;
                }
                if let Some(event) = &record.event {
                    self.engine
                        .repair_event(Lane::ALL[lane], TENANT, event, &mut effects);
                }
            }
        }
        self.engine.repair_end();
        for effect in effects {
            let Effect::Escalate(escalation) = effect else {
                panic!("{effect:?}")
            };
            self.log(*escalation);
        }
    }

    /// A crash: back to a checkpoint, outputs stay.
    pub fn restore(&mut self, state: &EngineState, positions: [usize; 3]) {
        self.engine = self.world.engine();
        self.engine.restore(state.clone()).unwrap();
        self.positions = positions;
        self.load(self.engine.load_from());
    }

    /// The store is lost: built from the log behind the known low watermark.
    pub fn rebuild(&mut self) {
        let Some(low) = self.engine.low_watermark() else {
            self.engine = self.world.engine();
            self.positions = [0; 3];
            return self.load(None);
        };
        let lateness = self
            .world
            .lanes
            .iter()
            .flatten()
            .map(|r| r.lateness)
            .max()
            .unwrap();
        let start = self.engine.rebuild_from(low, lateness);
        self.engine = self.world.engine();
        self.engine.loaded_from(start);
        for lane in 0..3 {
            let records = &self.world.lanes[lane];
            self.positions[lane] = records.iter().take_while(|r| r.stored_at < start.0).count();
        }
        self.load(None);
    }

    /// Goes on to the end, lanes in a random interleaving.
    pub fn finish(&mut self, rng: &mut Rng) {
        while !self.done() {
            let ready = self.ready();
            if ready.is_empty() || rng.chance(20) {
                self.now += rng.between(1, 4);
            } else {
                self.consume(rng.pick(&ready));
            }
        }
    }
}
