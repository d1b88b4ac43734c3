//! The closed word lists. 0 is "not said": `TryFrom` refuses it.

use balefire_event as own;

use crate::{Error, escalation, event};

macro_rules! words {
    ($what:literal, $own:path, $wire:path { $($own_variant:ident => $wire_variant:ident),+ $(,)? }) => {
        impl From<$own> for $wire {
            fn from(word: $own) -> Self {
                match word { $(<$own>::$own_variant => <$wire>::$wire_variant),+ }
            }
        }

        impl TryFrom<$wire> for $own {
            type Error = Error;
            fn try_from(word: $wire) -> Result<Self, Error> {
                match word {
                    $(<$wire>::$wire_variant => Ok(<$own>::$own_variant),)+
                    <$wire>::Unspecified => Err(Error::malformed($what)),
                }
            }
        }
    };
}

words!("category", own::Category, event::v1::Category {
    GuardrailBlock => GuardrailBlock,
    JudgeFlag => JudgeFlag,
    Anomaly => Anomaly,
    PromptAttack => PromptAttack,
    DataExfiltrationSignal => DataExfiltrationSignal,
    AgentBoundaryViolation => AgentBoundaryViolation,
    ModelDrift => ModelDrift,
    Telemetry => Telemetry,
});
words!("severity", own::Severity, event::v1::Severity {
    Low => Low,
    Medium => Medium,
    High => High,
    Critical => Critical,
});
words!("lane", own::Lane, event::v1::Lane {
    Urgent => Urgent,
    Normal => Normal,
    Bulk => Bulk,
});
words!("timing", own::Timing, event::v1::Timing {
    OnTime => OnTime,
    Late => Late,
    Future => Future,
});
words!("identity kind", own::IdentityKind, event::v1::IdentityKind {
    User => User,
    Agent => Agent,
    ServicePrincipal => ServicePrincipal,
    ApiKey => ApiKey,
    Session => Session,
});
words!("assurance", own::Assurance, event::v1::Assurance {
    Claimed => Claimed,
    Joined => Joined,
    Verified => Verified,
    Conflicting => Conflicting,
});
words!("key kind", own::KeyKind, event::v1::KeyKind {
    Request => Request,
    Trace => Trace,
    Session => Session,
    ApiKey => ApiKey,
    ServicePrincipal => ServicePrincipal,
    Agent => Agent,
});
words!("escalation kind", own::EscalationKind, escalation::v1::EscalationKind {
    Raised => Raised,
    Continued => Continued,
    Closed => Closed,
    Amended => Amended,
});
words!("approval", own::Approval, escalation::v1::Approval {
    None => None,
    Human => Human,
    HumanDoubt => HumanDoubt,
});
