//! The reference workload as parsed events: zipf over users, two hours, 1 % out of order by up to
//! 30 s, categories so that the four baseline rules all have work. Seeded.

use balefire_event::identity::TenantKey;
use balefire_event::time::{HOUR, SECOND};
use balefire_event::{
    Assurance, Category, DedupId, Event, Identity, IdentityKind, Sealed, Severity, SubjectRef,
    Timestamp,
};

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

/// Events in order of arrival.
pub struct Workload {
    rng: Rng,
    users: Vec<(String, SubjectRef)>,
    /// Cumulative weights 1/(rank + 1).
    weights: Vec<f64>,
    events: usize,
    number: usize,
}

impl Workload {
    pub fn new(events: usize, users: usize) -> Self {
        let key = TenantKey::default_of("default");
        let mut sum = 0.0;
        Self {
            rng: Rng(7),
            users: (0..users)
                .map(|user| {
                    let name = format!("user{user}@example.com");
                    let subject = SubjectRef::of(&key, IdentityKind::User, &name);
                    (name, subject)
                })
                .collect(),
            weights: (0..users)
                .map(|rank| {
                    sum += 1.0 / (rank as f64 + 1.0);
                    sum
                })
                .collect(),
            events,
            number: 0,
        }
    }

    fn event(&mut self, user: usize, t: Timestamp, received_at: Timestamp) -> Event<'static> {
        let rng = &mut self.rng;
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
        let (name, subject_ref) = &self.users[user];
        Event {
            dedup_id: DedupId(dedup),
            event_id: format!("{:036x}", self.number).into(),
            source: "native".into(),
            occurred_at: t,
            received_at,
            t,
            category,
            severity,
            model: "claude-sonnet-4-5".into(),
            endpoint: "/api/v1/chat".into(),
            tool_allowed: Some(self.number.is_multiple_of(2)),
            user: Some(Identity {
                subject_ref: *subject_ref,
                kind: IdentityKind::User,
                assurance: Assurance::Claimed,
                via: "user_id".into(),
                label: Some(Sealed::plain(name.clone().into())),
            }),
            ..Event::default()
        }
    }
}

impl Iterator for Workload {
    type Item = Event<'static>;

    fn next(&mut self) -> Option<Event<'static>> {
        if self.number == self.events {
            return None;
        }
        let draw = self.rng.unit() * self.weights.last().copied().unwrap_or(1.0);
        let user = self.weights.partition_point(|weight| *weight < draw);
        let late = if self.rng.below(100) == 0 {
            self.rng.below(30) as i64 * SECOND
        } else {
            0
        };
        let at = 1_770_820_200 * SECOND + self.number as i64 * (2 * HOUR / self.events as i64);
        // A few milliseconds on the way.
        let t = Timestamp(at - late - 3_000_000);
        let event = self.event(user.min(self.users.len() - 1), t, Timestamp(at));
        self.number += 1;
        Some(event)
    }
}
