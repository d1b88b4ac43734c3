//! What must hold whatever the order, the answers and the crashes: the fold of the log is the live
//! state, duplicates are nothing, and every intent ends delivered or dead-lettered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use balefire_event::time::SECOND;
use balefire_event::{
    Escalation, EscalationId, EscalationKind, RuleId, Severity, Timestamp, Timing,
};
use balefire_notifier_core::queue::{Job, Queue, unlogged_max};
use balefire_notifier_core::route::{ReceiverEntry, Routes};
use balefire_notifier_core::{
    Answer, Attempt, Effect, Input, Intent, Notice, Outcome, Requeue, Standing, State,
    backoff::Backoff, classify::Verdict, plan::Plan, receiver::Target, storm::Storms,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

#[derive(Debug, Clone)]
enum Logged {
    /// Those of one escalation: they always lie in one message.
    Intents(Vec<Intent>),
    Covered(u64),
    Attempt(Attempt),
    Requeue(Requeue),
}

/// A webhook that is told of everything once, and a pager that keeps incidents.
fn routes() -> Routes {
    let soc = ReceiverEntry {
        name: "soc".into(),
        concurrency: Some(2),
        ..ReceiverEntry::default()
    };
    let pager = ReceiverEntry {
        name: "pager".into(),
        severity_min: Some("high".into()),
        target: Target::Pagerduty(Default::default()),
        ..ReceiverEntry::default()
    };
    Routes::of(&[soc, pager]).expect("a good table")
}

fn plan() -> Plan {
    Plan::of_file(&routes())
}

fn escalation(id: u8, kind: EscalationKind, backfill: bool) -> Escalation {
    let severity = if id.is_multiple_of(2) {
        Severity::Critical
    } else {
        Severity::Low
    };
    Escalation {
        escalation_id: EscalationId([id; 16]),
        episode_id: EscalationId([id; 16]),
        kind,
        tenant: "default".into(),
        rule_id: RuleId([9; 16]),
        rule_name: String::new(),
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
        audiences: Vec::new(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: None,
        received_at: Timestamp(0),
        revision: 0,
        backfill,
        window: 0,
        threshold: 0,
        at_close: false,
        condition: String::new(),
        shadow: false,
    }
}

/// What a receiver was told.
type Told = (EscalationId, Arc<str>, Notice);

fn backoff() -> Backoff {
    Backoff {
        attempts_max: 3,
        ..Backoff::default()
    }
}

/// A deliberate mistake of the shell around the fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A message of ESCALATIONS is covered before its intents are written.
    CoveredFirst,
    /// Receivers are called for intents that are not in the log.
    IntentsNotLogged,
    /// A delivery that was taken is not written down.
    DeliveredNotLogged,
    /// What was answered counts as logged at once.
    AnsweredAsLogged,
}

/// One process on the shared logs.
struct Process<'a> {
    fault: Option<Fault>,
    state: State,
    queue: Queue,
    escalations: &'a [Vec<Escalation>],
    read: u64,
    log: Vec<Logged>,
    /// Deliveries that reached a receiver which took them.
    taken: Vec<Told>,
    /// Records that may still be written before the process dies.
    writes_left: usize,
    /// Answers that do not lie in the log yet, and how many of them wait while anything else is
    /// to be done.
    answers: VecDeque<Answer>,
    lag: usize,
    /// More answers of a receiver did not lie in the log than a crash may repeat.
    too_many: bool,
    now: Timestamp,
}

impl<'a> Process<'a> {
    fn start(
        escalations: &'a [Vec<Escalation>],
        log: Vec<Logged>,
        now: Timestamp,
        writes_left: usize,
    ) -> Self {
        let state = fold(escalations, &log);
        let mut queue = Queue::new(routes().receivers());
        for ticket in state.tickets() {
            queue.push(0, ticket);
        }
        let read = state.position();
        Self {
            fault: None,
            state,
            queue,
            escalations,
            read,
            log,
            taken: Vec::new(),
            writes_left,
            answers: VecDeque::new(),
            lag: 0,
            too_many: false,
            now,
        }
    }

    /// False: the process died before the record was written.
    fn write(&mut self, record: Logged) -> bool {
        if self.writes_left == 0 {
            return false;
        }
        self.writes_left -= 1;
        self.log.push(record.clone());
        let effects = apply_logged(&mut self.state, record);
        effects.into_iter().all(|effect| self.act(effect))
    }

    fn act(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::RecordIntents {
                sequence, intents, ..
            } => {
                if self.fault == Some(Fault::CoveredFirst) && !self.covered(sequence) {
                    return false;
                }
                if self.fault == Some(Fault::IntentsNotLogged) {
                    let intents = Logged::Intents(intents);
                    let effects = apply_logged(&mut self.state, intents);
                    return effects.into_iter().all(|effect| self.act(effect))
                        && self.covered(sequence);
                }
                intents
                    .chunk_by(|a, b| a.escalation_id == b.escalation_id)
                    .all(|intents| self.write(Logged::Intents(intents.to_vec())))
                    && self.covered(sequence)
            }
            Effect::RecordAttempt { attempt, .. }
                if self.fault == Some(Fault::DeliveredNotLogged)
                    && attempt.outcome == Outcome::Delivered =>
            {
                true
            }
            Effect::RecordAttempt { attempt, .. } => self.write(Logged::Attempt(attempt)),
            Effect::Release {
                escalation_id,
                receiver,
            } => {
                self.queue.release(0, escalation_id, &receiver);
                true
            }
            Effect::Deliver(ticket) => {
                self.queue.push(0, ticket);
                true
            }
            Effect::DeadLetter(_) => true,
        }
    }

    fn covered(&mut self, sequence: u64) -> bool {
        self.write(Logged::Covered(sequence))
    }

    fn read_one(&mut self) -> bool {
        let escalations = self.escalations;
        let Some(batch) = usize::try_from(self.read)
            .ok()
            .and_then(|index| escalations.get(index))
        else {
            return true;
        };
        self.read += 1;
        let effects = self.state.apply(Input::Escalated {
            sequence: self.read,
            escalations: batch,
            now: self.now,
            plan: &plan(),
            partition: 0,
            storms: &mut Storms::default(),
        });
        effects.into_iter().all(|effect| self.act(effect))
    }

    fn deliver(&mut self, job: Job, verdict: Verdict) {
        if verdict == Verdict::Delivered {
            let receiver = Arc::clone(&job.ticket.receiver);
            let ticket = &job.ticket;
            self.taken
                .push((ticket.escalation_id, receiver, ticket.notice));
        }
        let id = job.ticket.escalation_id;
        let receiver = Arc::clone(&job.ticket.receiver);
        match self.fault {
            Some(Fault::AnsweredAsLogged) => self.queue.release(0, id, &receiver),
            _ => self.queue.answered(0, id, &receiver),
        }
        self.answers.push_back(Answer {
            escalation_id: id,
            receiver: Arc::clone(&receiver),
            number: job.ticket.number,
            at: self.now,
            took: 1,
            verdict,
            status: 0,
            error: String::new(),
            roll: 7,
            notice: job.ticket.notice,
            handle: "".into(),
        });
        let own = self.answers.iter().filter(|one| one.receiver == receiver);
        let places = if &*receiver == "soc" { 2 } else { 1 };
        self.too_many |= own.count() > unlogged_max(places);
    }

    /// False: the process died.
    fn answered(&mut self) -> bool {
        let Some(answer) = self.answers.pop_front() else {
            return true;
        };
        let effects = self.state.apply(Input::Answered(answer));
        effects.into_iter().all(|effect| self.act(effect))
    }

    /// Runs until nothing is left to do, or it dies.
    fn run(&mut self, verdicts: &mut impl Iterator<Item = Verdict>) -> bool {
        loop {
            self.now = self.now.plus(100 * SECOND);
            if !self.read_one() {
                return false;
            }
            let jobs = self.queue.take(self.now);
            let all_read = self.read == self.escalations.len() as u64;
            let (idle, due) = (jobs.is_empty(), self.queue.next_due());
            if idle && all_read && due.is_none() && self.answers.is_empty() {
                return true;
            }
            for job in jobs {
                let verdict = verdicts.next().unwrap_or(Verdict::Delivered);
                self.deliver(job, verdict);
            }
            while self.answers.len() > self.lag {
                if !self.answered() {
                    return false;
                }
            }
            if idle && !self.answered() {
                return false;
            }
        }
    }
}

fn apply_logged(state: &mut State, record: Logged) -> Vec<Effect> {
    let input = match record {
        Logged::Intents(intents) => {
            let each = intents.into_iter().flat_map(|intent| {
                state.apply(Input::IntentLogged {
                    tenant: "default",
                    intent,
                })
            });
            return each.collect();
        }
        Logged::Covered(sequence) => Input::Covered { sequence },
        Logged::Attempt(attempt) => Input::AttemptLogged(attempt),
        Logged::Requeue(requeue) => Input::Requeued(requeue),
    };
    state.apply(input)
}

/// The state after a restart: DELIVERIES, then what ESCALATIONS holds up to the position.
fn fold(escalations: &[Vec<Escalation>], log: &[Logged]) -> State {
    let mut state = State::new(backoff());
    for record in log {
        apply_logged(&mut state, record.clone());
    }
    for (sequence, batch) in (1..=state.position()).zip(escalations) {
        let effects = state.apply(Input::Escalated {
            sequence,
            escalations: batch,
            now: Timestamp(0),
            plan: &plan(),
            partition: 0,
            storms: &mut Storms::default(),
        });
        assert_eq!(effects, []);
    }
    state
}

/// The state after a restart that has read everything; it finds nothing left to decide.
fn settled(escalations: &[Vec<Escalation>], log: &[Logged]) -> State {
    let mut state = fold(escalations, log);
    for (sequence, batch) in (1..).zip(escalations) {
        let effects = state.apply(Input::Escalated {
            sequence,
            escalations: batch,
            now: Timestamp(0),
            plan: &plan(),
            partition: 0,
            storms: &mut Storms::default(),
        });
        assert_eq!(effects, []);
    }
    state
}

fn batches() -> impl Strategy<Value = Vec<Vec<Escalation>>> {
    let kind = prop_oneof![
        4 => Just(EscalationKind::Raised),
        2 => Just(EscalationKind::Continued),
        1 => Just(EscalationKind::Closed),
    ];
    let one = (0..12_u8, kind, prop::bool::weighted(0.1))
        .prop_map(|(id, kind, backfill)| escalation(id, kind, backfill));
    prop::collection::vec(prop::collection::vec(one, 1..4), 1..10).prop_map(|mut batches| {
        // Nothing ends in the log before it began there.
        let mut begun = BTreeSet::new();
        for batch in &mut batches {
            batch.retain(|one| {
                let closed = one.kind == EscalationKind::Closed;
                if !closed {
                    begun.insert(one.escalation_id);
                }
                begun.contains(&one.escalation_id)
            });
        }
        batches.retain(|batch| !batch.is_empty());
        batches
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        3 => Just(Verdict::Delivered),
        4 => Just(Verdict::Retry { after: None }),
        1 => Just(Verdict::Permanent),
    ]
}

/// First tellings decide: an id is told iff its first RAISED or CONTINUED record is no history.
/// And a CLOSED behind it is told to whoever was told of the first and keeps something open.
fn expected(escalations: &[Vec<Escalation>]) -> BTreeSet<Told> {
    let mut seen = BTreeMap::new();
    for one in escalations.iter().flatten() {
        if one.kind != EscalationKind::Closed {
            seen.entry(one.escalation_id).or_insert(one);
        }
    }
    let plan = plan();
    let mut told = BTreeSet::new();
    for one in seen.values().filter(|one| !one.backfill) {
        for choice in plan.decide(one, Timestamp(0)) {
            told.insert((one.escalation_id, choice.receiver, Notice::First));
        }
    }
    let mut raised = BTreeSet::new();
    for one in escalations.iter().flatten() {
        let id = one.escalation_id;
        let pager: Arc<str> = "pager".into();
        if one.kind != EscalationKind::Closed {
            raised.insert(id);
        } else if raised.contains(&id)
            && !one.backfill
            && told.contains(&(id, Arc::clone(&pager), Notice::First))
        {
            told.insert((id, pager, Notice::Closed(0)));
        }
    }
    told
}

fn deliveries(state: &State) -> impl Iterator<Item = (Told, Standing)> {
    let entries = state.entries(None);
    let all = entries.flat_map(|(_, entry)| &entry.deliveries);
    all.map(|delivery| {
        let intent = &delivery.intent;
        let receiver = Arc::clone(&intent.receiver);
        (
            (intent.escalation_id, receiver, intent.notice),
            delivery.standing,
        )
    })
}

/// Every intent ends, nobody else is told, and the fold of the log is the state that lived.
fn whatever_crashes(
    escalations: &[Vec<Escalation>],
    verdicts: Vec<Verdict>,
    crashes: Vec<usize>,
    lag: usize,
    fault: Option<Fault>,
) -> Result<(), TestCaseError> {
    let mut verdicts = verdicts.into_iter();
    let (mut log, mut now, mut taken) = (Vec::new(), Timestamp(0), Vec::new());
    for writes in crashes {
        let mut process = Process::start(escalations, log, now, writes);
        (process.fault, process.lag) = (fault, lag);
        process.run(&mut verdicts);
        prop_assert!(!process.too_many);
        taken.extend(process.taken);
        (log, now) = (process.log, process.now);
    }
    let crashed = taken.len();
    let mut last = Process::start(escalations, log, now, usize::MAX);
    (last.fault, last.lag) = (fault, lag);
    prop_assert!(last.run(&mut verdicts));
    prop_assert!(!last.too_many);
    let told: BTreeMap<Told, Standing> = deliveries(&last.state).collect();
    let wanted = expected(escalations);
    prop_assert_eq!(&told.keys().cloned().collect::<BTreeSet<_>>(), &wanted);
    prop_assert_eq!(last.state.pending_len(), 0);
    for (one, standing) in &told {
        let all = taken.iter().chain(&last.taken);
        let count = all.filter(|taken| *taken == one).count();
        let first = told
            .get(&(one.0, Arc::clone(&one.1), Notice::First))
            .copied();
        match standing {
            Standing::Delivered => prop_assert!(count >= 1 && first == Some(Standing::Delivered)),
            Standing::DeadLettered => prop_assert!(count <= crashed),
            Standing::Waiting => prop_assert_eq!(first, Some(Standing::DeadLettered)),
            Standing::Pending { .. } | Standing::Deciding | Standing::Withheld => {
                prop_assert!(false, "{:?} at the end", standing);
            }
        }
    }
    // In the process that did not crash nobody was told twice.
    let mut unique = last.taken.clone();
    unique.sort();
    unique.dedup();
    prop_assert_eq!(unique.len(), last.taken.len());
    prop_assert_eq!(&settled(escalations, &last.log), &last.state);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_crashes_every_intent_ends_and_nothing_else_is_told(
        escalations in batches(),
        verdicts in prop::collection::vec(verdict(), 0..200),
        crashes in prop::collection::vec(0..12_usize, 0..8),
        lag in 0..30_usize,
    ) {
        whatever_crashes(&escalations, verdicts, crashes, lag, None)?;
    }

    #[test]
    fn a_log_with_every_record_twice_says_the_same(
        escalations in batches(),
        verdicts in prop::collection::vec(verdict(), 0..60),
    ) {
        let mut process = Process::start(&escalations, Vec::new(), Timestamp(0), usize::MAX);
        prop_assert!(process.run(&mut verdicts.into_iter()));
        // A repeat of a finished delivery's records changes nothing.
        let mut doubled = process.log.clone();
        doubled.extend(process.log.iter().cloned());
        let folded = settled(&escalations, &doubled);
        prop_assert_eq!(&folded, &process.state);
    }

    #[test]
    fn neither_the_cut_nor_the_order_of_ids_changes_who_is_told(
        escalations in batches(),
        ranks in prop::array::uniform12(any::<u8>()),
        len in 1..5_usize,
    ) {
        // The records of one id stay in their order: the first of them decides.
        let mut moved: Vec<Escalation> = escalations.iter().flatten().cloned().collect();
        moved.sort_by_key(|one| {
            let [id, ..] = one.escalation_id.0;
            ranks.get(usize::from(id)).map(|rank| (*rank, id))
        });
        let moved: Vec<Vec<Escalation>> = moved.chunks(len).map(<[Escalation]>::to_vec).collect();
        let told = |escalations: &[Vec<Escalation>]| {
            let mut process = Process::start(escalations, Vec::new(), Timestamp(0), usize::MAX);
            assert!(process.run(&mut std::iter::empty()));
            process.taken.sort();
            process.taken
        };
        prop_assert_eq!(told(&moved), told(&escalations));
    }

    #[test]
    fn however_often_it_is_requeued_a_letter_is_delivered_once(
        requeues in 1..5_usize,
        late_requeues in 0..5_usize,
    ) {
        let escalations = vec![vec![escalation(1, EscalationKind::Raised, false)]];
        let mut process = Process::start(&escalations, Vec::new(), Timestamp(0), usize::MAX);
        process.run(&mut std::iter::once(Verdict::Permanent));
        prop_assert_eq!(process.state.dead_len(), 1);
        let requeue = |at| Logged::Requeue(Requeue {
            escalation_id: EscalationId([1; 16]),
            receiver: "soc".into(),
            actor: "someone".into(),
            at,
            notice: Notice::First,
        });
        for _ in 0..requeues {
            process.write(requeue(process.now));
        }
        process.run(&mut std::iter::empty());
        for _ in 0..late_requeues {
            process.write(requeue(process.now));
        }
        process.run(&mut std::iter::empty());
        prop_assert_eq!(process.taken.len(), 1);
        let delivered = process.log.iter().filter(|record| {
            matches!(record, Logged::Attempt(a) if a.outcome == Outcome::Delivered)
        });
        prop_assert_eq!(delivered.count(), 1);
        prop_assert_eq!(&settled(&escalations, &process.log), &process.state);
    }
}

/// The first law can break: it does, where the shell makes a mistake.
#[test]
fn no_deliberate_fault_survives() {
    for fault in [
        Fault::CoveredFirst,
        Fault::IntentsNotLogged,
        Fault::DeliveredNotLogged,
        Fault::AnsweredAsLogged,
    ] {
        let world = (
            batches(),
            prop::collection::vec(verdict(), 0..200),
            prop::collection::vec(0..12_usize, 0..8),
            0..30_usize,
        );
        let config = ProptestConfig {
            failure_persistence: None,
            max_shrink_iters: 0,
            ..ProptestConfig::with_cases(512)
        };
        let mut runner =
            TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let law = |(escalations, verdicts, crashes, lag): (Vec<Vec<Escalation>>, _, _, _)| {
            whatever_crashes(&escalations, verdicts, crashes, lag, Some(fault))
        };
        assert!(runner.run(&world, law).is_err(), "{fault:?}");
    }
}
