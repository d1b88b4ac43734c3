//! What a vendor's detector found, in Balefire's words.
//!
//! The ids are those of MITRE ATLAS 5.6.0, OWASP's LLM Top 10 2025 and Agentic Top 10 2026. Where
//! none fits there is none: a toxic answer is no attack technique.

use balefire_event::mark::SELF_CAUSED;
use balefire_event::{Category, Severity};

use super::draft::Draft;
use crate::severity;

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// An instruction in the prompt that is none of the application's.
    Injection,
    /// The same, in a document or tool result.
    IndirectInjection,
    /// Talking a model out of its rules.
    Jailbreak,
    /// Getting at the system prompt.
    PromptExtraction,
    /// Personal data or secrets.
    PersonalData,
    /// Toxic, off-topic, forbidden words.
    Content,
    /// A statement without ground.
    Hallucination,
    /// A judge's other verdict.
    Judged,
    /// Data on its way out.
    Exfiltration,
    /// A tool or action that was not allowed.
    ToolDenied,
    /// Code that a model would run.
    CodeAbuse,
    /// A guardrail or a log was changed or taken away.
    ControlTamper,
    /// The control plane was changed, in a way that needs a look.
    ControlChange,
}

/// The words for a finding.
struct Words {
    category: Category,
    attack_type: &'static str,
    atlas: &'static str,
    owasp: &'static str,
}

const fn words(
    category: Category,
    attack_type: &'static str,
    atlas: &'static str,
    owasp: &'static str,
) -> Words {
    Words {
        category,
        attack_type,
        atlas,
        owasp,
    }
}

impl Finding {
    const fn words(self) -> Words {
        use Category::{
            AgentBoundaryViolation, DataExfiltrationSignal, GuardrailBlock, JudgeFlag, PromptAttack,
        };
        match self {
            Self::Injection => words(PromptAttack, "prompt_injection", "AML.T0051.000", "LLM01"),
            Self::IndirectInjection => {
                words(PromptAttack, "indirect_injection", "AML.T0051.001", "LLM01")
            }
            Self::Jailbreak => words(PromptAttack, "jailbreak", "AML.T0054", "LLM01"),
            Self::PromptExtraction => words(
                PromptAttack,
                "system_prompt_extraction",
                "AML.T0056",
                "LLM07",
            ),
            Self::PersonalData => words(GuardrailBlock, "", "AML.T0057", "LLM02"),
            Self::Content => words(GuardrailBlock, "", "", ""),
            Self::Hallucination => words(JudgeFlag, "", "AML.T0062", "LLM09"),
            Self::Judged => words(JudgeFlag, "", "", ""),
            Self::Exfiltration => words(DataExfiltrationSignal, "", "AML.T0057", "LLM02"),
            Self::ToolDenied => words(AgentBoundaryViolation, "tool_denied", "AML.T0053", "LLM06"),
            Self::CodeAbuse => words(AgentBoundaryViolation, "code_abuse", "AML.T0053", "ASI05"),
            Self::ControlTamper => words(AgentBoundaryViolation, "control_tamper", "", ""),
            Self::ControlChange => words(AgentBoundaryViolation, "control_change", "", ""),
        }
    }

    /// Its category.
    #[must_use]
    pub const fn category(self) -> Category {
        self.words().category
    }

    /// The finding that a detector's name speaks of.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let speaks = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if speaks(&["system_prompt", "system prompt", "prompt_leak"]) {
            Self::PromptExtraction
        } else if speaks(&["indirect"]) {
            Self::IndirectInjection
        } else if speaks(&["jailbreak"]) {
            Self::Jailbreak
        } else if speaks(&[
            "inject",
            "prompt_attack",
            "prompt attack",
            "previous instructions",
        ]) {
            Self::Injection
        } else if speaks(&["tool_permission", "mcp", "tool '", "excessive_agency"]) {
            Self::ToolDenied
        } else if speaks(&[
            "hallucinat",
            "grounding",
            "fact check",
            "check facts",
            "factual",
        ]) {
            Self::Hallucination
        } else if speaks(&["exfil", "unknown_links"]) {
            Self::Exfiltration
        } else if speaks(&[
            "pii",
            "ssn",
            "sensitive",
            "presidio",
            "secret",
            "credit_card",
            "gdpr",
        ]) {
            Self::PersonalData
        } else if speaks(&["judge"]) {
            Self::Judged
        } else {
            Self::Content
        }
    }
}

/// What was done about it. In the order of how far it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Seen only.
    Detected,
    /// Let through with something masked.
    Masked,
    /// Stopped.
    Blocked,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Masked => "masked",
            Self::Blocked => "blocked",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// What.
    pub finding: Finding,
    /// What was done.
    pub action: Action,
    /// The detector's own name for it; never what it matched.
    pub name: String,
}

/// What the name of a guardrail, a rail or a policy begins with that acts on Balefire's word.
pub const OWN: &str = "balefire";

impl Hit {
    /// Whether what Balefire recommended was done here: some part of the detector's name begins so.
    fn is_own(&self) -> bool {
        let parts = self.name.split([':', '/', '.', ' ']);
        let own = |part: &str| {
            let head = part.as_bytes().get(..OWN.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(OWN.as_bytes()))
        };
        parts.into_iter().any(own)
    }

    /// Of a detector's own name.
    #[must_use]
    pub fn new(finding: Finding, action: Action, name: impl Into<String>) -> Self {
        Self {
            finding,
            action,
            name: name.into(),
        }
    }
}

/// One event for each category that was hit, the base alone as telemetry where nothing was.
#[must_use]
pub fn events(base: Draft, hits: &[Hit]) -> Vec<Draft> {
    let mut categories: Vec<Category> = hits.iter().map(|hit| hit.finding.category()).collect();
    categories.sort_by_key(|category| category.as_str());
    categories.dedup();
    if categories.is_empty() {
        return vec![base];
    }
    let of = |category| event(base.clone(), category, hits);
    categories.into_iter().map(of).collect()
}

/// The same of a detector that only says what it sees: whether anything was stopped is the
/// application's to say.
#[must_use]
pub fn flagged(base: Draft, hits: &[Hit]) -> Vec<Draft> {
    let events = events(base, hits).into_iter();
    let told = |event: Draft| match event.is_telemetry() {
        true => event,
        false => event.text("guardrail_result", Some("flagged".to_owned())),
    };
    events.map(told).collect()
}

fn event(base: Draft, category: Category, hits: &[Hit]) -> Draft {
    let mut hits: Vec<&Hit> = hits
        .iter()
        .filter(|hit| hit.finding.category() == category)
        .collect();
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.action));
    let Some(worst) = hits.first() else {
        return base;
    };
    let mut names: Vec<&str> = hits.iter().map(|hit| hit.name.as_str()).collect();
    names.dedup();
    let words = worst.finding.words();
    let severity = lowered(category, worst.action);
    let own = hits.iter().all(|hit| hit.is_own());
    base.label(SELF_CAUSED, if own { "true" } else { "" })
        .category(category)
        .part(category.as_str())
        .text("attack_type", Some(words.attack_type.to_owned()))
        .text("guardrail_result", Some(worst.action.as_str().to_owned()))
        .text("policy_violated", Some(names.join(",")))
        .text(
            "severity",
            severity.map(|severity| severity.as_str().to_owned()),
        )
        .label("atlas", words.atlas)
        .label("owasp", words.owasp)
}

/// What was only seen is one step less; what was only masked is low.
const fn lowered(category: Category, action: Action) -> Option<Severity> {
    match (action, severity::baseline(category)) {
        (Action::Blocked, _) => None,
        (Action::Masked, _) | (Action::Detected, Severity::Low | Severity::Medium) => {
            Some(Severity::Low)
        }
        (Action::Detected, Severity::High) => Some(Severity::Medium),
        (Action::Detected, Severity::Critical) => Some(Severity::High),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_our_word_is_told_by_its_name() {
        for (name, own) in [
            ("balefire-deny", true),
            ("Balefire", true),
            ("input:balefire deny set", true),
            ("gateway/balefire/allow", true),
            ("data.balefire.allow", true),
            ("not-balefire", false),
            ("bale", false),
            ("", false),
        ] {
            assert_eq!(
                Hit::new(Finding::Content, Action::Blocked, name).is_own(),
                own,
                "{name}"
            );
        }
    }
}
