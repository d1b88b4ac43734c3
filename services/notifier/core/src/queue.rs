//! The order in which one process delivers: for each receiver the more severe first, then the
//! older; every 16th pick takes the least severe, so that it comes too. What is less than high takes
//! three of four places at most, so that what is urgent finds one free. One that waits for its time
//! occupies no place, and no receiver waits for another. The place of what is urgent is free at the
//! receiver's answer; what is answered and does not lie in the log yet is bounded apart, for a crash
//! repeats it: by one where there is one place. For a moment behind something urgent a backlog gives way:
//! of it one goes to each receiver now and then, however many places are free.

mod line;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{EscalationId, Severity, Timestamp};

use crate::breaker::{Mood, Rate};
use crate::effect::Ticket;
use crate::route::Receiver;
use line::Line;

/// Every so many picks the least severe goes first.
pub const LOWEST_EVERY: u64 = 16;
/// One of so many places is kept for what is urgent.
pub const KEPT_OF: usize = 4;
/// So long after something urgent went what is not, and has waited, gives way, nanoseconds: more that
/// is urgent is likely.
pub const GIVES_WAY: i64 = SECOND / 10;
/// What has waited for less does not, nanoseconds: so giving way costs nobody throughput who keeps up.
pub const GIVES_WAY_AGE_MIN: i64 = SECOND;
/// Nor does what has waited for so long, nanoseconds.
pub const GIVES_WAY_AGE_MAX: i64 = 5 * MINUTE;
/// Meanwhile one of what is not urgent goes to each receiver so often, nanoseconds. Who takes longer
/// to answer than its places hold loses nothing by it.
pub const GIVING_WAY_EVERY: i64 = SECOND / 200;
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

impl Job {
    fn is_urgent(&self) -> bool {
        self.ticket.severity >= URGENT_MIN
    }
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

/// What is pending, by receiver.
#[derive(Debug)]
pub struct Queue {
    /// What the clock said last.
    now: Timestamp,
    /// Until then what is not urgent gives way, to whomever it goes.
    gives_way_until: Timestamp,
    lines: BTreeMap<Arc<str>, Line>,
}

impl Queue {
    /// A line for each receiver.
    #[must_use]
    pub fn new(receivers: &[Receiver]) -> Self {
        let mut queue = Self {
            now: Timestamp::MIN,
            gives_way_until: Timestamp::MIN,
            lines: BTreeMap::new(),
        };
        queue.set_receivers(receivers);
        queue
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
        if back > STEP_MIN {
            self.gives_way_until = self.gives_way_until.minus(back);
        }
        for line in self.lines.values_mut() {
            if back > STEP_MIN {
                line.set_back(back);
            }
            line.bound(now);
            line.wake(now);
            while let Some(job) = line.pick(now, self.gives_way_until) {
                if job.is_urgent() {
                    self.gives_way_until = now.plus(GIVES_WAY);
                }
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
                let from = line.next_from(self.now, self.gives_way_until);
                let due = line.waiting.first().map(|(due, _)| *due);
                Some(from.into_iter().chain(due).min()?.max(line.opens_at()?))
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

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
