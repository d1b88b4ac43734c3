//! The records of DELIVERIES. See balefire.delivery.v1 for each field.

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, EscalationKind, Lane, Severity, Timestamp};

use crate::digest::Digest;
use crate::summary::Summary;

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

/// Which record of an escalation a delivery is about. What is told first is one, whether it raised
/// or continued an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Notice {
    /// RAISED or CONTINUED.
    #[default]
    First,
    /// AMENDED, of a revision.
    Amended(u32),
    /// CLOSED, of a revision.
    Closed(u32),
}

impl Notice {
    /// That of a record of a kind and revision.
    #[must_use]
    pub const fn of(kind: EscalationKind, revision: u32) -> Self {
        match kind {
            EscalationKind::Raised | EscalationKind::Continued => Self::First,
            EscalationKind::Amended => Self::Amended(revision),
            EscalationKind::Closed => Self::Closed(revision),
        }
    }

    /// That of a record.
    #[must_use]
    pub const fn about(record: &Escalation) -> Self {
        Self::of(record.kind, record.revision)
    }

    /// The kind and revision that stand for it in the log.
    #[must_use]
    pub const fn parts(self) -> (EscalationKind, u32) {
        match self {
            Self::First => (EscalationKind::Raised, 0),
            Self::Amended(revision) => (EscalationKind::Amended, revision),
            Self::Closed(revision) => (EscalationKind::Closed, revision),
        }
    }

    /// Whether an escalation ended with it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// Why a receiver is not told of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// A silence was in force.
    Silenced,
    /// Another of the group was told.
    Grouped,
    /// No route matched.
    NoRoute,
    /// Another slot of the episode is open.
    EpisodeOpen,
    /// The receiver got a summary of many instead.
    Storm,
    /// Somebody is on its episode.
    Acknowledged,
    /// Something is open that inhibits it.
    Inhibited,
}

impl Withheld {
    /// The word people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silenced => "silenced",
            Self::Grouped => "grouped",
            Self::NoRoute => "no_route",
            Self::EpisodeOpen => "episode_open",
            Self::Storm => "storm",
            Self::Acknowledged => "acknowledged",
            Self::Inhibited => "inhibited",
        }
    }
}

/// A receiver shall be told of a record of an escalation, or shall not and why. One for each
/// receiver and record, for ever.
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
    /// Which record of the escalation.
    pub notice: Notice,
    /// The episode it is of.
    pub episode_id: EscalationId,
    /// Why it is not told; `None`: it is.
    pub withheld: Option<Withheld>,
    /// Who or what withheld it. Empty: it is told.
    pub withheld_by: Arc<str>,
    /// The SOC's own words for its severity. Empty: the default's.
    pub tier: Arc<str>,
    /// Number of its group. 0: it is of none.
    pub group: u64,
    /// Control revision under which it was decided.
    pub control_revision: u64,
    /// What a summary page tells of, which is no escalation of the log. `None`: it is about one.
    pub summary: Option<Arc<Summary>>,
    /// What a weekly digest tells, which is no escalation of the log either. `None`: it is none.
    pub digest: Option<Arc<Digest>>,
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
    /// Which record of the escalation.
    pub notice: Notice,
    /// What the receiver calls it, where that is needed later. Empty: it is not.
    pub handle: Arc<str>,
}

/// A feed receiver has every event of one lane of the partition up to here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition {
    /// Name of the receiver.
    pub receiver: Arc<str>,
    /// The lane.
    pub lane: Lane,
    /// Sequence in the lane's stream.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
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
    /// Which record of the escalation.
    pub notice: Notice,
}
