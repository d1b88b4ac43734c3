//! What ingest remembers for a while: which records are durable already, and which hints.
//!
//! Hints only: forgetting costs a repetition. A record is remembered only once it is durable.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use balefire_event::stamp::JOIN_HORIZON;
use balefire_event::time::{MINUTE, SECOND};
use balefire_event::{CorrelationKey, DedupId, Identity, Timestamp, Timing};
use balefire_ingest_core::{Recent, Source};

/// Records remembered, twice as many at most: as many as 2^17 places of a table hold.
const SEEN_MAX: usize = (1 << 17) / 8 * 7;
/// How long they are, nanoseconds.
const SEEN_FOR: i64 = 2 * MINUTE;
/// Hints remembered, twice as many at most, 25 bytes each: as many as 2^19 places of a table hold. Who
/// comes back when as many others came is hinted at again with every record.
const HINTS_MAX: usize = (1 << 19) / 8 * 7;
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
    seen: Mutex<Recent<Mark, Seen>>,
    hints: Mutex<Recent<Mark, ()>>,
    /// Of this process alone: nobody can choose what meets.
    keys: [RandomState; 2],
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            seen: Mutex::new(Recent::new(SEEN_MAX, SEEN_FOR)),
            hints: Mutex::new(Recent::new(HINTS_MAX, HINT_FOR)),
            keys: std::array::from_fn(|_| RandomState::new()),
        }
    }
}

/// What something is remembered by. It never leaves the process.
pub type Mark = [u8; 16];

/// What is remembered, field by field, so that no two lists of fields are the same bytes.
#[derive(Debug, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(&mut self, number: i64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// An event's id.
    pub fn id(&mut self, tenant: &str, source: &str, event_id: &str) -> &Self {
        self.0.clear();
        for text in [tenant, source, event_id] {
            self.field(text.as_bytes());
        }
        self
    }

    /// A hint's: everything it says but when, and but the key. What another source says of the same
    /// user, or the same with another model or address, is another hint: an event joined by it can
    /// differ.
    pub fn hint(
        &mut self,
        tenant: &str,
        user: &Identity<'_>,
        facts: [&str; 3],
        source: &Source,
    ) -> HintFields<'_> {
        self.0.clear();
        let [model, endpoint, src_ip] = facts;
        for text in [tenant, &source.name, model, endpoint, src_ip] {
            self.field(text.as_bytes());
        }
        self.field(&user.subject_ref.0)
            .field(user.assurance.as_str().as_bytes())
            .number(source.join_horizon)
            .number(i64::from(source.authority));
        HintFields {
            len: self.0.len(),
            fields: self,
        }
    }
}

/// Those of a hint, for one key after the other.
pub struct HintFields<'f> {
    fields: &'f mut Fields,
    len: usize,
}

impl HintFields<'_> {
    /// With a key.
    pub fn of(&mut self, key: &CorrelationKey<'_>) -> &Fields {
        self.fields.0.truncate(self.len);
        let kind = key.kind.as_str().as_bytes();
        self.fields.field(kind).field(key.value.as_bytes())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// What fields are remembered by.
    pub fn mark(&self, fields: &Fields) -> Mark {
        let [one, other] = self.keys.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            hasher.write(&fields.0);
            u128::from(hasher.finish())
        });
        (one << 64 | other).to_le_bytes()
    }

    /// What is known of a record.
    pub fn known(&self, id: &Mark, record: &Seen, now: Timestamp) -> Known {
        match lock(&self.seen).get(id, now) {
            Some(seen) if seen.dedup_id != record.dedup_id => Known::Conflict,
            Some(seen) if seen.covers(record) => Known::Copy(seen.timing),
            Some(_) | None => Known::New,
        }
    }

    /// Whether a hint that reaches `horizon` nanoseconds was stored less than half of it ago.
    pub fn hinted(&self, key: &Mark, horizon: i64, now: Timestamp) -> bool {
        let soon = (horizon / 4).min(STORED_WITHIN);
        let at = lock(&self.hints).at(key, now);
        at.is_some_and(|at| now.since(at) < horizon / 2 - soon)
    }

    /// Records and hints became durable.
    pub fn stored(
        &self,
        records: impl Iterator<Item = (Mark, Seen)>,
        hints: impl Iterator<Item = Mark>,
        now: Timestamp,
    ) {
        let mut seen = lock(&self.seen);
        records.for_each(|(id, record)| seen.insert(id, record, now));
        drop(seen);
        let mut known = lock(&self.hints);
        hints.for_each(|key| known.insert(key, (), now));
    }
}

#[cfg(test)]
mod tests {
    use balefire_event::stamp::ClockPolicy;
    use balefire_event::{Assurance, IdentityKind, KeyKind, SubjectRef};

    use super::*;

    fn user(number: u8) -> Identity<'static> {
        Identity {
            subject_ref: SubjectRef([number; 16]),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: None,
        }
    }

    fn key(kind: KeyKind, value: &str) -> CorrelationKey<'_> {
        CorrelationKey {
            kind,
            value: value.into(),
        }
    }

    #[test]
    fn what_differs_in_anything_is_remembered_apart() {
        let (memory, mut fields) = (Memory::default(), Fields::default());
        let source = |name: &str, authority, join_horizon| Source {
            authority,
            join_horizon,
            ..Source::undeclared(name, ClockPolicy::default())
        };
        let (one, named, heavier, longer) = (
            source("a", 0, 9),
            source("b", 0, 9),
            source("a", 1, 9),
            source("a", 0, 8),
        );
        let mut marks = Vec::new();
        let mut mark = |tenant: &str, number, facts, source: &Source| {
            let user = user(number);
            let mut fields = fields.hint(tenant, &user, facts, source);
            for key in [
                key(KeyKind::Session, "s"),
                key(KeyKind::Session, "t"),
                key(KeyKind::Request, "s"),
            ] {
                marks.push(memory.mark(fields.of(&key)));
            }
        };
        mark("acme", 1, ["m", "e", "i"], &one);
        mark("acme", 2, ["m", "e", "i"], &one);
        mark("umbrella", 1, ["m", "e", "i"], &one);
        mark("acme", 1, ["me", "", "i"], &one);
        mark("acme", 1, ["m", "e", ""], &one);
        mark("acme", 1, ["m", "e", "i"], &named);
        mark("acme", 1, ["m", "e", "i"], &heavier);
        mark("acme", 1, ["m", "e", "i"], &longer);
        let distinct: std::collections::BTreeSet<Mark> = marks.iter().copied().collect();
        assert_eq!(distinct.len(), marks.len());
        let id = |fields: &mut Fields, texts: [&str; 3]| {
            let [tenant, source, event_id] = texts;
            memory.mark(fields.id(tenant, source, event_id))
        };
        let mut fields = Fields::default();
        let same = id(&mut fields, ["acme", "a", "1"]);
        assert_eq!(same, id(&mut fields, ["acme", "a", "1"]));
        assert_ne!(same, id(&mut fields, ["acme", "a1", ""]));
        assert_ne!(same, Memory::default().mark(fields.id("acme", "a", "1")));
    }

    #[test]
    fn a_hundred_thousand_users_with_four_sessions_each_are_hinted_at_once_in_half_of_j() {
        let memory = Memory::default();
        let mark = |number: u128| number.to_le_bytes();
        let now = |number: u128| Timestamp(i64::try_from(number).unwrap());
        for number in 0..400_000 {
            let hints = std::iter::once(mark(number));
            memory.stored(std::iter::empty(), hints, now(number));
        }
        let known = |number| memory.hinted(&mark(number), JOIN_HORIZON, now(400_000));
        assert!((0..400_000).all(known));
        let late = Timestamp(JOIN_HORIZON / 2);
        assert!(!memory.hinted(&mark(1), JOIN_HORIZON, late));
    }
}
