//! The closed word lists: category, severity, lane, timing, kinds of identity and key.

/// A word that is in none of the lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown value; expected one of {expected}")]
pub struct UnknownWord {
    /// The words that would do, separated by commas.
    pub expected: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $word:literal),+ $(,)? } $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word people and rules use.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The number used in the log (the proto enum's).
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number),+ }
            }

            /// From the number used in the log; `None` for any other.
            pub const fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            /// Reads the word, in any letter case.
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                $(if word.eq_ignore_ascii_case($word) { return Ok(Self::$variant); })+
                Err(UnknownWord { expected: $expected })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What kind of thing the AI system saw.
    Category {
        /// A guardrail stopped or altered something.
        GuardrailBlock = 1 "guardrail_block",
        /// An LLM judge flagged an output.
        JudgeFlag = 2 "judge_flag",
        /// Behaviour deviates.
        Anomaly = 3 "anomaly",
        /// Injection, jailbreak, system-prompt extraction.
        PromptAttack = 4 "prompt_attack",
        /// Bulk or structured data in an output.
        DataExfiltrationSignal = 5 "data_exfiltration_signal",
        /// A tool outside the allow-list, a delegation or scope breach.
        AgentBoundaryViolation = 6 "agent_boundary_violation",
        /// Judge accuracy or output distribution moved.
        ModelDrift = 7 "model_drift",
        /// Identity and counts only.
        Telemetry = 8 "telemetry",
    } "guardrail_block, judge_flag, anomaly, prompt_attack, data_exfiltration_signal, agent_boundary_violation, model_drift, telemetry"
}

words! {
    /// How bad.
    Severity {
        /// Log, aggregate, review weekly.
        Low = 1 "low",
        /// Triage within hours.
        Medium = 2 "medium",
        /// Triage within the hour.
        High = 3 "high",
        /// Immediate response.
        Critical = 4 "critical",
    } "low, medium, high, critical"
}

words! {
    /// Which of the three parallel streams of a partition a record travels in.
    Lane {
        /// Drained first.
        Urgent = 1 "urgent",
        /// Every other event.
        Normal = 2 "normal",
        /// Telemetry and identity hints.
        Bulk = 3 "bulk",
    } "urgent, normal, bulk"
}

words! {
    /// How the producer's time lies to the time of arrival.
    Timing {
        /// Counts in windows.
        OnTime = 1 "ON_TIME",
        /// Older than L: enters no window.
        Late = 2 "LATE",
        /// Further ahead than F: enters no window.
        Future = 3 "FUTURE",
    } "ON_TIME, LATE, FUTURE"
}

words! {
    /// What kind of actor an identity names.
    IdentityKind {
        /// A human.
        User = 1 "user",
        /// An AI agent.
        Agent = 2 "agent",
        /// A workload.
        ServicePrincipal = 3 "service_principal",
        /// An API key, by its id.
        ApiKey = 4 "api_key",
        /// A session.
        Session = 5 "session",
    } "user, agent, service_principal, api_key, session"
}

words! {
    /// How far an identity can be trusted. Ordered: `weakest` is what an escalation rests on.
    Assurance {
        /// The record itself said so.
        Claimed = 1 "claimed",
        /// Joined by a typed key.
        Joined = 2 "joined",
        /// From a source that authenticated the user.
        Verified = 3 "verified",
        /// Records of equal authority disagree.
        Conflicting = 4 "conflicting",
    } "claimed, joined, verified, conflicting"
}

words! {
    /// The type of a correlation key; keys of different types never match.
    KeyKind {
        /// request_id.
        Request = 1 "request",
        /// trace_id.
        Trace = 2 "trace",
        /// session_id.
        Session = 3 "session",
        /// An API key, by its subject: whose it is, a source vouches for.
        ApiKey = 4 "api_key",
        /// A workload, likewise.
        ServicePrincipal = 5 "service_principal",
        /// An agent, likewise.
        Agent = 6 "agent",
    } "request, trace, session, api_key, service_principal, agent"
}

impl KeyKind {
    /// Whether it is of one call or one conversation; else it is of an actor with many.
    #[must_use]
    pub const fn is_of_a_call(self) -> bool {
        matches!(self, Self::Request | Self::Trace | Self::Session)
    }
}

impl Assurance {
    /// The one of two that may carry less: conflicting, then claimed, joined, verified.
    #[must_use]
    pub const fn weakest(self, other: Self) -> Self {
        if self.trust() <= other.trust() {
            self
        } else {
            other
        }
    }

    const fn trust(self) -> u8 {
        match self {
            Self::Conflicting => 0,
            Self::Claimed => 1,
            Self::Joined => 2,
            Self::Verified => 3,
        }
    }
}

impl Lane {
    /// Place in [`Lane::ALL`]: 0 urgent, 1 normal, 2 bulk.
    pub const fn index(self) -> usize {
        match self {
            Self::Urgent => 0,
            Self::Normal => 1,
            Self::Bulk => 2,
        }
    }

    /// The lane of an event: a function of its own bytes alone. `said` is the record's own
    /// severity, not a derived one.
    pub const fn of(category: Category, said: Option<Severity>) -> Self {
        if matches!(said, Some(Severity::High | Severity::Critical)) {
            return Self::Urgent;
        }
        match category {
            Category::PromptAttack
            | Category::DataExfiltrationSignal
            | Category::AgentBoundaryViolation => Self::Urgent,
            Category::Telemetry => Self::Bulk,
            Category::GuardrailBlock
            | Category::JudgeFlag
            | Category::Anomaly
            | Category::ModelDrift => Self::Normal,
        }
    }
}
