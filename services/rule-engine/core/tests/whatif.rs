//! What other rules would have escalated, against a replay of each alone.

#![expect(clippy::unwrap_used, reason = "a test ends where it is wrong")]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{DedupId, Escalation, EscalationId, Event, Field, RuleId, Timestamp};
use balefire_rule::RuleKind;
use balefire_rule_engine_core::{
    Engine, EngineConfig, Findings, Outcome, Part, Replay, RuleSpec, Scope, Share, WhatIf,
};
use world::{Rng, TENANT, spec, user};

const T0: i64 = 1_770_820_200 * SECOND;

fn engine(n: u64) -> Engine {
    let specs: Vec<RuleSpec> = vec![spec(1, n, 5 * MINUTE, MINUTE), spec(2, 3, MINUTE, MINUTE)];
    Engine::with_specs(0, &[(0, specs)], EngineConfig::new(1)).unwrap()
}

fn log(seed: u64) -> Vec<Event<'static>> {
    let mut rng = Rng::new(seed);
    (0..120u16)
        .map(|n| {
            let t = Timestamp(T0 + rng.below(3_600) * SECOND);
            let mut dedup = [0; 16];
            dedup[..2].copy_from_slice(&n.to_be_bytes());
            Event {
                dedup_id: DedupId(dedup),
                event_id: format!("e{n}").into(),
                occurred_at: t,
                received_at: t,
                t,
                category: balefire_event::Category::GuardrailBlock,
                user: Some(user(rng.pick(&["ada", "bob"]))),
                ..Event::default()
            }
        })
        .collect()
}

fn alone(n: u64, events: &[Event<'static>]) -> Vec<Escalation> {
    let mut replay = Replay::new(engine(n));
    let each = events.iter().flat_map(|event| replay.push(TENANT, event));
    each.collect()
}

fn ids(of: &[Escalation], since: i64) -> BTreeSet<EscalationId> {
    let compared = of.iter().filter(|e| e.slot_start.0 >= since);
    compared.map(|e| e.escalation_id).collect()
}

fn told(findings: &Findings, outcome: Outcome) -> BTreeSet<EscalationId> {
    let of = findings.differences.iter().filter(|(o, _)| *o == outcome);
    of.map(|(_, e)| e.escalation_id).collect()
}

fn scope(since: i64, rules: Option<BTreeSet<RuleId>>) -> Scope {
    Scope {
        since: Timestamp(since),
        settled: Timestamp::MAX,
        rules: rules.map(Arc::new),
    }
}

#[test]
fn a_difference_is_what_each_side_raises_alone() {
    for seed in 0..50 {
        let events = log(seed);
        let since = T0 + 20 * MINUTE;
        let was = alone(5, &events);
        for n in [2, 5, 9] {
            let mut what_if = WhatIf::new(engine(n), scope(since, None));
            // Another order than that of the replay.
            for event in events.iter().rev() {
                what_if.event(TENANT, event).unwrap();
            }
            for escalation in &was {
                what_if.escalated(escalation.clone()).unwrap();
            }
            let findings = what_if.finish(true);
            let (live, would) = (ids(&was, since), ids(&alone(n, &events), since));
            let added: BTreeSet<_> = would.difference(&live).copied().collect();
            let removed: BTreeSet<_> = live.difference(&would).copied().collect();
            let same: BTreeSet<_> = live.intersection(&would).copied().collect();
            assert_eq!(told(&findings, Outcome::Added), added, "seed {seed}, {n}");
            assert_eq!(
                told(&findings, Outcome::Removed),
                removed,
                "seed {seed}, {n}"
            );
            assert_eq!(
                told(&findings, Outcome::Unchanged),
                same,
                "seed {seed}, {n}"
            );
            assert_eq!(
                n == 5,
                added.is_empty() && removed.is_empty(),
                "seed {seed}, {n}"
            );
            let counted: u64 = findings.rules.values().map(|c| c.added + c.removed).sum();
            assert_eq!(counted, u64::try_from(added.len() + removed.len()).unwrap());
        }
    }
}

#[test]
fn only_the_rules_asked_for_are_compared_and_what_was_raised_meanwhile_is_no_addition() {
    let events = log(7);
    let only = BTreeSet::from([RuleId([1; 16])]);
    let mut what_if = WhatIf::new(engine(2), scope(T0, Some(only.clone())));
    for event in &events {
        what_if.event(TENANT, event).unwrap();
    }
    let added: Vec<EscalationId> = what_if.added().map(|(id, _)| id).collect();
    assert!(added.len() > 1);
    what_if.escalated_since(added[0]);
    let findings = what_if.finish(false);
    assert_eq!(findings.rules.len(), 1);
    let counts = findings.rules["rule_1"];
    assert_eq!(counts.added, u64::try_from(added.len()).unwrap() - 1);
    assert_eq!((counts.unchanged, counts.removed), (1, 0));
    assert_eq!(told(&findings, Outcome::Unchanged), BTreeSet::new());
    assert!(
        findings
            .differences
            .iter()
            .all(|(_, e)| only.contains(&e.rule_id))
    );
}

/// More than three of the same model, whoever asked it.
fn by_model() -> RuleSpec {
    let mut rule = spec(3, 3, 5 * MINUTE, MINUTE);
    let by = vec![Field::Model];
    if let RuleKind::Threshold(threshold) = &mut rule.kind {
        threshold.group_by = by.clone();
    }
    rule.key_fields = by;
    rule
}

#[test]
fn partitions_evaluated_apart_find_what_one_engine_over_everything_finds() {
    for seed in 0..50 {
        let mut events = log(seed);
        for (n, event) in events.iter_mut().enumerate() {
            event.model = ["opus", "haiku"][n % 2].into();
        }
        let engine = || {
            let specs = vec![spec(1, 4, 5 * MINUTE, MINUTE), by_model()];
            Engine::with_specs(0, &[(0, specs)], EngineConfig::new(1)).unwrap()
        };
        let mut whole = WhatIf::new(engine(), scope(T0, None));
        for event in &events {
            whole.event(TENANT, event).unwrap();
        }
        let rekeyed = engine().of_part(Part::Rekeyed { sources: 0 });
        let mut apart = WhatIf::new(rekeyed, scope(T0, None));
        let mut shares = ["ada", "bob"]
            .map(|name| (user(name), Share::new(engine().of_part(Part::Events), None)));
        // What is found comes together in any order, a few events at a time.
        for events in events.chunks(7) {
            for (number, (user, share)) in (0..).zip(&mut shares) {
                share.batch(TENANT);
                let own = |event: &&Event<'_>| event.user.as_ref() == Some(user);
                events
                    .iter()
                    .filter(own)
                    .for_each(|event| share.event(event));
                if let Some(found) = share.found() {
                    apart.found(number, TENANT, found).unwrap();
                }
            }
        }
        assert_eq!(apart.events(), 120, "seed {seed}");
        let (whole, apart) = (whole.finish(false), apart.finish(false));
        let rules: Vec<&str> = whole.rules.keys().map(|rule| &**rule).collect();
        assert_eq!(rules, ["rule_1", "rule_3"], "seed {seed}");
        assert_eq!(whole.rules, apart.rules, "seed {seed}");
        let ids = |findings| told(findings, Outcome::Added);
        assert_eq!(ids(&whole), ids(&apart), "seed {seed}");
    }
}

#[test]
fn a_share_says_which_fields_it_looks_at() {
    let specs = vec![spec(1, 4, 5 * MINUTE, MINUTE), by_model()];
    let engine = Engine::with_specs(0, &[(0, specs)], EngineConfig::new(1)).unwrap();
    let share = Share::new(engine, None);
    for (name, looked_at) in [
        ("category", true),
        ("user_id", true),
        ("model", true),
        ("reason", false),
        ("agent_id", false),
    ] {
        assert_eq!(share.looks_at(&Field::parse(name)), looked_at, "{name}");
    }
    assert!(share.looks_at_extensions(), "its matcher does not say");
    let rules = balefire_rule::baseline().unwrap();
    let engine = Engine::new(0, &[(0, Arc::new(rules))], EngineConfig::new(1)).unwrap();
    assert!(!Share::new(engine, None).looks_at_extensions());
}
