//! What shall be done about a partition's deliveries.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, Severity, Timestamp};

use crate::record::{Attempt, Intent, Notice};
use crate::{digest, summary};

/// Reason of a dead letter: a receiver refused for good.
pub const REFUSED: &str = "delivery_refused";
/// Reason of a dead letter: every attempt failed.
pub const EXHAUSTED: &str = "delivery_exhausted";

/// A delivery that may be tried from `due` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// The receiver.
    pub receiver: Arc<str>,
    /// Where the record lies.
    pub sequence: u64,
    /// More severe goes first.
    pub severity: Severity,
    /// Older goes first.
    pub decided_at: Timestamp,
    /// Not before.
    pub due: Timestamp,
    /// Number of the attempt.
    pub number: u32,
    /// Which record of the escalation.
    pub notice: Notice,
    /// The SOC's own words for its severity. Empty: the default's.
    pub tier: Arc<str>,
    /// What the receiver calls what it was told first. Empty: it said nothing that is needed.
    pub handle: Arc<str>,
    /// What a summary page is made of; `None`: the record lies in ESCALATIONS.
    pub page: Option<Arc<SummaryPage>>,
}

/// What a summary page or a digest is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryPage {
    /// Its tenant.
    pub tenant: Arc<str>,
    /// Its intent, which has a summary or a digest.
    pub intent: Intent,
}

impl SummaryPage {
    /// That of an intent; `None`: it is about a record of ESCALATIONS.
    pub(crate) fn of(tenant: &Arc<str>, intent: &Intent) -> Option<Arc<Self>> {
        if intent.summary.is_none() && intent.digest.is_none() {
            return None;
        }
        Some(Arc::new(Self {
            tenant: Arc::clone(tenant),
            intent: intent.clone(),
        }))
    }

    /// The record that encoders take, the same for every attempt.
    #[must_use]
    pub fn record(&self) -> Option<Escalation> {
        if let Some(told) = self.intent.digest.as_deref() {
            return Some(digest::record(&self.tenant, &self.intent, told));
        }
        let told = self.intent.summary.as_deref()?;
        Some(summary::record(&self.tenant, &self.intent, told))
    }
}

/// What a dead letter of a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadDelivery {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// The receiver.
    pub receiver: Arc<str>,
    /// Tenant.
    pub tenant: Arc<str>,
    /// Where the record lies.
    pub sequence: u64,
    /// Which record of the escalation.
    pub notice: Notice,
    /// [`REFUSED`] or [`EXHAUSTED`].
    pub reason: &'static str,
    /// Attempts since it was decided or requeued.
    pub attempts: u32,
    /// How often it was requeued before.
    pub round: u32,
    /// First failure since then.
    pub first_failed_at: Timestamp,
    /// The failure that ended it.
    pub last_failed_at: Timestamp,
    /// Text of the first error.
    pub first_error: String,
    /// Text of the last error.
    pub last_error: String,
    /// The record of a summary page; `None`: it lies in ESCALATIONS.
    pub page: Option<Arc<SummaryPage>>,
}

/// What shall be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to DELIVERIES.
    RecordIntents {
        /// Sequence in ESCALATIONS that they cover.
        sequence: u64,
        /// Tenant of all of them.
        tenant: Arc<str>,
        /// The records; those of one escalation stand together. Empty: that nobody is told is
        /// decided too, so that a receiver that comes later is not told of what was before it.
        intents: Vec<Intent>,
    },
    /// A place with this receiver is free again.
    Release {
        /// The escalation that had it.
        escalation_id: EscalationId,
        /// The receiver.
        receiver: Arc<str>,
    },
    /// Try to deliver.
    Deliver(Ticket),
    /// Append to DEADLETTERS, before the attempt that follows.
    DeadLetter(DeadDelivery),
    /// Append to DELIVERIES.
    RecordAttempt {
        /// Its tenant.
        tenant: Arc<str>,
        /// The record.
        attempt: Attempt,
    },
}
