//! The instrument proves itself: against the null receiver with known faults it must read what is
//! known. A report whose calibration failed is invalid.

use std::collections::BTreeSet;
use std::time::Duration;

use balefire_loadtest_core::SECOND;
use balefire_loadtest_core::account::{Escalations, Events};
use balefire_loadtest_core::oracle::Name;
use balefire_loadtest_core::plan::{Scenario, Shape};
use balefire_loadtest_core::schedule::Arrival;
use balefire_loadtest_core::standstill::{Standstill, standstills};
use balefire_loadtest_core::statistics::{Summary, histogram, millis, waiting};
use balefire_loadtest_core::verdict::Check;
use tokio_util::sync::CancellationToken;

use crate::between::{self, Fault};
use crate::error::Error;
use crate::null::{Faults, Null};
use crate::receiver::Receiver;
use crate::run::{Prepared, arrivals, settle};
use crate::sending::Sending;

/// Largest send lag at twice the rate, p99.9, milliseconds.
const LAG_P999_MAX_MS: f64 = 1.0;
/// A known delay and how closely it must be read, milliseconds.
const DELAY_MS: f64 = 20.0;
const DELAY_OFF_MAX_MS: f64 = 1.0;
const DELAY_NS: u64 = 20_000_000;
/// The receiver stands still for the fifth second of ten; a tenth of the events wait, evenly up to
/// a second: p99 is 0.9 s.
const STOPPED: (u64, u64) = (4 * SECOND, 5 * SECOND);
const STOPPED_P99_MS: f64 = 900.0;
const STOPPED_OFF_MAX_MS: f64 = 60.0;
/// Known faults are every 37th event's.
const FAULT_EVERY: u32 = 37;
const LAG_SECONDS: u32 = 5;
const SHORT_SECONDS: u32 = 3;
const LONG_SECONDS: u32 = 10;
const ALARM_RATE: u32 = 400;
const SETTLE_MAX: Duration = Duration::from_secs(5);

struct Reading {
    sending: std::sync::Arc<Sending>,
    events: Events,
    escalations: Escalations,
}

fn shape(scenario: Scenario, rate: u32, seconds: u32, seed: u64) -> Shape {
    Shape {
        scenario,
        arrival: Arrival::Constant,
        rate,
        flood_rate: 0,
        seconds,
        seed,
        base_ns: balefire_kit::clock::now().0,
    }
}

async fn read(shape: Shape, faults: Faults) -> Result<Reading, Error> {
    read_between(shape, faults, None).await
}

/// Through a fault that stands between generator and null receiver.
async fn read_between(
    shape: Shape,
    faults: Faults,
    fault: Option<Fault>,
) -> Result<Reading, Error> {
    let receiver = Receiver::start(([127, 0, 0, 1], 0).into()).await?;
    let prepared = Prepared::of(shape.plan());
    let clock = Prepared::clock();
    let hook = match fault {
        Some(Fault::Double) => between::hook(receiver.addr()).await?,
        Some(Fault::Drop | Fault::Stall) | None => receiver.addr(),
    };
    let addr = Null::start(&prepared.plan.tag, clock, faults, hook).await?;
    let mut addr = addr.to_string();
    if let Some(fault) = fault {
        addr = between::door(fault, &addr).await?;
    }
    let stop = CancellationToken::new();
    let (plan, sending, _open) = prepared.send(&addr, clock, stop).await?;
    let attacks = plan
        .events
        .iter()
        .filter(|event| event.class == balefire_loadtest_core::planned::Class::PromptAttack);
    let calls = attacks.map(|event| faults.copies(event.number)).sum();
    settle(&receiver, calls, SETTLE_MAX).await;
    let fates = sending.track.fates();
    let (deliveries, _) = receiver.take();
    let arrivals = arrivals(&plan, &clock, &deliveries);
    Ok(Reading {
        events: Events::of(&plan, &fates),
        escalations: Escalations::of(&plan, &fates, &arrivals, &BTreeSet::new()),
        sending,
    })
}

/// How much later than intended each frame was handed to the connection, nanoseconds.
#[must_use]
pub fn lags(sending: &Sending) -> Vec<u64> {
    let frames = sending.frames.iter().enumerate();
    let lag = |(index, frame): (usize, &balefire_loadtest_core::frame::Frame)| {
        let sent = sending.track.sent_at(index)?;
        Some(sent.saturating_sub(frame.at_ns))
    };
    frames.filter_map(lag).collect()
}

/// Times from the intended sending to the arrival, nanoseconds.
fn spans(escalations: &Escalations) -> Vec<(u64, u64)> {
    let delivered = escalations.delivered.iter();
    delivered.map(|one| (one.due.at_ns, one.at_ns)).collect()
}

fn summary(escalations: &Escalations) -> Option<Summary> {
    Summary::of_values(
        spans(escalations)
            .into_iter()
            .map(|(from, to)| to.saturating_sub(from)),
    )
}

fn check(name: &str, passed: bool, detail: String) -> Check {
    Check {
        name: name.to_owned(),
        passed,
        detail,
    }
}

async fn lag(rate: u32) -> Result<Check, Error> {
    let twice = rate.saturating_mul(2);
    let reading = read(
        shape(Scenario::Steady, twice, LAG_SECONDS, 1),
        Faults::default(),
    )
    .await?;
    let lags = histogram(lags(&reading.sending));
    let p999 = lags.map_or(f64::INFINITY, |lags| millis(lags.value_at_quantile(0.999)));
    let events = &reading.events;
    let all = events.acknowledged == events.planned;
    Ok(check(
        "send lag at twice the rate, p99.9 at most 1 ms, all sent",
        p999 <= LAG_P999_MAX_MS && all,
        format!(
            "{p999:.3} ms at {twice} events/s, {} of {} acknowledged",
            events.acknowledged, events.planned
        ),
    ))
}

async fn delay() -> Result<Check, Error> {
    let faults = Faults {
        delay_ns: DELAY_NS,
        ..Faults::default()
    };
    let reading = read(
        shape(Scenario::Alarms, ALARM_RATE, SHORT_SECONDS, 2),
        faults,
    )
    .await?;
    let p50 = summary(&reading.escalations).map_or(0.0, |summary| summary.p50_ms);
    Ok(check(
        "a known delay of 20 ms is read within 1 ms",
        (p50 - DELAY_MS).abs() <= DELAY_OFF_MAX_MS,
        format!("p50 {p50:.2} ms"),
    ))
}

async fn stopped() -> Result<Check, Error> {
    let faults = Faults {
        stopped_ns: Some(STOPPED),
        ..Faults::default()
    };
    let reading = read(shape(Scenario::Alarms, ALARM_RATE, LONG_SECONDS, 3), faults).await?;
    let p99 = summary(&reading.escalations).map_or(0.0, |summary| summary.p99_ms);
    let waited = Summary::of_values(waiting(spans(&reading.escalations)));
    let waited = waited.map_or(0.0, |summary| summary.p99_ms);
    Ok(check(
        "a receiver that stands still for 1 s in 10 shows as a p99 of about 0.9 s",
        (p99 - STOPPED_P99_MS).abs() <= STOPPED_OFF_MAX_MS,
        format!("p99 {p99:.0} ms; a generator that waits for answers would say {waited:.1} ms"),
    ))
}

/// Every 37th escalation is lost, or doubled: the books must list exactly those.
///
/// # Errors
/// This machine lets nothing listen.
pub async fn faults_are_listed(lose: bool) -> Result<Check, Error> {
    let faults = Faults {
        lose_every: lose.then_some(FAULT_EVERY),
        double_every: (!lose).then_some(FAULT_EVERY),
        ..Faults::default()
    };
    let reading = read(
        shape(Scenario::Alarms, ALARM_RATE, SHORT_SECONDS, 4),
        faults,
    )
    .await?;
    let books = reading.escalations;
    let hit = (0..u32::try_from(reading.events.planned).unwrap_or(u32::MAX))
        .filter(|number| number.is_multiple_of(FAULT_EVERY));
    let want: BTreeSet<u32> = hit.collect();
    let keys = |names: &mut dyn Iterator<Item = Name>| names.map(|name| name.key).collect();
    let found: BTreeSet<u32> = if lose {
        keys(&mut books.missing.iter().map(|(name, _)| *name))
    } else {
        keys(&mut books.again.keys().copied())
    };
    let others = if lose {
        books.again.len()
    } else {
        books.missing.len()
    };
    let name = if lose {
        "known losses are listed exactly"
    } else {
        "known duplicates are listed exactly"
    };
    Ok(check(
        name,
        found == want && others == 0 && books.unexpected.is_empty(),
        format!(
            "{} known, {} listed, {others} others",
            want.len(),
            found.len()
        ),
    ))
}

/// Reads what needs no good clock; about 10 seconds.
///
/// # Errors
/// This machine lets nothing listen.
pub async fn books() -> Result<Vec<Check>, Error> {
    Ok(vec![
        faults_are_listed(true).await?,
        faults_are_listed(false).await?,
    ])
}

/// Runs all; about 30 seconds. `rate` is that of the report to come.
///
/// # Errors
/// This machine lets nothing listen.
pub async fn run(rate: u32) -> Result<Vec<Check>, Error> {
    let mut checks = vec![lag(rate).await?, delay().await?, stopped().await?];
    checks.extend(books().await?);
    Ok(checks)
}

/// What is listed of a run of alarms with a fault in between: the numbers of the events whose
/// escalation is missing, of those delivered again, how many were unexpected, and the standstills of
/// the acknowledgements.
#[derive(Debug)]
pub struct Listed {
    /// Events of the plan, all of them acknowledged.
    pub events: usize,
    /// By event.
    pub missing: Vec<u32>,
    /// By event.
    pub again: Vec<u32>,
    /// How many.
    pub unexpected: usize,
    /// Of the acknowledgements.
    pub standstills: Vec<Standstill>,
}

/// Runs alarms through a fault and tells what the books list.
///
/// # Errors
/// This machine lets nothing listen.
pub async fn through(fault: Fault, rate: u32, seconds: u32) -> Result<Listed, Error> {
    let shape = shape(Scenario::Alarms, rate, seconds, 5);
    let reading = read_between(shape, Faults::default(), Some(fault)).await?;
    let frames = reading.sending.frames.iter().enumerate();
    let answers = frames.filter_map(|(number, frame)| {
        let at_ns = reading.sending.track.answered_at(number)?;
        Some((frame.at_ns, at_ns.max(frame.at_ns)))
    });
    let books = &reading.escalations;
    Ok(Listed {
        events: reading.events.acknowledged,
        missing: books.missing.iter().map(|(name, _)| name.key).collect(),
        again: books.again.keys().map(|name| name.key).collect(),
        unexpected: books.unexpected.len(),
        standstills: standstills(answers.collect()),
    })
}
