//! [`Entries`]: events without a user, kept as long as a hint may still name one.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{Assurance, DedupId, Event, Lane, Naming, SubjectRef, Timestamp, Timing};

use crate::changed::Changed;
use crate::fact::{FILLABLE, FactId};
use crate::key::{KeyHash, TypedKey, typed_keys};
use crate::limits::{COPIES_MAX, EVENT_BYTES_MAX, EVENTS_MAX};
use crate::packed::Packed;
use crate::stretch::Range;

/// The stamps of one record of an event; a retry of the producer brings others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Copy {
    pub(crate) received_at: Timestamp,
    pub(crate) t: Timestamp,
    pub(crate) timing: Timing,
    pub(crate) control_revision: u64,
    /// A record with the same t, timing and revision stands for it: it is not passed on itself.
    pub(crate) stood_for: bool,
    /// Passed on, as partial or joined.
    pub(crate) passed: bool,
}

impl Copy {
    fn of(event: &Event<'_>) -> Self {
        Self {
            received_at: event.received_at,
            t: event.t,
            timing: event.timing,
            control_revision: event.control_revision,
            stood_for: false,
            passed: false,
        }
    }

    fn counts_as(&self, other: &Self) -> bool {
        (self.t, self.timing, self.control_revision)
            == (other.t, other.timing, other.control_revision)
    }
}

/// What a join filled, as digests in the order of [`FILLABLE`]; 0: nothing.
pub(crate) type Fill = [u64; 3];

/// One record that was passed on with a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Told {
    pub(crate) copy: usize,
    pub(crate) user: SubjectRef,
    pub(crate) fill: Fill,
    pub(crate) assurance: Assurance,
}

/// A fact that reached some record of an event, by its nearest hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Met {
    pub(crate) fact: FactId,
    /// Place of the best key among the event's.
    pub(crate) rank: usize,
    /// Nanoseconds to the nearest hint.
    pub(crate) distance: i64,
}

/// A kept event.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    pub(crate) lane: Lane,
    pub(crate) keys: Vec<TypedKey>,
    pub(crate) copies: Vec<Copy>,
    /// Remembered when their claims are dropped: a later copy belongs to the same users.
    pub(crate) met: Vec<Met>,
    pub(crate) told: Vec<Told>,
    /// End of the hold; `None` once passed on.
    pub(crate) held_until: Option<Timestamp>,
    /// Which of [`FILLABLE`] it lacks.
    pub(crate) lacks: [bool; 3],
    pub(crate) packed: Packed,
    /// What it is counted as since the start; a restored one is counted no more.
    #[serde(skip)]
    pub(crate) counted: Option<Naming>,
}

impl Entry {
    fn of(tenant: &str, lane: Lane, event: &Event<'_>) -> Self {
        let said = [&event.model, &event.endpoint, &event.src_ip];
        Self {
            lane,
            keys: typed_keys(tenant, &event.keys),
            copies: vec![Copy::of(event)],
            met: Vec::new(),
            told: Vec::new(),
            held_until: None,
            lacks: said.map(|text| text.is_empty()),
            packed: Packed::of(tenant, event),
            counted: None,
        }
    }

    fn latest(&self) -> Timestamp {
        let times = self.copies.iter().map(|copy| copy.received_at);
        times.max().unwrap_or(Timestamp::MIN)
    }

    fn oldest(&self) -> Timestamp {
        let times = self.copies.iter().map(|copy| copy.received_at);
        times.min().unwrap_or(Timestamp::MIN)
    }

    /// Its keys, each with when a record of it was received.
    fn keyed(&self) -> impl Iterator<Item = (KeyHash, Timestamp)> {
        let copies = move |key: &TypedKey| {
            let hash = key.hash;
            self.copies.iter().map(move |copy| (hash, copy.received_at))
        };
        self.keys.iter().flat_map(copies)
    }

    fn len(&self) -> usize {
        self.packed.len() + size_of::<Self>() + self.keys.len() * size_of::<TypedKey>()
    }
}

const _: () = assert!(FILLABLE.len() == 3);

/// What became of a record of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Its first record.
    New,
    /// A further one, with stamps of its own.
    Copy,
    /// One that adds nothing.
    Known,
}

/// Every kept event, by id, key, age and end of hold.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entries {
    by_id: BTreeMap<DedupId, Entry>,
    #[serde(skip)]
    by_key: BTreeSet<(KeyHash, Timestamp, DedupId)>,
    /// By the newest record.
    #[serde(skip)]
    by_age: BTreeSet<(Timestamp, DedupId)>,
    /// Those of several records, by the oldest: it is kept, and may be amended, with the newest.
    #[serde(skip)]
    copied: BTreeSet<(Timestamp, DedupId)>,
    /// (end of hold, received_at, event) in each lane.
    #[serde(skip)]
    holds: [BTreeSet<(Timestamp, Timestamp, DedupId)>; 3],
    #[serde(skip)]
    bytes: usize,
    /// A hint that reaches back to it may have missed an event that was dropped.
    horizon: Timestamp,
    #[serde(skip)]
    pub(crate) changed: Changed<DedupId>,
}

impl Entries {
    pub(crate) fn new() -> Self {
        Self::of(BTreeMap::new(), Timestamp::MIN)
    }

    /// Of what a checkpoint holds; [`Entries::rebuild`] makes the rest.
    pub(crate) fn of(by_id: BTreeMap<DedupId, Entry>, horizon: Timestamp) -> Self {
        Self {
            by_id,
            by_key: BTreeSet::new(),
            by_age: BTreeSet::new(),
            copied: BTreeSet::new(),
            holds: std::array::from_fn(|_| BTreeSet::new()),
            bytes: 0,
            horizon,
            changed: Changed::default(),
        }
    }

    /// Makes the indices again. False: an event cannot be read.
    pub(crate) fn rebuild(&mut self) -> bool {
        let by_id = std::mem::take(&mut self.by_id);
        *self = Self::of(by_id, self.horizon);
        for (id, entry) in &self.by_id {
            let Some(first) = entry.copies.first() else {
                return false;
            };
            if entry.packed.open().is_none() {
                return false;
            }
            self.bytes += entry.len();
            self.by_age.insert((entry.latest(), *id));
            if entry.copies.len() > 1 {
                self.copied.insert((entry.oldest(), *id));
            }
            for (key, copy) in entry.keyed() {
                self.by_key.insert((key, copy, *id));
            }
            if let (Some(end), Some(holds)) =
                (entry.held_until, self.holds.get_mut(entry.lane.index()))
            {
                holds.insert((end, first.received_at, *id));
            }
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn held(&self) -> usize {
        self.holds.iter().map(BTreeSet::len).sum()
    }

    /// Newest event dropped for good.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// An event, to be changed.
    pub(crate) fn get_mut(&mut self, id: &DedupId) -> Option<&mut Entry> {
        let entry = self.by_id.get_mut(id)?;
        self.changed.note(*id);
        Some(entry)
    }

    pub(crate) const fn by_id(&self) -> &BTreeMap<DedupId, Entry> {
        &self.by_id
    }

    /// The facts that reached any.
    pub(crate) fn met(&self) -> impl Iterator<Item = FactId> {
        let met = self.by_id.values().flat_map(|entry| &entry.met);
        met.map(|met| met.fact)
    }

    /// From here on changes are noted; everything has changed.
    pub(crate) fn change_all(&mut self) {
        self.changed.begin(self.by_id.keys().copied());
    }

    /// Takes a record of an event in.
    pub(crate) fn learn(&mut self, tenant: &str, lane: Lane, event: &Event<'_>) -> Kept {
        let id = event.dedup_id;
        if self.by_id.contains_key(&id) {
            return self.add(id, Copy::of(event));
        }
        self.changed.note(id);
        let entry = Entry::of(tenant, lane, event);
        self.bytes += entry.len();
        self.by_age.insert((event.received_at, id));
        for key in &entry.keys {
            self.by_key.insert((key.hash, event.received_at, id));
        }
        self.by_id.insert(id, entry);
        Kept::New
    }

    /// Takes a further record of a kept event in.
    fn add(&mut self, id: DedupId, mut copy: Copy) -> Kept {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return Kept::Known;
        };
        let same = |other: &Copy| other.counts_as(&copy) && other.received_at == copy.received_at;
        if entry.copies.iter().any(same) || entry.copies.len() >= COPIES_MAX {
            return Kept::Known;
        }
        self.changed.note(id);
        copy.stood_for = entry.copies.iter().any(|other| other.counts_as(&copy));
        let (oldest, latest) = (entry.oldest(), entry.latest());
        entry.copies.push(copy);
        self.by_age.remove(&(latest, id));
        self.by_age.insert((entry.latest(), id));
        self.copied.remove(&(oldest, id));
        self.copied.insert((entry.oldest(), id));
        for key in &entry.keys {
            self.by_key.insert((key.hash, copy.received_at, id));
        }
        Kept::Copy
    }

    /// Older records of a kept event, which had left memory when a further one came: whom that one is
    /// joined to later, they belong to as well. They were passed on in their time.
    pub(crate) fn remember(&mut self, id: DedupId, copies: &[Copy]) {
        for copy in copies {
            let copy = Copy {
                passed: true,
                ..*copy
            };
            self.add(id, copy);
        }
    }

    /// Holds an event back until `end`.
    pub(crate) fn hold(&mut self, id: DedupId, end: Timestamp) {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return;
        };
        self.changed.note(id);
        entry.held_until = Some(end);
        let received_at = entry.copies.first().map_or(end, |copy| copy.received_at);
        if let Some(holds) = self.holds.get_mut(entry.lane.index()) {
            holds.insert((end, received_at, id));
        }
    }

    /// Ends a hold before its time.
    pub(crate) fn release(&mut self, id: DedupId) {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return;
        };
        let Some(end) = entry.held_until.take() else {
            return;
        };
        self.changed.note(id);
        let received_at = entry.copies.first().map_or(end, |copy| copy.received_at);
        if let Some(holds) = self.holds.get_mut(entry.lane.index()) {
            holds.remove(&(end, received_at, id));
        }
    }

    /// The next event of a lane whose hold ends at `clock` or before; it is released.
    pub(crate) fn release_due(&mut self, lane: Lane, clock: Timestamp) -> Option<DedupId> {
        let holds = self.holds.get_mut(lane.index())?;
        let (end, _, id) = *holds.first()?;
        if end > clock {
            return None;
        }
        self.release(id);
        Some(id)
    }

    /// Earliest end of a hold.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        let ends = self.holds.iter().filter_map(BTreeSet::first);
        ends.map(|(end, ..)| *end).min()
    }

    /// Received_at of the event whose hold ends first. Where holds are equally long it is the first
    /// that came; where sources declare longer ones they are not over J, and the promise is J behind
    /// anyway.
    pub(crate) fn earliest_held(&self) -> Option<Timestamp> {
        let firsts = self.holds.iter().filter_map(BTreeSet::first);
        firsts.map(|(_, received_at, _)| *received_at).min()
    }

    /// Oldest record of an event that has several.
    pub(crate) fn oldest_copied(&self) -> Option<Timestamp> {
        self.copied.first().map(|(oldest, _)| *oldest)
    }

    /// Events with a key that were received in a range.
    pub(crate) fn within(&self, key: KeyHash, (from, to): Range) -> impl Iterator<Item = DedupId> {
        let (first, last) = (DedupId([0; 16]), DedupId([0xff; 16]));
        self.by_key
            .range((key, from, first)..=(key, to, last))
            .map(|(_, _, id)| *id)
    }

    /// The next event that is older than `bound`; it is dropped.
    pub(crate) fn drop_older(&mut self, bound: Timestamp) -> Option<Entry> {
        let (latest, _) = *self.by_age.first()?;
        if latest >= bound {
            return None;
        }
        self.horizon = self.horizon.max(latest);
        self.drop_first()
    }

    /// The next event over the limits, the oldest first; it is dropped.
    pub(crate) fn drop_excess(&mut self) -> Option<Entry> {
        if self.by_id.len() <= EVENTS_MAX && self.bytes <= EVENT_BYTES_MAX {
            return None;
        }
        self.drop_first()
    }

    fn drop_first(&mut self) -> Option<Entry> {
        let (_, id) = self.by_age.pop_first()?;
        let held = self.by_id.get(&id).and_then(|entry| entry.held_until);
        self.release(id);
        let mut entry = self.by_id.remove(&id)?;
        entry.held_until = held;
        self.bytes = self.bytes.saturating_sub(entry.len());
        self.copied.remove(&(entry.oldest(), id));
        self.changed.note(id);
        for (key, copy) in entry.keyed() {
            self.by_key.remove(&(key, copy, id));
        }
        Some(entry)
    }
}
