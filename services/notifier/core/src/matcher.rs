//! Conditions of routes and silences on what an escalation says, field by field.

use std::collections::BTreeMap;

use balefire_event::Escalation;

/// What each field must be. Empty: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matchers(Vec<(String, Pattern)>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: String,
    negated: bool,
    /// Each with whether it is only the beginning.
    any_of: Vec<(String, bool)>,
}

impl Pattern {
    fn of(text: &str) -> Self {
        let (negated, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let one = |one: &str| match one.strip_suffix('*') {
            Some(stem) => (stem.to_owned(), true),
            None => (one.to_owned(), false),
        };
        Self {
            text: text.to_owned(),
            negated,
            any_of: rest.split('|').map(one).collect(),
        }
    }

    fn names(&self, value: &str) -> bool {
        self.any_of.iter().any(|(text, begins)| match begins {
            true => value.starts_with(text.as_str()),
            false => value == text,
        })
    }

    /// Of a field that stands there more than once one value is enough; none may be there where
    /// anything else is asked for. A field that is not there has no value.
    fn holds(&self, values: &[&str]) -> bool {
        values.iter().any(|value| self.names(value)) != self.negated
    }
}

impl Matchers {
    /// Of what people wrote: field, pattern.
    #[must_use]
    pub fn of(words: &BTreeMap<String, String>) -> Self {
        let all = words.iter();
        Self(
            all.map(|(field, text)| (field.clone(), Pattern::of(text)))
                .collect(),
        )
    }

    /// The first field that is not as it must be: its name, and what it must be.
    #[must_use]
    pub fn miss(&self, escalation: &Escalation) -> Option<(&str, &str)> {
        self.0
            .iter()
            .find(|(field, pattern)| !pattern.holds(&values(escalation, field)))
            .map(|(field, pattern)| (field.as_str(), pattern.text.as_str()))
    }
}

/// What an escalation says under a field's name.
pub(crate) fn values<'e>(escalation: &'e Escalation, field: &str) -> Vec<&'e str> {
    let event = escalation.trigger.as_deref();
    match field {
        "rule" => vec![&escalation.rule_name],
        "severity" => vec![escalation.severity.as_str()],
        "timing" => vec![escalation.timing.as_str()],
        "kind" => vec![escalation.kind.as_str()],
        "audience" => escalation.audiences.iter().map(String::as_str).collect(),
        "category" => event
            .into_iter()
            .map(|event| event.category.as_str())
            .collect(),
        _ => match field.strip_prefix("label.") {
            Some(name) => event
                .into_iter()
                .flat_map(|event| &event.labels)
                .filter(|(label, _)| *label == *name)
                .map(|(_, text)| &**text)
                .collect(),
            None => escalation
                .key
                .iter()
                .filter(|part| part.field == field)
                .map(|part| part.readable.as_str())
                .collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn missed(field: &str, text: &str) -> bool {
        let words = [(field.to_owned(), text.to_owned())].into();
        Matchers::of(&words).miss(&samples::escalation()).is_some()
    }

    #[test]
    fn a_pattern_is_one_of_several_a_beginning_or_anything_else() {
        for (field, text, missing) in [
            ("rule", "judge_flag_burst", false),
            ("rule", "other|judge_flag_burst", false),
            ("rule", "judge_*", false),
            ("rule", "judge", true),
            ("rule", "!judge_*", true),
            ("rule", "!other", false),
            ("category", "judge_flag", false),
            ("severity", "high|critical", false),
            ("severity", "!high", true),
            ("audience", "soc", false),
            ("audience", "!soc", true),
            ("user_id", "jgill@*", false),
            ("user_id", "someone", true),
            ("label.team", "x", true),
            ("label.team", "!x", false),
            ("nothing", "*", true),
        ] {
            assert_eq!(missed(field, text), missing, "{field} {text}");
        }
        assert_eq!(Matchers::default().miss(&samples::escalation()), None);
    }

    #[test]
    fn what_missed_is_named() {
        let words = [("rule".to_owned(), "!judge_*".to_owned())].into();
        let matchers = Matchers::of(&words);
        let missed = matchers.miss(&samples::escalation());
        assert_eq!(missed, Some(("rule", "!judge_*")));
    }
}
