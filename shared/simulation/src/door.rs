//! [`Door`]: what ingest writes: events on their way, hints, stubs; copies, disorder, late and
//! future times, untrusted clocks, records laid aside and replayed much later.

use std::collections::BTreeSet;

use balefire_event::{
    Assurance, Category, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind,
    Lane, Stub, SubjectRef, Timestamp, Timing, partition,
};

use crate::log::{Batch, Origin, Rec, StreamId};
use crate::rng::Rng;
use crate::world::{Bounds, Laid, START, UNIT, World, batch_of_event, batch_of_hint};

const TENANTS: [&str; 2] = ["acme", "umbrella"];
const VALUES: [&str; 2] = ["a", "b"];

pub(crate) struct Door<'w> {
    world: &'w World,
    laid: Vec<Laid>,
    /// L that batches say is in force.
    lateness_max: i64,
    users: i64,
    tenants: usize,
    /// Own L of the second source.
    batch_lateness: i64,
    raised_from: i64,
    disorder: bool,
    untrusted: bool,
    copies: i64,
    /// Chance of a record to be laid aside and replayed.
    letters: i64,
}

/// One event as its producer sends it, however often.
struct Shape {
    tenant: &'static str,
    lane: Lane,
    occurred: i64,
    lateness: i64,
    untrusted: bool,
    event: Event<'static>,
}

impl<'w> Door<'w> {
    pub(crate) const fn new(world: &'w World) -> Self {
        Self {
            world,
            laid: Vec::new(),
            lateness_max: 0,
            users: 1,
            tenants: 1,
            batch_lateness: 0,
            raised_from: i64::MAX,
            disorder: true,
            untrusted: false,
            copies: 0,
            letters: 0,
        }
    }

    pub(crate) fn records(mut self, rng: &mut Rng) -> Vec<Laid> {
        let Bounds { lateness, .. } = self.world.bounds;
        self.users = rng.pick(&[1, 2, 2, 3]);
        self.tenants = rng.pick(&[1, 1, 1, 2]);
        self.batch_lateness = rng.pick(&[0, 2 * UNIT, 30 * UNIT]);
        self.lateness_max = lateness.max(self.batch_lateness);
        // A new rule counted elsewhere gets what lies within the L that was in force when it came.
        if !self.world.calm && rng.chance(30) && !self.world.learns_elsewhere() {
            self.raised_from = START + rng.below(self.world.span);
            self.lateness_max = lateness;
        }
        self.disorder = rng.chance(75);
        self.untrusted = rng.chance(25);
        self.copies = rng.pick(&[0, 15, 40]);
        self.letters = rng.pick(&[0, 8, 8, 25]);
        self.ticks();
        for _ in 0..rng.pick(&[2, 4, 8]) {
            self.identity(rng);
        }
        for number in 0..rng.pick(&[8, 16, 28, 40]) {
            self.event(number, rng);
        }
        self.laid
    }

    /// The first word of every lane of INTAKE, and when to tell it on: so every correlator has
    /// promised before it joins.
    fn ticks(&mut self) {
        for partition in 0..self.world.partitions {
            for &lane in Lane::ALL {
                self.laid.push(Laid {
                    at: START - 60 * UNIT,
                    stream: StreamId::intake(lane, partition),
                    batch: Batch::tick(START - 60 * UNIT),
                    told: vec![false],
                });
            }
        }
    }

    /// Stored times are whole units; arrival differs by at most S/2.
    fn received(&self, stored: i64, rng: &mut Rng) -> i64 {
        let half = self.world.bounds.skew / 2 / UNIT;
        stored + rng.between(-half, half) * UNIT
    }

    fn keys(rng: &mut Rng) -> Vec<CorrelationKey<'static>> {
        let mut keys: Vec<CorrelationKey<'static>> = Vec::new();
        for _ in 0..rng.pick(&[1, 1, 2, 3]) {
            let key = CorrelationKey {
                kind: rng.pick(&[KeyKind::Request, KeyKind::Trace, KeyKind::Session]),
                value: rng.pick(&VALUES).into(),
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn user(&self, tenant: &str, rng: &mut Rng) -> Identity<'static> {
        let number = u8::try_from(rng.below(self.users)).unwrap_or(0);
        let mut subject = SubjectRef([number + 1; 16]);
        subject.0[15] = u8::try_from(tenant.len()).unwrap_or(0);
        Identity {
            subject_ref: subject,
            kind: IdentityKind::User,
            assurance: Assurance::Verified,
            via: "user_id".into(),
            label: None,
        }
    }

    /// Who else had a part in an event.
    fn actors(tenant: &str, rng: &mut Rng) -> Vec<Identity<'static>> {
        let mut found = Vec::new();
        for (kind, via, percent, mark) in [
            (IdentityKind::Agent, "agent_id", 60, 1),
            (IdentityKind::ApiKey, "api_key_id", 50, 2),
            (IdentityKind::Session, "session_id", 40, 3),
        ] {
            if !rng.chance(percent) {
                continue;
            }
            let number = u8::try_from(rng.below(2)).unwrap_or(0);
            let mut subject = SubjectRef([number + 1; 16]);
            subject.0[14] = mark;
            subject.0[15] = u8::try_from(tenant.len()).unwrap_or(0);
            found.push(Identity {
                subject_ref: subject,
                kind,
                assurance: Assurance::Claimed,
                via: via.into(),
                label: None,
            });
        }
        found
    }

    fn identity(&mut self, rng: &mut Rng) {
        let stored = START + rng.below(self.world.span / UNIT) * UNIT;
        let received = self.received(stored, rng);
        let tenant = TENANTS[rng.index(self.tenants)];
        let identity = self.user(tenant, rng);
        let keys = Self::keys(rng);
        self.hint(tenant, received, stored, identity, keys, rng);
    }

    fn hint(
        &mut self,
        tenant: &'static str,
        received: i64,
        stored: i64,
        identity: Identity<'static>,
        keys: Vec<CorrelationKey<'static>>,
        rng: &mut Rng,
    ) {
        let most = if self.world.calm {
            self.world.bounds.join_horizon
        } else {
            12 * UNIT
        };
        let stored = if !self.world.calm && rng.chance(15) {
            stored + rng.between(10, 80) * UNIT
        } else {
            stored
        };
        let facts = if rng.chance(40) {
            vec![("model".into(), rng.pick(&["m", "n"]).into())]
        } else {
            Vec::new()
        };
        let hint = Hint {
            keys,
            identity,
            source: rng.pick(&["gateway", "proxy"]).into(),
            received_at: Timestamp(received),
            join_horizon: (rng.pick(&[2, 4, 9]) * UNIT).min(most),
            authority: u32::try_from(rng.below(2)).unwrap_or(0),
            facts,
            dedup_id: DedupId::default(),
        };
        let of = |key: &CorrelationKey<'_>| {
            partition::of_key(tenant, key.kind, &key.value, self.world.partitions)
        };
        let places: BTreeSet<u32> = hint.keys.iter().map(of).collect();
        let lateness_max = self.lateness_at(stored, 0);
        for (index, place) in places.into_iter().enumerate() {
            self.laid.push(Laid {
                at: stored,
                stream: StreamId::intake(Lane::Bulk, place),
                batch: batch_of_hint(tenant, lateness_max, hint.clone()),
                told: vec![index == 0],
            });
        }
    }

    /// L that a batch stored then says, with that of its own record.
    fn lateness_at(&self, stored: i64, own: i64) -> i64 {
        let raised = if stored >= self.raised_from {
            self.batch_lateness
        } else {
            0
        };
        self.lateness_max.max(raised).max(own)
    }

    fn event(&mut self, number: u8, rng: &mut Rng) {
        let mut stored = START + rng.below(self.world.span / UNIT) * UNIT;
        let tenant = TENANTS[rng.index(self.tenants)];
        let way = rng.below(100);
        let user = (way < 55).then(|| self.user(tenant, rng));
        let keys = match way {
            0..35 => Vec::new(),
            35..55 => Self::keys(rng),
            55..95 => Self::keys(rng),
            _ => Vec::new(),
        };
        let own = rng.chance(30) && stored >= self.raised_from
            || rng.chance(30) && self.raised_from == i64::MAX;
        let lateness = if own {
            self.batch_lateness
        } else {
            self.world.bounds.lateness
        };
        let received = self.received(stored, rng);
        let untrusted = self.untrusted && user.is_some() && rng.chance(40);
        let category = rng.pick(&[
            Category::GuardrailBlock,
            Category::GuardrailBlock,
            Category::JudgeFlag,
            Category::PromptAttack,
        ]);
        let shape = Shape {
            tenant,
            lane: Lane::ALL[rng.index(3)],
            occurred: self.occurred(received, lateness, rng),
            lateness,
            untrusted,
            event: Event {
                dedup_id: DedupId([number + 1; 16]),
                event_id: format!("e{number}").into(),
                source: "app".into(),
                category,
                user,
                actors: Self::actors(tenant, rng),
                keys,
                model: rng.pick(&["", "", "m", "n"]).into(),
                lateness,
                ..Event::default()
            },
        };
        self.write(&shape, received, stored, rng);
        // Copies of a join that lie more than J apart are outside what a correlator promises.
        let last = if shape.event.user.is_none() {
            stored + self.world.bounds.join_horizon - self.world.bounds.skew
        } else {
            i64::MAX
        };
        while rng.chance(self.copies) {
            let reach = rng.pick(&[2, 8, 40]);
            stored += rng.between(0, reach) * UNIT;
            if stored > last {
                break;
            }
            let received = self.received(stored, rng);
            self.write(&shape, received, stored, rng);
        }
    }

    fn occurred(&self, received: i64, lateness: i64, rng: &mut Rng) -> i64 {
        let ahead = self.world.bounds.ahead;
        match rng.below(100) {
            _ if !self.disorder => received,
            0..6 => received - lateness - rng.between(1, 6) * UNIT,
            6..10 => received + ahead + rng.between(1, 6) * UNIT,
            10..60 => received - rng.between(0, lateness / UNIT) * UNIT,
            _ => received + rng.between(0, ahead / UNIT) * UNIT,
        }
    }

    /// Stamps one record of the event and writes what ingest writes of it.
    fn write(&mut self, shape: &Shape, received: i64, stored: i64, rng: &mut Rng) {
        let ahead = self.world.bounds.ahead;
        let (t, timing) = if shape.untrusted {
            (received, Timing::OnTime)
        } else if shape.occurred > received + ahead {
            (shape.occurred, Timing::Future)
        } else if shape.occurred < received - shape.lateness {
            (shape.occurred, Timing::Late)
        } else {
            (shape.occurred, Timing::OnTime)
        };
        // Ingest may be a little behind the control log.
        let applied = stored - rng.pick(&[0, 0, 2]) * UNIT;
        let known = self.world.control_at.iter().filter(|at| **at <= applied);
        let event = Event {
            occurred_at: Timestamp(shape.occurred),
            received_at: Timestamp(received),
            t: Timestamp(t),
            timing,
            control_revision: known.count().saturating_sub(1) as u64,
            ..shape.event.clone()
        };
        let late = if !self.world.calm && !shape.untrusted && rng.chance(self.letters) {
            // Shortly behind the lateness, its window still reaches what lives: or long after.
            let most = rng.pick(&[6, 10, 15, 30, 80]);
            rng.between(4, most) * UNIT
        } else {
            0
        };
        let at = stored + late;
        let lateness_max = self.lateness_at(at, shape.lateness);
        let batch = batch_of_event(shape.tenant, lateness_max, event.clone());
        let count = self.world.partitions;
        let stream = match (&event.user, event.keys.first()) {
            (Some(user), _) => StreamId::events(
                shape.lane,
                partition::of_subject(shape.tenant, &user.subject_ref, count),
            ),
            (None, None) => StreamId::events(
                shape.lane,
                partition::of_event(shape.tenant, &event.dedup_id, count),
            ),
            (None, Some(key)) => {
                let home = partition::of_key(shape.tenant, key.kind, &key.value, count);
                self.stubs(shape, &event, home, stored);
                StreamId::intake(shape.lane, home)
            }
        };
        self.laid.push(Laid {
            at,
            stream,
            batch,
            told: vec![true],
        });
        if let Some(user) = event.user
            && !event.keys.is_empty()
            && rng.chance(70)
        {
            self.hint(shape.tenant, received, stored, user, event.keys, rng);
        }
    }

    fn stubs(&mut self, shape: &Shape, event: &Event<'static>, home: u32, stored: i64) {
        let Some((first, further)) = event.keys.split_first() else {
            return;
        };
        for key in further {
            let place =
                partition::of_key(shape.tenant, key.kind, &key.value, self.world.partitions);
            if place == home {
                continue;
            }
            let stub = Stub {
                key: key.clone(),
                dedup_id: event.dedup_id,
                partition: home,
                first_key: first.clone(),
                received_at: event.received_at,
            };
            self.laid.push(Laid {
                at: stored,
                stream: StreamId::intake(Lane::Bulk, place),
                batch: Batch {
                    tenant: shape.tenant,
                    origin: Origin::Door,
                    lateness_max: self.lateness_at(stored, 0),
                    received_at_max: event.received_at,
                    revision_max: 0,
                    records: vec![Rec::Stub(Box::new(stub))],
                    step: None,
                    stored_at: 0,
                },
                told: vec![false],
            });
        }
    }
}
