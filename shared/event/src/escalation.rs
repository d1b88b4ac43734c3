//! Escalations, as the rule-engine decides them and the notifier tells them.

use crate::category::{Assurance, Severity, Timing};
use crate::event::Event;
use crate::ids::{DedupId, EscalationId, RuleId};
use crate::time::Timestamp;

/// What an escalation record says about its slot.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum EscalationKind {
    /// First breached slot of an episode.
    Raised,
    /// The episode goes on.
    Continued,
    /// The slot can get no more breaches.
    Closed,
    /// A fact shown in it changed.
    Amended,
}

impl EscalationKind {
    /// The word people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "RAISED",
            Self::Continued => "CONTINUED",
            Self::Closed => "CLOSED",
            Self::Amended => "AMENDED",
        }
    }

    /// The number used in the log.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Raised => 1,
            Self::Continued => 2,
            Self::Closed => 3,
            Self::Amended => 4,
        }
    }

    /// From the number used in the log.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Raised),
            2 => Some(Self::Continued),
            3 => Some(Self::Closed),
            4 => Some(Self::Amended),
            _ => None,
        }
    }
}

/// Who must agree to a recommended action.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Nobody.
    None,
    /// A human.
    Human,
    /// A human, because timing or identity is in doubt.
    HumanDoubt,
}

impl Approval {
    /// The word people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Human => "human",
            Self::HumanDoubt => "human_doubt",
        }
    }
}

/// A recommendation. Nothing enforces it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecommendedAction {
    /// block_user, disable_ai_feature, capture_evidence, halt_agent.
    pub name: String,
    /// information, reversible_containment, user_impacting.
    pub class: String,
    /// Field it is aimed at.
    pub target: String,
    /// Longest time it should stay in force, seconds. 0: does not apply.
    pub max_duration_seconds: u64,
    /// Who must agree.
    pub approval: Approval,
}

impl RecommendedAction {
    /// Whether the action affects a user, so that doubt asks for a human.
    #[must_use]
    pub fn affects_user(&self) -> bool {
        self.class != "information"
    }
}

/// One part of a group key.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct KeyPart {
    /// Field name as the rule writes it.
    pub field: String,
    /// What people see.
    pub readable: String,
    /// What is hashed: a SubjectRef for identities, else the canonical text.
    pub canonical: Vec<u8>,
}

/// The canonical bytes of a whole key: each part's field name and canonical bytes, each with its
/// length before it.
#[must_use]
pub fn canonical_key<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    for (field, canonical) in parts {
        for part in [field.as_bytes(), canonical] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// One contributing event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EvidenceItem {
    /// The producer's id.
    pub event_id: String,
    /// Its dedup id.
    pub dedup_id: DedupId,
    /// Its effective time.
    pub t: Timestamp,
}

/// An escalation. See balefire.escalation.v1.Escalation for each field.
#[derive(Debug, Clone, PartialEq)]
pub struct Escalation {
    /// The same under every order of arrival.
    pub escalation_id: EscalationId,
    /// The escalation that raised its episode.
    pub episode_id: EscalationId,
    /// What this record says.
    pub kind: EscalationKind,
    /// Tenant.
    pub tenant: String,
    /// The rule.
    pub rule_id: RuleId,
    /// Its name.
    pub rule_name: String,
    /// Its title.
    pub title: String,
    /// Group key; what a windowless rule shows.
    pub key: Vec<KeyPart>,
    /// Slot start; t of the event for a windowless rule.
    pub slot_start: Timestamp,
    /// R, nanoseconds; 0 windowless.
    pub rearm: i64,
    /// Effective time of the first breach point seen in the slot.
    pub breach_at: Timestamp,
    /// Severity by the rule.
    pub severity: Severity,
    /// Late where the breach was old at arrival.
    pub timing: Timing,
    /// Weakest among the identities it rests on; `None`: it rests on none.
    pub assurance: Option<Assurance>,
    /// First and last contributing events.
    pub evidence: Vec<EvidenceItem>,
    /// Contributing records when it was written.
    pub event_count: u64,
    /// What should be done.
    pub recommended_actions: Vec<RecommendedAction>,
    /// Who should know.
    pub audiences: Vec<String>,
    /// ATLAS technique ids.
    pub atlas: Vec<String>,
    /// OWASP ids.
    pub owasp: Vec<String>,
    /// The completing event.
    pub trigger: Option<Box<Event<'static>>>,
    /// Arrival of the completing event.
    pub received_at: Timestamp,
    /// Grows with Closed and Amended.
    pub revision: u32,
    /// Every contributing event was history: nobody is told.
    pub backfill: bool,
    /// W, nanoseconds; 0 windowless.
    pub window: i64,
    /// N; 0 windowless, and where nothing is counted.
    pub threshold: u64,
    /// Decided once, when the slot ended, from what was there then.
    pub at_close: bool,
    /// What the rule looks for, in words; empty in records older than it.
    pub condition: String,
    /// Of a rule on trial: nobody is told.
    pub shadow: bool,
}
