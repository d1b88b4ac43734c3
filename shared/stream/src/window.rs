//! [`Window`]: the entries of one key, and which of them are breach points (SEMANTICS §3).
//!
//! An entry is a breach point iff more than N entries have t in [t − W, t], itself and equal
//! times included. Only entries whose answer an insertion can change are looked at: those with
//! t in [t_new, t_new + W]. What is trimmed by count changes no answer; what is dropped by time
//! is the caller's decision, who repairs what needs it again.

use balefire_event::{DedupId, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::condition::{Condition, Tally};
use crate::journal::{Beside, Place};
use crate::sorted::{Iter, Sorted};
use crate::spec::WindowSpec;

/// What an entry carries beside time and id.
pub trait Payload {
    /// Takes in what a copy of the same entry said.
    fn absorb(&mut self, copy: Self);
}

impl Payload for () {
    fn absorb(&mut self, _copy: Self) {}
}

/// One event of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<P> {
    /// Effective time.
    pub t: Timestamp,
    /// Which detection.
    pub dedup_id: DedupId,
    /// What the condition is about: a value's digest, an amount, a step; 0 where it only counts.
    /// One detection can be several entries of different values.
    pub value: u64,
    /// One of its records carries a control revision of the generation.
    pub may_breach: bool,
    /// Records it stands for: itself and those trimmed beside it.
    pub records: u32,
    /// What the caller keeps of it.
    pub payload: P,
}

impl<P> Entry<P> {
    /// An entry that stands for itself.
    pub const fn new(t: Timestamp, dedup_id: DedupId, may_breach: bool, payload: P) -> Self {
        Self {
            t,
            dedup_id,
            value: 0,
            may_breach,
            records: 1,
            payload,
        }
    }

    /// The same of a value.
    #[must_use]
    pub fn with_value(self, value: u64) -> Self {
        Self { value, ..self }
    }

    pub(crate) const fn place(&self) -> Place {
        (self.t, self.dedup_id, self.value)
    }
}

/// A slot that an insertion breached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// floor(t / R).
    pub slot: i64,
    /// The earliest breach point of the slot found by this insertion.
    pub at: Timestamp,
}

/// Slots one insertion breached, ascending.
pub type Breaches = SmallVec<[Breach; 2]>;

/// The entries of one key, sorted by (t, dedup_id).
#[derive(Debug, Clone)]
pub struct Window<P> {
    pub(crate) entries: Sorted<Entry<P>>,
    /// No part of what it is.
    pub(crate) beside: Option<Box<Beside>>,
}

impl<P: PartialEq> PartialEq for Window<P> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<P: Eq> Eq for Window<P> {}

impl<P> Default for Window<P> {
    fn default() -> Self {
        Self {
            entries: Sorted::default(),
            beside: None,
        }
    }
}

impl<P: Payload> Window<P> {
    /// From entries in any order, as a snapshot holds them.
    #[must_use]
    pub fn from_entries(mut entries: Vec<Entry<P>>) -> Self {
        entries.sort_by_key(Entry::place);
        Self {
            entries: Sorted::from(entries),
            beside: None,
        }
    }

    /// Puts an entry in and finds the slots this breaches, but for those `emitted` says are
    /// known. A copy adds no entry; it may allow its entry to breach.
    ///
    /// Nothing is trimmed: evidence can be read with [`Window::range`] first. Call
    /// [`Window::trim`] for the entry's time and for each breach afterwards.
    pub fn insert(
        &mut self,
        spec: &WindowSpec,
        entry: Entry<P>,
        emitted: impl Fn(i64) -> bool,
    ) -> Breaches {
        let place = entry.place();
        let t = entry.t;
        let at = match self.entries.last() {
            Some(last) if last.place() >= place => {
                self.entries.partition_point(|other| other.place() < place)
            }
            Some(_) | None => self.entries.len(),
        };
        if let Some(known) = self.entries.get_mut(at)
            && known.place() == place
        {
            let allowed = entry.may_breach && !known.may_breach;
            known.may_breach |= entry.may_breach;
            known.payload.absorb(entry.payload);
            self.touched(place);
            if !allowed {
                return Breaches::new();
            }
            return self.breaches(spec, at, t, &emitted);
        }
        self.running_takes(t, entry.value);
        self.entries.insert(at, entry);
        self.touched(place);
        self.breaches(spec, at, t.plus(spec.window()), &emitted)
    }

    /// Breach points among the entries from the equals of the entry at `at` to those at `until`.
    fn breaches(
        &mut self,
        spec: &WindowSpec,
        at: usize,
        until: Timestamp,
        emitted: &impl Fn(i64) -> bool,
    ) -> Breaches {
        if spec.condition().is_at_close() {
            return Breaches::new();
        }
        let first = self.run_start(at);
        if let Some(tally) = Tally::of(spec.condition()) {
            if let Some(last) = self.entries.last().map(|entry| entry.t)
                && self.entries.get(first).is_some_and(|entry| entry.t == last)
            {
                return self.newest(spec, first, last, emitted);
            }
            return self.tallied(spec, tally, first, until, emitted);
        }
        let mut found = Breaches::new();
        let mut first = first;
        while let Some(t) = self.entries.get(first).map(|entry| entry.t)
            && t <= until
        {
            let (end, may_breach) = self.run(first, t);
            let slot = spec.slot_of(t);
            if may_breach
                && found.last().is_none_or(|breach| breach.slot != slot)
                && self.reaches(spec, end, t)
                && !emitted(slot)
            {
                found.push(Breach { slot, at: t });
            }
            first = end;
        }
        found
    }

    /// Index of the first entry with the same time as the one at `at`.
    fn run_start(&self, at: usize) -> usize {
        let Some(t) = self.entries.get(at).map(|entry| entry.t) else {
            return at;
        };
        let alone = at
            .checked_sub(1)
            .and_then(|before| self.entries.get(before))
            .is_none_or(|before| before.t < t);
        if alone {
            return at;
        }
        self.entries.partition_point(|entry| entry.t < t)
    }

    /// End of the run of entries at `t` that starts at `first`, and whether one may breach.
    pub(crate) fn run(&self, first: usize, t: Timestamp) -> (usize, bool) {
        let alone = self.entries.get(first + 1).is_none_or(|next| next.t > t);
        let end = if alone {
            first + 1
        } else {
            self.entries.partition_point(|entry| entry.t <= t)
        };
        let mut run = self.entries.range(first..end);
        (end, run.any(|entry| entry.may_breach))
    }

    /// Whether more than N entries lie in [t − W, t], of which `end` is behind the last.
    fn reaches(&self, spec: &WindowSpec, end: usize, t: Timestamp) -> bool {
        end.checked_sub(1)
            .and_then(|last| last.checked_sub(spec.threshold()))
            .and_then(|index| self.entries.get(index))
            .is_some_and(|entry| entry.t >= t.minus(spec.window()))
    }

    /// Trims by count where the entry at `t` lies: the newest N of an emitted slot; of a slot not
    /// emitted the first N + 1 and the last N of its cell. Waits until N more have gathered, so
    /// that it costs nothing on average; what is kept is never less than what SEMANTICS §3 asks,
    /// and one more: the first N alone would not tell that entries of the same time as the last of
    /// them were there, when a copy allows that one to breach later.
    ///
    /// Of another condition than a count: what later slots can need of an emitted slot; of one not
    /// emitted, or decided at close, [`crate::CELL_LEN_MAX`] entries a cell. Returns how many
    /// entries this bound cost.
    pub fn trim(&mut self, spec: &WindowSpec, t: Timestamp, emitted: bool) -> usize {
        if !matches!(spec.condition(), Condition::Count(_)) {
            let reduced = emitted && !spec.condition().is_at_close();
            return self.trim_measured(spec, t, reduced);
        }
        let n = spec.threshold();
        let (first, last) = if emitted {
            spec.slot_bounds(t)
        } else {
            spec.cell_bounds(t)
        };
        let head = if emitted { 0 } else { n.saturating_add(1) };
        let kept = head.saturating_add(n);
        if self.entries.len() <= kept.saturating_add(n) {
            return 0;
        }
        let start = self.entries.partition_point(|entry| entry.t < first);
        let end = self.entries.partition_point(|entry| entry.t <= last);
        if end - start <= kept.saturating_add(n) {
            return 0;
        }
        let (from, to) = (start + head, end - n);
        let mut trimmed = 0u32;
        self.take_out(from..to, |entry| {
            trimmed = trimmed.saturating_add(entry.records)
        });
        if n > 0
            && let Some(next) = self.entries.get_mut(from)
        {
            next.records = next.records.saturating_add(trimmed);
            let place = next.place();
            self.touched(place);
        }
        0
    }

    /// Whether there are so many entries that [`Window::trim`] may find something to do.
    #[must_use]
    pub fn is_long(&self, spec: &WindowSpec) -> bool {
        !matches!(spec.condition(), Condition::Count(_))
            || self.entries.len() > spec.threshold().saturating_mul(2)
    }

    /// Drops the entries with t ≤ `cut`.
    pub fn drop_until(&mut self, cut: Timestamp) {
        if self.entries.first().is_none_or(|entry| entry.t > cut) {
            return;
        }
        let gone = self.entries.partition_point(|entry| entry.t <= cut);
        self.running_loses(cut);
        self.take_out(0..gone, drop);
    }

    /// The entries with t in [from, to].
    #[must_use]
    pub fn range(&self, from: Timestamp, to: Timestamp) -> Iter<'_, Entry<P>> {
        let start = self.entries.partition_point(|entry| entry.t < from);
        let end = self.entries.partition_point(|entry| entry.t <= to);
        self.entries.range(start..end)
    }

    /// The entries that count for a state digest: those behind `cut`, reduced to what is kept
    /// whatever the order of arrival was. A cell that `cut` goes through is reduced to its
    /// last N, as its first N may be gone already.
    pub fn canonical<'w>(
        &'w self,
        spec: &'w WindowSpec,
        cut: Timestamp,
        emitted: impl Fn(i64) -> bool + 'w,
    ) -> impl Iterator<Item = &'w Entry<P>> {
        self.entries
            .iter()
            .enumerate()
            .filter(move |(_, e)| e.t > cut)
            .filter(move |(index, entry)| {
                let known = emitted(spec.slot_of(entry.t));
                let (first, last) = if known {
                    spec.slot_bounds(entry.t)
                } else {
                    spec.cell_bounds(entry.t)
                };
                let start = self.entries.partition_point(|e| e.t < first);
                let end = self.entries.partition_point(|e| e.t <= last);
                if !matches!(spec.condition(), Condition::Count(_)) {
                    let needed = || {
                        let values: Vec<u64> = self.values(start, end).collect();
                        let kept = spec.condition().tail(&values);
                        index
                            .checked_sub(start)
                            .and_then(|at| kept.get(at).copied())
                    };
                    return !known || needed().unwrap_or(true);
                }
                end - index <= spec.threshold()
                    || (!known && first > cut && index - start <= spec.threshold())
            })
            .map(|(_, entry)| entry)
    }

    /// Every entry kept, in order.
    #[must_use]
    pub fn entries(&self) -> Iter<'_, Entry<P>> {
        self.entries.iter()
    }

    /// The earliest entry.
    #[must_use]
    pub fn first(&self) -> Option<&Entry<P>> {
        self.entries.first()
    }

    /// How many entries are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
