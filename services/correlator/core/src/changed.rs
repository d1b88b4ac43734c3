//! [`Changed`]: which records of a state changed since a checkpoint was told of them.

use std::collections::BTreeSet;

/// Keys of what changed. Nothing is noted before the first checkpoint, which is of all.
#[derive(Debug, Clone)]
pub(crate) struct Changed<K>(Option<BTreeSet<K>>);

impl<K> Default for Changed<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Ord> Changed<K> {
    pub(crate) fn note(&mut self, key: K) {
        if let Some(changed) = &mut self.0 {
            changed.insert(key);
        }
    }

    /// From here on it is noted; these changed already.
    pub(crate) fn begin(&mut self, keys: impl Iterator<Item = K>) {
        self.0 = Some(keys.collect());
    }

    /// Nothing is noted any more.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, BTreeSet::len)
    }

    /// The next one; it is told now.
    pub(crate) fn take(&mut self) -> Option<K> {
        self.0.as_mut()?.pop_first()
    }
}
