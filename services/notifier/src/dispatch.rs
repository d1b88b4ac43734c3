//! Delivers: takes what the queue gives, calls receivers, hands the answers to the partitions.
//! The place of what is urgent is free at its receiver's answer; the answer counts as not logged until
//! the attempt lies in the log, and there is a bound to those: a kill repeats them and what was in
//! flight. What is not urgent holds its place until the log has it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balefire_event::{EscalationId, Timestamp};
use balefire_kit::clock;
use balefire_notifier_core::classify::{Item, Verdict};
use balefire_notifier_core::contained::said;
use balefire_notifier_core::queue::{Job, Queue};
use balefire_notifier_core::route::Receiver;
use balefire_notifier_core::{Answer, Ticket};
use futures::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bodies::Bodies;
use crate::caller::Caller;
use crate::desk::Desk;
use crate::reply::Reply;

/// Longest sleep of the dispatcher: a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// An answer that does not lie in the log yet.
#[derive(Debug)]
pub struct Answered {
    /// What the receiver said.
    pub answer: Answer,
    /// Dropped when the attempt lies in the log.
    pub slot: Slot,
}

/// What a delivery holds: a place with a receiver, then room among what is not logged. Dropping it
/// frees either.
#[derive(Debug)]
pub struct Slot {
    board: Arc<Board>,
    partition: u32,
    escalation_id: EscalationId,
    receiver: Arc<str>,
}

impl Slot {
    /// The call ended, and whether the receiver answered: its place is free.
    fn report(&self, answered: bool) {
        let mut queue = self.board.queue();
        queue.report(&self.receiver, answered, clock::now());
        queue.answered(self.partition, self.escalation_id, &self.receiver);
        drop(queue);
        self.board.wake.notify_one();
    }
}

/// A receiver that says what is wrong with a call is there; one that is overloaded says when to
/// come again.
fn answered(reply: &Reply) -> bool {
    let again = matches!(reply.verdict.alone(), Item::Retry { .. });
    !again || matches!(reply.status, 1..=499)
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.board
            .queue()
            .release(self.partition, self.escalation_id, &self.receiver);
        self.board.wake.notify_one();
    }
}

/// What waits to be delivered, shared by partitions and dispatcher.
#[derive(Debug)]
pub struct Board {
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Board {
    /// Around a queue.
    #[must_use]
    pub fn new(queue: Queue) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(queue),
            wake: Notify::new(),
        })
    }

    /// The queue; held for moments only.
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other receivers from now on.
    pub fn set_receivers(&self, receivers: &[Receiver]) {
        self.queue().set_receivers(receivers);
        self.wake.notify_one();
    }

    /// Adds a delivery.
    pub fn push(&self, partition: u32, ticket: Ticket) {
        self.queue().push(partition, ticket);
        self.wake.notify_one();
    }
}

/// Where a partition takes bodies from and answers go to.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Its bodies.
    pub bodies: Arc<Bodies>,
    /// Its answers.
    pub answers: mpsc::Sender<Answered>,
}

/// Starts deliveries until it is stopped.
pub struct Dispatcher {
    board: Arc<Board>,
    desk: Arc<Desk>,
    outlets: Vec<Outlet>,
    under_way: TaskTracker,
}

impl Dispatcher {
    /// `outlets` by partition.
    #[must_use]
    pub fn new(board: Arc<Board>, desk: Arc<Desk>, outlets: Vec<Outlet>) -> Self {
        Self {
            board,
            desk,
            outlets,
            under_way: TaskTracker::new(),
        }
    }

    /// Runs until `stop`, then waits for what is under way.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = clock::now();
            let (jobs, next) = {
                let mut queue = self.board.queue();
                (queue.take(now), queue.next_due())
            };
            for job in jobs {
                self.start(job);
            }
            let sleep = tokio::time::sleep(until(next, now));
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.board.wake.notified() => {}
                () = sleep => {}
            }
        }
        self.under_way.close();
        self.under_way.wait().await;
    }

    fn start(&self, job: Job) {
        let slot = Slot {
            board: Arc::clone(&self.board),
            partition: job.partition,
            escalation_id: job.ticket.escalation_id,
            receiver: Arc::clone(&job.ticket.receiver),
        };
        let outlet = usize::try_from(job.partition)
            .ok()
            .and_then(|index| self.outlets.get(index));
        let Some(outlet) = outlet else {
            // None is pushed by a partition that is not there.
            return;
        };
        let Some(caller) = self.desk.caller(&job.ticket.receiver) else {
            // Taken away between the pick and here: it waits for its receiver to come back.
            drop(slot);
            self.board.push(job.partition, job.ticket);
            return;
        };
        self.under_way
            .spawn(deliver(outlet.clone(), caller, job.ticket, slot));
    }
}

fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(next) = next else {
        return SLEEP_MAX;
    };
    let nanos = u64::try_from(next.since(now)).unwrap_or(0);
    Duration::from_nanos(nanos).min(SLEEP_MAX)
}

/// A call over which this program panics does not go again and again: it is a dead letter.
pub(crate) async fn contained(call: impl Future<Output = Reply>) -> Reply {
    let done = AssertUnwindSafe(call).catch_unwind().await;
    done.unwrap_or_else(|panic| Reply {
        error: said(panic.as_ref()),
        ..Reply::of(Verdict::Permanent)
    })
}

async fn deliver(outlet: Outlet, caller: Caller, ticket: Ticket, slot: Slot) {
    let id = ticket.escalation_id;
    let record = match &ticket.page {
        Some(page) => page.record().map(Arc::new),
        None => {
            let bodies = &outlet.bodies;
            bodies.get(&id, ticket.notice, ticket.sequence).await
        }
    };
    let started = tokio::time::Instant::now();
    #[cfg(feature = "sabotage")]
    if let Some(record) = &record
        && balefire_kit::sabotage::doubles()
    {
        let _first = caller.send(record, &ticket.tier, &ticket.handle).await;
    }
    let reply = match record {
        Some(record) => contained(caller.send(&record, &ticket.tier, &ticket.handle)).await,
        None => Reply {
            error: "the escalation's record is no longer in the log".into(),
            ..Reply::of(Verdict::Permanent)
        },
    };
    slot.report(answered(&reply));
    let took = i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX);
    let answer = Answer {
        escalation_id: id,
        receiver: ticket.receiver,
        number: ticket.number,
        at: clock::now(),
        took,
        verdict: reply.verdict,
        status: reply.status,
        error: reply.error,
        roll: rand::random(),
        notice: ticket.notice,
        handle: reply.handle.into(),
    };
    // A closed channel: the service ended; the log knows nothing of this attempt.
    let _ended = outlet.answers.send(Answered { answer, slot }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_is_refused_and_the_program_goes_on() {
        let text = String::from("nobody thought of this");
        let reply = contained(async move { std::panic::panic_any(text) }).await;
        assert_eq!(reply.verdict, Verdict::Permanent);
        assert_eq!(
            reply.error,
            "this program panicked over it: nobody thought of this"
        );
        let fine = contained(async { Reply::of(Verdict::Delivered) }).await;
        assert_eq!(fine, Reply::of(Verdict::Delivered));
    }
}
