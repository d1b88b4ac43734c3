//! Windows whose condition looks at values: distinct ones, sums, sequences (SEMANTICS §3).

use balefire_event::Timestamp;
use smallvec::SmallVec;

use crate::condition::Tally;
use crate::spec::WindowSpec;
use crate::window::{Breach, Breaches, Entry, Payload, Window};

/// Most entries kept of one cell (a slot's part within W) that no escalation has reduced, for
/// conditions other than a count. Beyond it the oldest go, which is told.
pub const CELL_LEN_MAX: usize = 10_000;

impl<P: Payload> Window<P> {
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
            if over > 0 {
                self.entries.remove(start..start + over, drop);
            }
            return over;
        }
        // Looked at again when it has doubled since, so that it costs little on average.
        if !(end - start).is_power_of_two() {
            return 0;
        }
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
