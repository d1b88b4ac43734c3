//! What a flood must not do, and what it costs when an owner is killed: promises of single
//! scenarios, each a check of its own.

use crate::account::{Delivered, Escalations};
use crate::oracle::{Name, Rule};
use crate::plan::{FLOODER, SECOND_USER, Scenario};
use crate::statistics::millis;
use crate::verdict::Check;
use crate::{MILLISECOND, SECOND};

/// Within so much, nanoseconds: urgent traffic in a flood, and everything when an owner is killed.
const WITHIN_NS: u64 = 5 * SECOND;

/// The promises of a scenario, held against the books.
#[must_use]
pub fn promises(scenario: Scenario, books: &Escalations) -> Vec<Check> {
    match scenario {
        Scenario::Flood => flood(books),
        Scenario::Failover => vec![check(
            "an owner is killed: every escalation comes within 5 s",
            books,
            |_| true,
        )],
        Scenario::Steady
        | Scenario::Sla
        | Scenario::Burst
        | Scenario::Join
        | Scenario::Attack
        | Scenario::Soak
        | Scenario::Alarms
        | Scenario::Crowd => Vec::new(),
    }
}

fn flood(books: &Escalations) -> Vec<Check> {
    let urgent = |name: &Name| {
        matches!(
            name.rule,
            Rule::PromptAttack | Rule::AgentToolOutsideAllowlist
        )
    };
    let burst =
        |user: u32| move |name: &Name| name.rule == Rule::GuardrailBlockBurst && name.key == user;
    vec![
        check(
            "flood: urgent traffic of others comes within 5 s",
            books,
            urgent,
        ),
        check(
            "flood: the flooding user's own escalation comes within 5 s",
            books,
            burst(FLOODER),
        ),
        check(
            "flood: a second user's, made of low events, comes within 5 s",
            books,
            burst(SECOND_USER),
        ),
    ]
}

fn took(one: &Delivered) -> u64 {
    one.at_ns.saturating_sub(one.due.at_ns)
}

/// All of these that were due came in time, and there was at least one.
fn check(name: &str, books: &Escalations, ours: impl Fn(&Name) -> bool) -> Check {
    let delivered: Vec<_> = books
        .delivered
        .iter()
        .filter(|one| ours(&one.name))
        .collect();
    let late = delivered.iter().filter(|one| took(one) > WITHIN_NS).count();
    let missing = books.missing.iter().filter(|(name, _)| ours(name)).count()
        + books.dead_lettered.iter().filter(|name| ours(name)).count();
    let slowest = delivered.iter().map(|one| took(one)).max().unwrap_or(0);
    Check {
        name: name.to_owned(),
        passed: !delivered.is_empty() && late == 0 && missing == 0,
        detail: format!(
            "{} came, {late} late, {missing} did not; slowest {:.0} ms",
            delivered.len(),
            millis(slowest / MILLISECOND * MILLISECOND)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Completion;

    fn one(rule: Rule, key: u32, took_s: u64) -> Delivered {
        Delivered {
            name: Name {
                rule,
                key,
                slot_ns: 0,
            },
            due: Completion {
                number: 0,
                at_ns: SECOND,
                joined: false,
            },
            at_ns: SECOND * (1 + took_s),
            severity: "high".into(),
        }
    }

    fn books() -> Escalations {
        Escalations {
            delivered: vec![
                one(Rule::PromptAttack, 4, 1),
                one(Rule::GuardrailBlockBurst, FLOODER, 2),
                one(Rule::GuardrailBlockBurst, SECOND_USER, 3),
                // Somebody of the background: no promise in a flood.
                one(Rule::GuardrailBlockBurst, 7, 60),
            ],
            ..Escalations::default()
        }
    }

    fn kept(books: &Escalations) -> Vec<bool> {
        let checks = promises(Scenario::Flood, books);
        checks.iter().map(|check| check.passed).collect()
    }

    #[test]
    fn each_promise_of_a_flood_fails_alone() {
        assert_eq!(kept(&books()), [true; 3]);
        for place in 0..3 {
            let mut want = [true; 3];
            want[place] = false;
            let mut late = books();
            late.delivered[place].at_ns += 10 * SECOND;
            assert_eq!(kept(&late), want);
            let mut lost = books();
            let gone = lost.delivered.remove(place);
            lost.missing.push((gone.name, gone.due));
            assert_eq!(kept(&lost), want);
        }
    }

    #[test]
    fn what_was_never_due_keeps_no_promise() {
        assert_eq!(kept(&Escalations::default()), [false; 3]);
    }

    #[test]
    fn a_killed_owner_may_delay_by_five_seconds_and_no_more() {
        let mut books = books();
        assert!(!promises(Scenario::Failover, &books)[0].passed);
        books.delivered.pop();
        assert!(promises(Scenario::Failover, &books)[0].passed);
    }
}
