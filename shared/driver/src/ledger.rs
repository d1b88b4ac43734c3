//! The bookkeeping of lists, steps and redo. Plain data: no IO, no clock.

use std::collections::{BTreeMap, VecDeque};

/// Inputs of one source consumed one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of the source.
    pub source: usize,
    /// First sequence.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// An ordered list of inputs (source, sequence), run-length encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunList {
    runs: Vec<Run>,
}

impl RunList {
    /// Appends one input.
    pub fn push(&mut self, source: usize, sequence: u64) {
        self.push_run(Run {
            source,
            first: sequence,
            count: 1,
        });
    }

    /// Appends a run; joins it to the last one where it goes on from there.
    pub fn push_run(&mut self, run: Run) {
        if run.count == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some(last)
                if last.source == run.source
                    && last.first.checked_add(last.count) == Some(run.first) =>
            {
                last.count = last.count.saturating_add(run.count);
            }
            Some(_) | None => self.runs.push(run),
        }
    }

    /// The runs, in order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How many inputs.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.runs
            .iter()
            .fold(0, |sum, run| sum.saturating_add(run.count))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The inputs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.runs.iter().flat_map(|run| {
            (run.first..run.first.saturating_add(run.count)).map(|sequence| (run.source, sequence))
        })
    }

    /// What follows after `prefix`; `None` where the list does not begin with it.
    #[must_use]
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        let mut rest = self.iter();
        for input in prefix.iter() {
            if rest.next() != Some(input) {
                return None;
            }
        }
        let mut list = Self::default();
        for (source, sequence) in rest {
            list.push(source, sequence);
        }
        Some(list)
    }
}

impl FromIterator<Run> for RunList {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut list = Self::default();
        for run in runs {
            list.push_run(run);
        }
        list
    }
}

/// The least that two owners say of rules, where one says something.
#[must_use]
pub fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    let both = one.zip(other).map(|(one, other)| one.min(other));
    both.or(one).or(other)
}

/// An input that does not follow the one before it in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("source {source_index} is at {position}, input {sequence} does not follow")]
pub struct OutOfOrder {
    /// Index of the source.
    pub source_index: usize,
    /// Last sequence consumed there.
    pub position: u64,
    /// The one that came.
    pub sequence: u64,
}

/// Where a partition stands: positions, step, and the list of the next step so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    positions: Vec<u64>,
    step: u64,
    list: RunList,
    in_flight: Option<u64>,
}

impl Ledger {
    /// After `step`, with `list` consumed since; `positions` include the list.
    #[must_use]
    pub const fn new(positions: Vec<u64>, step: u64, list: RunList) -> Self {
        Self {
            positions,
            step,
            list,
            in_flight: None,
        }
    }

    /// Last sequence consumed, source by source; 0 before the first.
    #[must_use]
    pub fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// The last acknowledged step.
    #[must_use]
    pub const fn step(&self) -> u64 {
        self.step
    }

    /// What was consumed since the last step was cut.
    #[must_use]
    pub const fn list(&self) -> &RunList {
        &self.list
    }

    /// The step that is being published.
    #[must_use]
    pub const fn in_flight(&self) -> Option<u64> {
        self.in_flight
    }

    /// Notes an input as consumed.
    ///
    /// # Errors
    /// [`OutOfOrder`], and nothing is noted.
    pub fn consume(&mut self, source: usize, sequence: u64) -> Result<(), OutOfOrder> {
        follow(&mut self.positions, source, sequence)?;
        self.list.push(source, sequence);
        Ok(())
    }

    /// Cuts the next step: its number and list. `None` while another is in flight.
    pub fn cut(&mut self) -> Option<(u64, RunList)> {
        if self.in_flight.is_some() {
            return None;
        }
        let number = self.step + 1;
        self.in_flight = Some(number);
        Some((number, std::mem::take(&mut self.list)))
    }

    /// The step in flight is acknowledged everywhere.
    pub fn acknowledged(&mut self) {
        if let Some(number) = self.in_flight.take() {
            self.step = number;
        }
    }
}

fn follow(positions: &mut [u64], source: usize, sequence: u64) -> Result<(), OutOfOrder> {
    let out_of_order = |position| OutOfOrder {
        source_index: source,
        position,
        sequence,
    };
    let position = positions.get_mut(source).ok_or(out_of_order(0))?;
    if sequence != *position + 1 {
        return Err(out_of_order(*position));
    }
    *position = sequence;
    Ok(())
}

/// Why lists do not fit to where a state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another owner consumed other inputs after the checkpoint's step: it is of a way that was
    /// not taken. Build from the log.
    #[error("step {step} does not begin with the inputs of the checkpoint")]
    Tail {
        /// The step.
        step: u64,
    },
    /// A step is missing: the output log has lost something.
    #[error("step {step} is not in the output log")]
    Missing {
        /// The step.
        step: u64,
    },
    /// A list names an input that does not follow.
    #[error("list of step {step}")]
    Order {
        /// The step.
        step: u64,
        /// What does not follow.
        source: OutOfOrder,
    },
}

/// Steps to go through again, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redo {
    /// Number and inputs still to be applied; the numbers follow one another.
    pub steps: VecDeque<(u64, RunList)>,
    /// The step before the first.
    pub base: u64,
}

impl Redo {
    /// From a checkpoint at `ledger` (nothing in flight): `published` are the lists of the
    /// output log; those up to the checkpoint's step are left out.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn from_checkpoint(
        ledger: &Ledger,
        published: &BTreeMap<u64, RunList>,
    ) -> Result<Self, Misfit> {
        let base = ledger.step();
        let mut positions = ledger.positions().to_vec();
        let mut steps = VecDeque::new();
        for (expected, (&step, list)) in (base + 1..).zip(published.range(base + 1..)) {
            if step != expected {
                return Err(Misfit::Missing { step: expected });
            }
            let list = if step == base + 1 {
                list.strip_prefix(ledger.list())
                    .ok_or(Misfit::Tail { step })?
            } else {
                list.clone()
            };
            check(&mut positions, step, &list)?;
            steps.push_back((step, list));
        }
        Ok(Self { steps, base })
    }

    /// Without a checkpoint: from `positions` on; inputs of the lists up to there are left out.
    /// `last` is the last step known by any target, where no list is left.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn from_log(
        positions: &[u64],
        last: u64,
        published: &BTreeMap<u64, RunList>,
    ) -> Result<Self, Misfit> {
        let base = published.keys().next().map_or(last, |first| first - 1);
        let mut reached = positions.to_vec();
        let mut steps = VecDeque::new();
        for (expected, (&step, list)) in (base + 1..).zip(published) {
            if step != expected {
                return Err(Misfit::Missing { step: expected });
            }
            let mut rest = RunList::default();
            for (source, sequence) in list.iter() {
                if positions.get(source).is_none_or(|start| sequence > *start) {
                    rest.push(source, sequence);
                }
            }
            check(&mut reached, step, &rest)?;
            steps.push_back((step, rest));
        }
        Ok(Self { steps, base })
    }

    /// The last step that is in the output log.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.steps.back().map_or(self.base, |(step, _)| *step)
    }

    /// Highest sequence that the lists name, source by source; 0 for none.
    #[must_use]
    pub fn highest(&self, sources: usize) -> Vec<u64> {
        let mut highest = vec![0; sources];
        for run in self.steps.iter().flat_map(|(_, list)| list.runs()) {
            if let Some(top) = highest.get_mut(run.source) {
                *top = run.first.saturating_add(run.count - 1).max(*top);
            }
        }
        highest
    }
}

fn check(positions: &mut [u64], step: u64, list: &RunList) -> Result<(), Misfit> {
    for (source, sequence) in list.iter() {
        follow(positions, source, sequence).map_err(|source| Misfit::Order { step, source })?;
    }
    Ok(())
}
