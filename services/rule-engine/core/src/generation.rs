//! [`Generation`]: a rule with one match, grouping, N, W and R, valid for control revisions
//! [first, end) (SEMANTICS §6).

use std::sync::Arc;

use balefire_event::{Assurance, Event, Field, Timestamp};
use balefire_rule::{CloseMeasure, Comparison, Measure, RuleKind};
use balefire_stream::{Bound, Condition, Payload, Relation, Window, WindowSpec};
use serde::{Deserialize, Serialize};

use crate::engine::Error;
use crate::keyed::{Fate, Keyed};
use crate::spec::RuleSpec;

/// What a window keeps of an event for evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contribution {
    /// The producer's id.
    pub event_id: Box<str>,
    /// Weakest assurance it came with.
    pub assurance: Option<Assurance>,
    /// All its records were history.
    pub backfill: bool,
}

impl Payload for Contribution {
    fn absorb(&mut self, copy: Self) {
        self.assurance = weakest(self.assurance, copy.assurance);
        self.backfill &= copy.backfill;
    }
}

pub(crate) fn weakest(a: Option<Assurance>, b: Option<Assurance>) -> Option<Assurance> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.weakest(b)),
        (one, None) | (None, one) => one,
    }
}

/// State of a windowed generation.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub(crate) window: WindowSpec,
    pub(crate) group_by: Vec<Field>,
    /// Which of the engine's books holds its emitted slots.
    pub(crate) book: usize,
    pub(crate) keys: Keyed<Window<Contribution>>,
    /// X: the largest t at or below which entries were dropped or never loaded.
    pub(crate) horizon: Option<Timestamp>,
    /// No entry kept is older.
    pub(crate) oldest: Option<Timestamp>,
    /// Of a rule that is decided at close, the canonical key of every key: no event is at hand then.
    pub(crate) canonicals: Keyed<Box<[u8]>>,
    /// Slots that ended by then are decided, of a rule that is decided at close.
    pub(crate) decided_until: Option<Timestamp>,
}

impl Counting {
    pub(crate) fn new(window: WindowSpec, group_by: Vec<Field>, book: usize) -> Self {
        Self {
            window,
            group_by,
            book,
            keys: Keyed::default(),
            horizon: None,
            oldest: None,
            canonicals: Keyed::default(),
            decided_until: None,
        }
    }

    /// Whether it is decided once, when a slot closes.
    pub(crate) const fn is_at_close(&self) -> bool {
        self.window.condition().is_at_close()
    }

    /// How much longer its entries are needed than W, L and F say, nanoseconds: to decide a whole
    /// slot when it ends, and to say what it held when it closes a slot later.
    pub(crate) const fn kept_longer(&self) -> i64 {
        if self.is_at_close() {
            self.window.rearm().saturating_mul(2)
        } else {
            0
        }
    }

    /// Slots that reach into what was never loaded are not decided.
    pub(crate) fn skip_until(&mut self, horizon: Timestamp) {
        let whole = horizon.plus(self.window.window()).plus(self.window.rearm());
        self.decided_until = self.decided_until.max(Some(whole));
    }

    /// Whether a time lies in a slot that is decided.
    pub(crate) fn is_decided(&self, t: Timestamp) -> bool {
        let slot = self.window.slot_of(t).saturating_add(1);
        self.decided_until >= Some(self.window.slot_start(slot))
    }

    /// Whether the window of an entry at `t` reaches into what is not in memory.
    pub(crate) fn is_straggler(&self, t: Timestamp) -> bool {
        self.horizon
            .is_some_and(|horizon| t.minus(self.window.window()) <= horizon)
    }

    pub(crate) fn raise_horizon(&mut self, to: Timestamp) {
        self.horizon = Some(self.horizon.map_or(to, |horizon| horizon.max(to)));
    }

    pub(crate) fn note(&mut self, t: Timestamp) {
        self.oldest = Some(self.oldest.map_or(t, |oldest| oldest.min(t)));
    }

    /// Drops the entries with t ≤ `cut`; the horizon rises to the newest of them.
    pub(crate) fn drop_until(&mut self, cut: Timestamp) {
        let mut dropped: Option<Timestamp> = None;
        self.oldest = self.keys.each_since(cut, |_, _, window, told| {
            let mut fate = Fate::Same;
            if let Some(last) = window.range(Timestamp::MIN, cut).last() {
                dropped = dropped.max(Some(last.t));
                if told {
                    window.keep_journal();
                }
                window.drop_until(cut);
                fate = Fate::Changed;
            }
            match window.is_empty() {
                true => (Fate::Gone, Timestamp::MAX),
                false => (fate, since(window)),
            }
        });
        let keys = &self.keys;
        self.canonicals
            .each(|tenant, key, _| match keys.get(tenant, key) {
                Some(_) => Fate::Same,
                None => Fate::Gone,
            });
        if let Some(dropped) = dropped {
            self.raise_horizon(dropped);
        }
    }
}

/// Since when the entries of a window are; one that has none is looked at by the next sweep.
pub(crate) fn since(window: &Window<Contribution>) -> Timestamp {
    window.first().map_or(Timestamp::MIN, |entry| entry.t)
}

/// A rule over the revisions in which it decides alike.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    /// First revision, and the rule as it told people from then on; ascending, never empty.
    versions: Vec<(u64, Arc<RuleSpec>)>,
    newest: Arc<RuleSpec>,
    pub(crate) first: u64,
    end: Option<u64>,
    /// `None`: windowless.
    pub(crate) counting: Option<Counting>,
    /// It lacks some of what came before it was known.
    pub(crate) warming: bool,
    /// Then: server time from which the log is read again for it, once that is known.
    pub(crate) read_from: Option<Timestamp>,
}

impl Generation {
    fn new(first: u64, end: Option<u64>, spec: Arc<RuleSpec>) -> Self {
        Self {
            versions: vec![(first, Arc::clone(&spec))],
            newest: spec,
            first,
            end,
            counting: None,
            warming: false,
            read_from: None,
        }
    }

    /// Whether both are the same rule, deciding alike, from the same revision on.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.newest.id == other.newest.id
            && self.newest.signature == other.newest.signature
            && self.first == other.first
    }

    /// What the same generation held before.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        self.warming = old.warming;
        self.read_from = old.read_from;
        if let (Some(new), Some(mut held)) = (&mut self.counting, old.counting.take()) {
            held.book = new.book;
            *new = held;
        }
    }

    /// Its rule, for what does not differ between its versions.
    pub(crate) fn spec(&self) -> &Arc<RuleSpec> {
        &self.newest
    }

    /// The rule as it was at a revision.
    pub(crate) fn version(&self, revision: u64) -> &Arc<RuleSpec> {
        self.versions
            .iter()
            .rev()
            .find(|(first, _)| *first <= revision)
            .or_else(|| self.versions.first())
            .map_or(&self.newest, |(_, spec)| spec)
    }

    /// Whether a record stamped under the revision may breach.
    pub(crate) fn covers(&self, revision: u64) -> bool {
        self.first <= revision && self.end.is_none_or(|end| revision < end)
    }

    /// Whether an amendment that filled these fields changes what the rule decides.
    pub(crate) fn reads_any(&self, filled: &[Field]) -> bool {
        filled.iter().any(|field| {
            self.newest.matcher.reads(field)
                || self
                    .counting
                    .as_ref()
                    .is_some_and(|counting| counting.group_by.contains(field))
        })
    }

    /// Evidence of an event.
    pub(crate) fn contribution(&self, event: &Event<'_>) -> Contribution {
        Contribution {
            event_id: event.event_id.as_ref().into(),
            assurance: self.newest.assurance(event),
            backfill: event.backfill,
        }
    }
}

/// The generations of rule sets, each in force from its revision to the next one's; in the order
/// in which they began, and within a revision by name.
pub(crate) fn generations(sets: &[(u64, Vec<RuleSpec>)]) -> Vec<Generation> {
    let mut found: Vec<Generation> = Vec::new();
    for (index, (first, specs)) in sets.iter().enumerate() {
        let end = sets.get(index + 1).map(|(next, _)| *next);
        for spec in specs {
            let spec = Arc::new(spec.clone());
            let before = found.iter_mut().find(|generation| {
                generation.end == Some(*first)
                    && generation.newest.id == spec.id
                    && generation.newest.signature == spec.signature
            });
            match before {
                Some(generation) => {
                    generation.end = end;
                    generation.versions.push((*first, Arc::clone(&spec)));
                    generation.newest = spec;
                }
                None => found.push(Generation::new(*first, end, spec)),
            }
        }
    }
    found
}

/// N, W and R of a rule, and what it groups by; `None`: windowless.
pub(crate) fn window_of(spec: &RuleSpec) -> Result<Option<(WindowSpec, Vec<Field>)>, Error> {
    match &spec.kind {
        RuleKind::Single => Ok(None),
        RuleKind::Threshold(threshold) => {
            let condition = condition_of(&threshold.measure, threshold.n);
            let (window, rearm) = (threshold.window, threshold.rearm);
            windowed(spec, condition, window, rearm, &threshold.group_by)
        }
        RuleKind::AtClose(close) => {
            let condition = close_condition(&close.measure, close.condition);
            windowed(spec, condition, close.window, close.rearm, &close.group_by)
        }
    }
}

fn windowed(
    spec: &RuleSpec,
    condition: Condition,
    window: i64,
    rearm: i64,
    group_by: &[Field],
) -> Result<Option<(WindowSpec, Vec<Field>)>, Error> {
    let window = WindowSpec::with(condition, window, rearm).map_err(|source| Error::Rule {
        rule: spec.name.clone(),
        source,
    })?;
    Ok(Some((window, group_by.to_vec())))
}

/// What must hold within W when a slot closes.
const fn close_condition(
    measure: &CloseMeasure,
    (comparison, than): (Comparison, i64),
) -> Condition {
    let relation = match comparison {
        Comparison::Equal => Relation::Equal,
        Comparison::Greater => Relation::Greater,
        Comparison::GreaterOrEqual => Relation::GreaterOrEqual,
        Comparison::Less => Relation::Less,
        Comparison::LessOrEqual => Relation::LessOrEqual,
    };
    let bound = Bound { relation, than };
    match measure {
        CloseMeasure::Average(_) => Condition::Average(bound),
        CloseMeasure::Percentile { percent, .. } => Condition::Percentile(*percent, bound),
        CloseMeasure::Absence => Condition::Absence,
    }
}

/// What must hold within W.
fn condition_of(measure: &Measure, n: u64) -> Condition {
    // More steps than a byte holds are refused by the window.
    let byte = |steps: usize| u8::try_from(steps).unwrap_or(u8::MAX);
    match measure {
        Measure::Events => Condition::Count(n),
        Measure::Distinct(_) => Condition::Distinct(n),
        Measure::Sum(_) => Condition::Sum(n),
        Measure::Sequence {
            steps,
            ordered: false,
        } => Condition::Unordered(byte(*steps)),
        Measure::Sequence {
            steps,
            ordered: true,
        } => Condition::Ordered(byte(*steps)),
    }
}
