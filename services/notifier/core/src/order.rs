//! Brings records of one stream into its own order, wherever they become known first: by the
//! acknowledgement of an own publish or by reading the stream.

use std::collections::BTreeMap;

/// Messages by stream sequence; let out one after the other, each once.
#[derive(Debug)]
pub struct Order<T> {
    last: u64,
    early: BTreeMap<u64, T>,
}

impl<T> Order<T> {
    /// Starts behind sequence `last`.
    #[must_use]
    pub fn after(last: u64) -> Self {
        Self {
            last,
            early: BTreeMap::new(),
        }
    }

    /// Adds a message; one that is already known is dropped.
    pub fn insert(&mut self, sequence: u64, message: T) {
        if sequence > self.last {
            self.early.entry(sequence).or_insert(message);
        }
    }

    /// The next message, once every one before it came out.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let sequence = self.last + 1;
        let message = self.early.remove(&sequence)?;
        self.last = sequence;
        Some((sequence, message))
    }

    /// Sequence of the last message that came out.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Messages that wait for one before them.
    #[must_use]
    pub fn early_len(&self) -> usize {
        self.early.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_acknowledgement_waits_for_what_another_wrote_before_it() {
        let mut order = Order::after(4);
        order.insert(6, "own");
        assert_eq!(order.pop(), None);
        order.insert(5, "requeue");
        assert_eq!(order.pop(), Some((5, "requeue")));
        assert_eq!(order.pop(), Some((6, "own")));
        order.insert(6, "read again");
        assert_eq!(order.pop(), None);
        assert_eq!((order.last(), order.early_len()), (6, 0));
    }
}
