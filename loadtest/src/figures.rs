//! Turns what a run left into the figures of a report.

use std::collections::BTreeMap;
use std::path::Path;

use balefire_loadtest_core::SECOND;
use balefire_loadtest_core::account::Delivered;
use balefire_loadtest_core::frame::head;
use balefire_loadtest_core::promise::promises;
use balefire_loadtest_core::report::{LISTED_MAX, Process, Run, Second, Stage};
use balefire_loadtest_core::standstill::{Standstill, line, standstills, summary};
use balefire_loadtest_core::statistics::{Summary, curve, histogram, millis, real, waiting};
use balefire_loadtest_core::verdict::{Check, Slo, identities};
use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::error::Error;
use crate::process::Usage;
use crate::run::Outcome;

/// From where to where, and its times.
type Spans = BTreeMap<(&'static str, String), Vec<(u64, u64)>>;

const WHOLE: &str = "intended send → receiver";
const WHOLE_JOINED: &str = "intended send → receiver, joined";
const ACKNOWLEDGED: &str = "intended send → acknowledged";
const SENT: &str = "1. intended send → sent";
const TAKEN: &str = "2. sent → acknowledged";
const ESCALATED: &str = "3. acknowledged → escalation in the log";
const ESCALATED_JOINED: &str = "3. acknowledged → joined and escalation in the log";
const DELIVERED: &str = "4. escalation in the log → receiver";

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn spans(outcome: &Outcome) -> Spans {
    let mut spans = Spans::new();
    for one in &outcome.escalations.delivered {
        let whole = if one.due.joined { WHOLE_JOINED } else { WHOLE };
        let mut add = |stage, from: u64, to: u64| {
            let times = spans.entry((stage, one.severity.clone())).or_default();
            times.push((from, to.max(from)));
        };
        add(whole, one.due.at_ns, one.at_ns);
        let (sent, answered) = outcome.sending.times_of(one.due.number);
        if let (Some(sent), Some(answered)) = (sent, answered) {
            add(SENT, one.due.at_ns, sent);
            add(TAKEN, sent, answered);
        }
        if let Some(stored_ns) = outcome.stored_ns.get(&one.name) {
            // The log may have it before its producer was told.
            let answered = answered.unwrap_or(one.due.at_ns).min(*stored_ns);
            let stage = if one.due.joined {
                ESCALATED_JOINED
            } else {
                ESCALATED
            };
            add(stage, answered, *stored_ns);
            add(DELIVERED, *stored_ns, one.at_ns);
        }
    }
    spans.insert((ACKNOWLEDGED, "every frame".to_owned()), answers(outcome));
    spans
}

/// Intended sending and answer of every frame that was answered.
fn answers(outcome: &Outcome) -> Vec<(u64, u64)> {
    let frames = outcome.sending.frames.iter().enumerate();
    let answered = frames.filter_map(|(number, frame)| {
        let at_ns = outcome.sending.track.answered_at(number)?;
        Some((frame.at_ns, at_ns.max(frame.at_ns)))
    });
    answered.collect()
}

/// Stretches in which nothing was acknowledged, and in which nothing arrived.
fn still(outcome: &Outcome) -> (Vec<Standstill>, Vec<Standstill>) {
    let delivered = outcome.escalations.delivered.iter();
    let delivered = delivered.map(|one| (one.due.at_ns, one.at_ns.max(one.due.at_ns)));
    (
        standstills(answers(outcome)),
        standstills(delivered.collect()),
    )
}

fn took(spans: &[(u64, u64)]) -> impl Iterator<Item = u64> {
    spans.iter().map(|(from, to)| to - from)
}

fn stages(spans: &Spans) -> Vec<Stage> {
    let stage = |((name, severity), spans): (&(&'static str, String), &Vec<(u64, u64)>)| {
        let histogram = histogram(took(spans))?;
        let whole = *name == WHOLE || *name == WHOLE_JOINED;
        Some(Stage {
            name: (*name).to_owned(),
            severity: severity.clone(),
            corrected: Summary::of(&histogram)?,
            uncorrected: whole
                .then(|| Summary::of_values(waiting(spans.clone())))
                .flatten(),
            curve: curve(&histogram),
        })
    };
    spans.iter().filter_map(stage).collect()
}

fn seconds(outcome: &Outcome) -> Vec<Second> {
    let sending = &outcome.sending;
    let mut seconds: Vec<Second> = Vec::new();
    let mut at = |at_ns: u64, change: &dyn Fn(&mut Second)| {
        let place = index(at_ns / SECOND);
        if place >= seconds.len() {
            seconds.resize(place + 1, Second::default());
        }
        if let Some(second) = seconds.get_mut(place) {
            change(second);
        }
    };
    let meant = sending.track.stopped_at().unwrap_or(usize::MAX);
    for (number, frame) in sending.frames.iter().enumerate().take(meant) {
        let events = u64::from(frame.len);
        at(frame.at_ns, &|second| second.planned += events);
        if let Some(sent) = sending.track.sent_at(number) {
            at(sent, &|second| second.sent += events);
            let lag = millis(sent.saturating_sub(frame.at_ns));
            at(frame.at_ns, &|second| {
                second.lag_max_ms = second.lag_max_ms.max(lag)
            });
        }
        if let Some(answered) = sending.track.answered_at(number) {
            at(answered, &|second| second.acknowledged += events);
        }
    }
    for one in &outcome.escalations.delivered {
        let latency = millis(one.at_ns.saturating_sub(one.due.at_ns));
        at(one.at_ns, &|second| second.delivered += 1);
        at(one.due.at_ns, &|second| {
            second.latency_max_ms = second.latency_max_ms.max(latency);
        });
    }
    seconds
}

fn processes(before: &[Usage], after: &[Usage], events: f64) -> Vec<Process> {
    let process = |now: &Usage| {
        let then = before.iter().find(|one| one.pid == now.pid);
        let grown = |value: fn(&Usage) -> u64| {
            real(value(now).saturating_sub(then.map_or(0, value))) / events
        };
        Process {
            name: now.name.clone(),
            cpu_us_per_event: grown(|usage| usage.cpu_us),
            rss_mib: real(now.rss_bytes) / 1_048_576.0,
            disk_bytes_per_event: grown(|usage| usage.written_bytes),
            wire_bytes_per_event: now.tcp.as_ref().map(|sockets| {
                let before = then.and_then(|usage| usage.tcp.as_ref());
                let fresh = |(inode, bytes): (&u64, &u64)| {
                    bytes
                        .saturating_sub(before.and_then(|all| all.get(inode)).copied().unwrap_or(0))
                };
                real(sockets.iter().map(fresh).sum()) / events
            }),
        }
    };
    after.iter().map(process).collect()
}

fn title(outcome: &Outcome) -> String {
    let shape = &outcome.plan.shape;
    let text = format!(
        "{:?}, {} events/s, {} s",
        shape.scenario, shape.rate, shape.seconds
    );
    text.to_lowercase()
}

/// Largest answer time, seconds after the start.
fn last_answer(outcome: &Outcome) -> Option<f64> {
    let frames = 0..outcome.sending.frames.len();
    let last = frames
        .filter_map(|number| outcome.sending.track.answered_at(number))
        .max()?;
    Some(real(last.max(1)) / 1e9)
}

fn checks(outcome: &Outcome, slo: Option<&Slo>, still: &[&[Standstill]]) -> Vec<Check> {
    let shape = &outcome.plan.shape;
    let mut checks = identities(&outcome.events, &outcome.escalations);
    checks.extend(promises(shape.scenario, &outcome.escalations));
    // Where an owner is killed, standing still is what is measured.
    let moving = still.iter().filter(|_| outcome.marks.is_empty());
    checks.extend(moving.filter_map(|found| slo.and_then(|slo| slo.moving(found, shape.seconds))));
    checks.push(Check {
        name: "every call of the receiver is signed".to_owned(),
        passed: outcome.unsigned == 0,
        detail: format!("{} without a good signature", outcome.unsigned),
    });
    checks.extend(
        slo.map(|slo| slo.checks(&outcome.events, &outcome.escalations))
            .unwrap_or_default(),
    );
    checks
}

fn still_lines<'a>(
    unanswered: &'a [Standstill],
    undelivered: &'a [Standstill],
) -> impl Iterator<Item = String> + 'a {
    let lines = |what: &'static str, found: &'a [Standstill]| {
        let head = (!found.is_empty()).then(|| format!("{what}: {}", summary(found)));
        let each = found
            .iter()
            .map(move |one| format!("{what}: {}", line(one)));
        head.into_iter().chain(each)
    };
    lines("acknowledgements", unanswered).chain(lines("deliveries", undelivered))
}

/// The figures of one run, held to `slo` where there is one.
#[must_use]
pub fn of(outcome: &Outcome, slo: Option<&Slo>) -> Run {
    let shape = &outcome.plan.shape;
    let books = &outcome.escalations;
    let events = real(count(outcome.events.acknowledged).max(1));
    let wire: usize = outcome
        .sending
        .frames
        .iter()
        .enumerate()
        .map(|(number, frame)| head(count(number)).len() + frame.bytes.len())
        .sum();
    let (unanswered, undelivered) = still(outcome);
    let listed = |lines: &mut dyn Iterator<Item = String>| lines.take(LISTED_MAX).collect();
    Run {
        title: title(outcome),
        shape: Some(shape.clone()),
        marks: outcome.marks.clone(),
        stopped: outcome.stopped,
        attainment: slo.map(|slo| slo.attainment(books)).unwrap_or_default(),
        standstills: listed(&mut still_lines(&unanswered, &undelivered)),
        seed: shape.seed,
        plan: outcome.plan.digest(),
        offered: real(count(outcome.events.planned)) / f64::from(shape.seconds.max(1)),
        achieved: last_answer(outcome).map_or(0.0, |seconds| events / seconds),
        load: outcome.load,
        send_lag: Summary::of_values(crate::calibrate::lags(&outcome.sending)),
        stages: stages(&spans(outcome)),
        seconds: seconds(outcome),
        checks: checks(outcome, slo, &[&unanswered, &undelivered]),
        missing: listed(&mut books.missing.iter().map(|(name, due)| {
            let event = balefire_loadtest_core::planned::event_id(&outcome.plan.tag, due.number);
            format!(
                "{} key {} slot {} completed by {event}",
                name.rule.name(),
                name.key,
                name.slot_ns
            )
        })),
        again: listed(&mut books.again.iter().map(|(name, often)| {
            format!(
                "{} key {} slot {}: {often} times",
                name.rule.name(),
                name.key,
                name.slot_ns
            )
        })),
        dead_lettered: listed(&mut books.dead_lettered.iter().map(|name| format!("{name:?}"))),
        unexpected: listed(&mut books.unexpected.iter().cloned()),
        dead_letters: listed(
            &mut outcome
                .dead_letters
                .iter()
                .map(|(what, often)| format!("{what}: {often}")),
        ),
        processes: processes(&outcome.usage.0, &outcome.usage.1, events),
        wire_bytes_per_event: real(count(wire)) / real(count(outcome.events.planned).max(1)),
    }
}

/// The whole way's times, joined or not, nanoseconds.
#[must_use]
pub fn whole(outcome: &Outcome) -> Vec<u64> {
    let took = |one: &Delivered| one.at_ns.saturating_sub(one.due.at_ns);
    outcome.escalations.delivered.iter().map(took).collect()
}

/// Times of the way into the log of escalations, nanoseconds: of those that were not joined and
/// that the log was asked for.
#[must_use]
pub fn into_log(outcome: &Outcome) -> Vec<u64> {
    let delivered = outcome.escalations.delivered.iter();
    let took = |one: &Delivered| {
        let stored_ns = outcome.stored_ns.get(&one.name)?;
        Some(stored_ns.saturating_sub(one.due.at_ns))
    };
    delivered
        .filter(|one| !one.due.joined)
        .filter_map(took)
        .collect()
}

/// Writes the stages' histograms as an HdrHistogram interval log.
///
/// # Errors
/// The file cannot be written.
pub fn write_hlog(outcome: &Outcome, path: &Path) -> Result<(), Error> {
    let failed = |reason: String| Error::Malformed {
        path: path.to_path_buf(),
        reason,
    };
    let mut bytes = Vec::new();
    let mut serializer = V2Serializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("balefire-loadtest: nanoseconds; one interval a stage")
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| failed(error.to_string()))?;
    let length = std::time::Duration::from_secs(u64::from(outcome.plan.shape.seconds));
    for ((stage, severity), spans) in spans(outcome) {
        let name = format!("{stage}/{severity}").replace([' ', ','], "_");
        let (Some(histogram), Some(tag)) = (histogram(took(&spans)), Tag::new(&name)) else {
            continue;
        };
        log.write_histogram(&histogram, std::time::Duration::ZERO, length, Some(tag))
            .map_err(|error| failed(format!("{error:?}")))?;
    }
    std::fs::write(path, bytes).map_err(|source| Error::File {
        path: path.to_path_buf(),
        source,
    })
}
