//! What receivers answered becomes records. Before a delivery is given up its dead letter lies in the
//! log; that is written beside everything else, so that a receiver that refuses holds up no other.

use std::sync::Arc;

use balefire_bus::Error as BusError;
use balefire_notifier_core::{Attempt, DeadDelivery, Effect, Input, Outcome};
use tokio::task::JoinSet;

use super::{Live, Parts};
use crate::bodies::whole;
use crate::dispatch::Answered;

/// Attempts whose dead letters are being written: each counts as not logged, so the queue's bound
/// on those is theirs, too.
#[derive(Default)]
pub(super) struct Burials {
    tasks: JoinSet<(Arc<str>, Attempt)>,
}

impl Burials {
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Writes a dead letter; the attempt behind it comes out of [`Burials::next`].
    fn begin(&mut self, parts: &Parts, dead: DeadDelivery, tenant: Arc<str>, attempt: Attempt) {
        let (bodies, letterbox) = (Arc::clone(&parts.bodies), parts.letterbox.clone());
        let stream = parts.topology.escalations_stream(parts.writer.partition);
        self.tasks.spawn(async move {
            let body = match &dead.page {
                Some(page) => page.record().map(Arc::new),
                None => {
                    bodies
                        .get(&dead.escalation_id, dead.notice, dead.sequence)
                        .await
                }
            };
            let body = body.as_deref().map(whole).unwrap_or_default();
            letterbox.delivery(&stream, dead, body).await;
            (tenant, attempt)
        });
    }

    /// The next attempt whose dead letter lies in the log. Waits for ever where none is being
    /// written. Cancel-safe.
    ///
    /// # Errors
    /// A task that is gone: the partition starts again from the log.
    pub(super) async fn next(&mut self) -> Result<(Arc<str>, Attempt), BusError> {
        match self.tasks.join_next().await {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => Err(BusError::Unavailable {
                doing: "writing a dead letter".into(),
                reason: error.to_string(),
            }),
            None => std::future::pending().await,
        }
    }
}

impl Live<'_> {
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered { answer, slot } = answered;
        let key = (answer.escalation_id, Arc::clone(&answer.receiver));
        self.slots.insert(key.clone(), slot);
        let effects = self.parts.view.state().apply(Input::Answered(answer));
        let mut dead = None;
        for effect in effects {
            match effect {
                // The attempt follows.
                Effect::DeadLetter(letter) => dead = Some(letter),
                Effect::RecordAttempt { tenant, attempt } => match dead.take() {
                    Some(letter) => self.burials.begin(self.parts, letter, tenant, attempt),
                    None => self.journal.attempt(tenant, attempt),
                },
                Effect::Release { .. } => {
                    self.slots.remove(&key);
                }
                Effect::Deliver(ticket) => {
                    self.parts.board.push(self.parts.writer.partition, ticket);
                }
                Effect::RecordIntents { .. } => {}
            }
        }
    }
}

pub(super) fn count(outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Retry => "retry",
        Outcome::DeadLettered => "dead_lettered",
    };
    metrics::counter!("balefire_delivery_attempts_total", "outcome" => outcome).increment(1);
}
