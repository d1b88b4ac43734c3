//! The weekly digest: what was of low severity in a week, counted, in one message a tenant and
//! receiver. A function of the log alone: of what was stored until the week had settled, each event
//! once, by its effective time. Nothing is kept through the week: when it has settled it is read once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::time::HOUR;
use balefire_event::{
    DedupId, Escalation, EscalationId, Event, IdentityKind, KeyPart, RuleId, Severity, Timestamp,
    Timing,
};

use crate::record::Intent;
use crate::route::Receiver;
use crate::view::Classification;

/// Name of the rule that digests are said to be of, and of their route.
pub const DIGEST_RULE: &str = "balefire_weekly_digest";
/// Applications and users that a digest names.
pub const NAMED_MAX: usize = 10;
/// Different applications, and users, of a tenant that are counted apart; beyond it a new one is
/// counted among the others.
pub const COUNTED_MAX: usize = 100_000;
/// Events of a week that are told from their copies; beyond it a copy counts again.
pub const IDS_MAX: usize = 4_000_000;

/// Of a name so much is shown, characters.
pub const NAME_CHARS_MAX: usize = 128;

const DAY: i64 = 24 * HOUR;
/// The first Monday since 1970.
const FIRST: i64 = 4 * DAY;
/// An event may lie in the log by so much before its time.
const EARLY: i64 = HOUR;

/// How time is cut. Weeks begin on Monday, 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// Of a week, nanoseconds.
    pub length: i64,
    /// So long after its end a week has settled, nanoseconds: what comes later is in no digest.
    pub settle: i64,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            length: 7 * DAY,
            settle: 2 * HOUR,
        }
    }
}

/// A week, and what of the log is its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end, which is not in it.
    pub until: Timestamp,
    /// Nothing that was stored before is looked at.
    pub stored_from: Timestamp,
    /// Nor what was stored then or later.
    pub stored_until: Timestamp,
}

/// What is to be done about a receiver's digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It is told of the weeks behind this one: it is new.
    Begin(u64),
    /// This week is to be told.
    Tell(u64),
}

impl Calendar {
    /// A week by its number.
    #[must_use]
    pub fn span(&self, week: u64) -> Span {
        let week = i64::try_from(week).unwrap_or(i64::MAX);
        let from = Timestamp(FIRST.saturating_add(week.saturating_mul(self.length)));
        let until = from.plus(self.length);
        Span {
            from,
            until,
            stored_from: from.minus(EARLY),
            stored_until: until.plus(self.settle),
        }
    }

    /// The last week that has settled.
    fn settled(&self, now: Timestamp) -> Option<u64> {
        let weeks = now.0.saturating_sub(FIRST).saturating_sub(self.settle);
        u64::try_from(weeks.div_euclid(self.length.max(1)) - 1).ok()
    }

    /// What is due for a receiver that has been told up to the week `had`.
    #[must_use]
    pub fn due(&self, had: Option<u64>, now: Timestamp) -> Option<Due> {
        let settled = self.settled(now)?;
        match had {
            None => Some(Due::Begin(settled)),
            Some(had) if had < settled => Some(Due::Tell(had + 1)),
            Some(_) => None,
        }
    }
}

/// A name, and how many events it has.
pub type Named = (String, u64);

/// What a digest tells: the whole content of its body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digest {
    /// Beginning of the week.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Events of low severity in it.
    pub events: u64,
    /// By category, all of them; most events first.
    pub categories: Vec<Named>,
    /// The applications with most events.
    pub applications: Vec<Named>,
    /// Other applications.
    pub more_applications: u64,
    /// The users with most events.
    pub users: Vec<Named>,
    /// Other users.
    pub more_users: u64,
}

/// Counts by name.
#[derive(Debug, Default)]
struct Counts {
    by_name: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, name: &str) {
        if let Some(count) = self.by_name.get_mut(name) {
            *count += 1;
        } else if self.by_name.len() < COUNTED_MAX {
            self.by_name.insert(name.to_owned(), 1);
        }
    }

    /// Most events first, then by name; and how many are left out.
    fn top(&self, max: usize) -> (Vec<Named>, u64) {
        let mut all: Vec<_> = self.by_name.iter().collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let named = all.iter().take(max);
        let short = |name: &str| name.chars().take(NAME_CHARS_MAX).collect();
        let named: Vec<Named> = named.map(|(name, count)| (short(name), **count)).collect();
        let more = all.len().saturating_sub(named.len());
        (named, u64::try_from(more).unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Default)]
struct Tenant {
    events: u64,
    categories: Counts,
    applications: Counts,
    users: Counts,
}

/// A week that is being read, of all tenants.
#[derive(Debug)]
pub struct Tally {
    span: Span,
    tenants: BTreeMap<Arc<str>, Tenant>,
    ids: BTreeSet<DedupId>,
}

impl Tally {
    /// Of a week of which nothing was read.
    #[must_use]
    pub fn new(span: Span) -> Self {
        Self {
            span,
            tenants: BTreeMap::new(),
            ids: BTreeSet::new(),
        }
    }

    /// Takes in an event, and when the log stored it. A copy adds nothing.
    pub fn take(&mut self, tenant: &str, event: &Event<'_>, stored_at: Timestamp) {
        let span = &self.span;
        let stored = (span.stored_from..span.stored_until).contains(&stored_at);
        if event.severity != Severity::Low
            || !stored
            || !(span.from..span.until).contains(&event.t)
            || self.ids.contains(&event.dedup_id)
        {
            return;
        }
        if self.ids.len() < IDS_MAX {
            self.ids.insert(event.dedup_id);
        }
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.into(), Tenant::default());
        }
        let Some(counts) = self.tenants.get_mut(tenant) else {
            return;
        };
        counts.events += 1;
        counts.categories.add(event.category.as_str());
        let named = |kind| {
            event
                .identity(kind)
                .and_then(|identity| identity.readable())
        };
        let application = named(IdentityKind::ServicePrincipal).unwrap_or(&event.source);
        if !application.is_empty() {
            counts.applications.add(application);
        }
        if let Some(user) = named(IdentityKind::User) {
            counts.users.add(user);
        }
    }

    /// What a receiver is told, tenant by tenant, as far as it may see it. Nothing of a tenant
    /// without events.
    #[must_use]
    pub fn digests(&self, receiver: &Receiver) -> Vec<(Arc<str>, Digest)> {
        let own = self.tenants.iter();
        let own = own.filter(|(tenant, _)| receiver.is_of(tenant));
        own.map(|(tenant, counts)| (Arc::clone(tenant), self.digest(counts, receiver)))
            .collect()
    }

    fn digest(&self, counts: &Tenant, receiver: &Receiver) -> Digest {
        let seen = |class, counts: &Counts| match receiver.max_classification >= class {
            true => counts.top(NAMED_MAX),
            false => (Vec::new(), 0),
        };
        let (applications, more_applications) =
            seen(Classification::Internal, &counts.applications);
        let (users, more_users) = seen(Classification::Confidential, &counts.users);
        Digest {
            from: self.span.from,
            until: self.span.until,
            events: counts.events,
            categories: counts.categories.top(usize::MAX).0,
            applications,
            more_applications,
            users,
            more_users,
        }
    }
}

/// The id of a digest: the same whoever reads the week, however often.
#[must_use]
pub fn digest_id(tenant: &str, receiver: &str, from: Timestamp) -> EscalationId {
    let mut hasher = FieldHasher::new("balefire notify weekly digest v1");
    hasher
        .field(tenant.as_bytes())
        .field(receiver.as_bytes())
        .number(from.0);
    EscalationId(hasher.id())
}

/// The record that a digest is made of, as every encoder takes it.
#[must_use]
pub fn record(tenant: &str, intent: &Intent, digest: &Digest) -> Escalation {
    let receiver = &intent.receiver;
    let (kind, revision) = intent.notice.parts();
    Escalation {
        escalation_id: intent.escalation_id,
        episode_id: intent.episode_id,
        kind,
        tenant: tenant.into(),
        rule_id: RuleId([0; 16]),
        rule_name: DIGEST_RULE.into(),
        title: title(digest),
        key: vec![KeyPart {
            field: "receiver".into(),
            readable: receiver.to_string(),
            canonical: receiver.as_bytes().to_vec(),
        }],
        slot_start: digest.from,
        rearm: 0,
        breach_at: digest.until,
        severity: intent.severity,
        timing: Timing::OnTime,
        assurance: None,
        evidence: Vec::new(),
        event_count: digest.events,
        recommended_actions: Vec::new(),
        audiences: Vec::new(),
        atlas: Vec::new(),
        owasp: Vec::new(),
        trigger: None,
        received_at: intent.decided_at,
        revision,
        backfill: false,
        window: digest.until.since(digest.from),
        threshold: 0,
        at_close: false,
        condition: told(digest),
        shadow: false,
    }
}

/// "2026-02-09".
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn title(digest: &Digest) -> String {
    let (events, from) = (digest.events, day(digest.from));
    format!("Weekly digest: {events} events of low severity in the week of {from}")
}

/// The whole story in words.
fn told(digest: &Digest) -> String {
    let last = day(digest.until.minus(1));
    let mut text = format!(
        "{} event(s) of low severity from {} to {last} (UTC)",
        digest.events,
        day(digest.from)
    );
    for (what, named, more) in [
        ("category", &digest.categories, 0),
        (
            "application",
            &digest.applications,
            digest.more_applications,
        ),
        ("user", &digest.users, digest.more_users),
    ] {
        if named.is_empty() {
            continue;
        }
        let each = named.iter().map(|(name, count)| format!("{name} {count}"));
        let each: Vec<String> = each.collect();
        text.push_str(&format!(". By {what}: {}", each.join(", ")));
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
    }
    text
}

/// Whether a record is a weekly digest.
#[must_use]
pub fn is_digest(record: &Escalation) -> bool {
    record.rule_name == DIGEST_RULE && record.rule_id == RuleId([0; 16])
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
