//! The order in which one process delivers: for each receiver the more severe first, then the
//! older; every 16th pick takes the least severe, so that it comes too. What is less than high takes
//! three of four places at most, so that what is urgent finds one free. One that waits for its time
//! occupies no place, and no receiver waits for another. A place is free at the receiver's answer;
//! what is answered and does not lie in the log yet is bounded apart, for a crash repeats it.

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
/// For each place of a receiver so many calls may be under way or answered and not in the log yet:
/// as many as a crash can repeat.
pub const UNLOGGED_PER_PLACE: usize = 8;
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

    /// Most that may be under way or answered and not in the log.
    const fn unlogged_max(&self) -> usize {
        self.concurrency.saturating_mul(UNLOGGED_PER_PLACE)
    }

    /// Whether one more may start.
    fn has_room(&self) -> bool {
        self.busy.len() < self.concurrency
            && self.busy.len() + self.unlogged.len() < self.unlogged_max()
    }

    /// Whether there is room for what is not urgent.
    fn takes_lesser(&self) -> bool {
        self.busy.lesser < for_lesser(self.concurrency)
            && self.busy.lesser + self.unlogged.lesser < for_lesser(self.unlogged_max())
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
mod tests {
    use super::*;
    use crate::route::{ReceiverEntry, Routes};

    fn queue(concurrency: &[(&str, usize)]) -> Queue {
        let entries: Vec<_> = concurrency
            .iter()
            .map(|(name, concurrency)| ReceiverEntry {
                name: (*name).into(),
                concurrency: Some(*concurrency),
                ..ReceiverEntry::default()
            })
            .collect();
        Queue::new(Routes::of(&entries).unwrap().receivers())
    }

    fn ticket(id: u8, receiver: &str, severity: Severity, age: i64, due: i64) -> Ticket {
        Ticket {
            escalation_id: EscalationId([id; 16]),
            receiver: receiver.into(),
            sequence: 1,
            severity,
            decided_at: Timestamp(age),
            due: Timestamp(due),
            number: 1,
            notice: crate::Notice::First,
            tier: "".into(),
            handle: "".into(),
            page: None,
        }
    }

    fn ids(jobs: &[Job]) -> Vec<u8> {
        jobs.iter().map(|j| j.ticket.escalation_id.0[0]).collect()
    }

    #[test]
    fn the_more_severe_goes_first_then_the_older() {
        let mut queue = queue(&[("soc", 9)]);
        queue.push(0, ticket(1, "soc", Severity::Low, 1, 0));
        queue.push(1, ticket(2, "soc", Severity::Critical, 9, 0));
        queue.push(0, ticket(3, "soc", Severity::Critical, 5, 0));
        assert_eq!(ids(&queue.take(Timestamp(0))), [3, 2, 1]);
    }

    #[test]
    fn every_sixteenth_pick_takes_the_oldest_of_the_least_severe() {
        let mut queue = queue(&[("soc", 1)]);
        for id in 1..=40 {
            queue.push(0, ticket(id, "soc", Severity::Critical, i64::from(id), 0));
        }
        queue.push(0, ticket(100, "soc", Severity::Low, 8, 0));
        queue.push(0, ticket(101, "soc", Severity::Low, 7, 0));
        let mut order = Vec::new();
        while let Some(job) = queue.take(Timestamp(0)).pop() {
            order.push(job.ticket.escalation_id.0[0]);
            queue.release(0, job.ticket.escalation_id, "soc");
        }
        assert_eq!((order[15], order[31]), (101, 100));
        assert_eq!(order.len(), 42);
    }

    #[test]
    fn one_of_four_places_is_kept_for_what_is_urgent() {
        let mut queue = queue(&[("soc", 8)]);
        for id in 0..40 {
            queue.push(0, ticket(id, "soc", Severity::Low, id.into(), 0));
        }
        assert_eq!(ids(&queue.take(Timestamp(1))), [0, 1, 2, 3, 4, 5]);
        let later = queue.next_due();
        assert_eq!(later, None, "nothing may start before a place is free");
        queue.push(0, ticket(90, "soc", Severity::Critical, 99, 5));
        assert_eq!(queue.next_due(), Some(Timestamp(5)));
        assert_eq!(ids(&queue.take(Timestamp(5))), [90]);
        queue.release(0, EscalationId([90; 16]), "soc");
        assert!(queue.take(Timestamp(6)).is_empty());
        queue.release(0, EscalationId([3; 16]), "soc");
        assert_eq!(ids(&queue.take(Timestamp(6))), [6]);
        // What is urgent takes all places, and still leaves the least severe its share.
        for id in 100..140 {
            queue.push(0, ticket(id, "soc", Severity::High, id.into(), 0));
        }
        for id in [0, 1, 2, 4, 5, 6] {
            queue.release(0, EscalationId([id; 16]), "soc");
        }
        let mut lesser = Vec::new();
        for _ in 0..30 {
            for job in queue.take(Timestamp(7)) {
                let id = job.ticket.escalation_id;
                lesser.extend((id.0[0] < 90).then_some(id.0[0]));
                queue.release(0, id, "soc");
            }
        }
        assert_eq!(lesser.first(), Some(&7));
        assert_eq!(lesser.len(), 33, "all of them in the end");
    }

    #[test]
    fn a_place_is_held_until_it_is_released() {
        let mut queue = queue(&[("soc", 1), ("down", 1)]);
        queue.push(0, ticket(1, "soc", Severity::Low, 1, 0));
        queue.push(0, ticket(2, "soc", Severity::Low, 2, 0));
        queue.push(0, ticket(3, "down", Severity::Low, 2, 0));
        assert_eq!(queue.take(Timestamp(0)).len(), 2);
        assert_eq!(queue.take(Timestamp(0)), []);
        assert_eq!(queue.next_due(), None);
        queue.push(0, ticket(1, "soc", Severity::Low, 1, 0));
        queue.release(0, EscalationId([1; 16]), "soc");
        assert_eq!(ids(&queue.take(Timestamp(0))), [2]);
    }

    #[test]
    fn a_place_is_free_at_the_answer_and_what_is_not_logged_is_bounded() {
        let mut queue = queue(&[("soc", 4)]);
        for id in 0..100 {
            queue.push(0, ticket(id, "soc", Severity::Low, id.into(), 0));
        }
        let most = 4 * UNLOGGED_PER_PLACE;
        let mut told = Vec::new();
        loop {
            let jobs = queue.take(Timestamp(0));
            let Some(Job { ticket, .. }) = jobs.last() else {
                break;
            };
            assert!(jobs.len() <= 3, "one place is kept for what is urgent");
            queue.answered(0, ticket.escalation_id, "soc");
            told.extend(ids(&jobs));
            let open = queue.lines().next().unwrap().1;
            assert!(open.under_way + open.unlogged <= for_lesser(most));
        }
        assert_eq!(told, (0..24).collect::<Vec<_>>(), "nothing was logged");
        assert_eq!(queue.next_due(), None);
        assert!(queue.is_busy(0) && !queue.is_busy(1));
        // What is urgent finds room; its place and that room are two things.
        for id in 200..220 {
            queue.push(0, ticket(id, "soc", Severity::Critical, 0, 0));
        }
        let mut urgent = 0;
        while let Some(job) = queue.take(Timestamp(1)).pop() {
            queue.answered(0, job.ticket.escalation_id, "soc");
            urgent += 1;
        }
        let open = queue.lines().next().unwrap().1;
        assert_eq!(open.under_way + open.unlogged, most);
        assert!((1..=most - 24).contains(&urgent), "{urgent}");
        // One that is answered is not told again before the log has it.
        queue.push(0, ticket(2, "soc", Severity::Critical, 0, 0));
        queue.release(0, EscalationId([200; 16]), "soc");
        assert_eq!(queue.take(Timestamp(2)).len(), 1);
        let all = (0..=255).map(|id| EscalationId([id; 16]));
        all.for_each(|id| queue.release(0, id, "soc"));
        assert!(!queue.is_busy(0));
        assert!(!ids(&queue.take(Timestamp(3))).contains(&2));
    }

    #[test]
    fn one_that_waits_for_its_time_lets_others_by() {
        let mut queue = queue(&[("soc", 1)]);
        queue.push(0, ticket(1, "soc", Severity::Critical, 1, 50));
        queue.push(0, ticket(2, "soc", Severity::Low, 2, 0));
        assert_eq!(ids(&queue.take(Timestamp(10))), [2]);
        queue.release(0, EscalationId([2; 16]), "soc");
        assert_eq!(queue.next_due(), Some(Timestamp(50)));
        assert_eq!(ids(&queue.take(Timestamp(50))), [1]);
    }

    #[test]
    fn a_clock_that_was_wrong_keeps_nothing_waiting() {
        const HOUR: i64 = 60 * MINUTE;
        let mut queue = queue(&[("soc", 9)]);
        let now = |seconds: i64| Timestamp(1_000 * HOUR + seconds * SECOND);
        // An hour ahead a delivery failed, and has thirty seconds to wait.
        assert_eq!(queue.take(now(3600)), []);
        queue.push(0, ticket(1, "soc", Severity::Low, 1, now(3630).0));
        assert_eq!(queue.take(now(3601)), []);
        assert_eq!(queue.take(now(2)), [], "the clock is right again");
        assert_eq!(queue.next_due(), Some(now(31)));
        assert_eq!(ids(&queue.take(now(31))), [1]);
        // After a restart nothing but the log says when it is due.
        queue.push(0, ticket(2, "soc", Severity::Low, 1, now(3630).0));
        assert_eq!(queue.take(now(32)), []);
        assert_eq!(ids(&queue.take(now(92))), [2]);
        // What a receiver asked for is kept, and so is the order under a clock that trembles.
        queue.push(0, ticket(3, "soc", Severity::Low, 1, now(92 + 600).0));
        assert_eq!(queue.take(now(92)), []);
        assert_eq!(queue.take(Timestamp(now(92).0 - SECOND / 2)), []);
        assert_eq!(queue.next_due(), Some(now(692)));
    }

    #[test]
    fn a_receiver_that_does_not_answer_is_tried_now_and_then() {
        let mut queue = queue(&[("down", 4), ("soc", 4)]);
        for id in 0..20 {
            queue.push(0, ticket(id, "down", Severity::High, 1, 0));
        }
        for _ in 0..crate::breaker::FAILURES_MAX {
            let jobs = queue.take(Timestamp(0));
            for job in jobs {
                queue.report("down", false, Timestamp(0));
                queue.release(0, job.ticket.escalation_id, "down");
            }
        }
        assert_eq!(queue.take(Timestamp(5)), []);
        let opens = crate::breaker::OPEN_FIRST;
        assert_eq!(queue.next_due(), Some(Timestamp(opens)));
        queue.push(0, ticket(99, "soc", Severity::Low, 1, 0));
        assert_eq!(
            ids(&queue.take(Timestamp(5))),
            [99],
            "others are not held up"
        );
        let tries = queue.take(Timestamp(opens));
        assert_eq!(tries.len(), 1);
        queue.report("down", true, Timestamp(opens));
        queue.release(0, tries[0].ticket.escalation_id, "down");
        assert_eq!(queue.take(Timestamp(opens)).len(), 4);
    }

    #[test]
    fn a_rate_lets_the_rest_wait() {
        let entry = ReceiverEntry {
            name: "soc".into(),
            concurrency: Some(64),
            rate_per_minute: Some(60),
            ..ReceiverEntry::default()
        };
        let mut queue = Queue::new(Routes::of(&[entry]).unwrap().receivers());
        for id in 0..30 {
            queue.push(0, ticket(id, "soc", Severity::Low, 1, 0));
        }
        assert_eq!(queue.take(Timestamp(0)).len(), 10);
        let second = balefire_event::time::SECOND;
        assert_eq!(queue.next_due(), Some(Timestamp(second)));
        assert_eq!(queue.take(Timestamp(second)).len(), 1);
    }

    #[test]
    fn a_receiver_that_is_gone_keeps_its_deliveries_and_stops_nobody() {
        let mut queue = queue(&[("soc", 1)]);
        queue.push(0, ticket(1, "gone", Severity::Critical, 1, 0));
        assert_eq!(queue.take(Timestamp(9)), []);
        assert_eq!((queue.parked_len(), queue.next_due()), (1, None));
        let back = ReceiverEntry {
            name: "gone".into(),
            ..ReceiverEntry::default()
        };
        queue.set_receivers(Routes::of(&[back]).unwrap().receivers());
        queue.push(0, ticket(2, "soc", Severity::Critical, 1, 0));
        assert_eq!(
            ids(&queue.take(Timestamp(9))),
            [1],
            "and then the other is gone"
        );
        queue.forget(0);
        assert_eq!(queue.parked_len(), 0);
    }
}
