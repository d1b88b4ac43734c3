//! [`Keyed`]: values by tenant and [`Key`], a million of them in little memory.
//!
//! Values lie side by side in rooms that never move; a hash index of eight bytes a key says where.
//! So growing copies the index alone, and what the index leaves free costs little.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::key::Key;

/// Values of a room: few enough that half an empty one does not matter.
const ROOM_LEN: usize = 256;

/// Values by tenant and key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<V> {
    tenants: BTreeMap<Arc<str>, Table<V>>,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self {
            tenants: BTreeMap::new(),
        }
    }
}

impl<V: Default> Keyed<V> {
    pub(crate) fn get(&self, tenant: &str, key: Key) -> Option<&V> {
        self.tenants.get(tenant)?.get(key)
    }

    /// The value of a key, which is made where there is none.
    pub(crate) fn entry(&mut self, tenant: &Arc<str>, key: Key) -> &mut V {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(Arc::clone(tenant), Table::new());
        }
        let table = self.tenants.entry(Arc::clone(tenant));
        table.or_insert_with(Table::new).entry(key)
    }

    /// Works on every value, in no order.
    pub(crate) fn each(&mut self, mut work: impl FnMut(&Arc<str>, Key, &mut V)) {
        for (tenant, table) in &mut self.tenants {
            let rooms = table.rooms.iter_mut().flatten();
            rooms.for_each(|(key, value)| work(tenant, *key, value));
        }
    }

    /// Keeps the values that `keep` says, in no order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Arc<str>, Key, &mut V) -> bool) {
        for (tenant, table) in &mut self.tenants {
            table.retain(&mut |key, value| keep(tenant, key, value));
        }
        self.tenants.retain(|_, table| table.len() > 0);
    }

    /// All of them, by tenant and key.
    pub(crate) fn sorted(&self) -> Vec<(&Arc<str>, Key, &V)> {
        let mut all: Vec<_> = self
            .tenants
            .iter()
            .flat_map(|(tenant, table)| table.iter().map(move |(key, v)| (tenant, *key, v)))
            .collect();
        all.sort_unstable_by_key(|(tenant, key, _)| (*tenant, *key));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.tenants.values().map(Table::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

/// Where a value lies, under 32 bits of its key's hash.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    number: u32,
}

#[derive(Debug, Clone)]
struct Table<V> {
    /// Unknown to whoever chooses user names. Nothing that leaves depends on it.
    seeds: [u64; 2],
    index: HashTable<Place>,
    rooms: Vec<Vec<(Key, V)>>,
    len: usize,
}

impl<V: Default> Table<V> {
    fn new() -> Self {
        let seed = || RandomState::new().build_hasher().finish();
        Self {
            seeds: [seed(), seed()],
            index: HashTable::new(),
            rooms: Vec::new(),
            len: 0,
        }
    }

    const fn len(&self) -> usize {
        self.len
    }

    /// Keys are hashes already; this only folds them under the seeds.
    fn hash(&self, key: Key) -> u32 {
        let (a, b) = halves(key);
        let product = u128::from(a ^ self.seeds[0]) * u128::from(b ^ self.seeds[1]);
        let folded = product ^ (product >> 64);
        u32::try_from(folded & u128::from(u32::MAX)).unwrap_or_default()
    }

    fn room(&self, number: u32) -> Option<&(Key, V)> {
        let number = number as usize;
        self.rooms.get(number / ROOM_LEN)?.get(number % ROOM_LEN)
    }

    fn find(&self, hash: u32, key: Key) -> Option<u32> {
        let is_it = |place: &Place| {
            place.hash == hash && self.room(place.number).is_some_and(|(k, _)| *k == key)
        };
        self.index.find(spread(hash), is_it).map(|p| p.number)
    }

    fn get(&self, key: Key) -> Option<&V> {
        let number = self.find(self.hash(key), key)?;
        self.room(number).map(|(_, value)| value)
    }

    fn entry(&mut self, key: Key) -> &mut V {
        let hash = self.hash(key);
        let number = self.find(hash, key).unwrap_or_else(|| self.add(hash, key));
        let number = number as usize;
        let room = self.rooms.get_mut(number / ROOM_LEN);
        let value = room.and_then(|room| room.get_mut(number % ROOM_LEN));
        &mut value.expect("every place in the index has its room").1
    }

    fn add(&mut self, hash: u32, key: Key) -> u32 {
        let number = u32::try_from(self.len).expect("fewer than four billion keys in memory");
        self.len += 1;
        match self.rooms.last_mut() {
            Some(room) if room.len() < ROOM_LEN => room.push((key, V::default())),
            last => {
                // A first room grows as it fills; whoever fills one fills more.
                let len = if last.is_some() { ROOM_LEN } else { 1 };
                let mut room = Vec::with_capacity(len);
                room.push((key, V::default()));
                self.rooms.push(room);
            }
        }
        let place = Place { hash, number };
        let rehash = |place: &Place| spread(place.hash);
        self.index.insert_unique(spread(hash), place, rehash);
        number
    }

    fn retain(&mut self, keep: &mut impl FnMut(Key, &mut V) -> bool) {
        let mut number = 0;
        while number < self.len {
            let room = self.rooms.get_mut(number / ROOM_LEN);
            let value = room.and_then(|room| room.get_mut(number % ROOM_LEN));
            if value.is_none_or(|(key, value)| keep(*key, value)) {
                number += 1;
            } else {
                self.remove(number);
            }
        }
        if self.index.len() * 4 < self.index.capacity() {
            let rehash = |place: &Place| spread(place.hash);
            self.index.shrink_to_fit(rehash);
        }
    }

    /// The last value moves to where the removed one was.
    fn remove(&mut self, number: usize) {
        let last = self.len - 1;
        self.unlist(number);
        let moved = self.rooms.last_mut().and_then(Vec::pop);
        if self.rooms.last().is_some_and(Vec::is_empty) {
            self.rooms.pop();
        }
        self.len = last;
        let Some((key, value)) = moved.filter(|_| number != last) else {
            return;
        };
        let hash = self.hash(key);
        let is_it = |place: &Place| place.number as usize == last;
        if let Some(place) = self.index.find_mut(spread(hash), is_it) {
            place.number = u32::try_from(number).unwrap_or(place.number);
        }
        let room = self.rooms.get_mut(number / ROOM_LEN);
        if let Some(place) = room.and_then(|room| room.get_mut(number % ROOM_LEN)) {
            *place = (key, value);
        }
    }

    fn unlist(&mut self, number: usize) {
        let room = self.rooms.get(number / ROOM_LEN);
        let Some((key, _)) = room.and_then(|room| room.get(number % ROOM_LEN)) else {
            return;
        };
        let hash = spread(self.hash(*key));
        let is_it = |place: &Place| place.number as usize == number;
        if let Ok(listed) = self.index.find_entry(hash, is_it) {
            listed.remove();
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        let rooms = self.rooms.iter().flatten();
        rooms.map(|(key, value)| (key, value))
    }
}

/// The table takes its slot from the low bits and its tag from the high ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn halves(key: Key) -> (u64, u64) {
    let both = u128::from_le_bytes(key.0);
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    (half(both), half(both >> 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u16) -> Key {
        let mut key = [0; 16];
        key[..2].copy_from_slice(&n.to_le_bytes());
        Key(key)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn it_holds_what_a_plain_map_holds(
            steps in prop::collection::vec((any::<bool>(), 0u16..900, 1u32..7), 1..2_000),
        ) {
            let tenants = [Arc::from("a"), Arc::from("b")];
            let (mut keyed, mut plain) = (Keyed::<u32>::default(), BTreeMap::new());
            for (index, (second, n, value)) in steps.into_iter().enumerate() {
                let tenant = &tenants[usize::from(second)];
                *keyed.entry(tenant, key(n)) += value;
                *plain.entry((Arc::clone(tenant), key(n))).or_default() += value;
                if index % 700 == 699 {
                    keyed.retain(|_, _, kept: &mut u32| !kept.is_multiple_of(3));
                    plain.retain(|_, kept: &mut u32| !kept.is_multiple_of(3));
                }
                prop_assert_eq!(keyed.get(tenant, key(n)), plain.get(&(Arc::clone(tenant), key(n))));
            }
            prop_assert_eq!(keyed.len(), plain.len());
            prop_assert_eq!(keyed.is_empty(), plain.is_empty());
            let all = keyed.sorted().into_iter().map(|(t, k, v)| ((Arc::clone(t), k), *v));
            prop_assert!(all.eq(plain.clone()));
            for n in 0..900 {
                let wanted = plain.get(&(Arc::clone(&tenants[0]), key(n)));
                prop_assert_eq!(keyed.get("a", key(n)), wanted);
            }
            keyed.retain(|_, _, _| false);
            prop_assert!(keyed.is_empty());
        }
    }
}
