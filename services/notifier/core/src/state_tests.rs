#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one effect it expects"
)]

use super::*;
use crate::classify::Verdict;
use crate::effect::DeadDelivery;
use crate::route::ReceiverEntry;
use balefire_event::time::SECOND;
use balefire_event::{RuleId, Severity, Timing};

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

pub(crate) fn routes(names: &[&str]) -> Arc<Routes> {
    let entries: Vec<_> = names
        .iter()
        .map(|name| ReceiverEntry {
            name: (*name).into(),
            ..ReceiverEntry::default()
        })
        .collect();
    Arc::new(Routes::of(&entries).unwrap())
}

fn state() -> State {
    State::new(routes(&["soc"]), Backoff::default())
}

fn escalated(state: &mut State, sequence: u64, escalation: Escalation) -> Vec<Intent> {
    let effects = state.apply(Input::Escalated {
        sequence,
        escalations: &[escalation],
        now: Timestamp(SECOND),
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
    let mut state = State::new(routes(&["soc", "ai"]), Backoff::default());
    let intents = escalated(&mut state, 1, escalation(1, Severity::Low, &[]));
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
    let mut alone = State::new(routes(&[]), Backoff::default());
    let effects = alone.apply(Input::Escalated {
        sequence: 7,
        escalations: std::slice::from_ref(&before),
        now: Timestamp(SECOND),
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
