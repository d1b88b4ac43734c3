//! [`Fold`]: the changes of several checkpoints as one, and how they meet the pages of a base.

use std::collections::BTreeMap;
use std::iter::Peekable;

use crate::error::Error;
use crate::records::{Fate, Read, VALUE_BYTES_END};

/// What a record was before what is appended to it.
#[derive(Debug, Clone, Copy)]
enum Root<'d> {
    /// What the base says.
    Base,
    Value(&'d [u8]),
    Gone,
}

/// What became of a record.
#[derive(Debug)]
struct Change<'d> {
    root: Root<'d>,
    /// The oldest first.
    appended: Vec<&'d [u8]>,
}

impl<'d> Change<'d> {
    const fn of(root: Root<'d>) -> Self {
        Self {
            root,
            appended: Vec::new(),
        }
    }

    /// The value, given what the base holds; `None`: there is none.
    fn value<'v>(
        &'v self,
        base: Option<&'v [u8]>,
        joined: &'v mut Vec<u8>,
    ) -> Result<Option<&'v [u8]>, Error> {
        let root = match self.root {
            Root::Base => Some(base.ok_or_else(nothing_there)?),
            Root::Value(value) => Some(value),
            Root::Gone => None,
        };
        let Some(root) = root.filter(|_| !self.appended.is_empty()) else {
            return Ok(root);
        };
        joined.clear();
        joined.extend_from_slice(root);
        for more in &self.appended {
            joined.extend_from_slice(more);
        }
        if joined.len() >= VALUE_BYTES_END as usize {
            return Err(Error::doubt("a record has grown too long"));
        }
        Ok(Some(joined))
    }
}

fn nothing_there() -> Error {
    Error::doubt("something is appended to a record that is not there")
}

/// Changes of several checkpoints, taken together.
#[derive(Debug)]
pub(crate) struct Fold<'d> {
    changed: BTreeMap<&'d [u8], Change<'d>>,
    dropped: Vec<&'d [u8]>,
}

impl<'d> Fold<'d> {
    /// The oldest first.
    pub(crate) fn of(deltas: &'d [Vec<u8>]) -> Result<Self, Error> {
        let mut fold = Self {
            changed: BTreeMap::new(),
            dropped: Vec::new(),
        };
        for delta in deltas {
            // What drops says nothing of what the same changes put.
            for record in Read(delta) {
                let (prefix, fate) = record?;
                if fate == Fate::Dropped {
                    fold.changed.retain(|key, _| !key.starts_with(prefix));
                    fold.dropped.push(prefix);
                }
            }
            for record in Read(delta) {
                let (key, fate) = record?;
                let root = match fate {
                    Fate::Value(value) => Root::Value(value),
                    Fate::Gone => Root::Gone,
                    Fate::Appended(more) => {
                        fold.append(key, more)?;
                        continue;
                    }
                    Fate::Dropped => continue,
                };
                fold.changed.insert(key, Change::of(root));
            }
        }
        Ok(fold)
    }

    fn append(&mut self, key: &'d [u8], more: &'d [u8]) -> Result<(), Error> {
        let dropped = &self.dropped;
        let change = self.changed.entry(key).or_insert_with(|| {
            let gone = dropped.iter().any(|prefix| key.starts_with(prefix));
            Change::of(if gone { Root::Gone } else { Root::Base })
        });
        if matches!(change.root, Root::Gone) {
            return Err(nothing_there());
        }
        change.appended.push(more);
        Ok(())
    }

    pub(crate) fn merge(&self) -> Merge<'_, 'd> {
        Merge {
            changed: self.changed.iter().peekable(),
            dropped: &self.dropped,
            joined: Vec::new(),
        }
    }
}

/// Goes through pages in their order, and through what changed beside them.
pub(crate) struct Merge<'f, 'd> {
    changed: Peekable<std::collections::btree_map::Iter<'f, &'d [u8], Change<'d>>>,
    dropped: &'f [&'d [u8]],
    joined: Vec<u8>,
}

impl Merge<'_, '_> {
    /// Takes the next page.
    pub(crate) fn page(
        &mut self,
        page: &[u8],
        put: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        for record in Read(page) {
            let (key, Fate::Value(value)) = record? else {
                return Err(Error::doubt("a page holds a change"));
            };
            while let Some((before, change)) = self.changed.next_if(|(other, _)| **other < key) {
                if let Some(value) = change.value(None, &mut self.joined)? {
                    put(before, value);
                }
            }
            let Some((_, change)) = self.changed.next_if(|(other, _)| **other == key) else {
                if !self.dropped.iter().any(|prefix| key.starts_with(prefix)) {
                    put(key, value);
                }
                continue;
            };
            if let Some(value) = change.value(Some(value), &mut self.joined)? {
                put(key, value);
            }
        }
        Ok(())
    }

    /// What lies behind the last page.
    pub(crate) fn rest(&mut self, put: &mut impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        for (key, change) in self.changed.by_ref() {
            if let Some(value) = change.value(None, &mut self.joined)? {
                put(key, value);
            }
        }
        Ok(())
    }
}
