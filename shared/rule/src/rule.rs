//! Owns one compiled rule: what it looks for, what it counts, and what it tells people.

use balefire_event::{Category, Event, Field, IdentityKind, RecommendedAction, RuleId, Severity};

use crate::expression::Expression;
use crate::measure::{AtClose, CloseMeasure, Measure, Measured, Threshold};
use crate::test::{self, category_bit};

/// How a rule decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// Windowless: every matching event escalates.
    Single,
    /// Escalates the moment its condition holds within W; nothing that comes later takes it back.
    Threshold(Threshold),
    /// Decided once, when the slot closes.
    AtClose(AtClose),
}

/// A rule that escalates, as compiled.
#[derive(Debug, Clone, PartialEq)]
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
    /// On trial: its escalations are counted and shown, and nobody is told of them.
    pub shadow: bool,
    pub(crate) expression: Expression,
    /// Of a sequence or an absence: what its steps match, in order; empty for every other rule.
    pub(crate) steps: Box<[Expression]>,
}

impl Rule {
    /// Whether the event is one of those the rule looks for; none that Balefire itself caused is.
    /// Allocates nothing for native fields.
    #[must_use]
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.expression.matches(event) && !event.is_self_caused()
    }

    /// A text field, and the texts in lower case one of which it must be: no event matches whose field is
    /// another ASCII text, whatever its case, or says nothing. `None`: nothing of the kind.
    #[must_use]
    pub fn asks(&self) -> Option<(&Field, Vec<String>)> {
        self.expression.asks()
    }

    /// Whether an event of the category could match.
    #[must_use]
    pub fn concerns(&self, category: Category) -> bool {
        self.expression.categories().0 & category_bit(category) != 0
    }

    /// Whether the rule reads the field, measures it or groups by it: only then can an amendment
    /// that fills it change what the rule decides. What it merely shows does not count.
    #[must_use]
    pub fn reads(&self, field: &Field) -> bool {
        let same = |own: &Field| test::same(own, field);
        self.group_by().iter().any(same)
            || self.measured_field().is_some_and(same)
            || self.expression.reads(field)
    }

    /// Whether the rule looks into fields that Balefire has no name for: any of [`Field::Extension`].
    #[must_use]
    pub fn reads_extensions(&self) -> bool {
        let extension = |own: &Field| matches!(own, Field::Extension(_));
        self.group_by().iter().any(extension)
            || self.measured_field().is_some_and(extension)
            || self.expression.reads_extensions()
            || self.steps.iter().any(Expression::reads_extensions)
    }

    /// The field whose values are counted, added up, averaged or ranked.
    #[must_use]
    pub const fn measured_field(&self) -> Option<&Field> {
        match &self.kind {
            RuleKind::Single => None,
            RuleKind::Threshold(threshold) => threshold.measure.field(),
            RuleKind::AtClose(close) => close.measure.field(),
        }
    }

    /// Fields it groups by; empty for a windowless rule.
    #[must_use]
    pub fn group_by(&self) -> &[Field] {
        match &self.kind {
            RuleKind::Single => &[],
            RuleKind::Threshold(threshold) => &threshold.group_by,
            RuleKind::AtClose(close) => &close.group_by,
        }
    }

    /// Whether the grouping names the user: then all events of a key lie in the user's partition,
    /// and the rule is evaluated there. Every other windowed rule needs re-keying (SEMANTICS §9).
    #[must_use]
    pub fn contains_user(&self) -> bool {
        contains_user(self.group_by())
    }

    /// What a matching event adds to the window.
    #[must_use]
    pub fn measured(&self, event: &Event<'_>) -> Measured {
        match &self.kind {
            RuleKind::Single => Measured::Value(0),
            RuleKind::Threshold(threshold) => match &threshold.measure {
                Measure::Events => Measured::Value(0),
                Measure::Distinct(field) => Measured::distinct(event, field),
                Measure::Sum(field) => Measured::whole(event, field),
                Measure::Sequence { .. } => self.steps(event),
            },
            RuleKind::AtClose(close) => match &close.measure {
                CloseMeasure::Average(field) | CloseMeasure::Percentile { field, .. } => {
                    Measured::thousandths(event, field)
                }
                CloseMeasure::Absence => self.steps(event),
            },
        }
    }

    fn steps(&self, event: &Event<'_>) -> Measured {
        let places = (0u8..).zip(&self.steps);
        let met = places.filter(|(_, step)| step.matches(event));
        Measured::Steps(met.map(|(place, _)| place).collect())
    }

    /// Fields of the key that an escalation shows: the grouping, or what a windowless rule shows.
    #[must_use]
    pub fn key_fields(&self) -> &[Field] {
        match &self.kind {
            RuleKind::Single => &self.shows,
            RuleKind::Threshold(_) | RuleKind::AtClose(_) => self.group_by(),
        }
    }
}

pub(crate) fn contains_user(group_by: &[Field]) -> bool {
    group_by.contains(&Field::Identity(IdentityKind::User))
}
