//! What an answer of a receiver leads to.

use std::sync::Arc;

use balefire_event::Timestamp;

use crate::classify::Item;
use crate::delivery::dead;
use crate::effect::{EXHAUSTED, Effect, REFUSED};
use crate::input::Answer;
use crate::record::{Attempt, Outcome};
use crate::state::State;

impl State {
    pub(crate) fn answered(&self, answer: Answer) -> Vec<Effect> {
        let id = answer.escalation_id;
        let mut effects = Vec::with_capacity(2);
        let found = self
            .entries
            .get(&id)
            .and_then(|entry| Some((entry, entry.delivery(&answer.receiver, answer.notice)?)));
        let next = found.and_then(|(_, progress)| self.ticket(progress));
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
                notice: answer.notice,
                handle: answer.handle,
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
}

fn release(answer: &Answer) -> Effect {
    Effect::Release {
        escalation_id: answer.escalation_id,
        receiver: Arc::clone(&answer.receiver),
    }
}
