//! Windows whose condition looks at values: distinct ones, sums, sequences (SEMANTICS §3).

use balefire_event::Timestamp;
use smallvec::SmallVec;

use crate::condition::Tally;
use crate::spec::WindowSpec;
use crate::window::{Breach, Breaches, Entry, Payload, Window};

/// So many entries at least are kept of one cell (a slot's part within W) that no escalation has
/// reduced, for conditions other than a count. Beyond it the oldest go, which is told.
pub const CELL_LEN_MAX: usize = 10_000;

/// How many more gather before they go together, so that it costs little on average.
const CELL_LEN_MORE: usize = CELL_LEN_MAX / 8;

/// What the entries from `from` to `until` come to.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    tally: Tally,
    from: Timestamp,
    until: Timestamp,
}

impl<P: Payload> Window<P> {
    /// Whether the run at `first`, the newest of all, breaches: the window slides on from the run
    /// that was asked about before, so an entry in order costs little however many there are.
    pub(crate) fn newest(
        &mut self,
        spec: &WindowSpec,
        first: usize,
        t: Timestamp,
        emitted: &impl Fn(i64) -> bool,
    ) -> Breaches {
        let mut found = Breaches::new();
        let slot = spec.slot_of(t);
        if !self.run(first, t).1 || emitted(slot) {
            return found;
        }
        let from = t.minus(spec.window());
        let Some(running) = self.slide(spec, from, t) else {
            return found;
        };
        if running.tally.holds(from) {
            found.push(Breach { slot, at: t });
        }
        self.set_running(running);
        found
    }

    /// What the entries in [from, until] come to, from what is known of older ones.
    fn slide(
        &mut self,
        spec: &WindowSpec,
        from: Timestamp,
        until: Timestamp,
    ) -> Option<Box<Running>> {
        let known = self.take_running();
        let before = |t: Timestamp| self.entries.partition_point(|entry| entry.t < t);
        let known = known.filter(|known| known.until >= from && known.until <= until);
        let (mut running, mut next) = match known {
            Some(mut known) => {
                let (old, new) = (before(known.from), before(from.max(known.from)));
                for value in self.values(old, new) {
                    known.tally.remove(value);
                }
                let next = before(known.until.plus(1));
                (known, next)
            }
            None => {
                let tally = Tally::of(spec.condition())?;
                let nothing = Running { tally, from, until };
                (Box::new(nothing), before(from))
            }
        };
        let end = self.entries.partition_point(|entry| entry.t <= until);
        while next < end {
            next = self.add_run(next, &mut running.tally);
        }
        (running.from, running.until) = (from, until);
        Some(running)
    }

    /// An entry comes in: it counts where it lies in what is known, if order does not matter there.
    pub(crate) fn running_takes(&mut self, t: Timestamp, value: u64) {
        let within = |running: &Running| running.from <= t && t <= running.until;
        let Some(running) = self.running_mut().filter(|running| within(running)) else {
            return;
        };
        if running.tally.is_ordered() {
            self.take_running();
        } else {
            running.tally.add(t, value);
        }
    }

    /// The entries up to `cut` leave.
    pub(crate) fn running_loses(&mut self, cut: Timestamp) {
        if self.running().is_some_and(|running| running.from <= cut) {
            self.take_running();
        }
    }

    /// Breach points among the runs from `first` to `until`, by sliding over them.
    pub(crate) fn tallied(
        &self,
        spec: &WindowSpec,
        mut tally: Tally,
        mut first: usize,
        until: Timestamp,
        emitted: &impl Fn(i64) -> bool,
    ) -> Breaches {
        let mut found = Breaches::new();
        let open = |entry: &Entry<P>| entry.may_breach && !emitted(spec.slot_of(entry.t));
        let candidates = self.entries.iter().skip(first);
        let mut candidates = candidates.take_while(|entry| entry.t <= until);
        let (Some(start), true) = (self.entries.get(first), candidates.any(open)) else {
            return found;
        };
        let from = start.t.minus(spec.window());
        let mut oldest = self.entries.partition_point(|entry| entry.t < from);
        let mut next = oldest;
        while let Some(t) = self.entries.get(first).map(|entry| entry.t)
            && t <= until
        {
            let (end, may_breach) = self.run(first, t);
            while next < end {
                next = self.add_run(next, &mut tally);
            }
            let from = t.minus(spec.window());
            while let Some(entry) = self.entries.get(oldest)
                && entry.t < from
            {
                tally.remove(entry.value);
                oldest += 1;
            }
            let slot = spec.slot_of(t);
            if may_breach
                && found.last().is_none_or(|breach| breach.slot != slot)
                && tally.holds(from)
                && !emitted(slot)
            {
                found.push(Breach { slot, at: t });
            }
            first = end;
        }
        found
    }

    /// Adds the run of one time that starts at `first`; its end.
    fn add_run(&self, first: usize, tally: &mut Tally) -> usize {
        let Some(t) = self.entries.get(first).map(|entry| entry.t) else {
            return first + 1;
        };
        let (end, _) = self.run(first, t);
        let mut values: SmallVec<[u64; 4]> = self.values(first, end).collect();
        values.sort_unstable();
        for value in values {
            tally.add(t, value);
        }
        end
    }

    pub(crate) fn trim_measured(
        &mut self,
        spec: &WindowSpec,
        t: Timestamp,
        emitted: bool,
    ) -> usize {
        let (first, last) = if emitted {
            spec.slot_bounds(t)
        } else {
            spec.cell_bounds(t)
        };
        let start = self.entries.partition_point(|entry| entry.t < first);
        let end = self.entries.partition_point(|entry| entry.t <= last);
        let over = (end - start).saturating_sub(CELL_LEN_MAX);
        if !emitted {
            if over < CELL_LEN_MORE {
                return 0;
            }
            self.running_loses(Timestamp::MAX);
            self.take_out(start..start + over, drop);
            return over;
        }
        // Looked at again when it has doubled since, so that it costs little on average.
        if !(end - start).is_power_of_two() {
            return 0;
        }
        self.running_loses(Timestamp::MAX);
        self.give_up_journal();
        let values: Vec<u64> = self.values(start, end).collect();
        let kept = spec.condition().tail(&values);
        let (mut kept, mut left) = (kept.into_iter(), Vec::new());
        self.entries.remove(start..end, |entry| {
            if kept.next().unwrap_or(true) {
                left.push(entry);
            }
        });
        for (index, entry) in (start..).zip(left) {
            self.entries.insert(index, entry);
        }
        0
    }

    pub(crate) fn values(&self, start: usize, end: usize) -> impl Iterator<Item = u64> + '_ {
        self.entries.range(start..end).map(|entry| entry.value)
    }
}

#[cfg(test)]
mod tests {
    use balefire_event::DedupId;

    use super::*;
    use crate::condition::Condition;

    /// What an entry in order costs does not depend on how many lie in its window: it goes on from
    /// what is known of the one before.
    #[test]
    fn entries_in_order_go_on_from_the_one_before() {
        for condition in [
            Condition::Distinct(1_000),
            Condition::Sum(1_000_000),
            Condition::Unordered(3),
            Condition::Ordered(3),
        ] {
            let spec = WindowSpec::with(condition, 100, 1_000).unwrap();
            let mut window: Window<()> = Window::default();
            for t in 0..400i64 {
                let known = window.running().map(|running| running.until.0);
                assert_eq!(known, (t > 0).then_some(t - 1), "{condition:?}");
                let id = DedupId(i128::from(t).to_le_bytes());
                let entry = Entry::new(Timestamp(t), id, true, ()).with_value(1);
                assert!(window.insert(&spec, entry, |_| false).is_empty());
                window.trim(&spec, Timestamp(t), false);
            }
            // A late one is looked at in its place, and costs the sums nothing.
            let late = Entry::new(Timestamp(350), DedupId([9; 16]), true, ()).with_value(1);
            window.insert(&spec, late, |_| false);
            let ordered = matches!(condition, Condition::Ordered(_));
            assert_eq!(window.running().is_none(), ordered, "{condition:?}");
        }
    }
}
