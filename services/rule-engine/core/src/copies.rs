//! [`Copies`]: which records of an untrusted clock were seen, as copies of those have other
//! times and do not meet in a window (SEMANTICS §2).

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{DedupId, Event, Lane, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Arrival of the newest record.
    last: Timestamp,
    /// t of the newest record that counts.
    counted: Timestamp,
}

/// Ids of records whose t is their arrival, by stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copies {
    seen: BTreeMap<(Lane, DedupId), Seen>,
    #[serde(skip)]
    changed: Changed,
}

/// Which ids changed since it was told; `None`: nothing was told. No part of the state.
#[derive(Debug, Clone, Default)]
struct Changed(Option<BTreeSet<(Lane, DedupId)>>);

impl PartialEq for Changed {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Changed {}

impl Changed {
    fn note(&mut self, id: (Lane, DedupId)) {
        if let Some(ids) = &mut self.0 {
            ids.insert(id);
        }
    }
}

impl Copies {
    /// Whether a record counts in windows: not where another record of the same id lies before it
    /// in its stream within `memory` (D). The same record again, as an amendment, counts.
    pub(crate) fn admit(&mut self, lane: Lane, event: &Event<'_>, memory: i64) -> bool {
        if event.t != event.received_at {
            return true;
        }
        let own = Seen {
            last: event.received_at,
            counted: event.t,
        };
        // An untrusted clock that says exactly the time of arrival looks like a trusted one;
        // it is remembered, as the copies after it will differ.
        let untrusted = event.t != event.occurred_at;
        let Some(seen) = self.seen.get_mut(&(lane, event.dedup_id)) else {
            self.changed.note((lane, event.dedup_id));
            self.seen.insert((lane, event.dedup_id), own);
            return true;
        };
        if seen.counted == event.t {
            return true;
        }
        self.changed.note((lane, event.dedup_id));
        let copy = untrusted && event.received_at.since(seen.last).abs() <= memory;
        // One that is no copy because its clock was right may lie before the newest.
        seen.last = seen.last.max(event.received_at);
        if untrusted && !copy {
            seen.counted = event.t;
        }
        !copy
    }

    /// Forgets what no record at or behind `low` can be a copy of.
    pub(crate) fn forget(&mut self, low: Timestamp, memory: i64) {
        let changed = &mut self.changed;
        self.seen.retain(|id, seen| {
            let kept = seen.last.plus(memory) >= low;
            if !kept {
                changed.note(*id);
            }
            kept
        });
    }

    /// Tells of each id that changed since this was asked last; `None`: it is forgotten. All of
    /// them the first time.
    pub(crate) fn take_changes(&mut self, mut told: impl FnMut(Lane, DedupId, Option<&Seen>)) {
        match self.changed.0.replace(BTreeSet::new()) {
            Some(ids) => ids
                .into_iter()
                .for_each(|(lane, id)| told(lane, id, self.seen.get(&(lane, id)))),
            None => self
                .seen
                .iter()
                .for_each(|((lane, id), seen)| told(*lane, *id, Some(seen))),
        }
    }

    /// All of it is to be told again.
    pub(crate) fn untold(&mut self) {
        self.changed.0 = None;
    }

    /// As it was told.
    pub(crate) fn put(&mut self, lane: Lane, id: DedupId, seen: Seen) {
        self.seen.insert((lane, id), seen);
    }

    /// What a record behind `low` can be a copy of, with when it came last and what t counts.
    pub(crate) fn kept(
        &self,
        low: Timestamp,
        memory: i64,
    ) -> impl Iterator<Item = (Lane, DedupId, Timestamp, Timestamp)> {
        let kept = self.seen.iter();
        kept.filter(move |(_, seen)| seen.last.plus(memory) >= low)
            .map(|((lane, id), seen)| (*lane, *id, seen.last, seen.counted))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64) -> Event<'static> {
        Event {
            occurred_at: Timestamp(-1),
            received_at: Timestamp(time),
            t: Timestamp(time),
            ..Event::default()
        }
    }

    #[test]
    fn a_copy_within_d_counts_not_and_one_behind_it_does() {
        let mut copies = Copies::default();
        let mut admit = |time| copies.admit(Lane::Normal, &at(time), 10);
        assert!(admit(0));
        assert!(!admit(10));
        assert!(admit(0), "the first record itself again");
        assert!(!admit(20), "ten behind a copy that does not count");
        assert!(admit(31));
    }

    #[test]
    fn one_that_says_exactly_its_arrival_hides_none_that_came_later() {
        let mut copies = Copies::default();
        let mut admit = |time| {
            let event = Event {
                occurred_at: Timestamp(17),
                ..at(time)
            };
            copies.admit(Lane::Normal, &event, 6)
        };
        assert!(admit(18));
        assert!(admit(17), "as one of a trusted clock");
        assert!(admit(18), "the first record itself again");
        assert!(!admit(24), "six behind the first");
        assert!(admit(31));
    }

    #[test]
    fn streams_are_apart_and_old_ids_are_forgotten() {
        let mut copies = Copies::default();
        assert!(copies.admit(Lane::Normal, &at(0), 10));
        assert!(copies.admit(Lane::Urgent, &at(5), 10));
        copies.forget(Timestamp(11), 10);
        assert_eq!(copies.seen.len(), 1);
    }
}
