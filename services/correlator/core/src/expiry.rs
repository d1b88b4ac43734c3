//! [`Expiry`]: when the claims of which key end, the first end first.

use std::collections::BTreeMap;

use balefire_event::Timestamp;
use smallvec::SmallVec;

use crate::key::KeyHash;

/// Keys by the end of a claim of theirs; a key as often as claims of it end then. Hints of one
/// batch end together, so few ends hold many keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expiry {
    /// The keys of an end descend.
    ends: BTreeMap<Timestamp, SmallVec<[KeyHash; 1]>>,
    len: usize,
}

impl Expiry {
    /// How many claims there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn add(&mut self, end: Timestamp, key: KeyHash) {
        let keys = self.ends.entry(end).or_default();
        let at = keys.partition_point(|other| *other > key);
        keys.insert(at, key);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, end: Timestamp, key: KeyHash) {
        let Some(keys) = self.ends.get_mut(&end) else {
            return;
        };
        let at = keys.partition_point(|other| *other > key);
        if keys.get(at) == Some(&key) {
            keys.remove(at);
            self.len -= 1;
        }
        if keys.is_empty() {
            self.ends.remove(&end);
        }
    }

    /// The first end.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.ends.first_key_value().map(|(end, _)| *end)
    }

    /// The first end, and the least key of it; it is removed.
    pub(crate) fn pop_first(&mut self) -> Option<(Timestamp, KeyHash)> {
        let mut first = self.ends.first_entry()?;
        let end = *first.key();
        let key = first.get_mut().pop();
        if first.get().is_empty() {
            first.remove();
        }
        self.len -= 1;
        Some((end, key?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_bag_of_ends_and_keys_in_their_order(
            steps in prop::collection::vec((0..3u8, 0..4i64, 0..4u8), 0..64),
        ) {
            let (mut expiry, mut bag) = (Expiry::default(), BTreeMap::new());
            for (what, end, key) in steps {
                let (end, key) = (Timestamp(end), KeyHash([key; 16]));
                match what {
                    0 => {
                        expiry.add(end, key);
                        *bag.entry((end, key)).or_insert(0usize) += 1;
                    }
                    1 => {
                        expiry.remove(end, key);
                        bag.entry((end, key)).and_modify(|count| *count -= 1);
                    }
                    _ => {
                        let first = bag.first_key_value().map(|(one, _)| *one);
                        prop_assert_eq!(expiry.first(), first.map(|(end, _)| end));
                        prop_assert_eq!(expiry.pop_first(), first);
                        if let Some(first) = first {
                            bag.entry(first).and_modify(|count| *count -= 1);
                        }
                    }
                }
                bag.retain(|_, count| *count > 0);
                prop_assert_eq!(expiry.len(), bag.values().sum::<usize>());
            }
        }
    }
}
