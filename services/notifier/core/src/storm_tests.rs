use proptest::prelude::*;

use super::*;
use crate::State;
use crate::backoff::Backoff;
use crate::effect::Effect;
use crate::input::Input;
use crate::plan::Plan;
use crate::route::{ReceiverEntry, Routes};
use crate::state::tests::escalation;
use balefire_event::time::SECOND;

fn plan(pages_max: u32) -> Plan {
    let pager = ReceiverEntry {
        name: "pager".into(),
        storm_pages: Some(pages_max),
        ..ReceiverEntry::default()
    };
    let lake = ReceiverEntry {
        name: "lake".into(),
        ..ReceiverEntry::default()
    };
    Plan::of_file(&Routes::of(&[pager, lake]).unwrap())
}

/// One partition, what it decided, and the pages of its process.
struct World {
    plan: Plan,
    state: State,
    storms: Storms,
    log: Vec<Intent>,
    sequence: u64,
}

impl World {
    fn new(pages_max: u32) -> Self {
        Self {
            plan: plan(pages_max),
            state: State::new(Backoff::default()),
            storms: Storms::default(),
            log: Vec::new(),
            sequence: 0,
        }
    }

    fn logged(&mut self, effects: Vec<Effect>) -> Vec<Intent> {
        let mut all = Vec::new();
        for effect in effects {
            if let Effect::RecordIntents { intents, .. } = effect {
                all.extend(intents);
            }
        }
        for intent in &all {
            self.fold(intent.clone());
            self.log.push(intent.clone());
        }
        all
    }

    fn fold(&mut self, intent: Intent) {
        let receiver = self.plan.receiver(&intent.receiver).unwrap();
        self.storms
            .note(0, "default", &intent, receiver.storm_pages);
        self.state.apply(Input::IntentLogged {
            tenant: "default",
            intent,
        });
    }

    fn escalate(&mut self, id: u16, severity: Severity, at: i64) -> Vec<Intent> {
        self.sequence += 1;
        let mut one = escalation(0, severity, &[]);
        one.escalation_id = EscalationId([0; 16]);
        one.escalation_id.0[..2].copy_from_slice(&id.to_le_bytes());
        one.episode_id = one.escalation_id;
        let effects = self.state.apply(Input::Escalated {
            sequence: self.sequence,
            escalations: &[one],
            now: Timestamp(at * SECOND),
            plan: &self.plan,
            partition: 0,
            storms: &mut self.storms,
        });
        self.logged(effects)
    }

    fn tick(&mut self, at: i64) -> Vec<Intent> {
        let effects = self.state.apply(Input::Ticked {
            now: Timestamp(at * SECOND),
            plan: &self.plan,
            partition: 0,
            storms: &mut self.storms,
        });
        self.logged(effects)
    }

    /// Another process that reads the log.
    fn restarted(&self) -> Self {
        let mut next = Self::new(1);
        next.plan = self.plan.clone();
        next.sequence = self.sequence;
        for intent in &self.log {
            next.fold(intent.clone());
            next.log.push(intent.clone());
        }
        next.state.apply(Input::Covered {
            sequence: self.sequence,
        });
        next
    }
}

fn told<'i>(intents: &'i [Intent], receiver: &str) -> Vec<&'i Intent> {
    let all = intents.iter();
    all.filter(|one| &*one.receiver == receiver && one.withheld.is_none())
        .collect()
}

fn summary(intents: &[Intent]) -> &Summary {
    let mut summaries = intents.iter().filter_map(|one| one.summary.as_deref());
    let first = summaries.next().unwrap();
    assert_eq!(summaries.next(), None);
    first
}

#[test]
fn above_the_limit_one_summary_stands_for_many_pages() {
    let mut world = World::new(3);
    for id in 0..3 {
        let intents = world.escalate(id, Severity::High, i64::from(id));
        assert_eq!(told(&intents, "pager").len(), 1);
    }
    let begins = world.escalate(3, Severity::High, 3);
    let page = told(&begins, "pager");
    assert_eq!(page.len(), 1, "the summary in place of the page");
    assert_eq!((summary(&begins).held, summary(&begins).goes_on), (1, true));
    assert_eq!(summary(&begins).listed[0].rule, "prompt_attack");
    for id in 4..100 {
        let intents = world.escalate(id, Severity::High, 4);
        assert_eq!(told(&intents, "pager"), Vec::<&Intent>::new());
        assert_eq!(told(&intents, "lake").len(), 1, "no limit there");
        let held = &intents[0];
        assert_eq!(held.withheld, Some(Withheld::Storm));
        assert_eq!(*held.withheld_by, page[0].escalation_id.to_string());
    }
    assert_eq!(world.storms.of("pager"), Some((Timestamp(3 * SECOND), 97)));
    assert_eq!(world.storms.next_due(0), Some(Timestamp(603 * SECOND)));
    assert_eq!(world.tick(602), []);
    // The storm was as strong all the time: it goes on, and says what was held.
    let goes_on = world.tick(603);
    assert_eq!(summary(&goes_on).held, 97);
    assert_eq!(summary(&goes_on).listed.len(), LISTED_MAX);
    assert!(summary(&goes_on).goes_on);
    assert_eq!(goes_on[0].notice, Notice::Amended(1));
    assert_eq!(goes_on[0].escalation_id, page[0].escalation_id);
    world.escalate(100, Severity::High, 700);
    let over = world.tick(1203);
    assert_eq!((summary(&over).held, summary(&over).goes_on), (1, false));
    assert_eq!(world.tick(3000), []);
    let calm = world.escalate(101, Severity::High, 1300);
    let pages = told(&calm, "pager");
    assert_eq!((pages.len(), &pages[0].summary), (1, &None));
}

#[test]
fn what_is_worse_than_all_before_is_told_in_a_storm_too() {
    let mut world = World::new(1);
    world.escalate(0, Severity::Low, 0);
    world.escalate(1, Severity::Low, 1);
    let worse = world.escalate(2, Severity::Critical, 2);
    assert_eq!(told(&worse, "pager").len(), 1);
    let again = world.escalate(3, Severity::Critical, 3);
    assert_eq!(told(&again, "pager").len(), 0);
    let passed = world.tick(601);
    assert_eq!(passed[0].severity, Severity::Critical);
    assert_eq!(summary(&passed).listed[0].severity, Severity::Critical);
}

#[test]
fn a_storm_is_told_in_the_same_words_after_a_restart() {
    let mut world = World::new(1);
    for id in 0..5 {
        world.escalate(id, Severity::High, 1);
    }
    let mut next = world.restarted();
    let (before, after) = (world.tick(601), next.tick(601));
    let without_rules = |summary: &Summary| {
        let mut summary = summary.clone();
        for held in &mut summary.listed {
            held.rule.clear();
        }
        summary
    };
    assert_eq!(without_rules(summary(&before)), *summary(&after));
    // Neither tells it again, nor does one that reads the end too.
    assert_eq!(world.tick(602), []);
    assert_eq!(next.restarted().tick(602), []);
    // Each attempt has the same body.
    let page = crate::SummaryPage::of(&"default".into(), &after[0]).unwrap();
    let record = page.record().unwrap();
    assert!(crate::summary::is_summary(&record));
    assert_eq!(page.record(), Some(record.clone()));
    assert!(
        record.condition.contains("--withheld storm"),
        "{}",
        record.condition
    );
    let words = crate::story::Story::of(&crate::view::View::of(&record, Default::default()));
    assert!(words.seen.starts_with("4 page(s) to pager held since "));
    assert!(words.headline.contains("Storm"));
}

#[test]
fn the_logs_of_two_partitions_may_be_read_in_any_order() {
    let mut world = World::new(1);
    for id in 0..5 {
        world.escalate(id, Severity::High, 1);
    }
    let (summaries, pages): (Vec<_>, Vec<_>) =
        world.log.iter().partition(|one| one.summary.is_some());
    let mut next = Storms::default();
    for intent in &pages {
        next.note(1, "default", intent, Some(1));
    }
    for intent in &summaries {
        next.note(0, "default", intent, Some(1));
    }
    assert_eq!(next.of("pager"), Some((Timestamp(SECOND), 4)));
    for intent in world.log.iter().chain(&world.log) {
        next.note(0, "default", intent, Some(1));
    }
    assert_eq!(next.of("pager").map(|of| of.1), Some(4), "twice is once");
}

proptest! {
    /// In any ten minutes: at most the limit, one more for each further severity, and summaries.
    /// Every page is told, or held under a storm that was told of.
    #[test]
    fn pages_are_bounded_and_each_held_one_names_a_storm_that_was_told(
        pages_max in 1_u32..6,
        steps in prop::collection::vec((0_i64..200, 0_usize..4, prop::bool::weighted(0.1)), 1..120),
    ) {
        let severities = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        let mut world = World::new(pages_max);
        let mut now = 0;
        for (id, (wait, severity, restart)) in (0_u16..).zip(&steps) {
            for second in now..=now + wait {
                world.tick(second);
            }
            now += wait;
            if *restart {
                world = world.restarted();
            }
            let intents = world.escalate(id, severities[*severity], now);
            prop_assert!(intents.iter().any(|one| &*one.receiver == "pager"));
        }
        for second in now..now + 3 * 600 {
            world.tick(second);
        }
        prop_assert_eq!(world.storms.of("pager"), None);
        let pages: Vec<_> = told(&world.log, "pager");
        let summaries: BTreeSet<_> = pages
            .iter()
            .filter(|one| one.summary.is_some())
            .map(|one| one.escalation_id.to_string())
            .collect();
        for one in &pages {
            let window = pages.iter().filter(|other| {
                (0..STORM_FOR).contains(&one.decided_at.since(other.decided_at))
            });
            let (sums, single): (Vec<&&Intent>, Vec<&&Intent>) =
                window.partition(|other| other.summary.is_some());
            prop_assert!(single.len() <= usize::try_from(pages_max).unwrap() + 3);
            prop_assert!(sums.len() <= 4);
        }
        for held in world.log.iter().filter(|one| one.withheld.is_some()) {
            prop_assert!(summaries.contains(&*held.withheld_by));
        }
        let mut held: BTreeMap<_, u64> = BTreeMap::new();
        for one in world.log.iter().filter(|one| one.withheld == Some(Withheld::Storm)) {
            *held.entry(one.withheld_by.to_string()).or_default() += 1;
        }
        for (storm, count) in held {
            let of_it = world.log.iter().filter(|one| {
                one.escalation_id.to_string() == storm && one.notice != Notice::First
            });
            let said: u64 = of_it.filter_map(|one| one.summary.as_ref()).map(|one| one.held).sum();
            prop_assert_eq!(said, count, "a storm's summaries count every page it held");
        }
    }
}
