//! The fold of DEADLETTERS: which letters are open, and what people decided about the others.
//!
//! A letter is open until a decision that is not older than its last failure. So it does not
//! matter whether the decision or the next failure of a replayed letter reaches the log first.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use balefire_event::Timestamp;

/// Most letters kept. Beyond it the oldest resolved goes, then the oldest.
pub const LETTERS_MAX: usize = 50_000;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Put back on its way.
    Replayed,
    /// Given up.
    Discarded,
}

/// One letter. `L` is what is kept of it, `R` of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<L, R> {
    /// What is kept of the letter.
    pub letter: L,
    /// Its last failure.
    pub failed_at: Timestamp,
    /// Place in the order of first arrival.
    pub place: u64,
    /// The last decision.
    pub decided: Option<(Decision, Timestamp, R)>,
}

impl<L, R> Letter<L, R> {
    /// The decision in force; `None`: open.
    #[must_use]
    pub fn standing(&self) -> Option<Decision> {
        self.decided
            .as_ref()
            .filter(|(_, at, _)| *at >= self.failed_at)
            .map(|(decision, ..)| *decision)
    }

    /// Its last failure, while it is open.
    fn waits(&self) -> Option<Timestamp> {
        self.standing().is_none().then_some(self.failed_at)
    }
}

/// Every letter that is kept.
#[derive(Debug, Clone)]
pub struct Letters<L, R> {
    max: usize,
    places: u64,
    forgotten: u64,
    by_id: HashMap<Arc<str>, Letter<L, R>>,
    by_place: BTreeMap<u64, Arc<str>>,
    /// The open ones: last failure and place.
    open: BTreeSet<(Timestamp, u64)>,
    /// Places of those that are decided.
    decided: BTreeSet<u64>,
}

impl<L, R> Default for Letters<L, R> {
    fn default() -> Self {
        Self::with_max(LETTERS_MAX)
    }
}

impl<L, R> Letters<L, R> {
    /// Keeps at most `max` letters.
    #[must_use]
    pub fn with_max(max: usize) -> Self {
        Self {
            max,
            places: 0,
            forgotten: 0,
            by_id: HashMap::new(),
            by_place: BTreeMap::new(),
            open: BTreeSet::new(),
            decided: BTreeSet::new(),
        }
    }

    /// A letter lies in the log. A repeated one takes the newer content.
    pub fn letter(&mut self, id: &str, failed_at: Timestamp, letter: L) {
        let id: Arc<str> = id.into();
        let vacant = match self.by_id.entry(Arc::clone(&id)) {
            Entry::Vacant(vacant) => vacant,
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let before = known.waits();
                if failed_at >= known.failed_at {
                    known.failed_at = failed_at;
                    known.letter = letter;
                }
                let (after, place) = (known.waits(), known.place);
                self.list(place, before, after);
                return;
            }
        };
        self.places += 1;
        vacant.insert(Letter {
            letter,
            failed_at,
            place: self.places,
            decided: None,
        });
        self.by_place.insert(self.places, id);
        self.open.insert((failed_at, self.places));
        if self.by_id.len() > self.max {
            self.forget_one();
        }
    }

    /// A decision lies in the log. One about an unknown letter is dropped.
    pub fn decision(&mut self, id: &str, decision: Decision, at: Timestamp, record: R) {
        let Some(known) = self.by_id.get_mut(id) else {
            return;
        };
        let before = known.waits();
        let newer = known
            .decided
            .as_ref()
            .is_none_or(|(_, last, _)| at >= *last);
        if newer {
            known.decided = Some((decision, at, record));
        }
        let (after, place) = (known.waits(), known.place);
        self.list(place, before, after);
    }

    /// Lists a letter that changed where it belongs now.
    fn list(&mut self, place: u64, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        self.unlist(before, place);
        match after {
            Some(at) => self.open.insert((at, place)),
            None => self.decided.insert(place),
        };
    }

    fn unlist(&mut self, waits: Option<Timestamp>, place: u64) {
        match waits {
            Some(at) => self.open.remove(&(at, place)),
            None => self.decided.remove(&place),
        };
    }

    fn forget_one(&mut self) {
        let oldest = || self.by_place.first_key_value().map(|(place, _)| place);
        let place = self.decided.first().or_else(oldest).copied();
        let id = place.and_then(|place| self.by_place.remove(&place));
        let letter = id.and_then(|id| self.by_id.remove(&id));
        if let Some(letter) = letter {
            let waits = letter.waits();
            self.unlist(waits, letter.place);
            self.forgotten += u64::from(waits.is_some());
        }
    }

    /// One letter.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Letter<L, R>> {
        self.by_id.get(id)
    }

    /// Letters in the order of first arrival, behind place `after`.
    pub fn iter(&self, after: u64) -> impl Iterator<Item = (&str, &Letter<L, R>)> {
        self.by_place
            .range(after.saturating_add(1)..)
            .filter_map(|(_, id)| Some((&**id, self.by_id.get(id)?)))
    }

    /// Letters that wait for a decision.
    #[must_use]
    pub fn open_len(&self) -> usize {
        self.open.len()
    }

    /// When the open letter that has waited longest last failed.
    #[must_use]
    pub fn oldest_open(&self) -> Option<Timestamp> {
        self.open.first().map(|(at, _)| *at)
    }

    /// Open letters that only the log holds, because there were too many.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_open_until_a_decision_that_is_not_older_than_its_failure() {
        let mut letters = Letters::default();
        letters.letter("a", Timestamp(10), "first");
        assert_eq!(letters.get("a").unwrap().standing(), None);
        letters.decision("a", Decision::Replayed, Timestamp(20), ());
        assert_eq!(
            letters.get("a").unwrap().standing(),
            Some(Decision::Replayed)
        );
        letters.letter("a", Timestamp(30), "second");
        assert_eq!(letters.get("a").unwrap().standing(), None);
        assert_eq!(letters.get("a").unwrap().letter, "second");
    }

    #[test]
    fn the_next_failure_may_reach_the_log_before_the_decision() {
        let mut letters = Letters::default();
        letters.letter("a", Timestamp(10), ());
        letters.letter("a", Timestamp(30), ());
        letters.decision("a", Decision::Replayed, Timestamp(20), ());
        assert_eq!(letters.get("a").unwrap().standing(), None);
        assert_eq!(letters.open_len(), 1);
    }

    #[test]
    fn where_there_are_too_many_the_resolved_go_first() {
        let mut letters = Letters::with_max(2);
        letters.letter("a", Timestamp(1), ());
        letters.letter("b", Timestamp(1), ());
        letters.decision("b", Decision::Discarded, Timestamp(2), ());
        letters.letter("c", Timestamp(1), ());
        assert!(letters.get("b").is_none());
        assert_eq!(letters.forgotten(), 0);
        letters.letter("d", Timestamp(1), ());
        let left: Vec<_> = letters.iter(0).map(|(id, _)| id).collect();
        assert_eq!((left, letters.forgotten()), (vec!["c", "d"], 1));
    }

    /// What is open is what has no decision in force, whatever came in which order and was forgotten.
    #[test]
    fn what_is_counted_as_open_is_what_is_open() {
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut letters = Letters::with_max(12);
        for _ in 0..20_000 {
            let id = draw(20).to_string();
            let at = Timestamp(i64::try_from(draw(50)).unwrap());
            match draw(3) {
                0 | 1 => letters.letter(&id, at, ()),
                _ => letters.decision(&id, Decision::Replayed, at, ()),
            }
            let kept = letters.iter(0).map(|(_, letter)| letter);
            let open: Vec<_> = kept.filter_map(Letter::waits).collect();
            assert_eq!(letters.open_len(), open.len());
            assert_eq!(letters.oldest_open(), open.into_iter().min());
            assert_eq!(
                letters.by_id.len(),
                letters.open.len() + letters.decided.len()
            );
        }
        assert!(letters.forgotten() > 100);
    }
}
