//! What must escalate, by the definition of the baseline rules over a set of events, and which
//! event completes it. Shares no code with the engine.
//!
//! "More than N within W by user" is breached in the slot of an event e where more than N events of
//! that user lie in [t(e) − W, t(e)]. An event without a user counts for the user that a record of
//! the same request names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::planned::{Class, Planned};

const NS: i64 = 1_000_000_000;

/// A rule of the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Each.
    PromptAttack,
    /// Each.
    AgentToolOutsideAllowlist,
    /// More than 10 in 5 minutes.
    GuardrailBlockBurst,
    /// More than 3 in an hour.
    JudgeFlagBurst,
}

impl Rule {
    /// Its name in the rule files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PromptAttack => "prompt_attack",
            Self::AgentToolOutsideAllowlist => "agent_tool_outside_allowlist",
            Self::GuardrailBlockBurst => "guardrail_block_burst",
            Self::JudgeFlagBurst => "judge_flag_burst",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::PromptAttack,
            Self::AgentToolOutsideAllowlist,
            Self::GuardrailBlockBurst,
            Self::JudgeFlagBurst,
        ]
        .into_iter()
        .find(|rule| rule.name() == name)
    }

    /// "More than" and the window, which is the re-arm period too; `None` for a windowless rule.
    #[must_use]
    pub const fn window(self) -> Option<(usize, i64)> {
        match self {
            Self::PromptAttack | Self::AgentToolOutsideAllowlist => None,
            Self::GuardrailBlockBurst => Some((10, 300 * NS)),
            Self::JudgeFlagBurst => Some((3, 3600 * NS)),
        }
    }

    const fn of(class: Class) -> Option<Self> {
        match class {
            Class::PromptAttack => Some(Self::PromptAttack),
            Class::ToolOutside => Some(Self::AgentToolOutsideAllowlist),
            Class::Block => Some(Self::GuardrailBlockBurst),
            Class::GraveFlag => Some(Self::JudgeFlagBurst),
            Class::ToolAllowed | Class::MildFlag | Class::Drift | Class::Identity => None,
        }
    }
}

/// What an escalation is, as both sides can name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    /// The rule.
    pub rule: Rule,
    /// Number of the event of a windowless rule, else of the user.
    pub key: u32,
    /// Start of the slot, nanoseconds since 1970; the event's time for a windowless rule.
    pub slot_ns: i64,
}

/// What completes an escalation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Number of the event, or of the record that says whose it is, without which it is not due.
    pub number: u32,
    /// When that was meant to be sent, nanoseconds after the start.
    pub at_ns: u64,
    /// Whether what completes it had to be joined: it did not say whose it was, or it is the record
    /// that does.
    pub joined: bool,
}

/// An event as one user's window sees it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    t_ns: i64,
    due: Completion,
}

/// Every escalation that these events must raise. They may come in any order.
#[must_use]
pub fn expected<'a>(
    events: impl Iterator<Item = &'a Planned> + Clone,
) -> BTreeMap<Name, Completion> {
    let mut owners: BTreeMap<u32, Vec<&Planned>> = BTreeMap::new();
    for identity in events
        .clone()
        .filter(|event| event.class == Class::Identity)
    {
        owners.entry(identity.request).or_default().push(identity);
    }
    let mut found = BTreeMap::new();
    let mut series: BTreeMap<(Rule, u32), Vec<Entry>> = BTreeMap::new();
    for event in events {
        let Some(rule) = Rule::of(event.class) else {
            continue;
        };
        if rule.window().is_none() {
            let name = Name {
                rule,
                key: event.number,
                slot_ns: event.t_ns,
            };
            found.insert(name, own(event));
        } else if event.named {
            let entry = Entry {
                t_ns: event.t_ns,
                due: own(event),
            };
            series.entry((rule, event.subject)).or_default().push(entry);
        } else {
            for identity in owners.get(&event.request).into_iter().flatten() {
                let entry = Entry {
                    t_ns: event.t_ns,
                    due: later(own(event), own(identity), true),
                };
                series
                    .entry((rule, identity.subject))
                    .or_default()
                    .push(entry);
            }
        }
    }
    for ((rule, key), entries) in series {
        for (slot_ns, due) in slots(rule, entries) {
            found.insert(Name { rule, key, slot_ns }, due);
        }
    }
    found
}

const fn own(event: &Planned) -> Completion {
    Completion {
        number: event.number,
        at_ns: event.at_ns,
        joined: !event.named,
    }
}

fn later(one: Completion, other: Completion, joined: bool) -> Completion {
    let last = if (other.at_ns, other.number) > (one.at_ns, one.number) {
        other
    } else {
        one
    };
    Completion { joined, ..last }
}

/// The breached slots, each with what completes it when entries become known as planned.
fn slots(rule: Rule, mut entries: Vec<Entry>) -> BTreeMap<i64, Completion> {
    let mut done = BTreeMap::new();
    let Some((more_than, window)) = rule.window() else {
        return done;
    };
    entries.sort_by_key(|entry| (entry.due.at_ns, entry.due.number));
    let mut known: Vec<i64> = Vec::with_capacity(entries.len());
    for entry in entries {
        let place = known.partition_point(|t| *t <= entry.t_ns);
        known.insert(place, entry.t_ns);
        let touched = known.iter().enumerate().skip(place);
        for (index, t) in touched.take_while(|(_, t)| **t <= entry.t_ns + window) {
            let slot = t.div_euclid(window) * window;
            // Equal times count, whichever of them was known first.
            let upto = known.partition_point(|other| other <= t).max(index + 1);
            let from = known.partition_point(|other| *other < t - window);
            if !done.contains_key(&slot) && upto - from > more_than {
                done.insert(slot, entry.due);
            }
        }
    }
    done
}

/// The breached slots of times in any order, straight from the definition: each event against all.
#[must_use]
pub fn slots_by_definition(rule: Rule, times: &[i64]) -> BTreeSet<i64> {
    let Some((more_than, window)) = rule.window() else {
        return BTreeSet::new();
    };
    let breached = times.iter().filter(|t| {
        let inside = |other: &&i64| **other >= **t - window && **other <= **t;
        times.iter().filter(inside).count() > more_than
    });
    breached.map(|t| t.div_euclid(window) * window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use crate::plan::{FLOODER, SECOND_USER, Scenario, Shape};

    fn block(number: u32, t_s: i64) -> Planned {
        Planned {
            number,
            at_ns: u64::from(number) * crate::MILLISECOND,
            t_ns: t_s * NS,
            class: Class::Block,
            subject: 1,
            named: true,
            request: number,
        }
    }

    fn plan(scenario: Scenario) -> crate::plan::Plan {
        Shape {
            scenario,
            arrival: Shape::usual_arrival(scenario),
            rate: 400,
            flood_rate: 2_000,
            seconds: 8,
            seed: 1,
            base_ns: 1_700_000_000 * NS,
        }
        .plan()
    }

    #[test]
    fn the_eleventh_block_completes_and_the_tenth_does_not() {
        let blocks: Vec<_> = (0..12).map(|n| block(n, 1000 + i64::from(n))).collect();
        assert!(expected(blocks.iter().take(10)).is_empty());
        let found = expected(blocks.iter());
        assert_eq!(found.len(), 1);
        let (name, due) = found.iter().next().unwrap();
        assert_eq!((name.slot_ns, due.number), (900 * NS, 10));
    }

    #[test]
    fn a_window_takes_both_its_ends() {
        let mut blocks: Vec<_> = (0..11).map(|n| block(n, 1000)).collect();
        blocks[10].t_ns = 1300 * NS;
        assert_eq!(expected(blocks.iter()).len(), 1);
        blocks[10].t_ns += 1;
        assert!(expected(blocks.iter()).is_empty());
    }

    #[test]
    fn a_late_event_completes_the_slot_of_an_earlier_one() {
        let mut blocks: Vec<_> = (0..11).map(|n| block(n, 1000 + i64::from(n))).collect();
        blocks[10].t_ns = 995 * NS;
        let found = expected(blocks.iter());
        assert_eq!(found.values().next().unwrap().number, 10);
    }

    #[test]
    fn slots_are_those_of_the_definition_in_every_order() {
        let mut chance = Chance::new(11);
        for round in 0..300u32 {
            let count = 5 + chance.below(60);
            let spread = 100 + chance.below(3_000);
            let events: Vec<_> = (0..count)
                .map(|number| block(number, i64::from(chance.below(spread))))
                .collect();
            let times: Vec<_> = events.iter().map(|event| event.t_ns).collect();
            let want = slots_by_definition(Rule::GuardrailBlockBurst, &times);
            let found = expected(events.iter());
            assert!(
                found.keys().map(|name| name.slot_ns).eq(want),
                "round {round}"
            );
        }
    }

    #[test]
    fn a_nameless_event_waits_for_the_record_that_knows_its_user() {
        let mut events: Vec<_> = (0..11).map(|n| block(n, 1000 + i64::from(n))).collect();
        events[4].named = false;
        assert!(expected(events.iter()).is_empty());
        let mut identity = block(40, 1003);
        identity.class = Class::Identity;
        identity.request = 4;
        events.push(identity);
        let found = expected(events.iter());
        let due = found.values().next().unwrap();
        assert_eq!((due.number, due.joined), (40, true));
    }

    #[test]
    fn a_flood_escalates_its_user_and_the_one_behind() {
        let found = expected(plan(Scenario::Flood).events.iter());
        for user in [FLOODER, SECOND_USER] {
            let burst = |name: &&Name| name.rule == Rule::GuardrailBlockBurst && name.key == user;
            assert!(found.keys().any(|name| burst(&name)), "user {user}");
        }
    }

    #[test]
    fn joining_changes_when_but_not_what() {
        let joined = plan(Scenario::Join);
        let mut told = joined.clone();
        told.events.iter_mut().for_each(|event| event.named = true);
        let names =
            |plan: &crate::plan::Plan| expected(plan.events.iter()).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&joined), names(&told));
        assert!(
            expected(joined.events.iter())
                .values()
                .any(|due| due.joined)
        );
    }
}
