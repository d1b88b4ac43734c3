//! What ingest remembers for a while: which records are durable already, and which hints.
//!
//! Hints only: forgetting costs a repetition. A record is remembered only once it is durable.

use std::sync::{Mutex, MutexGuard, PoisonError};

use balefire_event::digest::FieldHasher;
use balefire_event::stamp::JOIN_HORIZON;
use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{CorrelationKey, DedupId, Identity, Timestamp, Timing};
use balefire_ingest_core::{Recent, Source};

/// Records remembered, twice as many at most.
const SEEN_MAX: usize = 65_536;
/// How long they are, nanoseconds.
const SEEN_FOR: i64 = 2 * MINUTE;
/// Hints remembered, twice as many at most.
const HINTS_MAX: usize = 65_536;
/// A hint is repeated at least every J/2: early enough to be stored by then.
const HINT_FOR: i64 = JOIN_HORIZON / 2 - STORED_WITHIN;
/// How long a hint may take to be stored, nanoseconds.
const STORED_WITHIN: i64 = 30 * SECOND;

/// A durable record. A copy with the same stamps adds nothing to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its dedup id.
    pub dedup_id: DedupId,
    /// Its timing.
    pub timing: Timing,
    /// Its control revision: under a newer one a copy may be a breach point where it was none.
    pub control_revision: u64,
    /// Sent as history.
    pub backfill: bool,
    /// L in force.
    pub lateness: i64,
}

impl Seen {
    /// Whether a copy with these stamps would say nothing new.
    pub fn covers(&self, copy: &Self) -> bool {
        self.timing != Timing::Future
            && *self
                == Self {
                    timing: self.timing,
                    ..*copy
                }
    }
}

/// What is remembered of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    New,
    /// This very record, with this timing.
    Copy(Timing),
    /// The id came with another decision.
    Conflict,
}

/// The memory.
#[derive(Debug)]
pub struct Memory {
    seen: Mutex<Recent<[u8; 16], Seen>>,
    /// When each was stored.
    hints: Mutex<Recent<[u8; 16], Timestamp>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            seen: Mutex::new(Recent::new(SEEN_MAX, SEEN_FOR)),
            hints: Mutex::new(Recent::new(HINTS_MAX, HINT_FOR)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Key of an event's id.
pub fn id_key(tenant: &str, source: &str, event_id: &str) -> [u8; 16] {
    FieldHasher::new("id")
        .field(tenant.as_bytes())
        .field(source.as_bytes())
        .field(event_id.as_bytes())
        .id()
}

/// Key of a hint: everything it says but when. What another source says of the same user, or
/// the same with another model or address, is another hint: an event joined by it can differ.
pub fn hint_key(
    tenant: &str,
    key: &CorrelationKey<'_>,
    user: &Identity<'_>,
    facts: [&str; 3],
    source: &Source,
) -> [u8; 16] {
    let mut hasher = FieldHasher::new("hint");
    let [model, endpoint, src_ip] = facts;
    for text in [
        tenant,
        key.kind.as_str(),
        &key.value,
        &source.name,
        model,
        endpoint,
        src_ip,
    ] {
        hasher.field(text.as_bytes());
    }
    hasher
        .field(&user.subject_ref.0)
        .field(user.assurance.as_str().as_bytes())
        .number(source.join_horizon)
        .number(i64::from(source.authority))
        .id()
}

impl Memory {
    /// What is known of a record.
    pub fn known(&self, id: &[u8; 16], record: &Seen, now: Timestamp) -> Known {
        match lock(&self.seen).get(id, now) {
            Some(seen) if seen.dedup_id != record.dedup_id => Known::Conflict,
            Some(seen) if seen.covers(record) => Known::Copy(seen.timing),
            Some(_) | None => Known::New,
        }
    }

    /// Whether a hint that reaches `horizon` nanoseconds was stored less than half of it ago.
    pub fn hinted(&self, key: &[u8; 16], horizon: i64, now: Timestamp) -> bool {
        let soon = (horizon / 4).min(STORED_WITHIN);
        let hints = lock(&self.hints);
        hints
            .get(key, now)
            .is_some_and(|at| now.since(*at) < horizon / 2 - soon)
    }

    /// Records and hints became durable.
    pub fn stored(
        &self,
        records: impl Iterator<Item = ([u8; 16], Seen)>,
        hints: impl Iterator<Item = [u8; 16]>,
        now: Timestamp,
    ) {
        let mut seen = lock(&self.seen);
        records.for_each(|(id, record)| seen.insert(id, record, now));
        drop(seen);
        let mut known = lock(&self.hints);
        hints.for_each(|key| known.insert(key, now, now));
    }
}
