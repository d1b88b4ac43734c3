//! The engine alone on the reference workload: 1,000,000 parsed events, 100,000 users (zipf), the
//! four rules of the baseline pack, 1 % out of order by up to 30 s.
//!
//! `cargo bench -p balefire-rule-engine-core`: events/s of one core, memory of the state.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench counts to a million and prints what it measured"
)]

use std::sync::Arc;
use std::time::Instant;

use balefire_event::identity::TenantKey;
use balefire_event::time::{HOUR, SECOND};
use balefire_event::{
    Assurance, Category, DedupId, Event, Identity, IdentityKind, Lane, Sealed, Severity,
    SubjectRef, Timestamp,
};
use balefire_rule_engine_core::{BatchHeader, Engine, EngineConfig};

const EVENTS: usize = 1_000_000;
const USERS: usize = 100_000;
const BATCH: usize = 512;

/// SplitMix64: small, seeded, good enough for a workload.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Cumulative weights 1/(rank + 1).
fn zipf() -> Vec<f64> {
    let mut sum = 0.0;
    let weights = (0..USERS).map(|rank| {
        sum += 1.0 / (rank as f64 + 1.0);
        sum
    });
    weights.collect()
}

fn workload() -> Vec<Event<'static>> {
    let (mut rng, weights) = (Rng(7), zipf());
    let total = weights.last().copied().unwrap_or(1.0);
    let key = TenantKey::default_of("default");
    let users: Vec<(String, SubjectRef)> = (0..USERS)
        .map(|user| {
            let name = format!("user{user}@example.com");
            let subject = SubjectRef::of(&key, IdentityKind::User, &name);
            (name, subject)
        })
        .collect();
    let start = 1_770_820_200 * SECOND;
    let mut events: Vec<Event<'static>> = (0..EVENTS)
        .map(|number| {
            let draw = rng.unit() * total;
            let user = weights
                .partition_point(|weight| *weight < draw)
                .min(USERS - 1);
            let late = if rng.below(100) == 0 {
                rng.below(30) as i64 * SECOND
            } else {
                0
            };
            let at = start + number as i64 * (2 * HOUR / EVENTS as i64);
            event(
                &mut rng,
                number,
                &users[user],
                // A few milliseconds on the way.
                Timestamp(at - late - 3_000_000),
                Timestamp(at),
            )
        })
        .collect();
    events.sort_by_key(|event| event.received_at);
    events
}

fn event(
    rng: &mut Rng,
    number: usize,
    user: &(String, SubjectRef),
    t: Timestamp,
    received_at: Timestamp,
) -> Event<'static> {
    let (category, severity) = match rng.below(1000) {
        0..400 => (Category::GuardrailBlock, Severity::Low),
        400..600 => (
            Category::JudgeFlag,
            [Severity::Low, Severity::Medium, Severity::High][rng.below(3)],
        ),
        600..603 => (Category::PromptAttack, Severity::High),
        603..606 => (Category::AgentBoundaryViolation, Severity::High),
        606..650 => (Category::Anomaly, Severity::Medium),
        _ => (Category::Telemetry, Severity::Low),
    };
    let mut dedup = [0; 16];
    dedup[..8].copy_from_slice(&rng.next().to_le_bytes());
    dedup[8..].copy_from_slice(&rng.next().to_le_bytes());
    Event {
        dedup_id: DedupId(dedup),
        event_id: format!("e{number}").into(),
        source: "native".into(),
        occurred_at: t,
        received_at,
        t,
        category,
        severity,
        model: "claude-sonnet-4-5".into(),
        endpoint: "/api/v1/chat".into(),
        tool_allowed: Some(number.is_multiple_of(2)),
        user: Some(Identity {
            subject_ref: user.1,
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain(user.0.clone().into())),
        }),
        ..Event::default()
    }
}

fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn main() {
    let events = workload();
    let rules = balefire_rule::baseline().expect("the baseline compiles");
    let sets = [(0, Arc::new(rules))];
    for round in 1..=3 {
        let mut engine =
            Engine::new(0, &sets, EngineConfig::new(1)).expect("baseline periods are legal");
        let (mut effects, mut escalations) = (Vec::new(), 0);
        let (before, begun) = (rss_mib(), Instant::now());
        for batch in events.chunks(BATCH) {
            let last = batch.last().expect("a chunk is never empty").received_at;
            for &lane in Lane::ALL {
                let header = BatchHeader {
                    tenant: "default",
                    lateness_max: HOUR,
                    received_at_max: last,
                };
                engine.batch_start(lane, &header);
                if lane == Lane::Normal {
                    for (index, event) in (0u32..).zip(batch) {
                        engine.event(index, event, &mut effects);
                    }
                }
                engine.batch_end(&mut effects);
            }
            escalations += effects.len();
            effects.clear();
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "round {round}: {:.0} events/s, {escalations} effects, {} keys, {} entries, state {:.1} MiB (growth of RSS)",
            EVENTS as f64 / seconds,
            engine.key_count(),
            engine.entry_count(),
            rss_mib() - before,
        );
    }
}
