//! Single decisions of the engine: windowless rules, copies, panics, amendments, doubt, barriers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it is wrong"
)]

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;

use balefire_event::identity::TenantKey;
use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{
    Approval, Assurance, BarrierId, Category, DedupId, Digest, Escalation, EscalationKind, Event,
    Field, Identity, IdentityKind, Join, Lane, RecommendedAction, RuleId, SubjectRef, Timestamp,
    Timing,
};
use balefire_rule::{Measure, Measured, RuleKind};
use balefire_rule_engine_core::{
    BatchHeader, Effect, Engine, EngineConfig, Matcher, RULE_PANICKED, RuleSpec,
};
use balefire_stream::Source;
use world::{OfCategory, TENANT, spec, user};

const T0: i64 = 1_770_820_200 * SECOND;

fn engine(specs: Vec<RuleSpec>) -> Engine {
    Engine::with_specs(0, &[(0, specs)], EngineConfig::new(1)).unwrap()
}

fn each(id: u8, category: Category) -> RuleSpec {
    RuleSpec {
        kind: RuleKind::Single,
        id: RuleId([id; 16]),
        signature: Digest([id; 32]),
        categories: vec![category],
        matcher: Arc::new(OfCategory(category)),
        ..spec(id, 0, 1, 1)
    }
}

fn event(n: u8, seconds: i64) -> Event<'static> {
    let t = Timestamp(T0 + seconds * SECOND);
    Event {
        dedup_id: DedupId([n; 16]),
        event_id: format!("e{n}").into(),
        occurred_at: t,
        received_at: t.plus(1),
        t,
        category: Category::GuardrailBlock,
        user: Some(user("jgill")),
        ..Event::default()
    }
}

fn put(engine: &mut Engine, event: &Event<'_>) -> Vec<Effect> {
    let mut effects = Vec::new();
    let header = BatchHeader {
        tenant: TENANT,
        lateness_max: event.lateness,
        received_at_max: event.received_at,
    };
    engine.batch_start(Lane::Normal, &header);
    engine.event(0, event, &mut effects);
    engine.batch_end(&mut effects);
    effects
}

fn escalations(effects: Vec<Effect>) -> Vec<Escalation> {
    effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Escalate(escalation) => *escalation,
            Effect::DeadLetter { .. }
            | Effect::BarrierOut { .. }
            | Effect::Rekey(_)
            | Effect::Promise { .. }
            | Effect::Repair(_) => {
                panic!("{effect:?}")
            }
        })
        .collect()
}

#[test]
fn eleventh_block_escalates_with_all_its_evidence() {
    let mut engine = engine(vec![spec(1, 10, 5 * MINUTE, 5 * MINUTE)]);
    for n in 0..10 {
        assert!(put(&mut engine, &event(n, i64::from(n))).is_empty());
    }
    let found = escalations(put(&mut engine, &event(10, 10)));
    assert_eq!(found.len(), 1);
    let ids: Vec<&str> = found[0]
        .evidence
        .iter()
        .map(|i| i.event_id.as_str())
        .collect();
    let wanted: Vec<String> = (0..11).map(|n| format!("e{n}")).collect();
    assert_eq!(ids, wanted);
    assert_eq!(found[0].event_count, 11);
    assert_eq!(found[0].breach_at, Timestamp(T0 + 10 * SECOND));
    assert_eq!((found[0].threshold, found[0].window), (10, 5 * MINUTE));
    let trigger = found[0].trigger.as_ref().unwrap();
    assert_eq!(trigger.event_id, "e10");
    // A twelfth, and copies of any, add nothing in the same slot.
    assert!(put(&mut engine, &event(11, 11)).is_empty());
    assert!(put(&mut engine, &event(3, 3)).is_empty());
}

#[test]
fn a_long_burst_shows_the_first_and_the_last_thirty_two() {
    let mut engine = engine(vec![spec(1, 99, 5 * MINUTE, 5 * MINUTE)]);
    let found: Vec<Escalation> = (0..100)
        .flat_map(|n| escalations(put(&mut engine, &event(n, i64::from(n)))))
        .collect();
    let ids: Vec<&str> = found[0]
        .evidence
        .iter()
        .map(|i| i.event_id.as_str())
        .collect();
    assert_eq!(ids.len(), 64);
    assert_eq!((ids[31], ids[32], ids[63]), ("e31", "e68", "e99"));
    assert_eq!(found[0].event_count, 100);
}

#[test]
fn a_windowless_rule_tells_late_events_and_repeats_no_copy() {
    let mut engine = engine(vec![each(2, Category::GuardrailBlock)]);
    let mut late = event(1, -7200);
    late.timing = Timing::Late;
    late.received_at = Timestamp(T0);
    let found = escalations(put(&mut engine, &late));
    assert_eq!(found[0].timing, Timing::Late);
    assert_eq!((found[0].slot_start, found[0].rearm), (late.t, 0));
    assert_eq!(found[0].episode_id, found[0].escalation_id);
    late.received_at = Timestamp(T0 + SECOND);
    assert!(put(&mut engine, &late).is_empty());
    let state = engine.snapshot();
    let mut restored = self::engine(vec![each(2, Category::GuardrailBlock)]);
    restored.restore(state).unwrap();
    assert!(put(&mut restored, &late).is_empty());
}

struct Panics;

impl Matcher for Panics {
    fn matches(&self, _event: &Event<'_>) -> bool {
        panic!("cannot read this")
    }
    fn reads(&self, _field: &Field) -> bool {
        false
    }
}

#[test]
fn a_panicking_rule_is_named_and_the_others_go_on() {
    let mut broken = each(3, Category::GuardrailBlock);
    broken.matcher = Arc::new(Panics);
    let mut engine = engine(vec![broken, each(2, Category::GuardrailBlock)]);
    let effects = put(&mut engine, &event(1, 0));
    let [
        Effect::DeadLetter {
            index: 0,
            reason,
            detail,
        },
        Effect::Escalate(escalation),
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(*reason, RULE_PANICKED);
    assert_eq!(detail, "rule rule_3: cannot read this");
    assert_eq!(escalation.rule_id, RuleId([2; 16]));
    assert_eq!(engine.counters().panics, 1);
}

#[test]
fn an_amendment_counts_where_it_is_read_and_amends_what_was_told() {
    let counting = spec(1, 0, MINUTE, MINUTE);
    let mut engine = engine(vec![counting, each(2, Category::GuardrailBlock)]);
    let mut partial = event(1, 0);
    partial.user = None;
    partial.join = Some(Join {
        partial: true,
        ..Join::default()
    });
    let found = escalations(put(&mut engine, &partial));
    assert_eq!(found.len(), 1, "the windowless rule alone");
    assert_eq!(engine.counters().rules[&RuleId([1; 16])].ungrouped, 1);
    let amended = |filled: &str| Event {
        join: Some(Join {
            amendment: true,
            filled: vec![filled.to_owned()],
            ..Join::default()
        }),
        ..event(1, 0)
    };
    let raised = found[0].escalation_id;
    let said = |effects| {
        let found = escalations(effects);
        let said = found.iter().map(|e| (e.kind, e.rule_id.0[0], e.revision));
        assert!(found.iter().all(|e| e.kind != EscalationKind::Amended
            || (e.escalation_id == raised && e.trigger.is_some())));
        said.collect::<Vec<_>>()
    };
    let amends = (EscalationKind::Amended, 2, 1);
    assert_eq!(said(put(&mut engine, &amended("model"))), [amends]);
    let counts = (EscalationKind::Raised, 1, 0);
    assert_eq!(
        said(put(&mut engine, &amended("user_id"))),
        [counts, amends]
    );
    assert!(
        put(&mut engine, &amended("user_id")).is_empty(),
        "said before"
    );
    let mut doubted = amended("user_id");
    doubted.user = doubted.user.map(|user| Identity {
        assurance: Assurance::Conflicting,
        ..user
    });
    assert_eq!(said(put(&mut engine, &doubted)), [amends], "other facts");
}

#[test]
fn doubt_makes_actions_on_a_user_wait_for_a_human() {
    let action = |class: &str| RecommendedAction {
        name: "block_user".to_owned(),
        class: class.to_owned(),
        target: "user_id".to_owned(),
        max_duration_seconds: 3600,
        approval: Approval::None,
    };
    let mut rule = each(2, Category::GuardrailBlock);
    rule.actions = vec![action("user_impacting"), action("information")];
    let approvals = |assurance, seconds_ago| {
        let mut event = event(1, 0);
        event.user = Some(Identity {
            assurance,
            ..user("jgill")
        });
        event.received_at = event.t.plus(seconds_ago * SECOND);
        let found = escalations(put(&mut engine(vec![rule.clone()]), &event));
        let actions = found[0].recommended_actions.iter();
        (
            found[0].assurance,
            actions.map(|a| a.approval).collect::<Vec<_>>(),
        )
    };
    for (assurance, seconds_ago, wanted) in [
        (Assurance::Verified, 0, Approval::None),
        (Assurance::Joined, 300, Approval::None),
        (Assurance::Joined, 301, Approval::HumanDoubt),
        (Assurance::Claimed, 0, Approval::HumanDoubt),
        (Assurance::Conflicting, 0, Approval::HumanDoubt),
    ] {
        let (shown, approvals) = approvals(assurance, seconds_ago);
        assert_eq!(shown, Some(assurance));
        assert_eq!(approvals, [wanted, Approval::None]);
    }
}

#[test]
fn history_alone_is_told_to_nobody_and_one_live_event_changes_that() {
    let mut rule = spec(1, 1, MINUTE, MINUTE);
    rule.actions = vec![RecommendedAction {
        name: "capture_evidence".to_owned(),
        class: "information".to_owned(),
        target: "request_id".to_owned(),
        max_duration_seconds: 0,
        approval: Approval::None,
    }];
    for (live, backfill) in [(false, true), (true, false)] {
        let mut engine = engine(vec![rule.clone()]);
        put(
            &mut engine,
            &Event {
                backfill: true,
                ..event(1, 0)
            },
        );
        let found = escalations(put(
            &mut engine,
            &Event {
                backfill: !live,
                ..event(2, 1)
            },
        ));
        assert_eq!(found[0].backfill, backfill);
        assert_eq!(found[0].recommended_actions.is_empty(), backfill);
    }
}

#[test]
fn a_copy_of_an_untrusted_clock_counts_once_in_an_hour() {
    let mut engine = engine(vec![spec(1, 1, 2 * 60 * MINUTE, 2 * 60 * MINUTE)]);
    let arrived = |n: u8, minutes: i64| {
        let at = Timestamp(T0 + minutes * MINUTE);
        Event {
            occurred_at: Timestamp(7),
            t: at,
            received_at: at,
            ..event(n, 0)
        }
    };
    assert!(put(&mut engine, &arrived(1, 0)).is_empty());
    assert!(put(&mut engine, &arrived(1, 20)).is_empty());
    assert_eq!(engine.counters().copies, 1);
    assert_eq!(escalations(put(&mut engine, &arrived(2, 30))).len(), 1);
    let mut far = self::engine(vec![spec(1, 1, 2 * 60 * MINUTE, 2 * 60 * MINUTE)]);
    assert!(put(&mut far, &arrived(1, 0)).is_empty());
    assert_eq!(escalations(put(&mut far, &arrived(1, 61))).len(), 1);
}

#[test]
fn tenants_and_users_never_mix() {
    let mut engine = engine(vec![spec(1, 1, MINUTE, MINUTE)]);
    let mut effects = Vec::new();
    for (n, tenant, name) in [(1, "a", "x"), (2, "b", "x"), (3, "a", "y")] {
        let header = BatchHeader {
            tenant,
            lateness_max: 1,
            received_at_max: Timestamp(T0),
        };
        let key = TenantKey::default_of("same");
        let subject_ref = SubjectRef::of(&key, IdentityKind::User, name);
        let event = Event {
            user: Some(Identity {
                subject_ref,
                ..user(name)
            }),
            ..event(n, 0)
        };
        engine.batch_start(Lane::Normal, &header);
        engine.event(0, &event, &mut effects);
        engine.batch_end(&mut effects);
    }
    assert!(effects.is_empty());
    assert_eq!(engine.key_count(), 3);
}

#[test]
fn memory_empties_when_ticks_pass_and_the_deadline_says_when() {
    let mut engine = engine(vec![spec(1, 0, 5 * MINUTE, 5 * MINUTE)]);
    assert_eq!(engine.next_deadline(), None);
    assert_eq!(escalations(put(&mut engine, &event(1, 0))).len(), 1);
    put(
        &mut engine,
        &Event {
            user: Some(user("other")),
            ..event(2, 1)
        },
    );
    let mut ticks = 0;
    while let Some(deadline) = engine.next_deadline() {
        assert_eq!(deadline.0 % MINUTE, 0);
        for lane in Lane::ALL {
            let header = BatchHeader {
                tenant: "",
                lateness_max: 0,
                received_at_max: deadline,
            };
            engine.batch_start(*lane, &header);
            engine.tick(deadline);
            engine.batch_end(&mut Vec::new());
        }
        ticks += 1;
        assert!(ticks < 200, "{deadline}");
    }
    assert_eq!((engine.key_count(), engine.entry_count()), (0, 0));
}

#[test]
fn rule_changes_that_decide_nothing_keep_the_window_and_others_do_not() {
    let rule = |name: &str, n| RuleSpec {
        name: name.to_owned(),
        ..spec(1, n, MINUTE, MINUTE)
    };
    let run = |second: RuleSpec| {
        let sets = [(1, vec![rule("old", 2)]), (5, vec![second])];
        let mut engine = Engine::with_specs(0, &sets, EngineConfig::new(1)).unwrap();
        assert!(engine.needs(6) && !engine.needs(5));
        engine.confirm_revision(6);
        assert!(!engine.needs(6));
        let mut found = Vec::new();
        for (n, revision) in [(1, 1), (2, 4), (3, 6)] {
            let event = Event {
                control_revision: revision,
                ..event(n, i64::from(n))
            };
            found.extend(escalations(put(&mut engine, &event)));
        }
        found
            .iter()
            .map(|e| (e.rule_name.clone(), e.threshold))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(rule("renamed", 2)), [("renamed".to_owned(), 2)]);
    // Under the new threshold the events of the old revision count, and only the new one breaches.
    assert_eq!(run(rule("lower", 1)), [("lower".to_owned(), 1)]);
    assert_eq!(run(rule("higher", 3)), []);
}

#[test]
fn a_barrier_comes_out_behind_everything_and_a_foreign_snapshot_is_refused() {
    let mut engine = engine(vec![spec(1, 0, MINUTE, MINUTE)]);
    let id = BarrierId([9; 16]);
    let mut effects = Vec::new();
    for source in Source::all(1) {
        assert!(effects.is_empty());
        engine.barrier(id, Timestamp(T0), source, &mut effects);
    }
    assert_eq!(
        effects,
        [Effect::BarrierOut {
            id,
            at: Timestamp(T0)
        }]
    );
    let state = engine.snapshot();
    assert!(
        self::engine(vec![spec(1, 1, MINUTE, MINUTE)])
            .restore(state.clone())
            .is_err()
    );
    assert!(self::engine(Vec::new()).restore(state).is_err());
}

/// Event 1 meets the first two of three steps, every other one the third.
struct Steps;

impl Matcher for Steps {
    fn matches(&self, _: &Event<'_>) -> bool {
        true
    }
    fn reads(&self, _: &Field) -> bool {
        false
    }
    fn measured(&self, event: &Event<'_>) -> Measured {
        let first = event.dedup_id == DedupId([1; 16]);
        Measured::Steps(if first { vec![0, 1] } else { vec![2] }.into())
    }
}

#[test]
fn an_event_that_meets_two_steps_is_one_event_of_the_evidence() {
    let mut rule = spec(1, 0, MINUTE, MINUTE);
    let RuleKind::Threshold(threshold) = &mut rule.kind else {
        panic!("it counts")
    };
    threshold.measure = Measure::Sequence {
        steps: 3,
        ordered: true,
    };
    rule.matcher = Arc::new(Steps);
    let mut engine = engine(vec![rule]);
    assert!(put(&mut engine, &event(1, 0)).is_empty());
    let found = escalations(put(&mut engine, &event(2, 1)));
    let ids = found[0].evidence.iter().map(|one| one.event_id.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["e1", "e2"]);
    assert_eq!(found[0].event_count, 2);
    assert_eq!(found[0].condition, "3 steps in order in 1 minute");
}
