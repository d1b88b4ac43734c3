//! The plan: every event with its intended time, decided before anything is sent. A function of
//! its shape alone.

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::planned::{Class, Planned};
use crate::schedule::Arrival;
use crate::{MILLISECOND, SECOND};

/// What kind of day it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// A constant rate of mixed events.
    Steady,
    /// The same with independent arrivals.
    Sla,
    /// Half of each second's events at once.
    Burst,
    /// One user's low events at five times the capacity, for the middle half of the time.
    Flood,
    /// Half the events do not say whose they are; order and time are out of step.
    Join,
    /// 500 users are attacked at once, in the middle, amid the rest.
    Attack,
    /// Like steady; an owner is killed halfway.
    Failover,
    /// A day in short, again and again: from a fifth of the rate to nine fifths.
    Soak,
    /// Nothing but events that escalate by themselves: no loss of one can hide.
    Alarms,
    /// 100,000 users of whom little is wrong: one event of 1,000 escalates.
    Crowd,
}

/// What a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// What kind of day.
    pub scenario: Scenario,
    /// How the rate runs.
    pub arrival: Arrival,
    /// Events a second.
    pub rate: u32,
    /// Events a second of a flood, on top.
    pub flood_rate: u32,
    /// For so many seconds.
    pub seconds: u32,
    /// Of chance.
    pub seed: u64,
    /// The events' own time of the start, nanoseconds since 1970.
    pub base_ns: i64,
}

/// Users in the background; the first of them act more often than the others.
const USERS: u32 = 2_000;
const BUSY_USERS: u32 = 24;
/// Users of a crowd, each as often as another.
const CROWD_USERS: u32 = 100_000;
/// The flooding user, and the one that hides behind.
pub const FLOODER: u32 = 100_000;
/// A user of whom just enough low events come while another floods.
pub const SECOND_USER: u32 = 100_001;
/// A flood is so many times the capacity.
pub const FLOOD_FACTOR: u32 = 5;
const CAMPAIGN_USERS: u32 = 500;
const CAMPAIGN_FIRST: u32 = 200_000;
/// Just enough for "more than 10".
const BLOCKS_TO_BREACH: u32 = 11;
/// Joining: an event's own time lies up to so much before its sending.
const DISORDER_MS: u32 = 30_000;
/// Joining: whose it is is said up to so much after the event, or before.
const IDENTITY_LATE_MS: u32 = 3_000;
const IDENTITY_EARLY_MS: u32 = 1_000;

/// Everything that is meant to be sent, in the order of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it was made from.
    pub shape: Shape,
    /// Names of this plan's users and events start with it.
    pub tag: String,
    /// The events; `number` is the index.
    pub events: Vec<Planned>,
}

impl Shape {
    /// Makes the plan.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut draft = Draft {
            shape: self,
            chance: Chance::new(self.seed),
            events: Vec::new(),
        };
        draft.background();
        match self.scenario {
            Scenario::Flood => draft.flood(),
            Scenario::Attack => draft.campaign(),
            Scenario::Join => draft.take_names_away(),
            Scenario::Steady
            | Scenario::Sla
            | Scenario::Burst
            | Scenario::Failover
            | Scenario::Soak
            | Scenario::Alarms
            | Scenario::Crowd => {}
        }
        draft.finish()
    }

    fn tag(&self) -> String {
        let seconds = self.base_ns.div_euclid(1_000_000_000);
        format!("lt{:x}x{seconds:x}", self.seed & 0xffff)
    }

    /// The scenario's own arrival.
    #[must_use]
    pub const fn usual_arrival(scenario: Scenario) -> Arrival {
        match scenario {
            Scenario::Sla => Arrival::Poisson,
            Scenario::Burst => Arrival::Burst,
            Scenario::Soak => Arrival::Diurnal,
            Scenario::Steady
            | Scenario::Failover
            | Scenario::Flood
            | Scenario::Join
            | Scenario::Attack
            | Scenario::Alarms
            | Scenario::Crowd => Arrival::Constant,
        }
    }
}

struct Draft<'a> {
    shape: &'a Shape,
    chance: Chance,
    events: Vec<Planned>,
}

impl Draft<'_> {
    fn t(&self, at_ns: u64) -> i64 {
        let after = i64::try_from(at_ns).unwrap_or(i64::MAX);
        self.shape.base_ns.saturating_add(after)
    }

    /// Numbers are given at the end; until then `request` is the index in the draft.
    fn add(&mut self, at_ns: u64, class: Class, subject: u32) {
        let index = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        self.events.push(Planned {
            number: index,
            at_ns,
            t_ns: self.t(at_ns),
            class,
            subject,
            named: true,
            request: index,
        });
    }

    fn background(&mut self) {
        let shape = self.shape;
        for at_ns in shape
            .arrival
            .times(shape.rate, shape.seconds, &mut self.chance)
        {
            let subject = if shape.scenario == Scenario::Crowd {
                self.chance.below(CROWD_USERS)
            } else if self.chance.below(6) == 0 {
                self.chance.below(BUSY_USERS)
            } else {
                BUSY_USERS + self.chance.below(USERS - BUSY_USERS)
            };
            let draw = self.chance.below(1000);
            let class = match (shape.scenario, draw) {
                (Scenario::Alarms, _) | (Scenario::Crowd, 0) => Class::PromptAttack,
                (Scenario::Crowd, 1..30) => Class::Block,
                (Scenario::Crowd, 30..50) => Class::MildFlag,
                (Scenario::Crowd, 50..400) => Class::ToolAllowed,
                (Scenario::Crowd, _) => Class::Drift,
                (_, 0..40) => Class::PromptAttack,
                (_, 40..50) => Class::ToolOutside,
                (_, 50..60) => Class::ToolAllowed,
                (_, 60..400) => Class::Block,
                (_, 400..450) => Class::GraveFlag,
                (_, 450..600) => Class::MildFlag,
                (_, _) => Class::Drift,
            };
            self.add(at_ns, class, subject);
        }
    }

    /// Start and length of the middle half.
    fn middle(&self) -> (u64, u64) {
        let all = u64::from(self.shape.seconds) * SECOND;
        (all / 4, all / 2)
    }

    fn flood(&mut self) {
        let (from, length) = self.middle();
        let rate = self.shape.flood_rate;
        for at in Arrival::Constant.times(rate, self.shape.seconds, &mut self.chance) {
            if (from..from + length).contains(&at) {
                self.add(at, Class::Block, FLOODER);
            }
        }
        for index in 0..BLOCKS_TO_BREACH {
            let at = from + length / u64::from(BLOCKS_TO_BREACH + 1) * u64::from(index + 1);
            self.add(grid(at), Class::Block, SECOND_USER);
        }
    }

    fn campaign(&mut self) {
        let (from, length) = self.middle();
        let span_ms = u32::try_from(length / MILLISECOND)
            .unwrap_or(u32::MAX)
            .max(1);
        for user in 0..CAMPAIGN_USERS {
            for _ in 0..BLOCKS_TO_BREACH + user % 2 {
                let at = from + u64::from(self.chance.below(span_ms)) * MILLISECOND;
                self.add(at, Class::Block, CAMPAIGN_FIRST + user);
            }
        }
    }

    /// Every second event loses its user; another record, sent at another time, knows it.
    fn take_names_away(&mut self) {
        let end = u64::from(self.shape.seconds) * SECOND;
        for index in (0..self.events.len()).step_by(2) {
            let spread = IDENTITY_EARLY_MS + IDENTITY_LATE_MS;
            let shift = u64::from(self.chance.below(spread)) * MILLISECOND;
            let disorder = i64::from(self.chance.below(DISORDER_MS)) * 1_000_000;
            let Some(event) = self.events.get_mut(index) else {
                continue;
            };
            event.named = false;
            event.t_ns -= disorder;
            let early = u64::from(IDENTITY_EARLY_MS) * MILLISECOND;
            let at_ns = (event.at_ns + shift).saturating_sub(early).min(end);
            let (subject, request) = (event.subject, event.request);
            self.add(at_ns, Class::Identity, subject);
            if let Some(identity) = self.events.last_mut() {
                identity.request = request;
            }
        }
    }

    fn finish(mut self) -> Plan {
        self.events
            .sort_by_key(|event| (event.at_ns, event.producer(), event.number));
        for (number, event) in (0u32..).zip(self.events.iter_mut()) {
            event.number = number;
        }
        Plan {
            shape: self.shape.clone(),
            tag: self.shape.tag(),
            events: self.events,
        }
    }
}

const fn grid(at_ns: u64) -> u64 {
    at_ns / MILLISECOND * MILLISECOND
}

impl Plan {
    /// The same at another time of day. Names of users and events change with it.
    #[must_use]
    pub fn rebased(mut self, base_ns: i64) -> Self {
        let shift = base_ns.saturating_sub(self.shape.base_ns);
        for event in &mut self.events {
            event.t_ns = event.t_ns.saturating_add(shift);
        }
        self.shape.base_ns = base_ns;
        self.tag = self.shape.tag();
        self
    }

    /// Only the first so many events: what was meant before the sending was stopped.
    #[must_use]
    pub fn cut(mut self, events: usize) -> Self {
        self.events.truncate(events);
        self
    }

    /// A digest of everything that is sent and when, hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for event in &self.events {
            hasher.update(&event.at_ns.to_le_bytes());
            hasher.update(event.payload(&self.tag).as_bytes());
        }
        hasher
            .finalize()
            .to_hex()
            .as_str()
            .chars()
            .take(16)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn shape(scenario: Scenario, seed: u64) -> Shape {
        Shape {
            scenario,
            arrival: Shape::usual_arrival(scenario),
            rate: 500,
            flood_rate: 500 * FLOOD_FACTOR,
            seconds: 8,
            seed,
            base_ns: 1_700_000_000_000_000_000,
        }
    }

    #[test]
    fn a_plan_is_a_function_of_its_shape() {
        for scenario in [
            Scenario::Steady,
            Scenario::Sla,
            Scenario::Burst,
            Scenario::Flood,
            Scenario::Join,
            Scenario::Attack,
            Scenario::Failover,
            Scenario::Soak,
            Scenario::Alarms,
            Scenario::Crowd,
        ] {
            let plan = shape(scenario, 5).plan();
            assert_eq!(plan, shape(scenario, 5).plan());
            assert_ne!(plan.digest(), shape(scenario, 6).plan().digest());
            assert!(plan.events.is_sorted_by_key(|event| event.at_ns));
            let numbers = plan.events.iter().map(|event| event.number);
            assert!(numbers.eq(0..u32::try_from(plan.events.len()).unwrap()));
        }
    }

    #[test]
    fn another_time_of_day_keeps_when_and_what() {
        let plan = shape(Scenario::Join, 5).plan();
        let mut later = shape(Scenario::Join, 5);
        later.base_ns += 77_000_000_000;
        assert_eq!(plan.rebased(later.base_ns), later.plan());
    }

    #[test]
    fn of_a_crowd_one_event_in_a_thousand_escalates() {
        let plan = shape(Scenario::Crowd, 1).plan();
        let due = crate::oracle::expected(plan.events.iter());
        assert!((1..=12).contains(&due.len()), "{}", due.len());
        let users: std::collections::BTreeSet<_> =
            plan.events.iter().map(|event| event.subject).collect();
        assert!(users.len() > 3_800, "{}", users.len());
    }

    #[test]
    fn a_flood_is_five_times_the_rate_for_half_the_time() {
        let plan = shape(Scenario::Flood, 1).plan();
        let flood = plan.events.iter().filter(|event| event.subject == FLOODER);
        assert_eq!(flood.count(), 500 * 5 * 4);
    }

    #[test]
    fn each_nameless_event_has_one_record_that_knows_its_user() {
        let plan = shape(Scenario::Join, 1).plan();
        let nameless: Vec<_> = plan.events.iter().filter(|event| !event.named).collect();
        assert_eq!(nameless.len(), 2_000);
        for event in nameless {
            let knows = plan
                .events
                .iter()
                .filter(|other| other.class == Class::Identity && other.request == event.request);
            assert_eq!(
                knows.map(|other| other.subject).collect::<Vec<_>>(),
                [event.subject]
            );
        }
    }
}
