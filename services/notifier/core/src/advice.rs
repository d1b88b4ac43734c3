//! What each category means to someone who is no expert in AI, in plain words: why it matters and
//! what to do first. From the triage procedures of the source document on SOC integration.

use balefire_event::{Category, Escalation};

use crate::{digest, summary};

/// Plain words about a category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What happened, as the subject of a sentence.
    pub what: &'static str,
    /// Why anyone should care.
    pub why: &'static str,
    /// The first steps of triage.
    pub first: &'static str,
}

/// The words for a category; those for `None` fit any event.
#[must_use]
pub const fn advice(category: Option<Category>) -> Advice {
    let (what, why, first) = match category {
        Some(Category::GuardrailBlock) => (
            "a guardrail stopped or altered what went into or came out of a model",
            "A single block is normal use. Many from one user mean that someone is probing where the limits are, or that an application sends what it should not.",
            "Check whether it is one event or a pattern. Look at what was blocked: for personal data in an output, verify its type and whether the user may see that data; toxicity and off-topic blocks only matter when they repeat. A single block needs no contact with the user.",
        ),
        Some(Category::JudgeFlag) => (
            "a second model that judges outputs found one that breaks policy",
            "The answer reached the judge, and may have reached the user: guardrails did not stop it. Repeated flags mean either an unsafe application or a user who steers it.",
            "Read the judge's evaluation beside the original request and response. If the response violates policy, hand it to the AI team; if it is unclear, flag it for human review; if it does not, log a false positive. If the request was research or testing, confirm that with the user's manager; if it looks adversarial, treat it as high severity.",
        ),
        Some(Category::Anomaly) => (
            "usage, output or latency departs from what is normal here",
            "A batch job and data theft look alike from outside: both are unusual volume.",
            "Find out whether a batch job or a release explains it. If nothing does, give it to SOC level 2 for investigation.",
        ),
        Some(Category::PromptAttack) => (
            "someone tried to override the instructions of a model (prompt injection, jailbreak or extraction of its system prompt)",
            "If it succeeded, the model did what the attacker said, with the rights of the application.",
            "Keep the full request and response, exactly as they were. Check whether the attack succeeded: if it did, this is an incident: disable the endpoint and notify the AI team at once. If it was blocked, log the technique and watch for variants. If the technique is new, give it to the AI security team. Do not try the attack in production.",
        ),
        Some(Category::DataExfiltrationSignal) => (
            "an output holds bulk or structured data that looks like an extraction",
            "Data may be leaving through the model's answers, where data loss prevention does not look.",
            "Check what data was in the response and whether the user may see it. Find out whether a batch job explains the volume. If not, give it to SOC level 2 and keep request and response.",
        ),
        Some(Category::AgentBoundaryViolation) => (
            "an AI agent used or tried to use a tool, delegation or scope that it is not allowed",
            "An agent acts by itself. Outside its bounds it may be misled by what it read, or misconfigured; either way it can do damage faster than a person.",
            "Check whether the agent is halted and, if not, halt it. See which tool it called and who or what gave it the task. Notify SOC level 2 and the AI platform team.",
        ),
        Some(Category::ModelDrift) => (
            "a model's or a judge's results have moved away from its baseline",
            "A judge that drifts stops seeing what it should flag; a model that drifts may have been changed, or be under attack.",
            "Find out whether the provider updated the model. If not, treat it as possibly adversarial: AI team and vendor liaison.",
        ),
        Some(Category::Telemetry) | None => (
            "an AI system reported something that a rule was waiting for",
            "The rule's author decided that this must not pass unseen.",
            "Read the event and the rule's title; ask the AI team for context where the event alone does not tell.",
        ),
    };
    Advice { what, why, first }
}

/// The words for a summary page in place of many pages.
pub const STORM: Advice = Advice {
    what: "so many escalations at once that they are told together",
    why: "Each of them would have been a page of its own. Many at once are one attack, one broken application or one rule that is too wide, rarely many troubles; and none of them is lost.",
    first: "Look at the list, most severe first, with the command that is named there. Find what they have in common: a rule, a user, an application. Silence or group that, then work through the rest.",
};

/// The words for a weekly digest.
pub const DIGEST: Advice = Advice {
    what: "what was of low severity in a week, counted",
    why: "None of it is told by itself. Together it shows what grows, and where a rule or a guardrail is too wide or too narrow.",
    first: "Compare it with the week before. Look at the user and the application with most events; where they are right, write a rule, else tune the guardrail that sees them.",
};

/// The words for an escalation.
#[must_use]
pub fn advice_on(escalation: &Escalation) -> Advice {
    if summary::is_summary(escalation) {
        return STORM;
    }
    if digest::is_digest(escalation) {
        return DIGEST;
    }
    advice(escalation.trigger.as_ref().map(|event| event.category))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_has_words_of_its_own() {
        let generic = advice(None);
        for category in Category::ALL {
            let words = advice(Some(*category));
            assert!(!words.what.is_empty() && words.first.ends_with('.'));
            assert_eq!(
                words == generic,
                *category == Category::Telemetry,
                "{category}"
            );
        }
    }
}
