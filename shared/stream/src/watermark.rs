//! [`Watermark`]: how far a partition has come, and the largest lateness in force (SEMANTICS §7).
//!
//! Decides what may leave memory, never what is true.

use std::collections::BTreeMap;

use balefire_event::{Lane, Timestamp};
use serde::{Deserialize, Serialize};

/// Most different lateness bounds remembered at once; beyond it the smallest is taken for the
/// next larger one.
pub const LATENESS_LEN_MAX: usize = 64;

/// The low watermark of an EVENTS partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    skew: i64,
    lanes: [Option<Timestamp>; 3],
    /// By INTAKE partition, the newest promise of each lane.
    correlators: BTreeMap<u32, [Option<Timestamp>; 3]>,
    low: Option<Timestamp>,
}

impl Watermark {
    /// Nothing seen; `skew` is S, nanoseconds.
    #[must_use]
    pub const fn new(skew: i64) -> Self {
        Self {
            skew,
            lanes: [None; 3],
            correlators: BTreeMap::new(),
            low: None,
        }
    }

    /// Whether nothing was seen yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.lanes == [None; 3] && self.correlators.is_empty() && self.low.is_none()
    }

    /// A record of a lane with this received_at was seen.
    pub fn observe_lane(&mut self, lane: Lane, received_at: Timestamp) {
        if let Some(highest) = self.lanes.get_mut(lane.index()) {
            *highest = Some(highest.map_or(received_at, |high| high.max(received_at)));
        }
    }

    /// The correlator of an INTAKE partition promised to emit nothing lower, behind what it emitted
    /// into this lane before. A lane of a partition counts from its first promise on; the least of
    /// the lanes is the partition's: what one lane is told says nothing of what waits in another.
    pub fn observe_correlator(&mut self, partition: u32, lane: Lane, promise: Timestamp) {
        let lanes = self.correlators.entry(partition).or_default();
        if let Some(known) = lanes.get_mut(lane.index()) {
            *known = (*known).max(Some(promise));
        }
    }

    /// Moves the low watermark to the least of all inputs minus S. It never goes back.
    pub fn advance(&mut self) {
        let mut least = Timestamp::MAX;
        for lane in self.lanes {
            let Some(highest) = lane else { return };
            least = least.min(highest);
        }
        for promise in self.correlators.values().flatten().flatten() {
            least = least.min(*promise);
        }
        let low = least.minus(self.skew);
        self.low = Some(self.low.map_or(low, |before| before.max(low)));
    }

    /// The same for an input without lanes, whose time is known by promises alone: the least of
    /// them, once each of so many sources made one. S is in them already.
    pub fn advance_over(&mut self, sources: u32) {
        if self.correlators.len() < usize::try_from(sources).unwrap_or(usize::MAX) {
            return;
        }
        let least = self.correlators.values().flatten().flatten().min();
        self.low = self.low.max(least.copied());
    }

    /// The least of the lanes' highest received_at; `None` until every lane was seen. A tick below
    /// it moves nothing.
    #[must_use]
    pub fn least_lane(&self) -> Option<Timestamp> {
        self.lanes.iter().copied().min().flatten()
    }

    /// Between what the low watermark can be by what was seen, whatever the order: an input's first
    /// promise may lie behind what was reached before, and it never goes back.
    #[must_use]
    pub fn bounds(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let Some(lane) = self.least_lane() else {
            // Promises alone: each source's only grow, and all of them are waited for.
            return (self.low, self.low);
        };
        let promises = self.correlators.values().flatten().flatten();
        let least = promises.fold(lane, |least, promise| least.min(*promise));
        (Some(least.minus(self.skew)), Some(lane.minus(self.skew)))
    }

    /// The low watermark; `None` until every lane was seen.
    #[must_use]
    pub const fn low(&self) -> Option<Timestamp> {
        self.low
    }
}

/// The lateness bounds L in force, with when each was last seen.
///
/// Only those that no larger and later one covers are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    last_seen: BTreeMap<i64, Timestamp>,
}

impl Lateness {
    /// A batch said that L is `lateness` at `received_at`.
    pub fn observe(&mut self, lateness: i64, received_at: Timestamp) {
        let covered = |l: i64, at: Timestamp, by: (&i64, &Timestamp)| *by.0 >= l && *by.1 >= at;
        if self
            .last_seen
            .range(lateness..)
            .any(|by| covered(lateness, received_at, by))
        {
            return;
        }
        self.last_seen
            .retain(|l, at| *l > lateness || *at > received_at);
        self.last_seen.insert(lateness, received_at);
        if self.last_seen.len() > LATENESS_LEN_MAX
            && let Some((_, at)) = self.last_seen.pop_first()
            && let Some(mut next) = self.last_seen.first_entry()
        {
            let later = at.max(*next.get());
            next.insert(later);
        }
    }

    /// The largest L seen in the last L + `window`, nanoseconds; what was seen longer ago than
    /// that before `low` is forgotten, but for the newest. `None` where none was seen yet.
    pub fn largest(&mut self, low: Timestamp, window: i64) -> Option<i64> {
        // A larger bound is kept only where it is older, so the smallest is the newest.
        let newest = self.last_seen.first_key_value().map(|(l, _)| *l);
        self.last_seen
            .retain(|l, at| Some(*l) == newest || at.plus(*l).plus(window) > low);
        self.last_seen.last_key_value().map(|(l, _)| *l)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_input_holds_the_watermark_and_it_never_goes_back() {
        let mut mark = Watermark::new(10);
        mark.observe_lane(Lane::Urgent, Timestamp(100));
        mark.observe_lane(Lane::Normal, Timestamp(200));
        mark.advance();
        assert_eq!(mark.low(), None);
        mark.observe_lane(Lane::Bulk, Timestamp(300));
        mark.observe_lane(Lane::Urgent, Timestamp(90));
        mark.advance();
        assert_eq!(mark.low(), Some(Timestamp(90)));
        mark.observe_correlator(3, Lane::Bulk, Timestamp(50));
        mark.advance();
        assert_eq!(mark.low(), Some(Timestamp(90)));
        mark.observe_lane(Lane::Urgent, Timestamp(500));
        mark.observe_correlator(3, Lane::Bulk, Timestamp(150));
        mark.advance();
        assert_eq!(mark.low(), Some(Timestamp(140)));
    }

    #[test]
    fn a_promise_is_worth_what_the_slowest_lane_has_read_of_it() {
        let mut mark = Watermark::new(0);
        for &lane in Lane::ALL {
            mark.observe_lane(lane, Timestamp(500));
            mark.observe_correlator(0, lane, Timestamp(100));
        }
        mark.observe_correlator(0, Lane::Bulk, Timestamp(300));
        mark.observe_correlator(0, Lane::Normal, Timestamp(200));
        mark.advance();
        assert_eq!(mark.low(), Some(Timestamp(100)));
        mark.observe_correlator(0, Lane::Urgent, Timestamp(300));
        mark.advance();
        assert_eq!(mark.low(), Some(Timestamp(200)));
    }

    #[test]
    fn without_lanes_the_last_source_to_promise_holds_the_watermark() {
        let mut mark = Watermark::new(10);
        mark.observe_correlator(0, Lane::Normal, Timestamp(300));
        mark.advance_over(2);
        assert_eq!(mark.low(), None);
        mark.observe_correlator(1, Lane::Normal, Timestamp(100));
        mark.advance_over(2);
        assert_eq!(mark.low(), Some(Timestamp(100)));
        mark.observe_correlator(1, Lane::Normal, Timestamp(400));
        mark.advance_over(2);
        assert_eq!(mark.low(), Some(Timestamp(300)));
    }

    #[test]
    fn a_large_lateness_is_in_force_until_its_own_reach_has_passed() {
        let mut lateness = Lateness::default();
        lateness.observe(100, Timestamp(0));
        lateness.observe(10, Timestamp(50));
        assert_eq!(lateness.largest(Timestamp(104), 5), Some(100));
        assert_eq!(
            lateness.largest(Timestamp(105), 5),
            Some(10),
            "the newest stays"
        );
        lateness.observe(10, Timestamp(100));
        lateness.observe(20, Timestamp(100));
        assert_eq!(lateness.largest(Timestamp(105), 5), Some(20));
    }

    #[test]
    fn too_many_bounds_are_merged_upwards() {
        let mut lateness = Lateness::default();
        let count = i64::try_from(LATENESS_LEN_MAX).unwrap() + 10;
        for l in 0..count {
            lateness.observe(l, Timestamp(-l));
        }
        assert_eq!(lateness.last_seen.len(), LATENESS_LEN_MAX);
        assert_eq!(lateness.largest(Timestamp(-count), 1), Some(count - 1));
    }
}
