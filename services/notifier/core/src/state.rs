//! The state of one partition: a fold of its ESCALATIONS and its DELIVERIES.
//!
//! What is in DELIVERIES is true; what the process decided and has not written yet is only kept
//! so that it is not decided twice. So the fold of the log is the state after a restart, and a
//! crash between any two records leaves each intent pending, delivered or dead-lettered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use balefire_event::{EscalationId, Lane, Timestamp};

use crate::ack::Acknowledgements;
use crate::backoff::Backoff;
use crate::decide::Desk;
use crate::delivery::{Entry, Progress, Standing};
use crate::effect::{Effect, SummaryPage, Ticket};
use crate::group::Groups;
use crate::inhibit::Inhibitors;
use crate::input::Input;
use crate::record::{Attempt, Intent, Outcome, Requeue};

/// Deliveries of so many escalations are kept in detail after they ended; of older ones only the
/// escalation's id.
pub const FINISHED_MAX: usize = 100_000;

/// The fold.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) backoff: Backoff,
    finished_max: usize,
    pub(crate) position: u64,
    pub(crate) entries: BTreeMap<EscalationId, Entry>,
    /// Known, but nobody is told or was told long ago.
    pub(crate) silent: BTreeSet<EscalationId>,
    /// Escalations of each episode, of those whose detail is kept.
    pub(crate) episodes: BTreeMap<EscalationId, BTreeSet<EscalationId>>,
    /// Escalations that ended.
    pub(crate) closed: BTreeSet<EscalationId>,
    pub(crate) groups: Groups,
    /// What is open and keeps others from being told.
    pub(crate) inhibitors: Inhibitors,
    /// Who is on which episode.
    pub(crate) acks: Acknowledgements,
    /// How far each feed receiver has each lane.
    pub(crate) fed: BTreeMap<(Arc<str>, Lane), u64>,
    finished: VecDeque<EscalationId>,
    pub(crate) pending: usize,
    pub(crate) deciding: usize,
    pub(crate) dead: usize,
}

impl State {
    /// Before the first record.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            finished_max: FINISHED_MAX,
            position: 0,
            entries: BTreeMap::new(),
            silent: BTreeSet::new(),
            episodes: BTreeMap::new(),
            closed: BTreeSet::new(),
            groups: Groups::default(),
            inhibitors: Inhibitors::default(),
            acks: Acknowledgements::default(),
            fed: BTreeMap::new(),
            finished: VecDeque::new(),
            pending: 0,
            deciding: 0,
            dead: 0,
        }
    }

    /// Keeps fewer finished deliveries in detail.
    #[must_use]
    pub fn with_finished_max(mut self, finished_max: usize) -> Self {
        self.finished_max = finished_max;
        self
    }

    /// Takes what happened; says what shall be done.
    pub fn apply(&mut self, input: Input<'_>) -> Vec<Effect> {
        match input {
            Input::Escalated {
                sequence,
                escalations,
                now,
                plan,
                partition,
                storms,
            } => {
                let desk = Desk {
                    plan,
                    partition,
                    sequence,
                    now,
                };
                self.escalated(desk, escalations, storms)
            }
            Input::Ticked {
                now,
                plan,
                partition,
                storms,
            } => {
                let desk = Desk {
                    plan,
                    partition,
                    sequence: self.position,
                    now,
                };
                self.ticked(desk, storms)
            }
            Input::IntentLogged { tenant, intent } => self.intent_logged(tenant, intent),
            Input::AttemptLogged(attempt) => self.attempt_logged(attempt),
            Input::Requeued(requeue) => self.requeued(&requeue),
            Input::Fed(position) => {
                let place = (position.receiver, position.lane);
                let known = self.fed.entry(place).or_default();
                *known = position.sequence.max(*known);
                Vec::new()
            }
            Input::Covered { sequence } => {
                self.position = self.position.max(sequence);
                Vec::new()
            }
            Input::Acknowledged(said) => self.acknowledged(said),
            Input::Answered(answer) => self.answered(answer),
        }
    }

    pub(crate) fn knows(&self, id: &EscalationId) -> bool {
        self.entries.contains_key(id) || self.silent.contains(id)
    }

    /// Remembers what was decided until it lies in the log.
    pub(crate) fn deciding(&mut self, tenant: &Arc<str>, intent: &Intent) {
        self.groups.note(intent);
        self.deciding += 1;
        let progress = Progress::new(intent.clone(), Standing::Deciding);
        self.entry_of(tenant, intent).deliveries.push(progress);
    }

    fn entry_of(&mut self, tenant: &Arc<str>, intent: &Intent) -> &mut Entry {
        let id = intent.escalation_id;
        let episode = self.episodes.entry(intent.episode_id).or_default();
        episode.insert(id);
        self.entries.entry(id).or_insert_with(|| Entry {
            tenant: Arc::clone(tenant),
            episode_id: intent.episode_id,
            deliveries: Vec::with_capacity(1),
        })
    }

    fn intent_logged(&mut self, tenant: &str, intent: Intent) -> Vec<Effect> {
        let id = intent.escalation_id;
        if self.silent.contains(&id) {
            return Vec::new();
        }
        self.groups.note(&intent);
        let (receiver, notice) = (Arc::clone(&intent.receiver), intent.notice);
        let entry = self.entry_of(&tenant.into(), &intent);
        let behind = entry
            .told(&receiver)
            .take_while(|p| p.intent.notice != notice)
            .any(|p| !p.is_over());
        let standing = match intent.withheld {
            Some(_) => Standing::Withheld,
            None if behind => Standing::Waiting,
            None => Standing::Pending {
                due: intent.decided_at,
            },
        };
        match entry.delivery_mut(&receiver, notice) {
            Some(known) if known.standing != Standing::Deciding => return Vec::new(),
            Some(known) => {
                known.standing = standing;
                self.deciding = self.deciding.saturating_sub(1);
            }
            None => entry.deliveries.push(Progress::new(intent, standing)),
        }
        match standing {
            Standing::Pending { .. } => self.pending += 1,
            Standing::Withheld => self.finish(id),
            Standing::Deciding
            | Standing::Waiting
            | Standing::Delivered
            | Standing::DeadLettered => {}
        }
        let progress = self
            .entries
            .get(&id)
            .and_then(|e| e.delivery(&receiver, notice));
        let ticket = progress.and_then(|progress| self.ticket(progress));
        ticket.map(Effect::Deliver).into_iter().collect()
    }

    /// What a pending delivery is tried with.
    pub(crate) fn ticket(&self, progress: &Progress) -> Option<Ticket> {
        let Standing::Pending { due } = progress.standing else {
            return None;
        };
        let intent = &progress.intent;
        let entry = self.entries.get(&intent.escalation_id);
        // What the receiver calls the first of the episode, else of this one.
        let kept = [intent.episode_id, intent.escalation_id];
        let mut handles = kept
            .iter()
            .filter_map(|id| self.entries.get(id))
            .map(|entry| entry.handle(&intent.receiver));
        Some(Ticket {
            escalation_id: intent.escalation_id,
            receiver: Arc::clone(&intent.receiver),
            sequence: intent.escalation_sequence,
            severity: intent.severity,
            decided_at: intent.decided_at,
            due,
            number: progress.number.saturating_add(1),
            notice: intent.notice,
            tier: Arc::clone(&intent.tier),
            handle: handles
                .find(|handle| !handle.is_empty())
                .unwrap_or_default(),
            page: entry.and_then(|entry| SummaryPage::of(&entry.tenant, intent)),
        })
    }

    fn attempt_logged(&mut self, attempt: Attempt) -> Vec<Effect> {
        let id = attempt.escalation_id;
        let mut effects = vec![Effect::Release {
            escalation_id: id,
            receiver: Arc::clone(&attempt.receiver),
        }];
        let Some(entry) = self.entries.get_mut(&id) else {
            return effects;
        };
        let (receiver, notice) = (Arc::clone(&attempt.receiver), attempt.notice);
        let Some(progress) = entry.delivery_mut(&receiver, notice) else {
            return effects;
        };
        if !matches!(progress.standing, Standing::Pending { .. }) {
            return effects;
        }
        progress.standing = match attempt.outcome {
            Outcome::Delivered => Standing::Delivered,
            Outcome::DeadLettered => Standing::DeadLettered,
            Outcome::Retry => Standing::Pending {
                due: attempt.next_attempt_at.unwrap_or(attempt.at),
            },
        };
        progress.attempts = progress.attempts.saturating_add(1);
        progress.number = attempt.number;
        if attempt.outcome == Outcome::Retry && progress.first_failure.is_none() {
            progress.first_failure = Some((attempt.at, attempt.error.clone()));
        }
        let at = attempt.at;
        progress.last = Some(attempt);
        match progress.standing {
            Standing::DeadLettered => {
                self.pending = self.pending.saturating_sub(1);
                self.dead += 1;
            }
            Standing::Delivered => {
                self.pending = self.pending.saturating_sub(1);
                self.let_next(id, &receiver, at);
                self.finish(id);
            }
            Standing::Pending { .. }
            | Standing::Deciding
            | Standing::Waiting
            | Standing::Withheld => {}
        }
        // The next attempt, or what waited for this one.
        let entry = self.entries.get(&id);
        let pending = entry.into_iter().flat_map(|entry| &entry.deliveries);
        let tickets = pending
            .filter(|progress| progress.intent.receiver == receiver)
            .filter_map(|progress| self.ticket(progress));
        effects.extend(tickets.map(Effect::Deliver));
        effects
    }

    /// What a receiver could not be told before it had what came before, may go now.
    fn let_next(&mut self, id: EscalationId, receiver: &str, at: Timestamp) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let mut waiting = entry
            .deliveries
            .iter_mut()
            .filter(|p| &*p.intent.receiver == receiver && p.standing == Standing::Waiting);
        if let Some(next) = waiting.next() {
            next.standing = Standing::Pending { due: at };
            self.pending += 1;
        }
    }

    /// Forgets the detail of the oldest escalation that everybody has, where there are too many.
    fn finish(&mut self, id: EscalationId) {
        if self.is_finished(&id) && self.finished.back() != Some(&id) {
            self.finished.push_back(id);
        }
        while self.finished.len() > self.finished_max {
            let Some(oldest) = self.finished.pop_front() else {
                return;
            };
            // What was told since comes again behind the others.
            if self.is_finished(&oldest) {
                self.forget(&oldest);
            }
        }
    }

    fn is_finished(&self, id: &EscalationId) -> bool {
        let entry = self.entries.get(id);
        entry.is_some_and(|entry| entry.deliveries.iter().all(Progress::is_over))
    }

    fn forget(&mut self, id: &EscalationId) {
        self.silent.insert(*id);
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        if let Some(episode) = self.episodes.get_mut(&entry.episode_id) {
            episode.remove(id);
            if episode.is_empty() {
                self.episodes.remove(&entry.episode_id);
            }
        }
    }

    fn requeued(&mut self, requeue: &Requeue) -> Vec<Effect> {
        let id = requeue.escalation_id;
        let Some(entry) = self.entries.get_mut(&id) else {
            return Vec::new();
        };
        let Some(progress) = entry.delivery_mut(&requeue.receiver, requeue.notice) else {
            return Vec::new();
        };
        if progress.standing != Standing::DeadLettered {
            return Vec::new();
        }
        progress.standing = Standing::Pending { due: requeue.at };
        progress.number = 0;
        progress.round = progress.round.saturating_add(1);
        progress.first_failure = None;
        let progress = progress.clone();
        self.pending += 1;
        self.dead = self.dead.saturating_sub(1);
        self.ticket(&progress)
            .map(Effect::Deliver)
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
