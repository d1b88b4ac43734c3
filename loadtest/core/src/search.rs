//! The highest rate at which a target holds, by halving what is left.

use serde::{Deserialize, Serialize};

/// It ends when the bounds lie within this part of the lower one.
const CLOSE_ENOUGH: f64 = 0.05;
/// Steps at most.
const STEPS_MAX: usize = 12;

/// One rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Events a second.
    pub rate: u32,
    /// Whether everything held.
    pub held: bool,
    /// What it was judged by.
    pub detail: String,
}

/// A search under way. It doubles until a rate does not hold, then halves the distance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Search {
    /// Where it begins, events a second.
    pub first: u32,
    /// What was tried, in order.
    pub steps: Vec<Step>,
}

impl Search {
    /// From a rate that should hold.
    #[must_use]
    pub const fn new(first: u32) -> Self {
        Self {
            first,
            steps: Vec::new(),
        }
    }

    /// The highest rate that held.
    #[must_use]
    pub fn held(&self) -> Option<u32> {
        let held = self.steps.iter().filter(|step| step.held);
        held.map(|step| step.rate).max()
    }

    /// The lowest rate that did not hold.
    #[must_use]
    pub fn broke(&self) -> Option<u32> {
        let broke = self.steps.iter().filter(|step| !step.held);
        broke.map(|step| step.rate).min()
    }

    /// The next rate to try; `None`: it is found, or there were too many steps.
    #[must_use]
    pub fn next(&self) -> Option<u32> {
        if self.steps.len() >= STEPS_MAX {
            return None;
        }
        let next = match (self.held(), self.broke()) {
            (None, None) => self.first.max(1),
            (Some(held), None) => held.saturating_mul(2),
            (None, Some(broke)) => broke / 2,
            // A higher rate held than one that did not: chance decides here, so it is found.
            (Some(held), Some(broke)) if held >= broke => return None,
            (Some(held), Some(broke)) => {
                if f64::from(broke - held) <= f64::from(held) * CLOSE_ENOUGH {
                    return None;
                }
                held + (broke - held) / 2
            }
        };
        let tried = self.steps.iter().any(|step| step.rate == next);
        (next > 0 && !tried).then_some(next)
    }

    /// Writes a step down.
    pub fn tried(&mut self, rate: u32, held: bool, detail: String) {
        self.steps.push(Step { rate, held, detail });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u32, limit: u32) -> Search {
        let mut search = Search::new(first);
        while let Some(rate) = search.next() {
            search.tried(rate, rate <= limit, String::new());
        }
        search
    }

    #[test]
    fn the_limit_is_found_within_five_percent_from_below_and_above() {
        for (first, limit) in [
            (1_000, 13_700),
            (1_000, 900),
            (50_000, 4_100),
            (1_000, 1_000),
        ] {
            let search = run(first, limit);
            let held = search.held().unwrap();
            assert!(
                held <= limit && f64::from(limit - held) <= f64::from(held) * 0.05,
                "{held} for {limit}"
            );
            assert!(search.steps.len() <= STEPS_MAX);
        }
    }

    #[test]
    fn a_product_that_never_holds_ends_the_search_without_an_answer() {
        let search = run(16, 0);
        assert_eq!(search.held(), None);
        assert!(search.steps.len() <= STEPS_MAX);
    }

    #[test]
    fn a_product_that_always_holds_ends_it_too() {
        assert_eq!(run(1_000, u32::MAX).steps.len(), STEPS_MAX);
    }
}
