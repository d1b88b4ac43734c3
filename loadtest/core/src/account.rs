//! The books: what became of every planned event and of every escalation that was due.
//!
//! `planned = acknowledged + refused + unsent + unknown`
//! `expected = delivered once + delivered again + dead-lettered + missing`

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::oracle::{Completion, Name, expected};
use crate::plan::Plan;

/// What became of a planned event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Sent, never answered: it may be in the log or not.
    #[default]
    Unknown,
    /// It could not be sent when it was meant to be, and was left out.
    Unsent,
    /// Durable, says the server.
    Acknowledged,
    /// Not taken, says the server.
    Refused,
}

/// One arrival at the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Which escalation; `None`: not one of this plan's names.
    pub name: Option<Name>,
    /// When, nanoseconds after the start.
    pub at_ns: u64,
    /// `webhook-id`.
    pub id: String,
    /// What the body calls it.
    pub severity: String,
}

/// How often each fate happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Events of the plan.
    pub planned: usize,
    /// See [`Fate`].
    pub acknowledged: usize,
    /// See [`Fate`].
    pub refused: usize,
    /// See [`Fate`].
    pub unsent: usize,
    /// See [`Fate`].
    pub unknown: usize,
}

impl Events {
    /// Counts; fates in the plan's order.
    #[must_use]
    pub fn of(plan: &Plan, fates: &[Fate]) -> Self {
        let count = |fate| fates.iter().filter(|one| **one == fate).count();
        Self {
            planned: plan.events.len(),
            acknowledged: count(Fate::Acknowledged),
            refused: count(Fate::Refused),
            unsent: count(Fate::Unsent),
            unknown: count(Fate::Unknown),
        }
    }

    /// Whether every planned event has one fate.
    #[must_use]
    pub const fn balance(&self) -> bool {
        self.planned == self.acknowledged + self.refused + self.unsent + self.unknown
    }
}

/// One escalation that was due and arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Which.
    pub name: Name,
    /// What completed it.
    pub due: Completion,
    /// First arrival, nanoseconds after the start.
    pub at_ns: u64,
    /// What the body calls it.
    pub severity: String,
}

/// The books of the escalations.
#[derive(Debug, Clone, Default)]
pub struct Escalations {
    /// Due by what was acknowledged.
    pub expected: usize,
    /// Arrived exactly once.
    pub once: usize,
    /// Arrived more than once, and how often.
    pub again: BTreeMap<Name, usize>,
    /// Not arrived, but kept as a dead letter.
    pub dead_lettered: Vec<Name>,
    /// Not arrived and nowhere.
    pub missing: Vec<(Name, Completion)>,
    /// Arrived and neither due nor possible.
    pub unexpected: Vec<String>,
    /// The first arrival of each that was due.
    pub delivered: Vec<Delivered>,
}

impl Escalations {
    /// Compares arrivals with what the plan's fates make due. Where an event's fate is unknown, what
    /// it would complete may arrive or not.
    #[must_use]
    pub fn of(
        plan: &Plan,
        fates: &[Fate],
        arrivals: &[Arrival],
        dead_letters: &BTreeSet<Name>,
    ) -> Self {
        let with = |wanted: &'static [Fate]| {
            let pairs = plan.events.iter().zip(fates);
            expected(
                pairs
                    .filter(|(_, fate)| wanted.contains(fate))
                    .map(|(event, _)| event),
            )
        };
        let due = with(&[Fate::Acknowledged]);
        let possible = with(&[Fate::Acknowledged, Fate::Unknown]);
        let mut books = Self {
            expected: due.len(),
            ..Self::default()
        };
        let mut seen: BTreeMap<Name, Vec<&Arrival>> = BTreeMap::new();
        for arrival in arrivals {
            match arrival.name {
                Some(name) if possible.contains_key(&name) => {
                    seen.entry(name).or_default().push(arrival);
                }
                Some(name) => books.unexpected.push(format!("{} {name:?}", arrival.id)),
                None => books.unexpected.push(arrival.id.clone()),
            }
        }
        for (name, due) in due {
            let arrived = seen.get(&name).map_or(&[][..], Vec::as_slice);
            books.enter(name, due, arrived, dead_letters);
        }
        books
    }

    fn enter(
        &mut self,
        name: Name,
        due: Completion,
        arrived: &[&Arrival],
        dead_letters: &BTreeSet<Name>,
    ) {
        match arrived.len() {
            0 if dead_letters.contains(&name) => self.dead_lettered.push(name),
            0 => self.missing.push((name, due)),
            1 => self.once += 1,
            often => {
                self.again.insert(name, often);
            }
        }
        let first = arrived.iter().min_by_key(|arrival| arrival.at_ns);
        self.delivered.extend(first.map(|arrival| Delivered {
            name,
            due,
            at_ns: arrival.at_ns,
            severity: arrival.severity.clone(),
        }));
    }

    /// Whether every due escalation has one entry.
    #[must_use]
    pub fn balance(&self) -> bool {
        let entered = self.once + self.again.len() + self.dead_lettered.len() + self.missing.len();
        self.expected == entered
    }

    /// Whether each arrived exactly once and nothing else did.
    #[must_use]
    pub fn exact(&self) -> bool {
        self.balance() && self.once == self.expected && self.unexpected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Rule;
    use crate::plan::{Scenario, Shape};

    struct World {
        plan: Plan,
        fates: Vec<Fate>,
        arrivals: Vec<Arrival>,
    }

    /// A plan whose every event was taken and whose every escalation arrived 5 ms late.
    fn perfect() -> World {
        let plan = Shape {
            scenario: Scenario::Attack,
            arrival: Shape::usual_arrival(Scenario::Attack),
            rate: 200,
            flood_rate: 1_000,
            seconds: 5,
            seed: 3,
            base_ns: 1_700_000_000_000_000_000,
        }
        .plan();
        let arrivals = expected(plan.events.iter())
            .into_iter()
            .map(|(name, due)| Arrival {
                name: Some(name),
                at_ns: due.at_ns + 5 * crate::MILLISECOND,
                id: format!("{name:?}"),
                severity: "high".into(),
            })
            .collect();
        World {
            fates: vec![Fate::Acknowledged; plan.events.len()],
            plan,
            arrivals,
        }
    }

    impl World {
        fn books(&self) -> Escalations {
            Escalations::of(&self.plan, &self.fates, &self.arrivals, &BTreeSet::new())
        }
    }

    #[test]
    fn what_went_well_balances_and_is_exact() {
        let world = perfect();
        let events = Events::of(&world.plan, &world.fates);
        assert!(events.balance() && events.acknowledged == events.planned);
        let books = world.books();
        assert!(books.exact() && books.expected > 500);
        assert_eq!(books.delivered.len(), books.expected);
    }

    #[test]
    fn a_lost_escalation_is_named() {
        let mut world = perfect();
        let lost = world.arrivals.swap_remove(17);
        let books = world.books();
        assert_eq!(books.missing.len(), 1);
        assert_eq!(Some(books.missing[0].0), lost.name);
        assert!(books.balance() && !books.exact());
    }

    #[test]
    fn a_doubled_escalation_is_named() {
        let mut world = perfect();
        world.arrivals.push(world.arrivals[4].clone());
        let books = world.books();
        assert_eq!(books.again.keys().copied().next(), world.arrivals[4].name);
        assert!(books.balance() && !books.exact());
        assert_eq!(books.delivered.len(), books.expected);
    }

    #[test]
    fn an_event_that_the_product_dropped_shows_as_what_it_should_have_raised() {
        let world = perfect();
        let attack = |name: &Name| name.rule == Rule::PromptAttack;
        let victim = world
            .arrivals
            .iter()
            .filter_map(|one| one.name)
            .find(attack)
            .unwrap();
        let mut dropped = perfect();
        dropped
            .arrivals
            .retain(|arrival| arrival.name != Some(victim));
        let books = dropped.books();
        assert_eq!(books.missing[0].1.number, victim.key);
    }

    #[test]
    fn a_refused_event_raises_nothing_and_an_unknown_one_may() {
        let mut world = perfect();
        let attack = |name: &Name| name.rule == Rule::PromptAttack;
        let victim = world
            .arrivals
            .iter()
            .filter_map(|one| one.name)
            .find(attack)
            .unwrap();
        let index = usize::try_from(victim.key).unwrap();
        world.fates[index] = Fate::Unknown;
        let books = world.books();
        assert!(books.exact(), "it arrived, which is as good as not");
        world.fates[index] = Fate::Refused;
        let books = world.books();
        assert_eq!(books.unexpected.len(), 1);
        assert!(books.balance() && !books.exact());
        let events = Events::of(&world.plan, &world.fates);
        assert!(events.balance() && events.refused == 1);
    }

    #[test]
    fn a_dead_letter_is_neither_delivered_nor_missing() {
        let mut world = perfect();
        let lost = world.arrivals.pop().unwrap().name.unwrap();
        let letters = BTreeSet::from([lost]);
        let books = Escalations::of(&world.plan, &world.fates, &world.arrivals, &letters);
        assert_eq!(books.dead_lettered, [lost]);
        assert!(books.missing.is_empty() && books.balance() && !books.exact());
    }

    #[test]
    fn somebody_elses_escalation_is_unexpected() {
        let mut world = perfect();
        world.arrivals.push(Arrival {
            name: None,
            at_ns: 1,
            id: "stranger".into(),
            severity: "low".into(),
        });
        assert_eq!(world.books().unexpected, ["stranger"]);
    }
}
