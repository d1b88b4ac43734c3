//! [`Sorted`]: the sequence a [`crate::Window`] keeps its entries in. One value lies inline, a few
//! in a vector, many in a tree of chunks that counts: an insertion or a look anywhere costs
//! O(log n) and moves at most [`CHUNK_LEN_MAX`] values.
//!
//! The order is the caller's: it says at which index a value goes in.

use std::mem;
use std::ops::Range;
use std::slice;

use crate::tree::{Inner, Node};

/// Most values in one piece of memory.
pub const CHUNK_LEN_MAX: usize = 128;

/// Values by index, in the order of their caller.
#[derive(Debug, Clone)]
pub struct Sorted<T> {
    store: Store<T>,
}

#[derive(Debug, Clone)]
enum Store<T> {
    One(T),
    Flat(Vec<T>),
    Tree(Box<Inner<T>>),
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for Sorted<T> {
    fn from(mut values: Vec<T>) -> Self {
        let store = if values.len() > CHUNK_LEN_MAX {
            Store::Tree(Box::new(Inner::of(values)))
        } else if values.len() == 1
            && let Some(value) = values.pop()
        {
            Store::One(value)
        } else {
            Store::Flat(values)
        };
        Self { store }
    }
}

impl<T: PartialEq> PartialEq for Sorted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for Sorted<T> {}

impl<T> Sorted<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.store {
            Store::One(_) => 1,
            Store::Flat(values) => values.len(),
            Store::Tree(tree) => tree.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunk that holds the index, and where in it that is.
    fn chunk(&self, index: usize) -> (&[T], usize) {
        match &self.store {
            Store::One(value) => (slice::from_ref(value), index),
            Store::Flat(values) => (values, index),
            Store::Tree(tree) => tree.chunk(index),
        }
    }

    /// The value at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        let (chunk, at) = self.chunk(index);
        chunk.get(at)
    }

    /// The same, to be changed in what does not concern the order.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match &mut self.store {
            Store::One(value) => (index == 0).then_some(value),
            Store::Flat(values) => values.get_mut(index),
            Store::Tree(tree) => tree.get_mut(index),
        }
    }

    /// The first one.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        match &self.store {
            Store::One(value) => Some(value),
            Store::Flat(values) => values.last(),
            Store::Tree(tree) => tree.last(),
        }
    }

    /// Index of the first value that `before` denies; it holds for all in front of that.
    pub fn partition_point(&self, before: impl Fn(&T) -> bool) -> usize {
        match &self.store {
            Store::One(value) => usize::from(before(value)),
            Store::Flat(values) => values.partition_point(before),
            Store::Tree(tree) => tree.partition_point(&before),
        }
    }

    /// Puts a value in front of the one at `index`; an index behind the last appends.
    pub fn insert(&mut self, index: usize, value: T) {
        match &mut self.store {
            Store::One(_) => {
                let Store::One(one) = mem::replace(&mut self.store, Store::Flat(Vec::new())) else {
                    return;
                };
                let pair = if index == 0 {
                    [value, one]
                } else {
                    [one, value]
                };
                self.store = Store::Flat(Vec::from(pair));
            }
            Store::Flat(values) if values.is_empty() => self.store = Store::One(value),
            Store::Flat(values) if values.len() < CHUNK_LEN_MAX => {
                // Most windows stay short: twice the room would be half empty in most of them.
                if values.len() == values.capacity() {
                    values.reserve_exact((values.len() / 4).max(2));
                }
                values.insert(index.min(values.len()), value);
            }
            Store::Flat(values) => {
                let mut leaf = Node::Leaf(mem::take(values));
                let right = leaf.insert(index, value);
                let nodes = [Some(leaf), right].into_iter().flatten().collect();
                self.store = Store::Tree(Box::new(Inner::over(nodes)));
            }
            Store::Tree(tree) => {
                if let Some(right) = tree.insert(index, value) {
                    let left = mem::replace(tree.as_mut(), Inner::over(Vec::new()));
                    **tree = Inner::over(vec![Node::Inner(left), Node::Inner(right)]);
                }
            }
        }
    }

    /// Takes the values of an index range out, each through `gone`, and gives idle memory back.
    pub fn remove(&mut self, range: Range<usize>, mut gone: impl FnMut(T)) {
        match &mut self.store {
            Store::One(_) => {
                if range.contains(&0)
                    && let Store::One(one) = mem::replace(&mut self.store, Store::Flat(Vec::new()))
                {
                    gone(one);
                }
            }
            Store::Flat(values) => {
                take(values, range, &mut gone);
                if values.len() == 1
                    && let Some(one) = values.pop()
                {
                    self.store = Store::One(one);
                }
            }
            Store::Tree(tree) => {
                tree.remove(range, &mut gone);
                if tree.len() <= CHUNK_LEN_MAX / 2 {
                    let mut values = Vec::with_capacity(tree.len());
                    let all = 0..tree.len();
                    tree.remove(all, &mut |value| values.push(value));
                    *self = Self::from(values);
                }
            }
        }
    }

    /// The values of an index range.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Iter<'_, T> {
        Iter {
            sorted: self,
            next: range.start,
            end: range.end.min(self.len()),
            chunk: [].iter(),
        }
    }

    /// All of them.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        self.range(0..self.len())
    }
}

/// Takes a range out of a chunk; memory that is three quarters idle is given back.
pub(crate) fn take<T>(values: &mut Vec<T>, range: Range<usize>, gone: &mut impl FnMut(T)) {
    let end = range.end.min(values.len());
    values.drain(range.start.min(end)..end).for_each(gone);
    if values.len() * 4 <= values.capacity() {
        values.shrink_to_fit();
    }
}

/// Values of a [`Sorted`], in order. Skipping costs O(log n).
#[derive(Debug)]
pub struct Iter<'s, T> {
    sorted: &'s Sorted<T>,
    /// Index of what comes next.
    next: usize,
    end: usize,
    /// What is left of the chunk at hand.
    chunk: slice::Iter<'s, T>,
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self {
            sorted: self.sorted,
            next: self.next,
            end: self.end,
            chunk: self.chunk.clone(),
        }
    }
}

impl<'s, T> Iterator for Iter<'s, T> {
    type Item = &'s T;

    fn next(&mut self) -> Option<&'s T> {
        if let Some(value) = self.chunk.next() {
            self.next += 1;
            return Some(value);
        }
        let left = self.len();
        if left == 0 {
            return None;
        }
        let (chunk, at) = self.sorted.chunk(self.next);
        let until = chunk.len().min(at + left);
        self.chunk = chunk.get(at..until).unwrap_or_default().iter();
        self.next += 1;
        self.chunk.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }

    fn nth(&mut self, skipped: usize) -> Option<&'s T> {
        self.next = self.next.saturating_add(skipped);
        self.chunk = if skipped < self.chunk.len() {
            let left = self.chunk.as_slice();
            left.get(skipped..).unwrap_or_default().iter()
        } else {
            [].iter()
        };
        self.next()
    }

    fn last(self) -> Option<&'s T> {
        let last = self.end.checked_sub(1).filter(|last| *last >= self.next)?;
        self.sorted.get(last)
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {
    fn len(&self) -> usize {
        self.end.saturating_sub(self.next)
    }
}

impl<'s, T> IntoIterator for &'s Sorted<T> {
    type Item = &'s T;
    type IntoIter = Iter<'s, T>;

    fn into_iter(self) -> Iter<'s, T> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// So many values in order from a place on (a share of 256 of the length).
        Insert(u8, u16),
        Remove(u8, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = || prop_oneof![Just(0u8), Just(255u8), any::<u8>()];
        prop_oneof![
            3 => (place(), prop_oneof![1u16..4, 1u16..2_000]).prop_map(|(at, n)| Step::Insert(at, n)),
            1 => (place(), prop_oneof![1u16..4, 1u16..4_000]).prop_map(|(at, n)| Step::Remove(at, n)),
        ]
    }

    fn share(place: u8, len: usize) -> usize {
        if place == 255 {
            len
        } else {
            len * usize::from(place) / 255
        }
    }

    fn check(sorted: &Sorted<u32>, plain: &[u32]) {
        assert_eq!(sorted.len(), plain.len());
        assert!(sorted.iter().eq(plain));
        assert_eq!(sorted.iter().len(), plain.len());
        assert_eq!(sorted.first(), plain.first());
        assert_eq!(sorted.last(), plain.last());
        assert_eq!(sorted.get(plain.len()), None);
        match &sorted.store {
            Store::One(_) => assert_eq!(plain.len(), 1),
            Store::Flat(values) => assert!(values.len() <= CHUNK_LEN_MAX),
            Store::Tree(tree) => {
                tree.check();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn it_holds_what_a_plain_vector_holds(steps in prop::collection::vec(step(), 1..12)) {
            let (mut sorted, mut plain) = (Sorted::default(), Vec::new());
            let mut next = 0u32;
            for step in steps {
                match step {
                    Step::Insert(place, count) => {
                        let at = share(place, plain.len());
                        for index in at..at + usize::from(count) {
                            sorted.insert(index, next);
                            plain.insert(index, next);
                            next += 1;
                        }
                    }
                    Step::Remove(place, count) => {
                        let at = share(place, plain.len());
                        let end = plain.len().min(at + usize::from(count));
                        let mut gone = Vec::new();
                        sorted.remove(at..end, |value| gone.push(value));
                        let wanted: Vec<u32> = plain.drain(at..end).collect();
                        prop_assert_eq!(gone, wanted);
                    }
                }
                check(&sorted, &plain);
            }
            let again = Sorted::from(plain.clone());
            check(&again, &plain);
            prop_assert_eq!(again, sorted);
        }

        #[test]
        fn looks_at_any_index_are_those_of_a_plain_vector(
            len in 0usize..20_000,
            looks in prop::collection::vec((0usize..20_000, 0usize..20_000), 20),
        ) {
            let plain: Vec<usize> = (0..len).map(|value| value * 2).collect();
            let mut sorted = Sorted::from(plain.clone());
            for (a, b) in looks {
                prop_assert_eq!(sorted.get(a), plain.get(a));
                prop_assert_eq!(sorted.get_mut(a).copied(), plain.get(a).copied());
                let point = plain.partition_point(|value| *value < a);
                prop_assert_eq!(sorted.partition_point(|value| *value < a), point);
                let (from, to) = (a.min(b).min(len), a.max(b).min(len));
                prop_assert!(sorted.range(from..to).eq(&plain[from..to]));
                prop_assert_eq!(sorted.range(from..to).last(), plain[from..to].last());
                let skip = b % 300;
                prop_assert!(sorted.range(from..to).skip(skip).eq(plain[from..to].iter().skip(skip)));
            }
        }
    }

    #[test]
    fn values_in_any_order_lie_in_a_shallow_tree() {
        let mut sorted = Sorted::default();
        let mut seed = 1usize;
        for value in 0..200_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sorted.insert((seed >> 33) % (sorted.len() + 1), value);
        }
        let Store::Tree(tree) = &sorted.store else {
            unreachable!("a tree")
        };
        assert!(tree.check() <= 3);
        assert_eq!(sorted.len(), 200_000);
    }

    #[test]
    fn one_value_takes_no_memory_beside_its_own() {
        assert!(size_of::<Sorted<(u64, Box<str>, bool)>>() <= 32);
    }
}
