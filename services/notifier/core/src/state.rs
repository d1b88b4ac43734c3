//! The state of one partition: a fold of its ESCALATIONS and its DELIVERIES.
//!
//! What is in DELIVERIES is true; what the process decided and has not written yet is only kept
//! so that it is not decided twice. So the fold of the log is the state after a restart, and a
//! crash between any two records leaves each intent pending, delivered or dead-lettered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, EscalationKind, Timestamp};

use crate::backoff::Backoff;
use crate::classify::Item;
use crate::delivery::{Entry, Progress, Standing, dead, ticket};
use crate::effect::{EXHAUSTED, Effect, REFUSED, Ticket};
use crate::input::{Answer, Input};
use crate::record::{Attempt, Intent, Outcome, Requeue};
use crate::route::Routes;

/// Deliveries of so many escalations are kept in detail after they ended; of older ones only the
/// escalation's id.
pub const FINISHED_MAX: usize = 100_000;

/// The fold.
#[derive(Debug, Clone)]
pub struct State {
    routes: Arc<Routes>,
    backoff: Backoff,
    finished_max: usize,
    position: u64,
    entries: BTreeMap<EscalationId, Entry>,
    /// Known, but nobody is told or was told long ago.
    silent: BTreeSet<EscalationId>,
    /// Intents on their way into the log.
    deciding: BTreeSet<EscalationId>,
    finished: VecDeque<EscalationId>,
    pending: usize,
    dead: usize,
}

impl State {
    /// Before the first record.
    #[must_use]
    pub fn new(routes: Arc<Routes>, backoff: Backoff) -> Self {
        Self {
            routes,
            backoff,
            finished_max: FINISHED_MAX,
            position: 0,
            entries: BTreeMap::new(),
            silent: BTreeSet::new(),
            deciding: BTreeSet::new(),
            finished: VecDeque::new(),
            pending: 0,
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
            } => self.escalated(sequence, escalations, now),
            Input::IntentLogged { tenant, intent } => self.intent_logged(tenant, &intent),
            Input::AttemptLogged(attempt) => self.attempt_logged(attempt),
            Input::Requeued(requeue) => self.requeued(&requeue),
            Input::Covered { sequence } => {
                self.position = self.position.max(sequence);
                Vec::new()
            }
            Input::Answered(answer) => self.answered(answer),
        }
    }

    fn escalated(
        &mut self,
        sequence: u64,
        escalations: &[Escalation],
        now: Timestamp,
    ) -> Vec<Effect> {
        let (mut intents, mut decided) = (Vec::new(), false);
        for escalation in escalations {
            let id = escalation.escalation_id;
            if !told(escalation.kind) || self.knows(&id) {
                continue;
            }
            let before = intents.len();
            if sequence > self.position {
                decided = true;
                if !escalation.backfill && !escalation.shadow {
                    intents.extend(self.intents(sequence, escalation, now));
                }
            }
            if intents.len() == before {
                self.silent.insert(id);
            } else {
                self.deciding.insert(id);
            }
        }
        match escalations.first() {
            Some(first) if decided => vec![Effect::RecordIntents {
                sequence,
                tenant: first.tenant.as_str().into(),
                intents,
            }],
            _ => Vec::new(),
        }
    }

    fn intents(&self, sequence: u64, escalation: &Escalation, now: Timestamp) -> Vec<Intent> {
        self.routes
            .of_escalation(escalation)
            .map(|(receiver, route)| Intent {
                escalation_id: escalation.escalation_id,
                receiver,
                escalation_sequence: sequence,
                severity: escalation.severity,
                decided_at: now,
                route: route.into(),
            })
            .collect()
    }

    fn knows(&self, id: &EscalationId) -> bool {
        self.entries.contains_key(id) || self.silent.contains(id) || self.deciding.contains(id)
    }

    fn intent_logged(&mut self, tenant: &str, intent: &Intent) -> Vec<Effect> {
        let id = intent.escalation_id;
        self.deciding.remove(&id);
        if self.silent.contains(&id) {
            return Vec::new();
        }
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            tenant: tenant.into(),
            sequence: intent.escalation_sequence,
            severity: intent.severity,
            decided_at: intent.decided_at,
            deliveries: Vec::with_capacity(1),
        });
        if entry.delivery(&intent.receiver).is_some() {
            return Vec::new();
        }
        let progress = Progress {
            receiver: Arc::clone(&intent.receiver),
            route: Arc::clone(&intent.route),
            standing: Standing::Pending {
                due: intent.decided_at,
            },
            attempts: 0,
            number: 0,
            round: 0,
            last: None,
            first_failure: None,
        };
        let ticket = ticket(id, entry, &progress);
        entry.deliveries.push(progress);
        self.pending += 1;
        ticket.map(Effect::Deliver).into_iter().collect()
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
        let Some(progress) = entry.delivery_mut(&attempt.receiver) else {
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
        progress.last = Some(attempt);
        match progress.standing {
            Standing::Pending { .. } => {
                let progress = progress.clone();
                effects.extend(ticket(id, entry, &progress).map(Effect::Deliver));
            }
            Standing::DeadLettered => {
                self.pending = self.pending.saturating_sub(1);
                self.dead += 1;
            }
            Standing::Delivered => {
                self.pending = self.pending.saturating_sub(1);
                self.finish(id);
            }
        }
        effects
    }

    /// Forgets the detail of the oldest escalation that everybody has, where there are too many.
    fn finish(&mut self, id: EscalationId) {
        let all = self.entries.get(&id).is_some_and(|entry| {
            entry
                .deliveries
                .iter()
                .all(|progress| progress.standing == Standing::Delivered)
        });
        if all {
            self.finished.push_back(id);
        }
        while self.finished.len() > self.finished_max {
            if let Some(oldest) = self.finished.pop_front() {
                self.entries.remove(&oldest);
                self.silent.insert(oldest);
            }
        }
    }

    fn requeued(&mut self, requeue: &Requeue) -> Vec<Effect> {
        let id = requeue.escalation_id;
        let Some(entry) = self.entries.get_mut(&id) else {
            return Vec::new();
        };
        let Some(progress) = entry.delivery_mut(&requeue.receiver) else {
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
        ticket(id, entry, &progress)
            .map(Effect::Deliver)
            .into_iter()
            .collect()
    }

    fn answered(&self, answer: Answer) -> Vec<Effect> {
        let id = answer.escalation_id;
        let mut effects = Vec::with_capacity(2);
        let found = self
            .entries
            .get(&id)
            .and_then(|entry| Some((entry, entry.delivery(&answer.receiver)?)));
        let next = found.and_then(|(entry, progress)| ticket(id, entry, progress));
        let (Some((entry, progress)), Some(next)) = (found, next.as_ref()) else {
            effects.push(release(&answer));
            return effects;
        };
        if answer.number != next.number {
            // Of an attempt that the log knows already: what is due is the next one.
            effects.extend([release(&answer), Effect::Deliver(next.clone())]);
            return effects;
        }
        let (outcome, reason, next_attempt_at) = self.decide(&answer);
        if let Some(reason) = reason {
            effects.push(Effect::DeadLetter(dead(entry, progress, &answer, reason)));
        }
        effects.push(Effect::RecordAttempt {
            tenant: Arc::clone(&entry.tenant),
            attempt: Attempt {
                escalation_id: id,
                receiver: answer.receiver,
                number: answer.number,
                at: answer.at,
                outcome,
                status: answer.status,
                error: answer.error,
                next_attempt_at,
                took: answer.took,
            },
        });
        effects
    }

    fn decide(&self, answer: &Answer) -> (Outcome, Option<&'static str>, Option<Timestamp>) {
        match answer.verdict.alone() {
            Item::Delivered => (Outcome::Delivered, None, None),
            Item::Permanent => (Outcome::DeadLettered, Some(REFUSED), None),
            Item::Retry { .. } if answer.number >= self.backoff.attempts_max => {
                (Outcome::DeadLettered, Some(EXHAUSTED), None)
            }
            Item::Retry { after } => {
                let wait = self.backoff.wait(answer.number, answer.roll, after);
                (Outcome::Retry, None, Some(answer.at.plus(wait)))
            }
        }
    }

    /// A ticket for every pending delivery: what a process that starts has to do.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.entries.iter().flat_map(|(id, entry)| {
            entry
                .deliveries
                .iter()
                .filter_map(|progress| ticket(*id, entry, progress))
        })
    }

    /// Every escalation with deliveries whose detail is kept, by id, behind `after`.
    pub fn entries(
        &self,
        after: Option<EscalationId>,
    ) -> impl Iterator<Item = (&EscalationId, &Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries
            .range((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The deliveries of one escalation.
    #[must_use]
    pub fn entry(&self, id: &EscalationId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Every intent of ESCALATIONS up to here is in the log.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Deliveries that will be tried, and those whose intents are on their way into the log.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending + self.deciding.len()
    }

    /// Deliveries that dead letters hold.
    #[must_use]
    pub fn dead_len(&self) -> usize {
        self.dead
    }
}

impl PartialEq for State {
    /// Whether the logs say the same; what is on its way into them does not count.
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
            && self.entries == other.entries
            && self.silent == other.silent
            && self.finished == other.finished
            && (self.pending, self.dead) == (other.pending, other.dead)
    }
}

fn release(answer: &Answer) -> Effect {
    Effect::Release {
        escalation_id: answer.escalation_id,
        receiver: Arc::clone(&answer.receiver),
    }
}

const fn told(kind: EscalationKind) -> bool {
    matches!(kind, EscalationKind::Raised | EscalationKind::Continued)
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
