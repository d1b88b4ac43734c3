//! Owns the compiled condition of a rule: tests under and, or, not, cheapest first.

use balefire_event::{Event, Field};

use crate::test::Test;

/// Every category's bit.
const EVERY: u16 = u16::MAX;

/// A compiled condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    All(Box<[Expression]>),
    Any(Box<[Expression]>),
    /// At least so many of them.
    AtLeast(usize, Box<[Expression]>),
    Not(Box<Expression>),
    Test(Test),
}

impl Expression {
    /// True of every event.
    pub(crate) fn always() -> Self {
        Self::All(Box::new([]))
    }

    /// All of them; nested ones are drawn in, the cheapest stands first.
    pub(crate) fn all(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::All(inner) => flat.extend(inner),
                other @ (Self::Any(_) | Self::AtLeast(..) | Self::Not(_) | Self::Test(_)) => {
                    flat.push(other);
                }
            }
        }
        flat.sort_by_key(Self::cost);
        Self::one_or(flat, Self::All)
    }

    /// Any of them.
    pub(crate) fn any(parts: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Self::Any(inner) => flat.extend(inner),
                other @ (Self::All(_) | Self::AtLeast(..) | Self::Not(_) | Self::Test(_)) => {
                    flat.push(other);
                }
            }
        }
        flat.sort_by_key(Self::cost);
        Self::one_or(flat, Self::Any)
    }

    pub(crate) fn negate(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other @ (Self::All(_) | Self::Any(_) | Self::AtLeast(..) | Self::Test(_)) => {
                Self::Not(Box::new(other))
            }
        }
    }

    fn one_or(mut parts: Vec<Self>, many: fn(Box<[Self]>) -> Self) -> Self {
        if parts.len() == 1
            && let Some(only) = parts.pop()
        {
            return only;
        }
        many(parts.into())
    }

    pub(crate) fn matches(&self, event: &Event<'_>) -> bool {
        match self {
            Self::Test(test) => test.matches(event),
            Self::All(parts) => parts.iter().all(|part| part.matches(event)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(event)),
            Self::AtLeast(count, parts) => {
                parts
                    .iter()
                    .filter(|part| part.matches(event))
                    .take(*count)
                    .count()
                    == *count
            }
            Self::Not(part) => !part.matches(event),
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Test(test) => test.cost(),
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => parts
                .iter()
                .fold(1, |sum, part| part.cost().saturating_add(sum)),
            Self::Not(part) => part.cost(),
        }
    }

    /// Bits of the categories it can be true of, and of those it can be false of. Wider than the
    /// truth where tests depend on each other, never narrower.
    pub(crate) fn categories(&self) -> (u16, u16) {
        match self {
            Self::Test(Test::Category(mask)) => (*mask, !*mask),
            Self::Test(
                Test::Severity(_)
                | Test::Timing(_)
                | Test::Present(_)
                | Test::Field(..)
                | Test::Keyword(_),
            )
            | Self::AtLeast(..) => (EVERY, EVERY),
            Self::All(parts) => parts.iter().fold((EVERY, 0), |(yes, no), part| {
                let (part_yes, part_no) = part.categories();
                (yes & part_yes, no | part_no)
            }),
            Self::Any(parts) => parts.iter().fold((0, EVERY), |(yes, no), part| {
                let (part_yes, part_no) = part.categories();
                (yes | part_yes, no & part_no)
            }),
            Self::Not(part) => {
                let (yes, no) = part.categories();
                (no, yes)
            }
        }
    }

    /// A text field, and the texts in lower case one of which it must be: no event is a match whose field is
    /// another ASCII text, or says nothing.
    pub(crate) fn asks(&self) -> Option<(&Field, Vec<String>)> {
        match self {
            Self::Test(test) => test.asks().map(|(field, text)| (field, vec![text])),
            Self::All(parts) => parts.iter().find_map(Self::asks),
            Self::Any(parts) => {
                let mut asked = parts.iter().map(Self::asks);
                let (field, mut texts) = asked.next()??;
                for other in asked {
                    let (own, more) = other?;
                    if own != field {
                        return None;
                    }
                    texts.extend(more);
                }
                Some((field, texts))
            }
            Self::AtLeast(..) | Self::Not(_) => None,
        }
    }

    /// Whether it reads a field.
    pub(crate) fn reads(&self, field: &Field) -> bool {
        match self {
            Self::Test(test) => test.reads(field),
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => {
                parts.iter().any(|part| part.reads(field))
            }
            Self::Not(part) => part.reads(field),
        }
    }

    /// Whether it looks into fields that Balefire has no name for.
    pub(crate) fn reads_extensions(&self) -> bool {
        match self {
            Self::Test(test) => test.reads_extensions(),
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => {
                parts.iter().any(Self::reads_extensions)
            }
            Self::Not(part) => part.reads_extensions(),
        }
    }

    /// Names of fields that a join may fill and that stand under a negation: once filled, a match
    /// would be taken back.
    pub(crate) fn retractable(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.collect_retractable(false, &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn collect_retractable(&self, negated: bool, names: &mut Vec<String>) {
        match self {
            Self::Test(test) if negated => names.extend(test.joinable().map(|n| n.into_owned())),
            Self::Test(_) => {}
            Self::All(parts) | Self::Any(parts) | Self::AtLeast(_, parts) => {
                parts
                    .iter()
                    .for_each(|part| part.collect_retractable(negated, names));
            }
            Self::Not(part) => part.collect_retractable(!negated, names),
        }
    }
}

#[cfg(test)]
mod tests {
    use balefire_event::Category;

    use super::*;
    use crate::pattern::{Anchor, Pattern};
    use crate::test::{Check, category_bit};

    fn category(category: Category) -> Expression {
        Expression::Test(Test::Category(category_bit(category)))
    }

    #[test]
    fn cheap_tests_stand_first_and_nesting_is_flattened() {
        let tool = Expression::Test(Test::Present(Field::Tool));
        let nested = Expression::all(vec![
            tool,
            Expression::all(vec![category(Category::Anomaly)]),
        ]);
        let Expression::All(parts) = nested else {
            panic!("two parts stay a conjunction")
        };
        assert!(matches!(&parts[0], Expression::Test(Test::Category(_))));
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn categories_are_narrowed_through_and_or_not() {
        let either = Expression::any(vec![
            category(Category::Anomaly),
            Expression::all(vec![
                category(Category::PromptAttack),
                Expression::Test(Test::Present(Field::Tool)),
            ]),
        ]);
        let (yes, _) = either.categories();
        assert_eq!(
            yes,
            category_bit(Category::Anomaly) | category_bit(Category::PromptAttack)
        );
        let (yes, _) = category(Category::Anomaly).negate().categories();
        assert_eq!(yes & category_bit(Category::Anomaly), 0);
        assert_ne!(yes & category_bit(Category::Telemetry), 0);
        let unsure = Expression::Test(Test::Present(Field::Tool)).negate();
        assert_eq!(unsure.categories().0, EVERY);
    }

    #[test]
    fn what_every_match_says_is_asked_for() {
        let is = |field: Field, text: &str| {
            let text = rsigma_parser::SigmaString::new(text);
            let pattern = Pattern::new(&text, Anchor::Whole, false).unwrap();
            Expression::Test(Test::Field(field, Check::Text(pattern)))
        };
        let tool = |text: &str| is(Field::Tool, text);
        let asked = |expression: Expression| {
            let asked = expression.asks();
            asked.map(|(field, texts)| (field.name().into_owned(), texts.join(" ")))
        };
        let some = |texts: &str| Some(("tool".to_owned(), texts.to_owned()));
        assert_eq!(asked(tool("Shell")), some("shell"));
        let either = || Expression::any(vec![tool("a"), tool("b")]);
        assert_eq!(asked(either()), some("a b"));
        let of = Expression::all(vec![category(Category::Anomaly), either()]);
        assert_eq!(asked(of), some("a b"));
        let other = is(Field::Model, "m");
        assert_eq!(asked(Expression::any(vec![tool("a"), other])), None);
        let open = Expression::any(vec![tool("a"), category(Category::Anomaly)]);
        assert_eq!(asked(open), None);
        assert_eq!(asked(tool("a").negate()), None);
        assert_eq!(asked(tool("a*")), None);
        assert_eq!(asked(tool("\u{e9}")), None);
        assert_eq!(
            asked(is(Field::Identity(balefire_event::IdentityKind::User), "a")),
            None
        );
    }

    #[test]
    fn only_negated_joinable_fields_are_retractable() {
        let model = || Expression::Test(Test::Present(Field::Model));
        let tool = Expression::Test(Test::Present(Field::Tool));
        assert!(model().retractable().is_empty());
        assert!(tool.negate().retractable().is_empty());
        assert_eq!(model().negate().retractable(), ["model"]);
        let twice = Expression::Not(Box::new(Expression::all(vec![
            model().negate(),
            category(Category::Anomaly),
        ])));
        assert!(twice.retractable().is_empty());
    }
}
