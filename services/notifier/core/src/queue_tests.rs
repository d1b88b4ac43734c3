//! What of a queue goes when.

use super::line::for_lesser;
use super::*;
use crate::route::{ReceiverEntry, Routes};

fn queue(concurrency: &[(&str, usize)]) -> Queue {
    let entries: Vec<_> = concurrency
        .iter()
        .map(|(name, concurrency)| ReceiverEntry {
            name: (*name).into(),
            concurrency: Some(*concurrency),
            ..ReceiverEntry::default()
        })
        .collect();
    Queue::new(Routes::of(&entries).unwrap().receivers())
}

fn ticket(id: u8, receiver: &str, severity: Severity, age: i64, due: i64) -> Ticket {
    Ticket {
        escalation_id: EscalationId([id; 16]),
        receiver: receiver.into(),
        sequence: 1,
        severity,
        decided_at: Timestamp(age),
        due: Timestamp(due),
        number: 1,
        notice: crate::Notice::First,
        tier: "".into(),
        handle: "".into(),
        page: None,
    }
}

fn ids(jobs: &[Job]) -> Vec<u8> {
    jobs.iter().map(|j| j.ticket.escalation_id.0[0]).collect()
}

#[test]
fn the_more_severe_goes_first_then_the_older() {
    let mut queue = queue(&[("soc", 9)]);
    queue.push(0, ticket(1, "soc", Severity::Low, 1, 0));
    queue.push(1, ticket(2, "soc", Severity::Critical, 9, 0));
    queue.push(0, ticket(3, "soc", Severity::Critical, 5, 0));
    assert_eq!(ids(&queue.take(Timestamp(0))), [3, 2, 1]);
}

#[test]
fn every_sixteenth_pick_takes_the_oldest_of_the_least_severe() {
    let mut queue = queue(&[("soc", 1)]);
    for id in 1..=40 {
        queue.push(0, ticket(id, "soc", Severity::Critical, i64::from(id), 0));
    }
    queue.push(0, ticket(100, "soc", Severity::Low, 8, 0));
    queue.push(0, ticket(101, "soc", Severity::Low, 7, 0));
    let mut order = Vec::new();
    while let Some(job) = queue.take(Timestamp(0)).pop() {
        order.push(job.ticket.escalation_id.0[0]);
        queue.release(0, job.ticket.escalation_id, "soc");
    }
    assert_eq!((order[15], order[31]), (101, 100));
    assert_eq!(order.len(), 42);
}

#[test]
fn one_of_four_places_is_kept_for_what_is_urgent() {
    let mut queue = queue(&[("soc", 8)]);
    for id in 0..40 {
        queue.push(0, ticket(id, "soc", Severity::Low, id.into(), 0));
    }
    assert_eq!(ids(&queue.take(Timestamp(1))), [0, 1, 2, 3, 4, 5]);
    let later = queue.next_due();
    assert_eq!(later, None, "nothing may start before a place is free");
    queue.push(0, ticket(90, "soc", Severity::Critical, 99, 5));
    assert_eq!(queue.next_due(), Some(Timestamp(5)));
    assert_eq!(ids(&queue.take(Timestamp(5))), [90]);
    queue.release(0, EscalationId([90; 16]), "soc");
    assert!(queue.take(Timestamp(6)).is_empty());
    queue.release(0, EscalationId([3; 16]), "soc");
    assert_eq!(ids(&queue.take(Timestamp(6))), [6]);
    // What is urgent takes all places, and still leaves the least severe its share.
    for id in 100..140 {
        queue.push(0, ticket(id, "soc", Severity::High, id.into(), 0));
    }
    for id in [0, 1, 2, 4, 5, 6] {
        queue.release(0, EscalationId([id; 16]), "soc");
    }
    let mut lesser = Vec::new();
    for _ in 0..30 {
        for job in queue.take(Timestamp(7)) {
            let id = job.ticket.escalation_id;
            lesser.extend((id.0[0] < 90).then_some(id.0[0]));
            queue.release(0, id, "soc");
        }
    }
    assert_eq!(lesser.first(), Some(&7));
    assert_eq!(lesser.len(), 33, "all of them in the end");
}

/// What goes at each millisecond of so many, each delivered at once.
fn goes(queue: &mut Queue, milliseconds: std::ops::Range<i64>) -> Vec<(i64, u8)> {
    let mut gone = Vec::new();
    for at in milliseconds {
        for job in queue.take(millisecond(at)) {
            let id = job.ticket.escalation_id;
            gone.push((at, id.0[0]));
            queue.release(0, id, &job.ticket.receiver);
        }
    }
    gone
}

const fn millisecond(count: i64) -> Timestamp {
    Timestamp(count * (SECOND / 1000))
}

/// Two hundred for `soc` of that age, and one that is urgent for another 20 ms from now: what goes of
/// the former in each millisecond of `counted`.
fn behind_one_urgent(age: i64, counted: std::ops::Range<i64>) -> Vec<i64> {
    let now = 1_000_000;
    let mut queue = queue(&[("pager", 4), ("soc", 4)]);
    for id in 0..200 {
        let decided_at = millisecond(now).minus(age);
        queue.push(0, ticket(id, "soc", Severity::Medium, decided_at.0, 0));
    }
    let due = millisecond(now + 20).0;
    queue.push(0, ticket(250, "pager", Severity::High, due, due));
    let gone = goes(&mut queue, now..now + counted.end.max(21));
    assert!(gone.contains(&(now + 20, 250)));
    let lesser = gone.iter().filter(|(_, id)| *id < 250);
    let times = lesser.map(|(at, _)| at - now);
    times.filter(|at| counted.contains(at)).collect()
}

#[test]
fn behind_something_urgent_what_has_waited_gives_way_for_a_moment() {
    let age = 2 * GIVES_WAY_AGE_MIN;
    assert_eq!(behind_one_urgent(age, 0..20).len(), 60, "all places");
    // To whomever the urgent one goes: cores and log are everybody's.
    let paced = behind_one_urgent(age, 20..120);
    assert_eq!(paced, (24..120).step_by(5).collect::<Vec<_>>());
    let all = behind_one_urgent(age, 120..124);
    assert_eq!(all.len(), 12, "and then all places again");
}

#[test]
fn neither_what_just_came_nor_what_is_long_overdue_gives_way() {
    for age in [0, GIVES_WAY_AGE_MIN / 2, GIVES_WAY_AGE_MAX] {
        assert_eq!(behind_one_urgent(age, 21..25).len(), 12, "{age}");
    }
}

#[test]
fn what_gives_way_is_due_when_it_may_go_and_what_is_urgent_at_once() {
    let at = |count: i64| millisecond(10_000 + count);
    let mut queue = queue(&[("soc", 4)]);
    queue.push(0, ticket(1, "soc", Severity::Critical, 0, 0));
    queue.push(0, ticket(2, "soc", Severity::Low, 0, 0));
    queue.push(0, ticket(3, "soc", Severity::Low, 1, 0));
    assert_eq!(ids(&queue.take(at(0))), [1, 2], "one goes at once");
    assert_eq!(queue.next_due(), Some(at(5)));
    queue.push(0, ticket(4, "soc", Severity::High, 0, at(2).0));
    assert_eq!(queue.next_due(), Some(at(2)));
    assert_eq!(ids(&queue.take(at(2))), [4]);
    assert_eq!(ids(&queue.take(at(5))), [3]);
}

#[test]
fn nobody_gives_way_to_what_cannot_go() {
    let mut queue = queue(&[("soc", 4), ("stuck", 1)]);
    queue.push(0, ticket(8, "stuck", Severity::Critical, 0, 0));
    assert_eq!(ids(&queue.take(millisecond(0))), [8]);
    queue.push(0, ticket(9, "stuck", Severity::Critical, 0, 0));
    for id in 20..26 {
        queue.push(0, ticket(id, "soc", Severity::Low, id.into(), 0));
    }
    assert_eq!(ids(&queue.take(millisecond(10_000))), [20, 21, 22]);
}

#[test]
fn a_place_is_held_until_it_is_released() {
    let mut queue = queue(&[("soc", 1), ("down", 1)]);
    queue.push(0, ticket(1, "soc", Severity::Low, 1, 0));
    queue.push(0, ticket(2, "soc", Severity::Low, 2, 0));
    queue.push(0, ticket(3, "down", Severity::Low, 2, 0));
    assert_eq!(queue.take(Timestamp(0)).len(), 2);
    assert_eq!(queue.take(Timestamp(0)), []);
    assert_eq!(queue.next_due(), None);
    queue.push(0, ticket(1, "soc", Severity::Low, 1, 0));
    queue.release(0, EscalationId([1; 16]), "soc");
    assert_eq!(ids(&queue.take(Timestamp(0))), [2]);
}

#[test]
fn a_place_is_free_at_the_answer_and_what_is_not_logged_is_bounded() {
    let mut queue = queue(&[("soc", 4)]);
    for id in 0..100 {
        queue.push(0, ticket(id, "soc", Severity::Low, id.into(), 0));
    }
    let most = 4 * UNLOGGED_PER_PLACE;
    let mut told = Vec::new();
    loop {
        let jobs = queue.take(Timestamp(0));
        let Some(Job { ticket, .. }) = jobs.last() else {
            break;
        };
        assert!(jobs.len() <= 3, "one place is kept for what is urgent");
        queue.answered(0, ticket.escalation_id, "soc");
        told.extend(ids(&jobs));
        let open = queue.lines().next().unwrap().1;
        assert!(open.under_way + open.unlogged <= for_lesser(4));
    }
    assert_eq!(told, [0, 1, 2], "nothing was logged");
    assert_eq!(queue.next_due(), None);
    assert!(queue.is_busy(0) && !queue.is_busy(1));
    // What is urgent finds room; its place and that room are two things.
    for id in 200..240 {
        queue.push(0, ticket(id, "soc", Severity::Critical, 0, 0));
    }
    let mut urgent = 0;
    loop {
        let jobs = queue.take(Timestamp(1));
        if jobs.is_empty() {
            break;
        }
        for job in &jobs {
            queue.answered(0, job.ticket.escalation_id, "soc");
        }
        urgent += jobs.len();
    }
    let open = queue.lines().next().unwrap().1;
    assert_eq!(open.under_way + open.unlogged, most);
    assert_eq!(urgent, most - 3);
    // One that is answered is not told again before the log has it.
    queue.push(0, ticket(2, "soc", Severity::Critical, 0, 0));
    queue.release(0, EscalationId([200; 16]), "soc");
    assert_eq!(queue.take(Timestamp(2)).len(), 1);
    let all = (0..=255).map(|id| EscalationId([id; 16]));
    all.for_each(|id| queue.release(0, id, "soc"));
    assert!(!queue.is_busy(0));
    assert!(!ids(&queue.take(Timestamp(3))).contains(&2));
}

#[test]
fn one_that_waits_for_its_time_lets_others_by() {
    let mut queue = queue(&[("soc", 1)]);
    queue.push(0, ticket(1, "soc", Severity::Critical, 1, 50));
    queue.push(0, ticket(2, "soc", Severity::Low, 2, 0));
    assert_eq!(ids(&queue.take(Timestamp(10))), [2]);
    queue.release(0, EscalationId([2; 16]), "soc");
    assert_eq!(queue.next_due(), Some(Timestamp(50)));
    assert_eq!(ids(&queue.take(Timestamp(50))), [1]);
}

#[test]
fn a_clock_that_was_wrong_keeps_nothing_waiting() {
    const HOUR: i64 = 60 * MINUTE;
    let mut queue = queue(&[("soc", 9)]);
    let now = |seconds: i64| Timestamp(1_000 * HOUR + seconds * SECOND);
    // An hour ahead a delivery failed, and has thirty seconds to wait.
    assert_eq!(queue.take(now(3600)), []);
    queue.push(0, ticket(1, "soc", Severity::Low, 1, now(3630).0));
    assert_eq!(queue.take(now(3601)), []);
    assert_eq!(queue.take(now(2)), [], "the clock is right again");
    assert_eq!(queue.next_due(), Some(now(31)));
    assert_eq!(ids(&queue.take(now(31))), [1]);
    // After a restart nothing but the log says when it is due.
    queue.push(0, ticket(2, "soc", Severity::Low, 1, now(3630).0));
    assert_eq!(queue.take(now(32)), []);
    assert_eq!(ids(&queue.take(now(92))), [2]);
    // Nor does what goes next give way for as long as the clock was set back.
    queue.push(0, ticket(5, "soc", Severity::Critical, 1, 0));
    assert_eq!(ids(&queue.take(now(3600))), [5]);
    for id in [6, 7] {
        queue.push(0, ticket(id, "soc", Severity::Low, now(90).0, 0));
    }
    assert_eq!(ids(&queue.take(now(93))), [6]);
    assert_eq!(
        queue.next_due(),
        Some(Timestamp(now(93).0 + GIVING_WAY_EVERY))
    );
    assert_eq!(ids(&queue.take(now(94))), [7]);
    // What a receiver asked for is kept, and so is the order under a clock that trembles.
    queue.push(0, ticket(3, "soc", Severity::Low, 1, now(92 + 600).0));
    assert_eq!(queue.take(now(94)), []);
    assert_eq!(queue.take(Timestamp(now(94).0 - SECOND / 2)), []);
    assert_eq!(queue.next_due(), Some(now(692)));
}

#[test]
fn a_receiver_that_does_not_answer_is_tried_now_and_then() {
    let mut queue = queue(&[("down", 4), ("soc", 4)]);
    for id in 0..20 {
        queue.push(0, ticket(id, "down", Severity::High, 1, 0));
    }
    for _ in 0..crate::breaker::FAILURES_MAX {
        let jobs = queue.take(Timestamp(0));
        for job in jobs {
            queue.report("down", false, Timestamp(0));
            queue.release(0, job.ticket.escalation_id, "down");
        }
    }
    assert_eq!(queue.take(Timestamp(5)), []);
    let opens = crate::breaker::OPEN_FIRST;
    assert_eq!(queue.next_due(), Some(Timestamp(opens)));
    queue.push(0, ticket(99, "soc", Severity::Low, 1, 0));
    assert_eq!(
        ids(&queue.take(Timestamp(5))),
        [99],
        "others are not held up"
    );
    let tries = queue.take(Timestamp(opens));
    assert_eq!(tries.len(), 1);
    queue.report("down", true, Timestamp(opens));
    queue.release(0, tries[0].ticket.escalation_id, "down");
    assert_eq!(queue.take(Timestamp(opens)).len(), 4);
}

#[test]
fn a_rate_lets_the_rest_wait() {
    let entry = ReceiverEntry {
        name: "soc".into(),
        concurrency: Some(64),
        rate_per_minute: Some(60),
        ..ReceiverEntry::default()
    };
    let mut queue = Queue::new(Routes::of(&[entry]).unwrap().receivers());
    for id in 0..30 {
        queue.push(0, ticket(id, "soc", Severity::Low, 1, 0));
    }
    assert_eq!(queue.take(Timestamp(0)).len(), 10);
    let second = balefire_event::time::SECOND;
    assert_eq!(queue.next_due(), Some(Timestamp(second)));
    assert_eq!(queue.take(Timestamp(second)).len(), 1);
}

#[test]
fn a_receiver_that_is_gone_keeps_its_deliveries_and_stops_nobody() {
    let mut queue = queue(&[("soc", 1)]);
    queue.push(0, ticket(1, "gone", Severity::Critical, 1, 0));
    assert_eq!(queue.take(Timestamp(9)), []);
    assert_eq!((queue.parked_len(), queue.next_due()), (1, None));
    let back = ReceiverEntry {
        name: "gone".into(),
        ..ReceiverEntry::default()
    };
    queue.set_receivers(Routes::of(&[back]).unwrap().receivers());
    queue.push(0, ticket(2, "soc", Severity::Critical, 1, 0));
    assert_eq!(
        ids(&queue.take(Timestamp(9))),
        [1],
        "and then the other is gone"
    );
    queue.forget(0);
    assert_eq!(queue.parked_len(), 0);
}
