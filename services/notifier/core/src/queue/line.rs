//! What waits for one receiver, and what of it goes next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{EscalationId, Timestamp};

use super::{
    GIVES_WAY_AGE_MAX, GIVES_WAY_AGE_MIN, GIVING_WAY_EVERY, Job, JobId, KEPT_OF, LOWEST_EVERY,
    Rank, STEP_MIN, URGENT_MIN, WAIT_INSTEAD, WAIT_MAX, unlogged_max,
};
use crate::breaker::{Breaker, Rate};
use crate::effect::Ticket;

/// Deliveries that hold something, and whether each is urgent.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) jobs: BTreeMap<JobId, bool>,
    /// How many of them are not urgent.
    lesser: usize,
}

impl Held {
    pub(super) fn insert(&mut self, id: JobId, urgent: bool) {
        if self.jobs.insert(id, urgent).is_none() {
            self.lesser += usize::from(!urgent);
        }
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<bool> {
        let urgent = self.jobs.remove(id)?;
        self.lesser = self.lesser.saturating_sub(usize::from(!urgent));
        Some(urgent)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }
}

/// Of so much room what is not urgent may take.
pub(super) const fn for_lesser(room: usize) -> usize {
    room - room / KEPT_OF
}

/// A receiver's line.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) concurrency: usize,
    pub(super) breaker: Breaker,
    pub(super) rate: Option<Rate>,
    picks: u64,
    /// What is under way: each has a place.
    pub(super) busy: Held,
    /// What was answered and does not lie in the log yet.
    pub(super) unlogged: Held,
    /// When what is not urgent may go next while it gives way.
    lesser_from: Timestamp,
    pub(super) jobs: BTreeMap<JobId, Ticket>,
    pub(super) waiting: BTreeSet<(Timestamp, JobId)>,
    pub(super) ready: BTreeSet<Rank>,
}

impl Line {
    /// The clock was set back: what waits has as long to wait as before.
    pub(super) fn set_back(&mut self, by: i64) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.waiting = waiting.map(|(due, id)| (due.minus(by), id)).collect();
        self.lesser_from = self.lesser_from.minus(by);
        self.breaker.set_back(by);
        if let Some(rate) = &mut self.rate {
            rate.set_back(by);
        }
    }

    /// Nothing waits for longer than anything may.
    pub(super) fn bound(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.waiting.last().copied() {
            if due <= now.plus(WAIT_MAX + STEP_MIN) {
                return;
            }
            self.waiting.pop_last();
            self.waiting.insert((now.plus(WAIT_INSTEAD), id));
        }
    }

    pub(super) fn wake(&mut self, now: Timestamp) {
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
    pub(super) fn opens_at(&self) -> Option<Timestamp> {
        let free_at = self.rate.map_or(Timestamp::MIN, |rate| rate.free_at());
        Some(self.breaker.opens_at()?.max(free_at))
    }

    pub(super) fn is_held(&self, id: &JobId) -> bool {
        self.busy.jobs.contains_key(id) || self.unlogged.jobs.contains_key(id)
    }

    /// Whether one more may start.
    pub(super) fn has_room(&self) -> bool {
        self.busy.len() < self.concurrency
            && self.busy.len() + self.unlogged.len() < unlogged_max(self.concurrency)
    }

    /// Whether there is room for what is not urgent. It holds its place until the log has it, so that
    /// many of it leave the cores, the log and the receiver to what is urgent.
    fn takes_lesser(&self) -> bool {
        self.busy.lesser + self.unlogged.lesser < for_lesser(self.concurrency)
    }

    /// Of a try that came to nothing: the next one sees.
    pub(super) fn rest(&mut self) {
        if self.busy.len() == 0 {
            self.breaker.given_back(Timestamp::MIN);
        }
    }

    /// The most severe that finds a place, or would if one of any kind were free.
    fn next(&self) -> Option<Rank> {
        let highest = *self.ready.first()?;
        (highest.0.0 >= URGENT_MIN || self.takes_lesser()).then_some(highest)
    }

    /// From when it may go; `None`: there is none.
    pub(super) fn next_from(
        &self,
        now: Timestamp,
        gives_way_until: Timestamp,
    ) -> Option<Timestamp> {
        let (Reverse(severity), decided_at, _) = self.next()?;
        let waits = (GIVES_WAY_AGE_MIN..GIVES_WAY_AGE_MAX).contains(&now.since(decided_at));
        Some(match severity < URGENT_MIN && waits {
            true => self.lesser_from.min(gives_way_until),
            false => Timestamp::MIN,
        })
    }

    pub(super) fn pick(&mut self, now: Timestamp, gives_way_until: Timestamp) -> Option<Job> {
        let opens = self.has_room() && self.opens_at()? <= now;
        if !opens || self.next_from(now, gives_way_until)? > now {
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
        let job = Job {
            partition: id.0,
            ticket,
        };
        self.busy.insert(id, job.is_urgent());
        if !job.is_urgent() {
            self.lesser_from = now.plus(GIVING_WAY_EVERY);
        }
        self.breaker.taken();
        if let Some(rate) = &mut self.rate {
            rate.taken(now);
        }
        Some(job)
    }

    fn oldest_lowest(&self) -> Option<Rank> {
        let (lowest, ..) = *self.ready.last()?;
        let from = (lowest, Timestamp::MIN, (0, EscalationId([0; 16])));
        self.ready.range(from..).next().copied()
    }
}
