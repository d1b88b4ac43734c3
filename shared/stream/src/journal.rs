//! What became of a window's entries since it was told, so that of a long one no more than that
//! is told again.
//!
//! A [`Journal`] holds places: those that were put in or altered, and ranges that were taken out.
//! What a place came to is looked up when it is told. That is exact: an entry that was told and
//! whose place was not touched since is still there if and only if no range that was taken out
//! covers it, as a range takes out everything between its ends.

use balefire_event::{DedupId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::measured::Running;
use crate::window::{Entry, Window};

/// Of fewer entries no journal is kept: they are told whole.
pub const JOURNAL_LEN_MIN: usize = 8;

/// A journal that says something of more than one in so many entries is given up: the window is
/// told whole. So it takes less memory than the entries do.
const JOURNAL_SHARE: usize = 2;

/// Where an entry lies: entries are in this order.
pub type Place = (Timestamp, DedupId, u64);

/// In front of every entry.
const FIRST: Place = (Timestamp::MIN, DedupId([0; 16]), 0);

/// What few windows need, and for a while.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beside {
    /// What the newest window of a measured condition comes to, where it was asked for: derived
    /// from the entries alone.
    running: Option<Box<Running>>,
    journal: Option<Box<Journal>>,
}

#[derive(Debug, Clone)]
struct Journal {
    /// How many entries were told.
    before: usize,
    touched: Vec<Place>,
    /// First and last place of each range.
    removed: Vec<(Place, Place)>,
}

/// What makes of a window as it was told the one that it is: of references, or of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch<E> {
    /// How many entries it had.
    before: usize,
    /// How many it has.
    after: usize,
    /// First and last place of what was taken out, before anything else.
    removed: Vec<(Place, Place)>,
    gone: Vec<Place>,
    put: Vec<E>,
}

impl<E> Patch<E> {
    /// How much it says.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.removed.len() + self.gone.len() + self.put.len()
    }

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<P> Patch<Entry<P>> {
    /// Makes of entries as they were told those that are there. False: they are others than it was
    /// made for, and of no use any more.
    #[must_use]
    pub fn apply(self, entries: &mut Vec<Entry<P>>) -> bool {
        if entries.len() != self.before {
            return false;
        }
        for (first, last) in self.removed {
            let start = entries.partition_point(|entry| entry.place() < first);
            let end = entries.partition_point(|entry| entry.place() <= last);
            entries.drain(start..end.max(start));
        }
        for place in self.gone {
            if let Ok(at) = entries.binary_search_by_key(&place, Entry::place) {
                entries.remove(at);
            }
        }
        for entry in self.put {
            match entries.binary_search_by_key(&entry.place(), Entry::place) {
                Ok(at) => entries.splice(at..=at, [entry]).for_each(drop),
                Err(at) => entries.insert(at, entry),
            }
        }
        entries.len() == self.after
    }
}

impl<P> Window<P> {
    /// It was told as it stands: what becomes of it is kept from now on, if it is long enough and
    /// until [`Window::take_patch`].
    pub fn keep_journal(&mut self) {
        let before = self.entries.len();
        if before < JOURNAL_LEN_MIN {
            return;
        }
        let beside = self.beside.get_or_insert_default();
        beside.journal.get_or_insert_with(|| {
            Box::new(Journal {
                before,
                touched: Vec::new(),
                removed: Vec::new(),
            })
        });
    }

    /// What became of it since [`Window::keep_journal`]; `None`: that is not known, all of it is
    /// to be told.
    pub fn take_patch(&mut self) -> Option<Patch<&Entry<P>>> {
        let beside = self.beside.as_mut()?;
        let journal = beside.journal.take();
        if beside.running.is_none() {
            self.beside = None;
        }
        let Journal {
            before,
            mut touched,
            removed,
        } = *journal?;
        touched.sort_unstable();
        touched.dedup();
        let (mut gone, mut put) = (Vec::new(), Vec::with_capacity(touched.len()));
        for place in touched {
            let within = |(first, last): &(Place, Place)| *first <= place && place <= *last;
            match self.find(place) {
                Some(entry) => put.push(entry),
                None if removed.iter().any(within) => {}
                None => gone.push(place),
            }
        }
        Some(Patch {
            before,
            after: self.entries.len(),
            removed,
            gone,
            put,
        })
    }

    fn find(&self, place: Place) -> Option<&Entry<P>> {
        let at = self.entries.partition_point(|entry| entry.place() < place);
        let entry = self.entries.get(at);
        entry.filter(|entry| entry.place() == place)
    }

    fn journal(&mut self) -> Option<&mut Journal> {
        self.beside.as_mut()?.journal.as_deref_mut()
    }

    /// An entry was put in there, or altered.
    pub(crate) fn touched(&mut self, place: Place) {
        if let Some(journal) = self.journal() {
            journal.touched.push(place);
            self.weigh_journal();
        }
    }

    /// Takes entries out, each through `gone`.
    pub(crate) fn take_out(&mut self, range: std::ops::Range<usize>, gone: impl FnMut(Entry<P>)) {
        if self.journal().is_some() {
            self.note_removed(&range);
        }
        self.entries.remove(range, gone);
        self.weigh_journal();
    }

    fn note_removed(&mut self, range: &std::ops::Range<usize>) {
        let place = |at: usize| self.entries.get(at).map(Entry::place);
        let last = range.end.min(self.entries.len()).checked_sub(1);
        let (Some(first), Some(last)) = (place(range.start), last.and_then(place)) else {
            return;
        };
        if range.is_empty() {
            return;
        }
        // Nothing is left in front of it.
        let first = if range.start == 0 { FIRST } else { first };
        let Some(journal) = self.journal() else {
            return;
        };
        match journal.removed.last_mut() {
            Some(before) if before.0 == FIRST && first == FIRST => before.1 = before.1.max(last),
            Some(_) | None => journal.removed.push((first, last)),
        }
    }

    /// What a journal would say is not worth it any more.
    fn weigh_journal(&mut self) {
        let most = self.entries.len() / JOURNAL_SHARE;
        let heavy = |journal: &Journal| journal.touched.len() + journal.removed.len() > most;
        if self.journal().is_some_and(|journal| heavy(journal)) {
            self.give_up_journal();
        }
    }

    /// All of it is to be told: what becomes of it is not kept any more.
    pub fn give_up_journal(&mut self) {
        if let Some(beside) = &mut self.beside {
            beside.journal = None;
            if beside.running.is_none() {
                self.beside = None;
            }
        }
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        self.beside.as_ref()?.running.as_deref()
    }

    pub(crate) fn running_mut(&mut self) -> Option<&mut Running> {
        self.beside.as_mut()?.running.as_deref_mut()
    }

    pub(crate) fn take_running(&mut self) -> Option<Box<Running>> {
        self.beside.as_mut()?.running.take()
    }

    pub(crate) fn set_running(&mut self, running: Box<Running>) {
        self.beside.get_or_insert_default().running = Some(running);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::condition::Condition;
    use crate::spec::WindowSpec;
    use crate::window::Payload;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Copies(u32);

    impl Payload for Copies {
        fn absorb(&mut self, copy: Self) {
            self.0 += copy.0;
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// At a time, of an id, may it breach.
        Put(i64, u8, bool),
        Drop(i64),
        Tell,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            40 => (0i64..60, 0u8..3, any::<bool>()).prop_map(|(t, id, may)| Step::Put(t, id, may)),
            1 => (0i64..60).prop_map(Step::Drop),
            4 => Just(Step::Tell),
        ];
        prop::collection::vec(step, 1..400)
    }

    fn owned(patch: Patch<&Entry<Copies>>) -> Patch<Entry<Copies>> {
        Patch {
            before: patch.before,
            after: patch.after,
            removed: patch.removed,
            gone: patch.gone,
            put: patch.put.into_iter().cloned().collect(),
        }
    }

    /// A window, as it was told, and how often that was in short.
    struct Live {
        spec: WindowSpec,
        window: Window<Copies>,
        emitted: BTreeSet<i64>,
        told: Option<Vec<Entry<Copies>>>,
        changed: bool,
        patches: Vec<Patch<Entry<Copies>>>,
    }

    impl Live {
        fn of(condition: Condition) -> Self {
            Self {
                spec: WindowSpec::with(condition, 8, 16).unwrap(),
                window: Window::default(),
                emitted: BTreeSet::new(),
                told: None,
                changed: false,
                patches: Vec::new(),
            }
        }

        /// As its owner does: the first change since it was told begins a journal.
        fn changes(&mut self) {
            if self.told.is_some() && !std::mem::replace(&mut self.changed, true) {
                self.window.keep_journal();
            }
        }

        fn put(&mut self, t: i64, id: u8, may_breach: bool) {
            self.changes();
            let entry = Entry::new(Timestamp(t), DedupId([id; 16]), may_breach, Copies(1));
            let entry = entry.with_value(u64::from(id) + 1);
            let emitted = &self.emitted;
            let breaches = self
                .window
                .insert(&self.spec, entry, |slot| emitted.contains(&slot));
            for breach in &breaches {
                self.emitted.insert(breach.slot);
                self.window.trim(&self.spec, breach.at, true);
            }
            let known = self.emitted.contains(&self.spec.slot_of(Timestamp(t)));
            self.window.trim(&self.spec, Timestamp(t), known);
        }

        fn tell(&mut self) {
            if !std::mem::take(&mut self.changed) {
                return;
            }
            let window = &mut self.window;
            match window.take_patch().map(owned) {
                Some(patch) => self.patches.push(patch),
                None => {
                    self.told = Some(window.entries().cloned().collect());
                    self.patches.clear();
                }
            }
        }

        fn take(&mut self, steps: Vec<Step>) -> usize {
            let mut told = 0;
            for step in steps {
                match step {
                    Step::Put(t, id, may_breach) => self.put(t, id, may_breach),
                    Step::Drop(cut) => {
                        self.changes();
                        self.window.drop_until(Timestamp(cut));
                    }
                    Step::Tell if self.told.is_none() => {
                        self.told = Some(self.window.entries().cloned().collect());
                        self.changed = false;
                    }
                    Step::Tell => self.tell(),
                }
                told = told.max(self.patches.len());
            }
            if self.told.is_some() {
                self.tell();
            }
            told
        }

        fn again(&self, patches: &[Patch<Entry<Copies>>]) -> Option<Vec<Entry<Copies>>> {
            let mut entries = self.told.clone()?;
            let whole = patches
                .iter()
                .all(|patch| patch.clone().apply(&mut entries));
            whole.then_some(entries)
        }
    }

    fn condition() -> impl Strategy<Value = Condition> {
        prop_oneof![
            (0u64..12).prop_map(Condition::Count),
            Just(Condition::Distinct(2)),
            Just(Condition::Sum(40)),
            Just(Condition::Ordered(3)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_was_told_and_what_became_of_it_is_the_window(
            condition in condition(),
            steps in steps(),
        ) {
            let mut live = Live::of(condition);
            live.take(steps);
            let entries: Vec<_> = live.window.entries().cloned().collect();
            if live.told.is_some() {
                prop_assert_eq!(live.again(&live.patches), Some(entries));
            }
        }

        #[test]
        fn a_patch_that_is_lost_doubled_or_out_of_order_is_refused_where_it_counts(
            ids in prop::collection::vec((0i64..1_000, any::<u8>()), 60),
            at in 0usize..19,
        ) {
            let mut live = Live::of(Condition::Count(1_000));
            let mut ids = ids.into_iter();
            ids.by_ref().take(40).for_each(|(t, id)| live.put(t, id, false));
            live.take(vec![Step::Tell]);
            for (n, (_, id)) in ids.enumerate() {
                live.put(1_000 + i64::try_from(n).unwrap(), id, false);
                live.tell();
            }
            prop_assert_eq!(live.patches.len(), 20);
            let patches = live.patches.clone();
            let mut lost = patches.clone();
            lost.remove(at);
            let mut doubled = patches.clone();
            doubled.insert(at, patches[at].clone());
            let mut swapped = patches.clone();
            swapped.swap(at, at + 1);
            prop_assert!(live.again(&patches).is_some());
            prop_assert_eq!(live.again(&lost), None);
            prop_assert_eq!(live.again(&doubled), None);
            prop_assert_eq!(live.again(&swapped), None);
        }
    }

    #[test]
    fn a_long_window_is_told_in_short_and_a_short_one_whole() {
        let mut live = Live::of(Condition::Count(100));
        for t in 0..7 {
            live.put(t, 0, true);
        }
        live.take(vec![Step::Tell]);
        live.put(7, 0, true);
        live.tell();
        assert!(live.patches.is_empty(), "too short for a journal");
        for t in 8..40 {
            live.put(t, 0, true);
        }
        live.tell();
        assert!(live.patches.is_empty(), "most of it is new");
        live.put(40, 0, true);
        live.tell();
        assert_eq!(live.patches.len(), 1);
        assert_eq!(live.patches[0].len(), 1);
        assert!(live.window.beside.is_none(), "it takes no memory any more");
        live.changes();
        live.window.drop_until(Timestamp(10));
        live.put(41, 0, true);
        live.window.drop_until(Timestamp(20));
        live.tell();
        assert_eq!(live.patches.len(), 2);
        assert_eq!(live.patches[1].len(), 2, "a range and an entry");
    }
}
