//! [`Cluster`]: every owner of every partition over one log, one random action after the other.

use balefire_event::Lane;

use crate::fault::Fault;
use crate::log::{Batch, Log, StreamId};
use crate::owner::{Checkpoint, End, Session};
use crate::place::{Kind, Place};
use crate::rng::Rng;
use crate::start::Refused;
use crate::world::{START, UNIT, World};

/// Instances that may own a partition.
const INSTANCES: usize = 2;
/// Checkpoints an instance's store keeps, so that an older one can be restored.
const CHECKPOINTS_MAX: usize = 4;
/// Actions after which a run that does not come to rest is given up.
const ACTIONS_MAX: usize = 60_000;
/// How often one instance may open in vain, one time after the other.
const REFUSALS_MAX: u32 = 20;

/// A process that may own a partition, with a store of its own.
struct Instance<'w> {
    place: Place,
    session: Option<Session<'w>>,
    store: Vec<Checkpoint>,
    refusals: u32,
}

pub(crate) struct Cluster<'w> {
    world: &'w World,
    fault: Option<Fault>,
    pub(crate) log: Log,
    instances: Vec<Instance<'w>>,
    /// Next of the schedule.
    next: usize,
    /// What must never happen, and did.
    pub(crate) broken: Vec<String>,
    pub(crate) repairs: u64,
    /// Those of correlators among them.
    pub(crate) join_repairs: u64,
    pub(crate) crashes: u64,
}

impl<'w> Cluster<'w> {
    pub(crate) fn new(world: &'w World, fault: Option<Fault>, trace: bool) -> Self {
        let log = Log::new(fault == Some(Fault::NoFence), trace);
        let mut instances = Vec::new();
        for kind in Kind::ALL {
            for partition in 0..world.partitions {
                let place = Place { kind, partition };
                instances.extend((0..INSTANCES).map(|_| Instance {
                    place,
                    session: None,
                    store: Vec::new(),
                    refusals: 0,
                }));
            }
        }
        Self {
            world,
            fault,
            log,
            instances,
            next: 0,
            broken: Vec::new(),
            repairs: 0,
            join_repairs: 0,
            crashes: 0,
        }
    }

    fn say(&self, said: impl FnOnce() -> String) {
        self.log.tell(said);
    }

    /// From the first record to rest.
    pub(crate) fn run(&mut self, rng: &mut Rng) {
        self.log.now = START - 60 * UNIT;
        for index in (0..self.instances.len()).step_by(INSTANCES) {
            self.open(index, None);
        }
        self.deliver();
        self.drain(rng);
        self.log.now = START;
        let end = START + self.world.span + 90 * UNIT;
        while self.log.now < end {
            self.deliver();
            let busy =
                self.next < self.world.schedule.len() || self.log.now < START + self.world.span;
            let most = if busy { rng.between(2, 30) } else { 8 };
            for _ in 0..most * self.world.pace {
                self.act(rng);
            }
            self.tick(rng, 30);
            self.log.now += rng.pick(&[1, 1, 1, 2, 5]) * UNIT;
        }
        self.rest(rng);
    }

    /// The door's records up to now.
    fn deliver(&mut self) {
        while let Some(laid) = self.world.schedule.get(self.next)
            && laid.at <= self.log.now
        {
            self.next += 1;
            self.log.append(laid.stream, laid.batch.clone());
        }
    }

    /// How many rule sets the control log has.
    fn sets(&self) -> usize {
        let now = self.log.now;
        let delivered = self.world.control_at.iter().filter(|at| **at <= now);
        delivered.count().max(1)
    }

    fn act(&mut self, rng: &mut Rng) {
        let index = rng.index(self.instances.len());
        if self.instances[index].session.is_some() {
            if rng.chance(self.world.crash) {
                self.crash(index, rng);
            } else if rng.chance(10) {
                self.checkpoint(index);
            } else {
                self.step(index, rng);
            }
            return;
        }
        let other = index ^ 1;
        let owned = self.instances[other].session.is_some();
        if !rng.chance(if owned { self.world.crash } else { 40 }) {
            return;
        }
        let kept = self.instances[index].store.len();
        let back = rng.pick(&[0, 0, 1, 3]).min(kept.saturating_sub(1));
        self.open(index, kept.checked_sub(1 + back));
    }

    fn crash(&mut self, index: usize, rng: &mut Rng) {
        self.crashes += 1;
        self.instances[index].session = None;
        let lost = rng.chance(25);
        if lost {
            self.instances[index].store.clear();
        }
        let place = self.instances[index].place;
        self.say(|| format!("crash {place:?}, store lost: {lost}"));
    }

    fn checkpoint(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        let taken = instance.session.as_mut().and_then(Session::checkpoint);
        if let Some(checkpoint) = taken {
            instance.store.push(checkpoint);
            if instance.store.len() > CHECKPOINTS_MAX {
                instance.store.remove(0);
            }
        }
    }

    fn open(&mut self, index: usize, checkpoint: Option<usize>) {
        let sets = self.sets();
        let (world, fault) = (self.world, self.fault);
        let instance = &mut self.instances[index];
        let place = instance.place;
        let from = checkpoint.and_then(|at| instance.store.get(at));
        let opened = Session::open(world, place, sets, fault, &mut self.log, from);
        let said = match opened {
            Ok(session) => {
                instance.refusals = 0;
                instance.session = Some(session);
                "open"
            }
            Err(Refused::Doubt) => {
                instance.store.clear();
                "checkpoint set aside"
            }
            Err(Refused::NewRules) => "waits for rules",
            Err(Refused::Regression(said)) => {
                let said = format!("log regression at {place:?}: {said}");
                if self.broken.len() < 10 {
                    self.broken.push(said);
                }
                instance.refusals = REFUSALS_MAX;
                "log regression"
            }
        };
        if said != "open" {
            instance.refusals += 1;
        }
        self.say(|| format!("{said} {place:?} instance {index} from checkpoint {checkpoint:?}"));
    }

    fn step(&mut self, index: usize, rng: &mut Rng) -> bool {
        let sets = self.sets();
        let instance = &mut self.instances[index];
        let Some(session) = &mut instance.session else {
            return false;
        };
        let before = session.stage.repairs;
        let done = session.advance(&mut self.log, rng, sets);
        let repairs = session.stage.repairs - before;
        self.repairs += repairs;
        if session.place.joins() {
            self.join_repairs += repairs;
        }
        match done {
            Ok(moved) => moved,
            Err(End::Fenced) => {
                instance.session = None;
                let place = instance.place;
                self.say(|| format!("fenced {place:?}"));
                true
            }
        }
    }

    /// Ticks of owners whose next deadline has passed.
    fn tick(&mut self, rng: &mut Rng, percent: i64) {
        let half = self.world.bounds.skew / 2 / UNIT;
        for instance in &self.instances {
            let Some(session) = &instance.session else {
                continue;
            };
            let clock = self.log.now + rng.between(-half, half) * UNIT;
            let due = session
                .stage
                .next_deadline()
                .is_some_and(|due| due.0 <= clock);
            // Every so often, too, as where something downstream is open.
            if !(due && rng.chance(percent) || rng.chance(self.world.ticks)) {
                continue;
            }
            for stream in session.place.ticks(self.world.partitions) {
                self.log.append(stream, Batch::tick(clock));
            }
        }
    }

    /// Everything is read, every hold ends, and memory lets go.
    fn rest(&mut self, rng: &mut Rng) {
        let bounds = self.world.bounds;
        let reach = bounds.lateness + bounds.hold + bounds.join_horizon + 50 * UNIT;
        for _ in 0..3 {
            self.drain(rng);
            self.log.now += reach;
            self.deliver();
            let now = self.log.now;
            for partition in 0..self.world.partitions {
                for &lane in Lane::ALL {
                    self.log
                        .append(StreamId::intake(lane, partition), Batch::tick(now));
                    self.log
                        .append(StreamId::events(lane, partition), Batch::tick(now));
                }
            }
        }
        self.drain(rng);
        let held: usize = self.sessions().map(|session| session.stage.held()).sum();
        if held > 0 {
            self.broken.push(format!("{held} events are held for ever"));
        }
    }

    /// Until nobody has anything to do. Nobody crashes.
    fn drain(&mut self, rng: &mut Rng) {
        for _ in 0..ACTIONS_MAX {
            let mut moved = false;
            for first in (0..self.instances.len()).step_by(INSTANCES) {
                let pair = first..first + INSTANCES;
                if !pair
                    .clone()
                    .any(|index| self.instances[index].session.is_some())
                {
                    if self.instances[first].refusals >= REFUSALS_MAX {
                        continue;
                    }
                    let kept = self.instances[first].store.len();
                    self.open(first, kept.checked_sub(1));
                    moved = true;
                }
                for index in pair {
                    for _ in 0..16 {
                        if !self.step(index, rng) {
                            break;
                        }
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
        self.broken.push("does not come to rest".to_owned());
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session<'w>> {
        self.instances
            .iter()
            .filter_map(|instance| instance.session.as_ref())
    }

    /// Whether a session is the last owner of its partition.
    pub(crate) fn owns(&self, session: &Session<'_>) -> bool {
        let targets = session.targets.iter().zip(&session.fences);
        targets
            .into_iter()
            .all(|(target, fence)| self.log.last_of(*target, session.place) == *fence)
    }
}
