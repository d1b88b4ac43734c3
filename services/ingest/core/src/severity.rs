//! How bad an event is where its record does not say.

use balefire_event::{Category, Severity};

/// A judge's score from which on an event is one step worse.
pub const SCORE_HIGH: f64 = 0.9;
/// The risk tier whose events are one step worse.
pub const TIER_HIGHEST: u32 = 1;

/// The baseline of a category.
#[must_use]
pub const fn baseline(category: Category) -> Severity {
    match category {
        Category::Telemetry | Category::GuardrailBlock => Severity::Low,
        Category::JudgeFlag | Category::Anomaly | Category::ModelDrift => Severity::Medium,
        Category::PromptAttack
        | Category::DataExfiltrationSignal
        | Category::AgentBoundaryViolation => Severity::High,
    }
}

/// Derives a severity: the category's baseline; one step up for a judge's score of at least
/// [`SCORE_HIGH`]; one step up in risk tier [`TIER_HIGHEST`]. Never above high: critical is for a
/// source, or a human, to say. Telemetry carries identity and counts, and is always low.
#[must_use]
pub fn derive(category: Category, judge_score: Option<f64>, risk_tier: Option<u32>) -> Severity {
    let mut severity = baseline(category);
    if category == Category::Telemetry {
        return severity;
    }
    if judge_score.is_some_and(|score| score >= SCORE_HIGH) {
        severity = raised(severity);
    }
    if risk_tier == Some(TIER_HIGHEST) {
        severity = raised(severity);
    }
    severity
}

const fn raised(severity: Severity) -> Severity {
    match severity {
        Severity::Low => Severity::Medium,
        Severity::Medium | Severity::High | Severity::Critical => Severity::High,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_and_tier_raise_a_step_each() {
        let block = Category::GuardrailBlock;
        assert_eq!(derive(block, None, None), Severity::Low);
        assert_eq!(derive(block, Some(0.89), Some(2)), Severity::Low);
        assert_eq!(derive(block, Some(0.9), None), Severity::Medium);
        assert_eq!(derive(block, None, Some(1)), Severity::Medium);
        assert_eq!(derive(block, Some(1.0), Some(1)), Severity::High);
    }

    #[test]
    fn critical_is_never_derived() {
        for &category in Category::ALL {
            assert!(derive(category, Some(1.0), Some(1)) < Severity::Critical);
        }
        assert_eq!(
            derive(Category::Telemetry, Some(1.0), Some(1)),
            Severity::Low
        );
    }
}
