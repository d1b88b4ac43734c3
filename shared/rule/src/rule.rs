//! Owns one compiled rule: what it looks for, what it counts, and what it tells people.

use balefire_event::{Category, Event, Field, RecommendedAction, RuleId, Severity};

use crate::expression::Expression;
use crate::test::category_bit;

/// How a rule decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// Windowless: every matching event escalates.
    Single,
    /// More than N matching events of one key within W (SEMANTICS §3).
    Threshold(Threshold),
}

/// What a windowed rule counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    /// N: an entry is a breach point when more than N entries lie in its window.
    pub n: u64,
    /// W, nanoseconds.
    pub window: i64,
    /// R, nanoseconds; W/16 ≤ R ≤ 24 h.
    pub rearm: i64,
    /// The key. Never empty.
    pub group_by: Vec<Field>,
}

/// A rule that escalates, as compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its UUID; hashed into every escalation id.
    pub id: RuleId,
    /// Stable name, snake_case.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// Longer text for people; may be empty.
    pub description: String,
    /// Severity of its escalations.
    pub severity: Severity,
    /// How it decides.
    pub kind: RuleKind,
    /// Fields worth showing with an escalation (Sigma's `fields`; `user_id` where it names none).
    /// A windowless rule shows these as its key.
    pub shows: Vec<Field>,
    /// What it recommends. Nothing enforces it.
    pub actions: Vec<RecommendedAction>,
    /// Who should know.
    pub audiences: Vec<String>,
    /// MITRE ATLAS technique ids.
    pub atlas: Vec<String>,
    /// OWASP ids.
    pub owasp: Vec<String>,
    /// One or two plain sentences: what happened. May be empty.
    pub summary: String,
    /// What a person does first. May be empty.
    pub first_steps: Vec<String>,
    pub(crate) expression: Expression,
}

impl Rule {
    /// Whether the event is one of those the rule looks for. Allocates nothing for native fields.
    #[must_use]
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.expression.matches(event)
    }

    /// Whether an event of the category could match.
    #[must_use]
    pub fn concerns(&self, category: Category) -> bool {
        self.expression.categories().0 & category_bit(category) != 0
    }

    /// Whether the rule reads the field or groups by it: only then can an amendment that fills it
    /// change what the rule decides. What it merely shows does not count.
    #[must_use]
    pub fn reads(&self, field: &Field) -> bool {
        self.group_by().contains(field) || self.expression.reads(field)
    }

    /// Fields it groups by; empty for a windowless rule.
    #[must_use]
    pub fn group_by(&self) -> &[Field] {
        match &self.kind {
            RuleKind::Single => &[],
            RuleKind::Threshold(threshold) => &threshold.group_by,
        }
    }

    /// Fields of the key that an escalation shows: the grouping, or what a windowless rule shows.
    #[must_use]
    pub fn key_fields(&self) -> &[Field] {
        match &self.kind {
            RuleKind::Single => &self.shows,
            RuleKind::Threshold(threshold) => &threshold.group_by,
        }
    }
}
