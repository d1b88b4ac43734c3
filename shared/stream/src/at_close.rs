//! Conditions that are decided once, when a slot closes (SEMANTICS §3): averages, percentiles and
//! absence. The answer is that of the entries there then.

use balefire_event::Timestamp;

use crate::condition::{Condition, Tally};
use crate::spec::WindowSpec;
use crate::window::{Breach, Entry, Payload, Window};

/// Value of the entry after which something is missed.
const FIRST: u64 = 0;
/// Value of the entry that is missed.
const SECOND: u64 = 1;

impl<P: Payload> Window<P> {
    /// The earliest breach point of each breached slot that ended after `after` and by `until`,
    /// ascending; slots that `decided` says are known are left out. Nothing for a condition that
    /// is decided as entries come.
    #[must_use]
    pub fn at_close(
        &self,
        spec: &WindowSpec,
        after: Option<Timestamp>,
        until: Timestamp,
        decided: impl Fn(i64) -> bool,
    ) -> Vec<Breach> {
        if !spec.condition().is_at_close() {
            return Vec::new();
        }
        let from = after.map_or(Timestamp::MIN, |after| spec.slot_start(spec.slot_of(after)));
        let to = spec.slot_start(spec.slot_of(until)).minus(1);
        if from > to {
            return Vec::new();
        }
        if spec.condition() == Condition::Absence {
            return self.silences(spec, from, to, &decided);
        }
        let Some(tally) = Tally::of(spec.condition()) else {
            return Vec::new();
        };
        let first = self.entries.partition_point(|entry| entry.t < from);
        self.tallied(spec, tally, first, to, &decided).into_vec()
    }

    /// Ends of silences in [from, to].
    fn silences(
        &self,
        spec: &WindowSpec,
        from: Timestamp,
        to: Timestamp,
        decided: &impl Fn(i64) -> bool,
    ) -> Vec<Breach> {
        let mut found: Vec<Breach> = Vec::new();
        let within = || self.range(from.minus(spec.window()), to);
        let answers: Vec<Timestamp> = within()
            .filter(|entry| entry.value == SECOND)
            .map(|entry| entry.t)
            .collect();
        let asks = |entry: &&Entry<P>| entry.value == FIRST && entry.may_breach;
        for entry in within().filter(asks) {
            let end = entry.t.plus(spec.window());
            let next = answers.partition_point(|answer| *answer < entry.t);
            let answered = answers.get(next).is_some_and(|answer| *answer <= end);
            let slot = spec.slot_of(end);
            if !answered
                && (from..=to).contains(&end)
                && found.last().is_none_or(|breach| breach.slot != slot)
                && !decided(slot)
            {
                found.push(Breach { slot, at: end });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use balefire_event::DedupId;
    use proptest::prelude::*;

    use super::*;
    use crate::condition::{Bound, Relation};

    const RELATIONS: [Relation; 5] = [
        Relation::Less,
        Relation::LessOrEqual,
        Relation::Equal,
        Relation::GreaterOrEqual,
        Relation::Greater,
    ];

    fn related(relation: Relation, a: i128, b: i128) -> bool {
        match relation {
            Relation::Less => a < b,
            Relation::LessOrEqual => a <= b,
            Relation::Equal => a == b,
            Relation::GreaterOrEqual => a >= b,
            Relation::Greater => a > b,
        }
    }

    /// By the definition: of every entry its whole window, sorted anew.
    fn holds(condition: Condition, values: &[u64]) -> bool {
        let mut sorted: Vec<i128> = values.iter().map(|v| i128::from(*v)).collect();
        sorted.sort_unstable();
        if let Condition::Average(bound) = condition {
            let sum: i128 = sorted.iter().sum();
            let count = i128::try_from(sorted.len()).unwrap();
            return related(bound.relation, sum, i128::from(bound.than) * count);
        }
        let Condition::Percentile(percent, bound) = condition else {
            unreachable!("no other condition is drawn")
        };
        let rank = (usize::from(percent) * sorted.len()).div_ceil(100);
        related(bound.relation, sorted[rank - 1], i128::from(bound.than))
    }

    fn points(condition: Condition, entries: &[(i64, u64, bool)], window: i64) -> Vec<i64> {
        let within = |from: i64, to: i64| {
            let of = entries
                .iter()
                .filter(move |(t, ..)| (from..=to).contains(t));
            of.map(|(_, value, _)| *value).collect::<Vec<_>>()
        };
        let allowed = entries.iter().filter(|(_, _, may)| *may);
        let mut points: Vec<i64> = if condition == Condition::Absence {
            allowed
                .filter(|(t, value, _)| *value == 0 && !within(*t, t + window).contains(&1))
                .map(|(t, ..)| t + window)
                .collect()
        } else {
            allowed
                .filter(|(t, ..)| holds(condition, &within(t - window, *t)))
                .map(|(t, ..)| *t)
                .collect()
        };
        points.sort_unstable();
        points
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let bound = (0usize..5, 0i64..8).prop_map(|(relation, than)| Bound {
            relation: RELATIONS[relation],
            than,
        });
        prop_oneof![
            bound.clone().prop_map(Condition::Average),
            (1u8..=100, bound).prop_map(|(percent, bound)| Condition::Percentile(percent, bound)),
            Just(Condition::Absence),
        ]
    }

    proptest! {
        #[test]
        fn slots_closed_piece_by_piece_are_those_of_the_definition(
            condition in condition(),
            entries in prop::collection::vec((-30i64..60, 0u64..8, any::<bool>()), 0..24),
            window in 1i64..20,
            rearm in 1i64..20,
            cuts in prop::collection::btree_set(-60i64..110, 1..5),
        ) {
            let spec = WindowSpec::with(condition, window, rearm).unwrap();
            let mut filled: Window<()> = Window::default();
            let mut all = Vec::new();
            for (n, (t, value, may)) in entries.into_iter().enumerate() {
                let value = if condition == Condition::Absence { value % 2 } else { value };
                let mut id = [0; 16];
                id[0] = u8::try_from(n).unwrap();
                let entry = Entry::new(Timestamp(t), DedupId(id), may, ()).with_value(value);
                prop_assert!(filled.insert(&spec, entry, |_| false).is_empty());
                all.push((t, value, may));
            }
            let mut wanted: Vec<Breach> = Vec::new();
            let last = *cuts.last().unwrap();
            for point in points(condition, &all, window) {
                let slot = point.div_euclid(rearm);
                let new = wanted.last().is_none_or(|breach| breach.slot != slot);
                if new && (slot + 1) * rearm <= last {
                    wanted.push(Breach { slot, at: Timestamp(point) });
                }
            }
            let (mut found, mut after) = (Vec::new(), None);
            for cut in cuts {
                found.extend(filled.at_close(&spec, after, Timestamp(cut), |_| false));
                after = Some(Timestamp(cut));
            }
            prop_assert_eq!(found, wanted);
        }
    }
}
