//! Runs one plan against one server and reads the books.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use balefire_loadtest_core::account::{Arrival, Escalations, Events, Fate};
use balefire_loadtest_core::frame::{Frame, frames};
use balefire_loadtest_core::oracle::{Name, Rule, expected};
use balefire_loadtest_core::plan::{Plan, Scenario};
use balefire_loadtest_core::planned::{number_of, subject_of, time_of};
use balefire_loadtest_core::report::Mark;
use balefire_loadtest_core::statistics::millis;
use balefire_wire::escalation::v1::Escalation;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::between::{self, Fault};
use crate::clock::Clock;
use crate::error::Error;
use crate::process::{self, Usage};
use crate::product::Product;
use crate::program::Program;
use crate::receiver::{Delivery, Receiver};
use crate::sending::{self, Sending, Sent};
use crate::track::Track;

/// From the last preparation to the first frame.
const LEAD: Duration = Duration::from_millis(300);
/// How long the last escalations may take.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// After the last expected one, so long for what should not come.
const LINGER: Duration = Duration::from_millis(1_000);
const POLL: Duration = Duration::from_millis(20);
const SOURCE: &str = "loadtest";

/// Everything that one run left.
#[derive(Debug)]
pub struct Outcome {
    /// What was meant.
    pub plan: Plan,
    /// What was sent, when, and how it was answered.
    pub sending: Arc<Sending>,
    /// What became of each event.
    pub fates: Vec<Fate>,
    /// The books of events.
    pub events: Events,
    /// The books of escalations.
    pub escalations: Escalations,
    /// When each escalation was stored in the log, nanoseconds after the start.
    pub stored_ns: BTreeMap<Name, u64>,
    /// Calls of the webhook without a good signature.
    pub unsigned: usize,
    /// Open dead letters by stage and reason.
    pub dead_letters: BTreeMap<String, usize>,
    /// What was done to the product meanwhile.
    pub marks: Vec<Mark>,
    /// Whether the sending was stopped by hand.
    pub stopped: bool,
    /// Processes before and after.
    pub usage: (Vec<Usage>, Vec<Usage>),
    /// Load average before.
    pub load: Option<f64>,
}

/// What is there once everything that could be prepared is prepared.
pub struct Prepared {
    /// What is meant.
    pub plan: Plan,
    frames: Vec<Frame>,
}

impl Prepared {
    /// Encodes everything.
    #[must_use]
    pub fn of(plan: Plan) -> Self {
        let frames = frames(&plan.events, &plan.tag, SOURCE);
        Self { plan, frames }
    }

    /// A clock that starts in a moment.
    #[must_use]
    pub fn clock() -> Clock {
        Clock::starting_in(LEAD)
    }

    /// Sends to `addr` and returns when all is answered or nothing more comes.
    ///
    /// # Errors
    /// Nobody is there.
    pub async fn send(
        self,
        addr: &str,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<(Plan, Arc<Sending>, Sent), Error> {
        let sending = Arc::new(Sending {
            track: Track::new(self.frames.len(), self.plan.events.len()),
            frames: self.frames,
            clock,
        });
        let sent = sending::run(Arc::clone(&sending), addr, None, stop).await?;
        let Some(stopped_at) = sending.track.stopped_at() else {
            return Ok((self.plan, sending, sent));
        };
        let first = sending
            .frames
            .get(stopped_at)
            .map_or(0, |frame| frame.first);
        let events = usize::try_from(first).unwrap_or(usize::MAX);
        Ok((self.plan.cut(events), sending, sent))
    }
}

/// How many escalations what was acknowledged makes due.
fn due(plan: &Plan, fates: &[Fate]) -> usize {
    let pairs = plan.events.iter().zip(fates);
    expected(
        pairs
            .filter(|(_, fate)| **fate == Fate::Acknowledged)
            .map(|(event, _)| event),
    )
    .len()
}

/// Waits until so many arrived, and a little longer.
pub async fn settle(receiver: &Receiver, due: usize, most: Duration) {
    let until = Instant::now() + most;
    while receiver.len() < due && Instant::now() < until {
        sleep(POLL).await;
    }
    sleep(LINGER.min(most)).await;
}

/// Which escalation a body tells of.
fn name_of(plan: &Plan, data: &Value) -> Option<Name> {
    let rule = Rule::named(data.get("rule")?.as_str()?)?;
    let key = if rule.window().is_some() {
        subject_of(&plan.tag, data.get("key")?.get("user_id")?.as_str()?)?
    } else {
        number_of(&plan.tag, data.get("event_ids")?.get(0)?.as_str()?)?
    };
    let slot_ns = time_of(data.get("slot_start")?.as_str()?)?;
    Some(Name { rule, key, slot_ns })
}

/// Reads what arrived.
#[must_use]
pub fn arrivals(plan: &Plan, clock: &Clock, deliveries: &[Delivery]) -> Vec<Arrival> {
    let read = |delivery: &Delivery| {
        let body: Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
        let data = body.get("data").cloned().unwrap_or_default();
        let severity = data.get("severity").and_then(Value::as_str);
        Arrival {
            name: name_of(plan, &data),
            at_ns: clock.since(delivery.at),
            id: delivery.id.clone(),
            severity: severity.unwrap_or_default().to_owned(),
        }
    };
    deliveries.iter().map(read).collect()
}

/// Which escalation of the log this is; the user is the one of its first event in the plan.
fn logged(plan: &Plan, escalation: &Escalation) -> Option<Name> {
    let rule = Rule::named(&escalation.rule_name)?;
    let first = escalation.evidence.first()?;
    let number = number_of(&plan.tag, &first.event_id)?;
    let event = plan.events.get(usize::try_from(number).ok()?)?;
    Some(Name {
        rule,
        key: if rule.window().is_some() {
            event.subject
        } else {
            number
        },
        slot_ns: escalation.slot_start_ns,
    })
}

/// When an owner is killed, nanoseconds after the start; `None`: in this scenario none is.
fn half(plan: &Plan) -> Option<u64> {
    let all = u64::from(plan.shape.seconds) * balefire_loadtest_core::SECOND;
    (plan.shape.scenario == Scenario::Failover).then_some(all / 2)
}

/// Kills an owner with `kill -9` at its time, and starts it again at once.
async fn strike(
    engine: Option<&mut Program>,
    clock: Clock,
    at_ns: u64,
    stop: &CancellationToken,
) -> Result<Vec<Mark>, Error> {
    let Some(engine) = engine else {
        return Ok(Vec::new());
    };
    tokio::select! {
        () = tokio::time::sleep_until(clock.at(at_ns)) => {}
        () = stop.cancelled() => return Ok(Vec::new()),
    }
    let mark = |what: &str| Mark {
        at_s: millis(clock.now_ns()) / 1e3,
        what: what.to_owned(),
    };
    let killed = mark("rule-engine killed");
    engine.kill().await?;
    engine.again().await?;
    Ok(vec![killed, mark("ready again")])
}

/// The whole way: sends, waits for evaluation and delivery, asks the log, reads the books.
///
/// # Errors
/// The product is not there, or does not answer.
pub async fn against(
    product: &mut Product,
    receiver: &Receiver,
    plan: Plan,
    fault: Option<Fault>,
    stop: CancellationToken,
) -> Result<Outcome, Error> {
    let prepared = Prepared::of(plan);
    let load = process::load();
    let before = product.usage();
    // What an earlier run left is not this one's.
    let _earlier = receiver.take();
    let clock = Prepared::clock();
    let half = half(&prepared.plan);
    let addr = match fault {
        Some(fault) => between::door(fault, &product.addr()).await?,
        None => product.addr(),
    };
    let engine = product.engine();
    let (sent, marks) = tokio::join!(
        prepared.send(&addr, clock, stop.clone()),
        strike(
            engine.filter(|_| half.is_some()),
            clock,
            half.unwrap_or_default(),
            &stop
        ),
    );
    let ((plan, sending, open), marks) = (sent?, marks?);
    product.evaluated().await?;
    let mut fates = sending.track.fates();
    fates.truncate(plan.events.len());
    settle(receiver, due(&plan, &fates), SETTLE_MAX).await;
    let after = product.usage();
    // Until here the system could tell what went over the connections.
    drop(open);
    let (deliveries, unsigned) = receiver.take();
    let arrivals = arrivals(&plan, &clock, &deliveries);
    let log = product.escalations().await?;
    let (dead_letters, dead_ids) = product.dead_letters().await?;
    let mut stored_ns = BTreeMap::new();
    let mut dead = BTreeSet::new();
    for entry in log {
        let Some(escalation) = &entry.escalation else {
            continue;
        };
        if let Some(name) = logged(&plan, escalation) {
            stored_ns.insert(name, clock.of_wall(entry.stored_at_ns));
            if dead_ids
                .iter()
                .any(|id| id.as_slice() == escalation.escalation_id)
            {
                dead.insert(name);
            }
        }
    }
    Ok(Outcome {
        events: Events::of(&plan, &fates),
        escalations: Escalations::of(&plan, &fates, &arrivals, &dead),
        plan,
        sending,
        fates,
        stored_ns,
        unsigned,
        dead_letters,
        marks,
        stopped: stop.is_cancelled(),
        usage: (before, after),
        load,
    })
}
