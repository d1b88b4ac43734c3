//! The fold of DEADLETTERS: which letters are open, and what people decided about the others.
//!
//! A letter is open until a decision that is not older than its last failure. So it does not
//! matter whether the decision or the next failure of a replayed letter reaches the log first.

use std::collections::BTreeMap;

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
}

/// Every letter that is kept.
#[derive(Debug, Clone)]
pub struct Letters<L, R> {
    max: usize,
    places: u64,
    forgotten: u64,
    by_id: BTreeMap<String, Letter<L, R>>,
    by_place: BTreeMap<u64, String>,
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
            by_id: BTreeMap::new(),
            by_place: BTreeMap::new(),
        }
    }

    /// A letter lies in the log. A repeated one takes the newer content.
    pub fn letter(&mut self, id: &str, failed_at: Timestamp, letter: L) {
        if let Some(known) = self.by_id.get_mut(id) {
            if failed_at >= known.failed_at {
                known.failed_at = failed_at;
                known.letter = letter;
            }
            return;
        }
        self.places += 1;
        self.by_place.insert(self.places, id.to_owned());
        let entry = Letter {
            letter,
            failed_at,
            place: self.places,
            decided: None,
        };
        self.by_id.insert(id.to_owned(), entry);
        if self.by_id.len() > self.max {
            self.forget_one();
        }
    }

    /// A decision lies in the log. One about an unknown letter is dropped.
    pub fn decision(&mut self, id: &str, decision: Decision, at: Timestamp, record: R) {
        if let Some(known) = self.by_id.get_mut(id) {
            let newer = known
                .decided
                .as_ref()
                .is_none_or(|(_, last, _)| at >= *last);
            if newer {
                known.decided = Some((decision, at, record));
            }
        }
    }

    fn forget_one(&mut self) {
        let resolved = self.by_place.iter().find_map(|(place, id)| {
            let letter = self.by_id.get(id)?;
            letter.standing().is_some().then_some(*place)
        });
        let place = resolved.or_else(|| self.by_place.keys().next().copied());
        if let Some(id) = place.and_then(|place| self.by_place.remove(&place)) {
            let open = self
                .by_id
                .remove(&id)
                .is_some_and(|letter| letter.standing().is_none());
            self.forgotten += u64::from(open);
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
            .filter_map(|(_, id)| Some((id.as_str(), self.by_id.get(id)?)))
    }

    /// Letters that wait for a decision.
    #[must_use]
    pub fn open_len(&self) -> usize {
        self.by_id
            .values()
            .filter(|letter| letter.standing().is_none())
            .count()
    }

    /// When the open letter that has waited longest last failed.
    #[must_use]
    pub fn oldest_open(&self) -> Option<Timestamp> {
        let open = self.by_id.values();
        open.filter(|letter| letter.standing().is_none())
            .map(|letter| letter.failed_at)
            .min()
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
}
