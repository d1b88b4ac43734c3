//! [`Changed`]: which values of a table changed since they were told, one bit a value.

use crate::key::Key;

/// What changed of a table since it was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changed {
    /// A bit for each place.
    places: Vec<u64>,
    /// Keys that were removed, some of them there again.
    pub(crate) gone: Vec<Key>,
}

const BITS: usize = u64::BITS as usize;

impl Changed {
    /// Every one of so many places.
    pub(crate) fn all(len: usize) -> Self {
        let mut places = vec![u64::MAX; len / BITS];
        places.push((1 << (len % BITS)) - 1);
        Self {
            places,
            gone: Vec::new(),
        }
    }

    /// How many words of places there are.
    pub(crate) const fn word_len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn len(&self) -> usize {
        let set = self.places.iter().map(|bits| bits.count_ones() as usize);
        set.sum()
    }

    /// The first place of a word that is set, which it is not any more.
    pub(crate) fn take(&mut self, word: usize) -> Option<usize> {
        let bits = self.places.get_mut(word).filter(|bits| **bits != 0)?;
        let number = word * BITS + bits.trailing_zeros() as usize;
        *bits &= *bits - 1;
        Some(number)
    }

    pub(crate) fn is_set(&self, number: usize) -> bool {
        let bits = self.places.get(number / BITS);
        bits.is_some_and(|bits| bits & 1 << (number % BITS) != 0)
    }

    pub(crate) fn set(&mut self, number: usize) {
        let word = number / BITS;
        if self.places.len() <= word {
            self.places.resize(word + 1, 0);
        }
        if let Some(bits) = self.places.get_mut(word) {
            *bits |= 1 << (number % BITS);
        }
    }

    /// Whether it was set.
    pub(crate) fn clear(&mut self, number: usize) -> bool {
        let Some(bits) = self.places.get_mut(number / BITS) else {
            return false;
        };
        let bit = 1 << (number % BITS);
        let was = *bits & bit != 0;
        *bits &= !bit;
        was
    }

    /// The value at the last place moves to another.
    pub(crate) fn moved(&mut self, last: usize, to: usize) {
        let was = self.clear(last);
        match to == last {
            true => {}
            false if was => self.set(to),
            false => {
                self.clear(to);
            }
        }
    }
}
