//! The records of DELIVERIES. See balefire.delivery.v1 for each field.

use std::sync::Arc;

use balefire_event::{EscalationId, Severity, Timestamp};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// Will be tried again at `next_attempt_at`.
    Retry,
    /// Given up: a dead letter holds it.
    DeadLettered,
}

/// A receiver shall be told of an escalation. One a pair, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// Name of the receiver.
    pub receiver: Arc<str>,
    /// Sequence in its ESCALATIONS partition.
    pub escalation_sequence: u64,
    /// Orders the queue.
    pub severity: Severity,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Why: name of the route.
    pub route: Arc<str>,
}

/// One attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// Name of the receiver.
    pub receiver: Arc<str>,
    /// 1 for the first; starts again at 1 after a requeue.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status. 0: none was received.
    pub status: u16,
    /// What went wrong, in words.
    pub error: String,
    /// When it is tried again; only under [`Outcome::Retry`].
    pub next_attempt_at: Option<Timestamp>,
    /// How long it took, nanoseconds.
    pub took: i64,
}

/// A dead-lettered delivery goes back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requeue {
    /// The escalation.
    pub escalation_id: EscalationId,
    /// Name of the receiver.
    pub receiver: Arc<str>,
    /// Who asked.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}
