//! [`Keyed`]: values by tenant and [`Key`], a million of them in little memory.
//!
//! Values lie side by side in rooms that never move; a hash index of eight bytes a key says where.
//! So growing copies the index alone, and what the index leaves free costs little.
//!
//! Once it was asked what changed it marks what does from then on, one bit a key.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

use crate::changed::Changed;
use crate::key::Key;

/// Values of a room: few enough that half an empty one does not matter.
const ROOM_LEN: usize = 256;

/// What became of a value that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Same,
    Changed,
    Gone,
}

/// What is told of a key.
#[derive(Debug)]
pub(crate) enum Tale<'v, V> {
    /// All of it: nothing of the table counts that was told before.
    Whole(&'v mut V),
    /// It changed since it was told, or was not there.
    Changed(&'v mut V),
    Gone,
}

/// Values by tenant and key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<V> {
    tenants: BTreeMap<Arc<str>, Table<V>>,
    /// It was asked what changed.
    told: bool,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self {
            tenants: BTreeMap::new(),
            told: false,
        }
    }
}

impl<V: Default> Keyed<V> {
    pub(crate) fn get(&self, tenant: &str, key: Key) -> Option<&V> {
        self.tenants.get(tenant)?.get(key)
    }

    /// The value of a key, which is made where there is none.
    pub(crate) fn entry(&mut self, tenant: &Arc<str>, key: Key) -> &mut V {
        self.entry_told(tenant, key).0
    }

    /// The same, and whether the value was told as it stands.
    pub(crate) fn entry_told(&mut self, tenant: &Arc<str>, key: Key) -> (&mut V, bool) {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(Arc::clone(tenant), Table::new());
        }
        let table = self.tenants.entry(Arc::clone(tenant));
        table.or_insert_with(Table::new).entry(key)
    }

    /// Works on every value, in no order; says what became of each.
    pub(crate) fn each(&mut self, mut work: impl FnMut(&Arc<str>, Key, &mut V) -> Fate) {
        self.each_told(|tenant, key, value, _| work(tenant, key, value));
    }

    /// The same, given whether the value was told as it stands.
    pub(crate) fn each_told(&mut self, mut work: impl FnMut(&Arc<str>, Key, &mut V, bool) -> Fate) {
        for (tenant, table) in &mut self.tenants {
            table.each(&mut |key, value, told| work(tenant, key, value, told));
        }
        self.tenants.retain(|_, table| !table.is_forgotten());
    }

    /// Tells of every key whose value changed since this was asked last. All of them the first
    /// time.
    pub(crate) fn take_changes(&mut self, mut told: impl FnMut(&Arc<str>, Key, Tale<'_, V>)) {
        self.told = true;
        for (tenant, table) in &mut self.tenants {
            table.take_changes(&mut |key, tale| told(tenant, key, tale));
        }
        self.tenants.retain(|_, table| !table.is_forgotten());
    }

    /// The same of some of those that changed; `left` is how many more may be told. What is gone
    /// waits for [`Keyed::take_changes`].
    pub(crate) fn take_some(
        &mut self,
        left: &mut usize,
        mut told: impl FnMut(&Arc<str>, Key, Tale<'_, V>),
    ) {
        self.told = true;
        for (tenant, table) in &mut self.tenants {
            table.take_some(left, &mut |key, tale| told(tenant, key, tale));
        }
    }

    /// Of how many it is to be told that they changed.
    pub(crate) fn changed_len(&self) -> usize {
        self.tenants.values().map(Table::changed_len).sum()
    }

    /// Whether it was asked what changed, and that counts.
    pub(crate) const fn is_told(&self) -> bool {
        self.told
    }

    /// All of it is to be told again.
    pub(crate) fn untold(&mut self) {
        self.told = false;
        for table in self.tenants.values_mut() {
            table.changed = None;
        }
        self.tenants.retain(|_, table| !table.is_forgotten());
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
        self.tenants.values().all(|table| table.len() == 0)
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
    /// `None`: nothing of it was told.
    changed: Option<Changed>,
}

impl<V: Default> Table<V> {
    fn new() -> Self {
        let seed = || RandomState::new().build_hasher().finish();
        Self {
            seeds: [seed(), seed()],
            index: HashTable::new(),
            rooms: Vec::new(),
            len: 0,
            changed: None,
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

    fn entry(&mut self, key: Key) -> (&mut V, bool) {
        let hash = self.hash(key);
        let known = self.find(hash, key);
        let number = known.unwrap_or_else(|| self.add(hash, key)) as usize;
        let told = known.is_some() && self.is_told(number);
        if let Some(changed) = &mut self.changed {
            changed.set(number);
        }
        let room = self.rooms.get_mut(number / ROOM_LEN);
        let value = room.and_then(|room| room.get_mut(number % ROOM_LEN));
        let value = value.expect("every place in the index has its room");
        (&mut value.1, told)
    }

    /// Whether what lies there was told as it stands.
    fn is_told(&self, number: usize) -> bool {
        let changed = self.changed.as_ref();
        changed.is_some_and(|changed| !changed.is_set(number))
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

    fn each(&mut self, work: &mut impl FnMut(Key, &mut V, bool) -> Fate) {
        let mut number = 0;
        while number < self.len {
            let told = self.is_told(number);
            let room = self.rooms.get_mut(number / ROOM_LEN);
            let value = room.and_then(|room| room.get_mut(number % ROOM_LEN));
            let Some((key, value)) = value else {
                return;
            };
            let key = *key;
            match work(key, value, told) {
                Fate::Same => number += 1,
                Fate::Changed => {
                    if let Some(changed) = &mut self.changed {
                        changed.set(number);
                    }
                    number += 1;
                }
                Fate::Gone => {
                    self.remove(number);
                    if let Some(changed) = &mut self.changed {
                        changed.gone.push(key);
                    }
                }
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
        if let Some(changed) = &mut self.changed {
            changed.moved(last, number);
        }
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

    /// Empty, and nobody needs to be told of it.
    fn is_forgotten(&self) -> bool {
        let told = self.changed.as_ref();
        self.len == 0 && told.is_none_or(|changed| changed.gone.is_empty())
    }

    /// Of how many it is to be told that they changed.
    fn changed_len(&self) -> usize {
        self.changed.as_ref().map_or(self.len, Changed::len)
    }

    fn take_some(&mut self, left: &mut usize, told: &mut impl FnMut(Key, Tale<'_, V>)) {
        let len = self.len;
        let changed = self.changed.get_or_insert_with(|| Changed::all(len));
        let mut word = 0;
        while *left > 0 && word < changed.word_len() {
            let Some(number) = changed.take(word) else {
                word += 1;
                continue;
            };
            *left -= 1;
            let room = self.rooms.get_mut(number / ROOM_LEN);
            if let Some((key, value)) = room.and_then(|room| room.get_mut(number % ROOM_LEN)) {
                told(*key, Tale::Changed(value));
            }
        }
    }

    fn take_changes(&mut self, told: &mut impl FnMut(Key, Tale<'_, V>)) {
        if self.changed.is_none() {
            self.changed = Some(Changed::default());
            let all = self.rooms.iter_mut().flatten();
            all.for_each(|(key, value)| told(*key, Tale::Whole(value)));
            return;
        }
        let mut left = self.len;
        self.take_some(&mut left, told);
        let changed = self.changed.replace(Changed::default());
        let mut gone = changed.map(|changed| changed.gone).unwrap_or_default();
        gone.sort_unstable();
        gone.dedup();
        for key in gone {
            if self.get(key).is_none() {
                told(key, Tale::Gone);
            }
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
            let mut copy = BTreeMap::new();
            for (index, (second, n, value)) in steps.into_iter().enumerate() {
                let tenant = &tenants[usize::from(second)];
                let at = (Arc::clone(tenant), key(n));
                let told_as_it_stands = copy.get(&at).is_some_and(|told| plain.get(&at) == Some(told));
                let (entry, told) = keyed.entry_told(tenant, key(n));
                // What was altered to what it was, or put there anew, counts as changed.
                prop_assert!(!told || told_as_it_stands);
                *entry += value;
                *plain.entry((Arc::clone(tenant), key(n))).or_default() += value;
                let mut take = |tenant: &Arc<str>, key: Key, tale: Tale<'_, u32>| {
                    let at = (Arc::clone(tenant), key);
                    match tale {
                        Tale::Whole(value) | Tale::Changed(value) => copy.insert(at, *value),
                        Tale::Gone => copy.remove(&at),
                    };
                };
                if index % 97 == 13 {
                    let before = keyed.changed_len();
                    keyed.take_some(&mut 40, &mut take);
                    prop_assert_eq!(keyed.changed_len(), before.saturating_sub(40));
                }
                if index % 300 == 299 {
                    keyed.take_changes(&mut take);
                    prop_assert_eq!(keyed.changed_len(), 0);
                    prop_assert_eq!(&copy, &plain);
                }
                if index % 700 == 699 {
                    keyed.each(|_, _, kept: &mut u32| match *kept % 6 {
                        0 | 3 => Fate::Gone,
                        1 => {
                            *kept += 1;
                            Fate::Changed
                        }
                        _ => Fate::Same,
                    });
                    plain.retain(|_, kept: &mut u32| !kept.is_multiple_of(3));
                    plain.values_mut().for_each(|kept| *kept += u32::from(*kept % 6 == 1));
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
            keyed.each(|_, _, _| Fate::Gone);
            prop_assert!(keyed.is_empty());
            keyed.take_changes(|tenant, key, tale| {
                assert!(matches!(tale, Tale::Gone));
                copy.remove(&(Arc::clone(tenant), key));
            });
            prop_assert!(copy.is_empty());
        }
    }
}
