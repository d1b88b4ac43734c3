//! Where the deliveries of one escalation stand, as the log says.

use std::sync::Arc;

use balefire_event::{EscalationId, Timestamp};

use crate::effect::{DeadDelivery, SummaryPage};
use crate::input::Answer;
use crate::record::{Attempt, Intent, Notice, Withheld};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its intent is on the way into the log.
    Deciding,
    /// Will be tried from then on.
    Pending {
        /// Not before.
        due: Timestamp,
    },
    /// What the receiver must be told before it, it does not have yet.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// A dead letter holds it.
    DeadLettered,
    /// The receiver is not told.
    Withheld,
}

/// One delivery: what the log holds about one record of an escalation and one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What was decided.
    pub intent: Intent,
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

impl Progress {
    pub(crate) fn new(intent: Intent, standing: Standing) -> Self {
        Self {
            intent,
            standing,
            attempts: 0,
            number: 0,
            round: 0,
            last: None,
            first_failure: None,
        }
    }

    /// Whether nothing more happens to it by itself or by a requeue.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.standing, Standing::Delivered | Standing::Withheld)
    }

    pub(crate) fn is(&self, receiver: &str, notice: Notice) -> bool {
        &*self.intent.receiver == receiver && self.intent.notice == notice
    }
}

/// Every delivery of one escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Tenant.
    pub tenant: Arc<str>,
    /// Its episode.
    pub episode_id: EscalationId,
    /// One for each receiver and record, in the order in which they were decided.
    pub deliveries: Vec<Progress>,
}

impl Entry {
    /// The delivery of a record to a receiver.
    #[must_use]
    pub fn delivery(&self, receiver: &str, notice: Notice) -> Option<&Progress> {
        self.deliveries.iter().find(|p| p.is(receiver, notice))
    }

    pub(crate) fn delivery_mut(&mut self, receiver: &str, notice: Notice) -> Option<&mut Progress> {
        self.deliveries.iter_mut().find(|p| p.is(receiver, notice))
    }

    /// The records that a receiver was or will be told, in order.
    pub(crate) fn told<'s>(&'s self, receiver: &'s str) -> impl Iterator<Item = &'s Progress> {
        self.deliveries
            .iter()
            .filter(move |p| &*p.intent.receiver == receiver && p.intent.withheld.is_none())
    }

    /// Whether an open thing of a receiver's is about this too: it was told, or would have been if
    /// nobody had been on it.
    pub(crate) fn keeps_open(&self, receiver: &str) -> bool {
        let known = self.deliveries.iter();
        known
            .filter(|p| &*p.intent.receiver == receiver)
            .any(|p| matches!(p.intent.withheld, None | Some(Withheld::Acknowledged)))
    }

    /// What a receiver calls what it was told first.
    #[must_use]
    pub fn handle(&self, receiver: &str) -> Arc<str> {
        let attempts = self.told(receiver).filter_map(|p| p.last.as_ref());
        let mut handles = attempts.map(|attempt| &attempt.handle);
        let handle = handles.find(|handle| !handle.is_empty());
        handle.cloned().unwrap_or_default()
    }
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
        sequence: progress.intent.escalation_sequence,
        notice: answer.notice,
        reason,
        attempts: answer.number,
        round: progress.round,
        first_failed_at,
        last_failed_at: answer.at,
        first_error,
        last_error: answer.error.clone(),
        page: SummaryPage::of(&entry.tenant, &progress.intent),
    }
}
