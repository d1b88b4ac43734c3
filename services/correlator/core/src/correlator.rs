//! [`Correlator`]: the joins of one INTAKE partition, as a fold over its records.

use std::collections::BTreeSet;

use balefire_event::{
    BarrierId, DedupId, Event, Hint, IdentityKind, Join, Lane, Naming, Stub, Timestamp, partition,
};

use crate::barrier::Barriers;
use crate::claim::Claims;
use crate::config::{Config, Usage};
use crate::coverage::Coverage;
use crate::entry::{Entries, Kept};
use crate::fact::{FactId, horizon_of};
use crate::key::{KeyHash, typed_keys};
use crate::record::{Effect, Record};
use crate::repair::{Repair, Straggler, Stragglers};
use crate::settle::{Desk, pass_partial, settle};
use crate::stretch::Range;
use crate::stub::{Stubs, answer};

/// Everything a checkpoint holds.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// Highest received_at of each lane.
    pub(crate) clocks: [Option<Timestamp>; 3],
    /// Largest J in use.
    pub(crate) join_horizon_max: i64,
    pub(crate) claims: Claims,
    pub(crate) entries: Entries,
    pub(crate) stubs: Stubs,
    pub(crate) barriers: Barriers,
    pub(crate) stragglers: Stragglers,
    pub(crate) promised: Option<Timestamp>,
    pub(crate) promise_told: Option<Timestamp>,
}

impl State {
    fn new(config: &Config) -> Self {
        Self {
            clocks: [None; 3],
            join_horizon_max: config.join_horizon,
            claims: Claims::new(),
            entries: Entries::new(),
            stubs: Stubs::new(),
            barriers: Barriers::default(),
            stragglers: Stragglers::default(),
            promised: None,
            promise_told: None,
        }
    }
}

/// A checkpoint whose bytes are not what this correlator wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is kept cannot be read")]
pub struct Damaged;

/// The joins of one INTAKE partition.
#[derive(Debug)]
pub struct Correlator {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) repair: Option<Repair>,
    coverage: Coverage,
    pub(crate) alarms: u64,
    hints_ignored: u64,
    /// A checkpoint was told of all of the state.
    pub(crate) told: bool,
}

impl Correlator {
    /// Empty.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::new(&config),
            repair: None,
            coverage: Coverage::default(),
            alarms: 0,
            hints_ignored: 0,
            told: false,
        }
    }

    /// What a checkpoint must hold.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Goes on from a checkpoint's state.
    ///
    /// # Errors
    /// [`Damaged`] where something cannot be read; the state stays as it was.
    pub fn restore(&mut self, mut state: State) -> Result<(), Damaged> {
        state.rebuild()?;
        self.state = state;
        self.repair = None;
        self.untold();
        Ok(())
    }

    /// Empty again; the counters stay.
    pub fn reset(&mut self) {
        self.state = State::new(&self.config);
        self.repair = None;
        self.told = false;
    }

    /// How well joining works since the start.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            held: self.state.entries.held(),
            events: self.state.entries.len(),
            event_bytes: self.state.entries.bytes(),
            claims: self.state.claims.len(),
            stubs: self.state.stubs.len(),
            alarms: self.alarms,
            hints_ignored: self.hints_ignored,
        }
    }

    /// When the next hold ends: a tick of that time lets something happen.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.state.entries.next_end()
    }

    /// Takes a record in. Effects are appended in order.
    pub fn apply(
        &mut self,
        lane: Lane,
        tenant: &str,
        record: Record<'_>,
        effects: &mut Vec<Effect>,
    ) {
        match record {
            Record::Event(event) => {
                self.advance(lane, event.received_at);
                self.event(lane, tenant, event, effects);
            }
            Record::Hint(hint) => {
                self.advance(lane, hint.received_at);
                self.hint(tenant, hint, effects);
            }
            Record::Stub(stub) => {
                self.advance(lane, stub.received_at);
                self.stub(tenant, stub, effects);
            }
            Record::Tick(at) => self.advance(lane, at),
            Record::Barrier(id, at) => {
                self.advance(lane, at);
                self.barrier(lane, id, at, effects);
            }
        }
        self.release_due(lane, effects);
        self.trim(effects);
        self.promise();
        if matches!(record, Record::Tick(_)) {
            self.tell_promise(effects);
        }
    }

    fn advance(&mut self, lane: Lane, at: Timestamp) {
        if let Some(clock) = self.state.clocks.get_mut(lane.index()) {
            *clock = (*clock).max(Some(at));
        }
    }

    pub(crate) fn desk<'a>(
        &'a mut self,
        effects: &'a mut Vec<Effect>,
    ) -> (&'a mut Entries, &'a mut Claims, Desk<'a>) {
        let desk = Desk {
            partitions: self.config.partitions,
            coverage: &mut self.coverage,
            alarms: &mut self.alarms,
            effects,
        };
        (&mut self.state.entries, &mut self.state.claims, desk)
    }

    fn event(&mut self, lane: Lane, tenant: &str, event: &Event<'_>, effects: &mut Vec<Effect>) {
        if event.user.is_some() || event.keys.is_empty() {
            self.pass_through(lane, tenant, event, effects);
            return;
        }
        // An identity that reaches it, or a copy up to J older, may have been dropped.
        let j = self.state.join_horizon_max;
        let State {
            claims, entries, ..
        } = &self.state;
        if event.received_at <= claims.horizon().max(entries.horizon().plus(j)) {
            let from = event.received_at.minus(2 * j);
            self.straggle(Straggler::Event(event.dedup_id), from, effects);
        }
        let kept = self.state.entries.learn(tenant, lane, event);
        match kept {
            Kept::Known => return,
            Kept::New => self.coverage.of(tenant, &event.source).events += 1,
            Kept::Copy => {}
        }
        if self.settle(event.dedup_id, effects) {
            return;
        }
        let held = |entry: &mut crate::entry::Entry| entry.held_until.is_some();
        let entry = self.state.entries.get_mut(&event.dedup_id);
        if kept == Kept::New {
            let end = event
                .received_at
                .plus(self.config.hold_of(lane, event.hold));
            self.state.entries.hold(event.dedup_id, end);
        } else if !entry.is_some_and(held) {
            self.partial(event.dedup_id, effects);
        }
    }

    /// Nothing to join: it names its user, or has nothing to be joined by.
    fn pass_through(
        &mut self,
        lane: Lane,
        tenant: &str,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let mut event = event.clone().into_owned();
        let counts = self.coverage.of(tenant, &event.source);
        counts.events += 1;
        let naming = Naming::of(&event);
        let partitions = self.config.partitions;
        let partition = match &event.user {
            Some(user) => partition::of_subject(tenant, &user.subject_ref, partitions),
            None => {
                counts.partial += 1;
                event.join = Some(Join {
                    partial: true,
                    ..Join::default()
                });
                partition::of_event(tenant, &event.dedup_id, partitions)
            }
        };
        self.coverage.groups.named(tenant, &event, None, naming);
        effects.push(Effect::Emit {
            tenant: tenant.to_owned(),
            lane,
            partition,
            event: Box::new(event),
        });
    }

    /// Says what is new of an event. Returns whether anybody is named.
    fn settle(&mut self, id: DedupId, effects: &mut Vec<Effect>) -> bool {
        let (entries, claims, mut desk) = self.desk(effects);
        let Some(entry) = entries.get_mut(&id) else {
            return false;
        };
        let named = settle(entry, claims, &mut desk);
        if named {
            entries.release(id);
        }
        named
    }

    fn partial(&mut self, id: DedupId, effects: &mut Vec<Effect>) {
        let (entries, _, mut desk) = self.desk(effects);
        if let Some(entry) = entries.get_mut(&id) {
            pass_partial(entry, &mut desk);
        }
    }

    fn hint(&mut self, tenant: &str, hint: &Hint<'_>, effects: &mut Vec<Effect>) {
        if hint.identity.kind != IdentityKind::User {
            self.hints_ignored += 1;
            return;
        }
        let j = horizon_of(hint);
        self.state.join_horizon_max = self.state.join_horizon_max.max(j);
        let keys = typed_keys(tenant, &hint.keys).into_iter();
        let keys: Vec<KeyHash> = keys.map(|key| key.hash).collect();
        let reach: Range = (hint.received_at.minus(j), hint.received_at.plus(j));
        if reach.0 <= self.state.entries.horizon().max(self.state.stubs.horizon()) {
            let from = reach.0.minus(self.state.join_horizon_max); // copies, J older
            self.straggle(Straggler::Hint(keys.clone(), reach), from, effects);
        }
        let fact = FactId::of(hint);
        let mut concerned = BTreeSet::new();
        let mut asked = Vec::new();
        for key in keys {
            if let Some(range) = self.state.claims.learn(key, fact, hint) {
                concerned.extend(self.state.entries.within(key, range));
                asked.push((key, range));
            }
            self.alarms += self.state.claims.enforce(key);
        }
        for id in concerned {
            self.settle(id, effects);
        }
        for (key, range) in asked {
            let State { claims, stubs, .. } = &mut self.state;
            answer(claims, stubs, key, range, effects);
        }
    }

    fn stub(&mut self, tenant: &str, stub: &Stub, effects: &mut Vec<Effect>) {
        // The event lies here, with all its keys.
        if stub.partition == self.config.partition {
            return;
        }
        let key = KeyHash::of(tenant, &stub.key);
        let at = stub.received_at;
        if at <= self.state.claims.horizon() {
            let from = at.minus(self.state.join_horizon_max);
            self.straggle(Straggler::Stub(key, at), from, effects);
        }
        let State { claims, stubs, .. } = &mut self.state;
        stubs.learn(tenant, key, stub);
        self.alarms += stubs.enforce();
        answer(claims, stubs, key, (at, at), effects);
    }

    fn barrier(&mut self, lane: Lane, id: BarrierId, at: Timestamp, effects: &mut Vec<Effect>) {
        if !self.state.barriers.meet(id, at, lane) {
            return;
        }
        // What waits for its identity goes on waiting under a heartbeat.
        let released: &[Lane] = if id.is_heartbeat() { &[] } else { Lane::ALL };
        for lane in released {
            while let Some(held) = self.state.entries.release_due(*lane, Timestamp::MAX) {
                self.partial(held, effects);
            }
        }
        effects.push(Effect::BarrierOut { id, at });
    }

    /// A hold is measured by its own lane's clock, so that a flood in another does not prolong
    /// it.
    fn release_due(&mut self, lane: Lane, effects: &mut Vec<Effect>) {
        let clock = self.state.clocks.get(lane.index()).copied();
        let clock = clock.flatten().unwrap_or(Timestamp::MIN);
        while let Some(id) = self.state.entries.release_due(lane, clock) {
            self.partial(id, effects);
        }
    }

    fn trim(&mut self, effects: &mut Vec<Effect>) {
        while let Some(mut entry) = self.state.entries.drop_excess() {
            self.alarms += 1;
            self.pass_dropped(&mut entry, effects);
        }
        let Some(low_watermark) = self.low_watermark() else {
            return;
        };
        let bound = low_watermark.minus(self.state.join_horizon_max);
        while let Some(mut entry) = self.state.entries.drop_older(bound) {
            self.pass_dropped(&mut entry, effects);
        }
        self.state.claims.trim(low_watermark);
        self.state.stubs.trim(bound);
        self.state.barriers.trim(low_watermark);
    }

    /// Lets go of an event; one that is still held is passed on first.
    fn pass_dropped(&mut self, entry: &mut crate::entry::Entry, effects: &mut Vec<Effect>) {
        if entry.held_until.take().is_some() {
            let (_, _, mut desk) = self.desk(effects);
            pass_partial(entry, &mut desk);
        }
        for met in &entry.met {
            self.state.claims.let_go(met.fact);
        }
    }
}
