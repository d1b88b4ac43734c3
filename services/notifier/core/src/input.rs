//! What happens to a partition's deliveries.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, Timestamp};

use crate::ack::Acknowledgement;
use crate::classify::Verdict;
use crate::plan::Plan;
use crate::record::{Attempt, FeedPosition, Intent, Notice, Requeue};
use crate::storm::Storms;

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message of ESCALATIONS was read.
    Escalated {
        /// Its sequence.
        sequence: u64,
        /// Its escalations, in order, all of one tenant.
        escalations: &'a [Escalation],
        /// The clock.
        now: Timestamp,
        /// What is in force.
        plan: &'a Plan,
        /// The partition.
        partition: u32,
        /// Pages of all partitions of the process.
        storms: &'a mut Storms,
    },
    /// Time went by.
    Ticked {
        /// The clock.
        now: Timestamp,
        /// What is in force.
        plan: &'a Plan,
        /// The partition.
        partition: u32,
        /// Pages of all partitions of the process.
        storms: &'a mut Storms,
    },
    /// An intent lies in the log.
    IntentLogged {
        /// Its tenant.
        tenant: &'a str,
        /// The record.
        intent: Intent,
    },
    /// An attempt lies in the log.
    AttemptLogged(Attempt),
    /// A requeue lies in the log.
    Requeued(Requeue),
    /// How far a feed receiver is lies in the log.
    Fed(FeedPosition),
    /// The log says that every intent of ESCALATIONS up to here is in it.
    Covered {
        /// Sequence in ESCALATIONS.
        sequence: u64,
    },
    /// An acknowledgement lies in the log.
    Acknowledged(Acknowledgement),
    /// A delivery ended.
    Answered(Answer),
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// The receiver.
    pub receiver: Arc<str>,
    /// The attempt's number, from its ticket.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, nanoseconds.
    pub took: i64,
    /// What it means.
    pub verdict: Verdict,
    /// HTTP status. 0: none was received.
    pub status: u16,
    /// What went wrong, in words. Empty: nothing.
    pub error: String,
    /// Uniform over all of u64: jitter.
    pub roll: u64,
    /// Which record of the escalation, from its ticket.
    pub notice: Notice,
    /// What the receiver calls it, where that is needed later.
    pub handle: Arc<str>,
}
