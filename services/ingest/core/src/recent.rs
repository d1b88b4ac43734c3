//! A bounded memory of recent things: at most `2 · capacity` of them, each for one to two
//! `horizon`s. Hints only: what it forgot costs a repetition, never an event.

use std::collections::HashMap;
use std::hash::Hash;

use balefire_event::Timestamp;

/// Remembers values by key. Two generations: the older one is dropped whole.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, (Timestamp, V)>,
    old: HashMap<K, (Timestamp, V)>,
    turned_at: Timestamp,
    capacity: usize,
    horizon: i64,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Remembers up to `capacity` keys a generation; a key younger than `horizon` nanoseconds is
    /// found unless more than `capacity` came after it.
    #[must_use]
    pub fn new(capacity: usize, horizon: i64) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            turned_at: Timestamp::MIN,
            capacity,
            horizon,
        }
    }

    /// What is known of a key, where it was remembered less than the horizon before `now`.
    #[must_use]
    pub fn get<Q>(&self, key: &Q, now: Timestamp) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.found(key, now).map(|(_, value)| value)
    }

    /// When a key was remembered, where that is less than the horizon before `now`.
    #[must_use]
    pub fn at<Q>(&self, key: &Q, now: Timestamp) -> Option<Timestamp>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.found(key, now).map(|(at, _)| *at)
    }

    fn found<Q>(&self, key: &Q, now: Timestamp) -> Option<&(Timestamp, V)>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let found = self.young.get(key).or_else(|| self.old.get(key));
        found.filter(|(at, _)| now.since(*at) < self.horizon)
    }

    /// Remembers a key as of `now`.
    pub fn insert(&mut self, key: K, value: V, now: Timestamp) {
        if self.young.len() >= self.capacity || now.since(self.turned_at) >= self.horizon {
            // Their room is used again: who is full soon grows no new one each time.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
            self.turned_at = now;
        }
        self.young.insert(key, (now, value));
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_until_its_horizon() {
        let mut recent = Recent::new(8, 10);
        recent.insert("a", 1, Timestamp(0));
        assert_eq!(recent.get("a", Timestamp(9)), Some(&1));
        assert_eq!(recent.at("a", Timestamp(9)), Some(Timestamp(0)));
        assert_eq!(recent.get("a", Timestamp(10)), None);
        recent.insert("b", 2, Timestamp(9));
        recent.insert("c", 3, Timestamp(12));
        assert_eq!(recent.get("b", Timestamp(18)), Some(&2));
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::new(8, i64::MAX);
        for key in 0..1000 {
            recent.insert(key, (), Timestamp(key));
        }
        assert!(recent.len() <= 16);
        assert!(recent.get(&999, Timestamp(1000)).is_some());
        assert!(recent.get(&1, Timestamp(1000)).is_none());
    }
}
