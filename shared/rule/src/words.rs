//! What a rule looks for, in words for people: said wherever its escalations are shown.

use balefire_event::Field;
use balefire_event::time::{HOUR, MINUTE, SECOND};

use crate::measure::{AtClose, CloseMeasure, Measure, Threshold};
use crate::rule::RuleKind;
use crate::test::Comparison;

impl RuleKind {
    /// Such as "more than 10 events in 1 hour"; without the grouping.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Single => "each event".to_owned(),
            Self::Threshold(threshold) => threshold.words(),
            Self::AtClose(close) => close.words(),
        }
    }
}

impl Threshold {
    fn words(&self) -> String {
        let within = duration(self.window);
        let n = self.n;
        match &self.measure {
            Measure::Events => format!("more than {n} events in {within}"),
            Measure::Distinct(field) => {
                format!("more than {n} different {} in {within}", field.name())
            }
            Measure::Sum(field) => format!("{} adds up to over {n} in {within}", field.name()),
            Measure::Sequence { steps, ordered } => {
                let order = if *ordered { "in order" } else { "in any order" };
                format!("{steps} steps {order} in {within}")
            }
        }
    }
}

impl AtClose {
    fn words(&self) -> String {
        let within = duration(self.window);
        let (comparison, than) = self.condition;
        let compared = |what: &str, field: &Field| {
            let (name, lies) = (field.name(), lies(comparison));
            format!("{what} of {name} {lies} {} in {within}", thousandths(than))
        };
        match &self.measure {
            CloseMeasure::Average(field) => compared("average", field),
            CloseMeasure::Percentile { field, percent } => {
                compared(&format!("percentile {percent}"), field)
            }
            CloseMeasure::Absence => format!("no answer in {within}"),
        }
    }
}

const fn lies(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "is",
        Comparison::Greater => "over",
        Comparison::GreaterOrEqual => "at least",
        Comparison::Less => "below",
        Comparison::LessOrEqual => "at most",
    }
}

fn thousandths(number: i64) -> String {
    let whole = number.div_euclid(1_000);
    match number.rem_euclid(1_000) {
        0 => whole.to_string(),
        rest => {
            let digits = format!("{rest:03}");
            format!("{whole}.{}", digits.trim_end_matches('0'))
        }
    }
}

/// "90 seconds", "1 hour".
fn duration(nanos: i64) -> String {
    let (count, unit) = match nanos {
        n if n % HOUR == 0 => (n / HOUR, "hour"),
        n if n % MINUTE == 0 => (n / MINUTE, "minute"),
        n => (n / SECOND, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(measure: Measure, n: u64) -> String {
        let (window, rearm) = (HOUR, HOUR);
        let group_by = vec![Field::parse("user_id")];
        RuleKind::Threshold(Threshold {
            measure,
            n,
            window,
            rearm,
            group_by,
        })
        .words()
    }

    #[test]
    fn every_kind_says_what_it_looks_for() {
        let field = || Field::parse("total_tokens");
        assert_eq!(RuleKind::Single.words(), "each event");
        assert_eq!(
            threshold(Measure::Events, 10),
            "more than 10 events in 1 hour"
        );
        assert_eq!(
            threshold(Measure::Distinct(field()), 2),
            "more than 2 different total_tokens in 1 hour"
        );
        assert_eq!(
            threshold(Measure::Sum(field()), 9),
            "total_tokens adds up to over 9 in 1 hour"
        );
        let steps = Measure::Sequence {
            steps: 3,
            ordered: true,
        };
        assert_eq!(threshold(steps, 0), "3 steps in order in 1 hour");
        let close = |measure, than| {
            RuleKind::AtClose(AtClose {
                measure,
                condition: (Comparison::Less, than),
                window: 90 * SECOND,
                rearm: HOUR,
                group_by: Vec::new(),
            })
            .words()
        };
        assert_eq!(
            close(CloseMeasure::Average(field()), 1_050),
            "average of total_tokens below 1.05 in 90 seconds"
        );
        let percentile = CloseMeasure::Percentile {
            field: field(),
            percent: 95,
        };
        assert_eq!(
            close(percentile, 2_000),
            "percentile 95 of total_tokens below 2 in 90 seconds"
        );
        assert_eq!(close(CloseMeasure::Absence, 0), "no answer in 90 seconds");
    }
}
