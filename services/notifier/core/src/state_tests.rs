#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one effect it expects"
)]

use super::*;
use crate::classify::Verdict;
use crate::effect::{DeadDelivery, EXHAUSTED, REFUSED};
use crate::input::Answer;
use crate::matcher::Matchers;
use crate::plan::Plan;
use crate::record::{Notice, Withheld};
use crate::route::{ReceiverEntry, Routes};
use crate::storm::Storms;
use balefire_event::time::SECOND;
use balefire_event::{Escalation, EscalationKind, RuleId, Severity, Timing};

pub(crate) fn escalation(id: u8, severity: Severity, audiences: &[&str]) -> Escalation {
    Escalation {
        escalation_id: EscalationId([id; 16]),
        episode_id: EscalationId([id; 16]),
        kind: EscalationKind::Raised,
        tenant: "default".into(),
        rule_id: RuleId([9; 16]),
        rule_name: "prompt_attack".into(),
        title: String::new(),
        key: Vec::new(),
        slot_start: Timestamp(0),
        rearm: 0,
        breach_at: Timestamp(0),
        severity,
        timing: Timing::OnTime,
        assurance: None,
        evidence: Vec::new(),
        event_count: 1,
        recommended_actions: Vec::new(),
        audiences: audiences.iter().map(|a| (*a).to_owned()).collect(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: None,
        received_at: Timestamp(0),
        revision: 0,
        backfill: false,
        window: 0,
        threshold: 0,
        at_close: false,
        condition: String::new(),
        shadow: false,
    }
}

pub(crate) fn plan(names: &[&str]) -> Plan {
    let entries: Vec<_> = names
        .iter()
        .map(|name| ReceiverEntry {
            name: (*name).into(),
            ..ReceiverEntry::default()
        })
        .collect();
    Plan::of_file(&Routes::of(&entries).unwrap())
}

fn state() -> State {
    State::new(Backoff::default())
}

fn escalated(state: &mut State, sequence: u64, escalation: Escalation) -> Vec<Intent> {
    let effects = state.apply(Input::Escalated {
        sequence,
        escalations: &[escalation],
        now: Timestamp(SECOND),
        plan: &plan(&["soc"]),
        partition: 0,
        storms: &mut Storms::default(),
    });
    effects
        .into_iter()
        .flat_map(|effect| match effect {
            Effect::RecordIntents { intents, .. } => intents,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn log_intents(state: &mut State, intents: Vec<Intent>) -> Vec<Ticket> {
    intents
        .into_iter()
        .flat_map(|intent| {
            state.apply(Input::IntentLogged {
                tenant: "default",
                intent,
            })
        })
        .map(|effect| match effect {
            Effect::Deliver(ticket) => ticket,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn answer(ticket: &Ticket, verdict: Verdict) -> Answer {
    Answer {
        escalation_id: ticket.escalation_id,
        receiver: Arc::clone(&ticket.receiver),
        number: ticket.number,
        at: ticket.due.plus(1),
        took: 1,
        verdict,
        status: 500,
        error: format!("failure {}", ticket.number),
        roll: u64::MAX,
        notice: ticket.notice,
        handle: "".into(),
    }
}

/// Answers a ticket and logs the attempt; what it leads to.
fn attempt(
    state: &mut State,
    ticket: &Ticket,
    verdict: Verdict,
) -> (Vec<DeadDelivery>, Vec<Ticket>) {
    let (mut dead, mut tickets) = (Vec::new(), Vec::new());
    for effect in state.apply(Input::Answered(answer(ticket, verdict))) {
        match effect {
            Effect::DeadLetter(letter) => dead.push(letter),
            Effect::RecordAttempt { attempt, .. } => {
                let effects = state.apply(Input::AttemptLogged(attempt));
                assert!(matches!(effects.first(), Some(Effect::Release { .. })));
                tickets.extend(effects.into_iter().filter_map(|effect| match effect {
                    Effect::Deliver(ticket) => Some(ticket),
                    _ => None,
                }));
            }
            other => panic!("{other:?}"),
        }
    }
    (dead, tickets)
}

const RETRY: Verdict = Verdict::Retry { after: None };

fn one_ticket(state: &mut State) -> Ticket {
    let intents = escalated(state, 1, escalation(1, Severity::High, &[]));
    log_intents(state, intents).pop().unwrap()
}

fn requeue(state: &mut State) -> Vec<Effect> {
    state.apply(Input::Requeued(Requeue {
        escalation_id: EscalationId([1; 16]),
        receiver: "soc".into(),
        actor: "someone".into(),
        at: Timestamp(99),
        notice: Notice::First,
    }))
}

#[test]
fn a_repeated_escalation_is_told_once_whatever_its_kind() {
    let mut state = state();
    assert_eq!(
        escalated(&mut state, 1, escalation(1, Severity::Low, &[])).len(),
        1
    );
    let mut again = escalation(1, Severity::Low, &[]);
    again.kind = EscalationKind::Continued;
    assert_eq!(escalated(&mut state, 2, again), []);
    assert_eq!(state.pending_len(), 1);
}

#[test]
fn an_escalation_of_a_rule_on_trial_is_told_to_nobody() {
    let mut state = state();
    let mut shadow = escalation(1, Severity::Critical, &[]);
    shadow.shadow = true;
    assert_eq!(escalated(&mut state, 1, shadow), []);
    assert_eq!(state.pending_len(), 0);
    assert_eq!(
        escalated(&mut state, 2, escalation(2, Severity::Critical, &[])).len(),
        1
    );
}

#[test]
fn history_closes_and_amendments_are_told_to_nobody() {
    let mut state = state();
    let mut history = escalation(1, Severity::Low, &[]);
    history.backfill = true;
    assert_eq!(escalated(&mut state, 1, history), []);
    assert_eq!(
        escalated(&mut state, 2, escalation(1, Severity::Low, &[])),
        []
    );
    for kind in [EscalationKind::Closed, EscalationKind::Amended] {
        let mut other = escalation(2, Severity::Low, &[]);
        other.kind = kind;
        assert_eq!(escalated(&mut state, 3, other), []);
    }
    assert_eq!(
        escalated(&mut state, 4, escalation(2, Severity::Low, &[])).len(),
        1
    );
}

#[test]
fn each_receiver_has_an_intent_of_its_own() {
    let mut state = state();
    let both = plan(&["soc", "ai"]);
    let intents = under(&mut state, &both, 1, escalation(1, Severity::Low, &[]));
    let tickets = log_intents(&mut state, intents);
    assert_eq!(tickets.len(), 2);
    attempt(&mut state, &tickets[0], Verdict::Delivered);
    let left: Vec<_> = state.tickets().collect();
    assert_eq!(left, tickets[1..]);
}

#[test]
fn the_eighth_failure_is_the_last() {
    let mut state = state();
    let mut ticket = one_ticket(&mut state);
    for number in 1..8 {
        assert_eq!(ticket.number, number);
        let (dead, mut tickets) = attempt(&mut state, &ticket, RETRY);
        assert_eq!(dead, []);
        ticket = tickets.pop().unwrap();
    }
    let (dead, tickets) = attempt(&mut state, &ticket, RETRY);
    assert_eq!(tickets, []);
    assert_eq!(
        (dead[0].reason, dead[0].attempts, dead[0].round),
        (EXHAUSTED, 8, 0)
    );
    assert_eq!(
        (dead[0].first_error.as_str(), dead[0].last_error.as_str()),
        ("failure 1", "failure 8")
    );
    assert!(dead[0].first_failed_at < dead[0].last_failed_at);
    assert_eq!((state.pending_len(), state.dead_len()), (0, 1));
}

#[test]
fn a_refusal_is_dead_lettered_at_once() {
    let mut state = state();
    let ticket = one_ticket(&mut state);
    let (dead, tickets) = attempt(&mut state, &ticket, Verdict::Permanent);
    assert_eq!((dead[0].reason, dead[0].attempts), (REFUSED, 1));
    assert_eq!(tickets, []);
}

#[test]
fn requeue_twice_has_the_effect_of_once() {
    let mut state = state();
    let ticket = one_ticket(&mut state);
    assert_eq!(requeue(&mut state), [], "a pending one is not requeued");
    attempt(&mut state, &ticket, Verdict::Permanent);
    let effects = requeue(&mut state);
    let [Effect::Deliver(again)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(again.number, 1);
    assert_eq!(requeue(&mut state), []);
    attempt(&mut state, again, Verdict::Delivered);
    assert_eq!(
        requeue(&mut state),
        [],
        "a delivered one is never sent again"
    );
    assert_eq!(state.tickets().count(), 0);
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let mut state = state();
    let ticket = one_ticket(&mut state);
    attempt(&mut state, &ticket, RETRY);
    let effects = state.apply(Input::Answered(answer(&ticket, Verdict::Delivered)));
    let [Effect::Release { .. }, Effect::Deliver(next)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(next.number, 2);
    attempt(&mut state, next, Verdict::Delivered);
    let effects = state.apply(Input::Answered(answer(&ticket, RETRY)));
    assert!(matches!(effects.as_slice(), [Effect::Release { .. }]));
}

#[test]
fn a_forgotten_escalation_is_still_known() {
    let mut state = state().with_finished_max(1);
    for id in 1..=3 {
        let intents = escalated(
            &mut state,
            u64::from(id),
            escalation(id, Severity::Low, &[]),
        );
        let ticket = log_intents(&mut state, intents.clone()).pop().unwrap();
        attempt(&mut state, &ticket, Verdict::Delivered);
        assert_eq!(log_intents(&mut state, intents), []);
    }
    assert_eq!(state.entries(None).count(), 1);
    for id in 1..=3 {
        assert_eq!(
            escalated(&mut state, 9, escalation(id, Severity::Low, &[])),
            []
        );
    }
}

#[test]
fn a_receiver_that_comes_later_is_not_told_of_what_was_before_it() {
    let before = escalation(1, Severity::High, &[]);
    let mut alone = State::new(Backoff::default());
    let effects = alone.apply(Input::Escalated {
        sequence: 7,
        escalations: std::slice::from_ref(&before),
        now: Timestamp(SECOND),
        plan: &plan(&[]),
        partition: 0,
        storms: &mut Storms::default(),
    });
    let [
        Effect::RecordIntents {
            sequence, intents, ..
        },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert!(intents.is_empty());
    let mut later = state();
    later.apply(Input::Covered {
        sequence: *sequence,
    });
    assert_eq!(escalated(&mut later, 7, before.clone()), []);
    assert_eq!(escalated(&mut later, 8, before), [], "nor of its repeats");
    assert_eq!(
        escalated(&mut later, 8, escalation(2, Severity::High, &[])).len(),
        1
    );
}

fn pager(severity_min: Severity) -> Plan {
    let entry = ReceiverEntry {
        name: "pager".into(),
        severity_min: Some(severity_min.as_str().into()),
        target: crate::receiver::Target::Pagerduty(Default::default()),
        ..ReceiverEntry::default()
    };
    Plan::of_file(&Routes::of(&[entry]).unwrap())
}

fn under(state: &mut State, plan: &Plan, sequence: u64, record: Escalation) -> Vec<Intent> {
    let effects = state.apply(Input::Escalated {
        sequence,
        escalations: &[record],
        now: Timestamp(SECOND * i64::try_from(sequence).unwrap()),
        plan,
        partition: 0,
        storms: &mut Storms::default(),
    });
    let each = effects.into_iter().flat_map(|effect| match effect {
        Effect::RecordIntents { intents, .. } => intents,
        other => panic!("{other:?}"),
    });
    each.collect()
}

fn record(id: u8, episode: u8, kind: EscalationKind) -> Escalation {
    Escalation {
        episode_id: EscalationId([episode; 16]),
        kind,
        revision: u32::from(kind == EscalationKind::Closed),
        ..escalation(id, Severity::High, &[])
    }
}

#[test]
fn an_end_waits_until_the_receiver_has_what_ended() {
    let (mut state, plan) = (state(), pager(Severity::Low));
    let raised = under(&mut state, &plan, 1, record(1, 1, EscalationKind::Raised));
    let closed = under(&mut state, &plan, 2, record(1, 1, EscalationKind::Closed));
    assert_eq!(closed[0].notice, Notice::Closed(1));
    let ticket = log_intents(&mut state, raised).pop().unwrap();
    assert_eq!(log_intents(&mut state, closed), [], "not yet");
    let (_, again) = attempt(&mut state, &ticket, RETRY);
    let (_, next) = attempt(&mut state, &again[0], Verdict::Delivered);
    assert_eq!(next[0].notice, Notice::Closed(1));
    attempt(&mut state, &next[0], Verdict::Delivered);
    assert_eq!((state.pending_len(), state.tickets().count()), (0, 0));
}

#[test]
fn an_end_stays_behind_a_dead_letter_until_that_is_mended() {
    let (mut state, plan) = (state(), pager(Severity::Low));
    let raised = under(&mut state, &plan, 1, record(1, 1, EscalationKind::Raised));
    let ticket = log_intents(&mut state, raised).pop().unwrap();
    attempt(&mut state, &ticket, Verdict::Permanent);
    let closed = under(&mut state, &plan, 2, record(1, 1, EscalationKind::Closed));
    assert_eq!(log_intents(&mut state, closed), []);
    assert_eq!(state.pending_len(), 0, "it holds nobody up");
    let effects = state.apply(Input::Requeued(Requeue {
        escalation_id: EscalationId([1; 16]),
        receiver: "pager".into(),
        actor: "someone".into(),
        at: Timestamp(9 * SECOND),
        notice: Notice::First,
    }));
    let [Effect::Deliver(ticket)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    let (_, next) = attempt(&mut state, ticket, Verdict::Delivered);
    assert_eq!(next[0].notice, Notice::Closed(1));
}

#[test]
fn an_episode_is_resolved_when_its_last_slot_ends() {
    let (mut state, plan) = (state(), pager(Severity::Low));
    let steps = [
        record(1, 1, EscalationKind::Raised),
        record(2, 1, EscalationKind::Continued),
        record(1, 1, EscalationKind::Closed),
        record(2, 1, EscalationKind::Closed),
    ];
    let mut told = Vec::new();
    for (sequence, step) in (1..).zip(steps) {
        // All are decided before any lies in the log.
        told.extend(under(&mut state, &plan, sequence, step));
    }
    let why: Vec<_> = told.iter().map(|intent| intent.withheld).collect();
    assert_eq!(why, [None, None, Some(Withheld::EpisodeOpen), None]);
    assert_eq!(*told[2].withheld_by, *EscalationId([2; 16]).to_string());
}

#[test]
fn who_was_not_told_of_the_first_is_not_told_of_the_end() {
    let (mut state, plan) = (state(), pager(Severity::Critical));
    assert_eq!(
        under(&mut state, &plan, 1, record(1, 1, EscalationKind::Raised)),
        []
    );
    assert_eq!(
        under(&mut state, &plan, 2, record(1, 1, EscalationKind::Closed)),
        []
    );
    let mut off = pager(Severity::Low);
    off.receivers[0].updates = false;
    under(&mut state, &off, 3, record(2, 2, EscalationKind::Raised));
    assert_eq!(
        under(&mut state, &off, 4, record(2, 2, EscalationKind::Closed)),
        []
    );
}

#[test]
fn what_continues_an_episode_knows_what_the_receiver_calls_it() {
    let (mut state, plan) = (state(), pager(Severity::Low));
    let raised = under(&mut state, &plan, 1, record(1, 1, EscalationKind::Raised));
    let ticket = log_intents(&mut state, raised).pop().unwrap();
    let answer = Answer {
        handle: "17.5".into(),
        ..answer(&ticket, Verdict::Delivered)
    };
    for effect in state.apply(Input::Answered(answer)) {
        if let Effect::RecordAttempt { attempt, .. } = effect {
            state.apply(Input::AttemptLogged(attempt));
        }
    }
    let again = under(
        &mut state,
        &plan,
        2,
        record(2, 1, EscalationKind::Continued),
    );
    let ticket = log_intents(&mut state, again).pop().unwrap();
    assert_eq!(&*ticket.handle, "17.5");
}

fn table(routed: bool, silenced: bool, grouped: bool) -> Plan {
    use crate::plan::{Condition, Grouping, Route, Silence, Table};
    let route = Route {
        name: "all".into(),
        receivers: vec!["soc".into()],
        when: Condition {
            severity_min: Severity::Medium,
            ..Condition::default()
        },
        continues: false,
        grouping: grouped.then(|| Grouping {
            by: vec!["rule".into()],
            lasts: 5 * SECOND,
        }),
        times: Vec::new(),
        inhibition: None,
    };
    let silence = Silence {
        name: "night".into(),
        when: Condition::default(),
        receivers: Vec::new(),
        from: Timestamp::MIN,
        until: Timestamp::MAX,
        times: Vec::new(),
    };
    let table = Table {
        routes: routed.then_some(route).into_iter().collect(),
        silences: silenced.then_some(silence).into_iter().collect(),
        ..Table::default()
    };
    Plan {
        tenants: [("default".to_owned(), table)].into(),
        ..plan(&["soc"])
    }
}

#[test]
fn who_is_not_told_is_a_record_with_its_reason() {
    let mut state = state();
    let silenced = table(false, true, false);
    let intents = under(
        &mut state,
        &silenced,
        1,
        record(1, 1, EscalationKind::Raised),
    );
    assert_eq!(intents[0].withheld, Some(Withheld::Silenced));
    assert_eq!(&*intents[0].withheld_by, "night");
    assert_eq!(log_intents(&mut state, intents), []);
    let routed = table(true, false, false);
    let low = escalation(2, Severity::Low, &[]);
    let intents = under(&mut state, &routed, 2, low);
    assert_eq!(intents[0].withheld, Some(Withheld::NoRoute));
    assert_eq!(&*intents[0].receiver, "");
    assert_eq!(log_intents(&mut state, intents), []);
    let again = under(&mut state, &routed, 3, record(1, 1, EscalationKind::Raised));
    assert_eq!(again, [], "it was decided");
    assert_eq!((state.pending_len(), state.entries(None).count()), (0, 2));
}

#[test]
fn what_is_open_inhibits_what_its_route_names_over_a_restart_too() {
    use crate::inhibit::Inhibition;
    let mut plan = table(true, false, false);
    for route in &mut plan.tenants.get_mut("default").unwrap().routes {
        route.inhibition = Some(Inhibition {
            by: Matchers::of(&[("severity".to_owned(), "critical".to_owned())].into()),
            equal: vec!["user_id".into()],
        });
    }
    let mut state = state();
    let attack = escalation(1, Severity::Critical, &[]);
    let first = under(&mut state, &plan, 1, attack.clone()).remove(0);
    assert_eq!(first.withheld, None, "nothing inhibits itself");
    let second = under(&mut state, &plan, 2, escalation(2, Severity::High, &[])).remove(0);
    assert_eq!(second.withheld, Some(Withheld::Inhibited));
    assert_eq!(*second.withheld_by, *EscalationId([1; 16]).to_string());
    // Another process reads both again: what is open is so from the escalations alone.
    let mut again = self::state();
    for intent in [first, second] {
        let tenant = "default";
        again.apply(Input::IntentLogged { tenant, intent });
    }
    again.apply(Input::Covered { sequence: 2 });
    assert_eq!(under(&mut again, &plan, 1, attack.clone()), []);
    let third = under(&mut again, &plan, 3, escalation(3, Severity::High, &[])).remove(0);
    assert_eq!(third.withheld, Some(Withheld::Inhibited));
    let ended = Escalation {
        kind: EscalationKind::Closed,
        revision: 1,
        ..attack
    };
    under(&mut again, &plan, 4, ended);
    let fourth = under(&mut again, &plan, 5, escalation(4, Severity::High, &[])).remove(0);
    assert_eq!(fourth.withheld, None);
}

#[test]
fn of_a_group_the_first_is_told_and_what_is_more_severe() {
    let (mut state, grouped) = (state(), table(true, false, true));
    let mut told = |sequence: u64, id: u8, severity: Severity| {
        let one = escalation(id, severity, &[]);
        under(&mut state, &grouped, sequence, one).remove(0)
    };
    assert_eq!(told(1, 1, Severity::High).withheld, None);
    let second = told(2, 2, Severity::High);
    assert_eq!(second.withheld, Some(Withheld::Grouped));
    assert_eq!(*second.withheld_by, *EscalationId([1; 16]).to_string());
    assert_eq!(told(3, 3, Severity::Critical).withheld, None);
    assert_eq!(
        told(7, 4, Severity::Critical).withheld,
        Some(Withheld::Grouped)
    );
    assert_eq!(
        told(8, 5, Severity::High).withheld,
        None,
        "its time is over"
    );
}
