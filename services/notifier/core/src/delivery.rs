//! Where the deliveries of one escalation stand, as the log says.

use std::sync::Arc;

use balefire_event::{EscalationId, Severity, Timestamp};

use crate::effect::{DeadDelivery, Ticket};
use crate::input::Answer;
use crate::record::Attempt;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Will be tried from then on.
    Pending {
        /// Not before.
        due: Timestamp,
    },
    /// The receiver has it.
    Delivered,
    /// A dead letter holds it.
    DeadLettered,
}

/// One delivery: what the log holds about one escalation and one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The receiver.
    pub receiver: Arc<str>,
    /// Why it is told.
    pub route: Arc<str>,
    /// Where it stands.
    pub standing: Standing,
    /// All attempts.
    pub attempts: u32,
    /// Number of the last attempt since the last requeue.
    pub number: u32,
    /// Requeues that had an effect.
    pub round: u32,
    /// The last attempt.
    pub last: Option<Attempt>,
    pub(crate) first_failure: Option<(Timestamp, String)>,
}

/// Every delivery of one escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Tenant.
    pub tenant: Arc<str>,
    /// Sequence in ESCALATIONS.
    pub sequence: u64,
    /// Orders the queue.
    pub severity: Severity,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// One a receiver, in the order of the routing table.
    pub deliveries: Vec<Progress>,
}

impl Entry {
    /// The delivery to a receiver.
    #[must_use]
    pub fn delivery(&self, receiver: &str) -> Option<&Progress> {
        self.deliveries.iter().find(|p| &*p.receiver == receiver)
    }

    pub(crate) fn delivery_mut(&mut self, receiver: &str) -> Option<&mut Progress> {
        self.deliveries
            .iter_mut()
            .find(|p| &*p.receiver == receiver)
    }
}

pub(crate) fn ticket(id: EscalationId, entry: &Entry, progress: &Progress) -> Option<Ticket> {
    let Standing::Pending { due } = progress.standing else {
        return None;
    };
    Some(Ticket {
        escalation_id: id,
        receiver: Arc::clone(&progress.receiver),
        sequence: entry.sequence,
        severity: entry.severity,
        decided_at: entry.decided_at,
        due,
        number: progress.number.saturating_add(1),
    })
}

pub(crate) fn dead(
    entry: &Entry,
    progress: &Progress,
    answer: &Answer,
    reason: &'static str,
) -> DeadDelivery {
    let (first_failed_at, first_error) = progress
        .first_failure
        .clone()
        .unwrap_or_else(|| (answer.at, answer.error.clone()));
    DeadDelivery {
        escalation_id: answer.escalation_id,
        receiver: Arc::clone(&answer.receiver),
        tenant: Arc::clone(&entry.tenant),
        sequence: entry.sequence,
        reason,
        attempts: answer.number,
        round: progress.round,
        first_failed_at,
        last_failed_at: answer.at,
        first_error,
        last_error: answer.error.clone(),
    }
}
