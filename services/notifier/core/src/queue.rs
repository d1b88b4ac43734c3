//! The order in which one process delivers: for each receiver the more severe first, then the
//! older; every 16th pick takes the least severe, so that it comes too. What is less than high takes
//! three of four places at most, so that what is urgent finds one free. One that waits for its time
//! occupies no place, and no receiver waits for another. The place of what is urgent is free at the
//! receiver's answer; what is answered and does not lie in the log yet is bounded apart, for a crash
//! repeats it: by one where there is one place.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{EscalationId, Severity, Timestamp};

use crate::breaker::{Breaker, Mood, Rate};
use crate::effect::Ticket;
use crate::route::Receiver;

/// Every so many picks the least severe goes first.
pub const LOWEST_EVERY: u64 = 16;
/// One of so many places is kept for what is urgent.
pub const KEPT_OF: usize = 4;
/// For each place of a receiver that has several so many calls may be under way or answered and not in
/// the log yet: as many as a crash can repeat.
pub const UNLOGGED_PER_PLACE: usize = 8;

/// Most deliveries to a receiver of so many places that a crash can repeat. Who has one place asked for
/// one at a time: nothing is under way before the log has the answer to what was.
#[must_use]
pub const fn unlogged_max(concurrency: usize) -> usize {
    match concurrency {
        0 | 1 => 1,
        _ => concurrency.saturating_mul(UNLOGGED_PER_PLACE),
    }
}

/// From this severity on a delivery is urgent.
pub const URGENT_MIN: Severity = Severity::High;

/// A clock that goes back by more than this was set; less is its ordinary trembling.
const STEP_MIN: i64 = SECOND;
/// Nothing waits for longer, nanoseconds: the longest wait that a receiver may ask for. What is due
/// later was written down under a clock that was wrong.
pub const WAIT_MAX: i64 = 10 * MINUTE;
/// When that is tried instead: the longest wait after a failure, nanoseconds.
const WAIT_INSTEAD: i64 = MINUTE;

/// A delivery of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Partition whose state decided it.
    pub partition: u32,
    /// The delivery.
    pub ticket: Ticket,
}

/// How a receiver's line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineState {
    /// Its breaker.
    pub breaker: Mood,
    /// Deliveries that wait.
    pub waiting: usize,
    /// Deliveries under way.
    pub under_way: usize,
    /// Deliveries that were answered and do not lie in the log yet.
    pub unlogged: usize,
}

type JobId = (u32, EscalationId);
type Rank = (Reverse<Severity>, Timestamp, JobId);

/// Deliveries that hold something, and whether each is urgent.
#[derive(Debug, Default)]
struct Held {
    jobs: BTreeMap<JobId, bool>,
    /// How many of them are not urgent.
    lesser: usize,
}

impl Held {
    fn insert(&mut self, id: JobId, urgent: bool) {
        if self.jobs.insert(id, urgent).is_none() {
            self.lesser += usize::from(!urgent);
        }
    }

    fn remove(&mut self, id: &JobId) -> Option<bool> {
        let urgent = self.jobs.remove(id)?;
        self.lesser = self.lesser.saturating_sub(usize::from(!urgent));
        Some(urgent)
    }

    fn len(&self) -> usize {
        self.jobs.len()
    }
}

/// Of so much room what is not urgent may take.
const fn for_lesser(room: usize) -> usize {
    room - room / KEPT_OF
}

#[derive(Debug, Default)]
struct Line {
    concurrency: usize,
    breaker: Breaker,
    rate: Option<Rate>,
    picks: u64,
    /// What is under way: each has a place.
    busy: Held,
    /// What was answered and does not lie in the log yet.
    unlogged: Held,
    jobs: BTreeMap<JobId, Ticket>,
    waiting: BTreeSet<(Timestamp, JobId)>,
    ready: BTreeSet<Rank>,
}

/// What is pending, by receiver.
#[derive(Debug)]
pub struct Queue {
    /// What the clock said last.
    now: Timestamp,
    lines: BTreeMap<Arc<str>, Line>,
}

impl Queue {
    /// A line for each receiver.
    #[must_use]
    pub fn new(receivers: &[Receiver]) -> Self {
        let line = |receiver: &Receiver| {
            let line = Line {
                concurrency: receiver.concurrency,
                rate: receiver.rate_per_minute.map(Rate::of),
                ..Line::default()
            };
            (Arc::clone(&receiver.name), line)
        };
        Self {
            now: Timestamp::MIN,
            lines: receivers.iter().map(line).collect(),
        }
    }

    /// Other receivers from now on. Deliveries for one that is gone are parked until it is back;
    /// what is under way goes on.
    pub fn set_receivers(&mut self, receivers: &[Receiver]) {
        for line in self.lines.values_mut() {
            line.concurrency = 0;
        }
        for receiver in receivers {
            let line = self.lines.entry(Arc::clone(&receiver.name)).or_default();
            line.concurrency = receiver.concurrency;
            line.rate = receiver.rate_per_minute.map(Rate::of);
        }
    }

    /// Whether a receiver answered a call, whatever it said.
    pub fn report(&mut self, receiver: &str, answered: bool, now: Timestamp) {
        if let Some(line) = self.lines.get_mut(receiver) {
            match answered {
                true => line.breaker.answered(),
                false => line.breaker.failed(now),
            }
        }
    }

    /// How each receiver's line is, by name.
    pub fn lines(&self) -> impl Iterator<Item = (&Arc<str>, LineState)> {
        self.lines.iter().map(|(name, line)| {
            let state = LineState {
                breaker: line.breaker.mood(),
                waiting: line.jobs.len(),
                under_way: line.busy.len(),
                unlogged: line.unlogged.len(),
            };
            (name, state)
        })
    }

    /// Adds a delivery; one that is in the queue, under way or not in the log yet is left as it is.
    /// One for a receiver that is no longer configured is parked: it comes back when the receiver
    /// does.
    pub fn push(&mut self, partition: u32, ticket: Ticket) {
        let id = (partition, ticket.escalation_id);
        let line = self.lines.entry(Arc::clone(&ticket.receiver)).or_default();
        if line.is_held(&id) || line.jobs.contains_key(&id) {
            return;
        }
        line.waiting.insert((ticket.due, id));
        line.jobs.insert(id, ticket);
    }

    /// Takes everything that may start now. Each holds a place with its receiver until
    /// [`Queue::answered`], and counts as not logged until [`Queue::release`].
    pub fn take(&mut self, now: Timestamp) -> Vec<Job> {
        let mut jobs = Vec::new();
        let back = match self.now {
            Timestamp::MIN => 0,
            before => before.since(now),
        };
        self.now = now;
        for line in self.lines.values_mut() {
            if back > STEP_MIN {
                line.set_back(back);
            }
            line.bound(now);
            line.wake(now);
            while let Some(job) = line.pick(now) {
                jobs.push(job);
            }
        }
        jobs
    }

    /// A receiver answered: the place is free. That the answer does not lie in the log yet is
    /// remembered until [`Queue::release`].
    pub fn answered(&mut self, partition: u32, escalation_id: EscalationId, receiver: &str) {
        if let Some(line) = self.lines.get_mut(receiver) {
            let id = (partition, escalation_id);
            if let Some(urgent) = line.busy.remove(&id) {
                line.unlogged.insert(id, urgent);
            }
            line.rest();
        }
    }

    /// A delivery holds nothing any more: its attempt lies in the log, or came to nothing.
    pub fn release(&mut self, partition: u32, escalation_id: EscalationId, receiver: &str) {
        if let Some(line) = self.lines.get_mut(receiver) {
            let id = (partition, escalation_id);
            line.busy.remove(&id);
            line.unlogged.remove(&id);
            line.rest();
        }
    }

    /// Drops what is queued of a partition; what is under way stays.
    pub fn forget(&mut self, partition: u32) {
        for line in self.lines.values_mut() {
            line.jobs.retain(|id, _| id.0 != partition);
            line.waiting.retain(|(_, id)| id.0 != partition);
            line.ready.retain(|(_, _, id)| id.0 != partition);
        }
    }

    /// When [`Queue::take`] will next have something, as far as time decides it.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.lines
            .values()
            .filter(|line| line.has_room())
            .filter_map(|line| {
                let due = match line.next().is_none() {
                    true => line.waiting.first().map(|(due, _)| *due),
                    false => Some(Timestamp::MIN),
                };
                Some(due?.max(line.opens_at()?))
            })
            .min()
    }

    /// Deliveries under way.
    #[must_use]
    pub fn busy_len(&self) -> usize {
        self.lines.values().map(|line| line.busy.len()).sum()
    }

    /// Whether deliveries of a partition are under way or answered and not in the log yet.
    #[must_use]
    pub fn is_busy(&self, partition: u32) -> bool {
        let held = |line: &Line| {
            let mut ids = line.busy.jobs.keys().chain(line.unlogged.jobs.keys());
            ids.any(|id| id.0 == partition)
        };
        self.lines.values().any(held)
    }

    /// Deliveries for receivers that are not configured.
    #[must_use]
    pub fn parked_len(&self) -> usize {
        self.lines
            .values()
            .filter(|line| line.concurrency == 0)
            .map(|line| line.jobs.len())
            .sum()
    }
}

impl Line {
    /// The clock was set back: what waits has as long to wait as before.
    fn set_back(&mut self, by: i64) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.waiting = waiting.map(|(due, id)| (due.minus(by), id)).collect();
        self.breaker.set_back(by);
        if let Some(rate) = &mut self.rate {
            rate.set_back(by);
        }
    }

    /// Nothing waits for longer than anything may.
    fn bound(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.waiting.last().copied() {
            if due <= now.plus(WAIT_MAX + STEP_MIN) {
                return;
            }
            self.waiting.pop_last();
            self.waiting.insert((now.plus(WAIT_INSTEAD), id));
        }
    }

    fn wake(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.waiting.first().copied() {
            if due > now {
                return;
            }
            self.waiting.pop_first();
            if let Some(ticket) = self.jobs.get(&id) {
                let rank = (Reverse(ticket.severity), ticket.decided_at, id);
                self.ready.insert(rank);
            }
        }
    }

    /// From when a call may go out; `None`: not before one under way has ended.
    fn opens_at(&self) -> Option<Timestamp> {
        let free_at = self.rate.map_or(Timestamp::MIN, |rate| rate.free_at());
        Some(self.breaker.opens_at()?.max(free_at))
    }

    fn is_held(&self, id: &JobId) -> bool {
        self.busy.jobs.contains_key(id) || self.unlogged.jobs.contains_key(id)
    }

    /// Whether one more may start.
    fn has_room(&self) -> bool {
        self.busy.len() < self.concurrency
            && self.busy.len() + self.unlogged.len() < unlogged_max(self.concurrency)
    }

    /// Whether there is room for what is not urgent. It holds its place until the log has it, so that
    /// many of it leave the cores, the log and the receiver to what is urgent.
    fn takes_lesser(&self) -> bool {
        self.busy.lesser + self.unlogged.lesser < for_lesser(self.concurrency)
    }

    /// Of a try that came to nothing: the next one sees.
    fn rest(&mut self) {
        if self.busy.len() == 0 {
            self.breaker.given_back(Timestamp::MIN);
        }
    }

    /// The most severe that finds a place, or would if one of any kind were free.
    fn next(&self) -> Option<Rank> {
        let highest = *self.ready.first()?;
        (highest.0.0 >= URGENT_MIN || self.takes_lesser()).then_some(highest)
    }

    fn pick(&mut self, now: Timestamp) -> Option<Job> {
        if !self.has_room() || self.opens_at()? > now {
            return None;
        }
        let highest = self.next()?;
        self.picks = self.picks.wrapping_add(1);
        let rank = if self.picks.is_multiple_of(LOWEST_EVERY) && self.takes_lesser() {
            self.oldest_lowest().unwrap_or(highest)
        } else {
            highest
        };
        self.ready.remove(&rank);
        let id = rank.2;
        let ticket = self.jobs.remove(&id)?;
        let urgent = ticket.severity >= URGENT_MIN;
        self.busy.insert(id, urgent);
        self.breaker.taken();
        if let Some(rate) = &mut self.rate {
            rate.taken(now);
        }
        Some(Job {
            partition: id.0,
            ticket,
        })
    }

    fn oldest_lowest(&self) -> Option<Rank> {
        let (lowest, ..) = *self.ready.last()?;
        let from = (lowest, Timestamp::MIN, (0, EscalationId([0; 16])));
        self.ready.range(from..).next().copied()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
