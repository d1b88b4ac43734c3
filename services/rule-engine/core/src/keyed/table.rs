//! The values of one tenant: rooms, and the index that finds a key's.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use balefire_event::Timestamp;
use hashbrown::HashTable;

use super::{Fate, Found, Tale};
use crate::changed::Changed;
use crate::key::Key;

/// Values of a room: few enough that half an empty one does not matter.
const ROOM_LEN: usize = 256;

/// Where a value lies, under 32 bits of its key's hash.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    number: u32,
}

#[derive(Debug, Clone)]
struct Room<V> {
    values: Vec<(Key, V)>,
    /// Nothing in a value is older.
    since: Vec<Timestamp>,
}

impl<V> Room<V> {
    fn with_capacity(len: usize) -> Self {
        Self {
            values: Vec::with_capacity(len),
            since: Vec::with_capacity(len),
        }
    }

    fn push(&mut self, key: Key, value: V, since: Timestamp) {
        self.values.push((key, value));
        self.since.push(since);
    }

    fn pop(&mut self) -> Option<(Key, V, Timestamp)> {
        let (key, value) = self.values.pop()?;
        Some((key, value, self.since.pop()?))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    /// Unknown to whoever chooses user names. Nothing that leaves depends on it.
    seeds: [u64; 2],
    index: HashTable<Place>,
    rooms: Vec<Room<V>>,
    len: usize,
    /// `None`: nothing of it was told.
    changed: Option<Changed>,
}

impl<V: Default> Table<V> {
    pub(super) fn new() -> Self {
        let seed = || RandomState::new().build_hasher().finish();
        Self {
            seeds: [seed(), seed()],
            index: HashTable::new(),
            rooms: Vec::new(),
            len: 0,
            changed: None,
        }
    }

    pub(super) const fn len(&self) -> usize {
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
        let room = self.rooms.get(number / ROOM_LEN)?;
        room.values.get(number % ROOM_LEN)
    }

    fn room_mut(&mut self, number: usize) -> Option<(&mut (Key, V), &mut Timestamp)> {
        let room = self.rooms.get_mut(number / ROOM_LEN)?;
        let at = number % ROOM_LEN;
        Some((room.values.get_mut(at)?, room.since.get_mut(at)?))
    }

    fn find(&self, hash: u32, key: Key) -> Option<u32> {
        let is_it = |place: &Place| {
            place.hash == hash && self.room(place.number).is_some_and(|(k, _)| *k == key)
        };
        self.index.find(spread(hash), is_it).map(|p| p.number)
    }

    pub(super) fn get(&self, key: Key) -> Option<&V> {
        let number = self.find(self.hash(key), key)?;
        self.room(number).map(|(_, value)| value)
    }

    pub(super) fn entry(&mut self, key: Key) -> Found<'_, V> {
        let hash = self.hash(key);
        let known = self.find(hash, key);
        let number = known.unwrap_or_else(|| self.add(hash, key)) as usize;
        let told = known.is_some() && self.is_told(number);
        if let Some(changed) = &mut self.changed {
            changed.set(number);
        }
        let room = self.room_mut(number);
        let ((_, value), since) = room.expect("every place in the index has its room");
        Found { value, since, told }
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
            Some(room) if room.values.len() < ROOM_LEN => {
                room.push(key, V::default(), Timestamp::MIN)
            }
            last => {
                // A first room grows as it fills; whoever fills one fills more.
                let len = if last.is_some() { ROOM_LEN } else { 1 };
                let mut room = Room::with_capacity(len);
                room.push(key, V::default(), Timestamp::MIN);
                self.rooms.push(room);
            }
        }
        let place = Place { hash, number };
        let rehash = |place: &Place| spread(place.hash);
        self.index.insert_unique(spread(hash), place, rehash);
        number
    }

    pub(super) fn each(
        &mut self,
        until: Timestamp,
        work: &mut impl FnMut(Key, &mut V, bool) -> (Fate, Timestamp),
    ) -> Option<Timestamp> {
        let (mut number, mut oldest) = (0, None::<Timestamp>);
        while number < self.len {
            let room = self.rooms.get(number / ROOM_LEN);
            let since = *room?.since.get(number % ROOM_LEN)?;
            if since > until {
                oldest = Some(oldest.map_or(since, |other| other.min(since)));
                number += 1;
                continue;
            }
            let told = self.is_told(number);
            let ((key, value), since) = self.room_mut(number)?;
            let key = *key;
            let (fate, now) = work(key, value, told);
            *since = now;
            if fate != Fate::Gone {
                oldest = Some(oldest.map_or(now, |other| other.min(now)));
            }
            match fate {
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
        oldest
    }

    /// The last value moves to where the removed one was.
    fn remove(&mut self, number: usize) {
        let last = self.len - 1;
        self.unlist(number);
        let moved = self.rooms.last_mut().and_then(Room::pop);
        if self.rooms.last().is_some_and(|room| room.values.is_empty()) {
            self.rooms.pop();
        }
        self.len = last;
        if let Some(changed) = &mut self.changed {
            changed.moved(last, number);
        }
        let Some((key, value, since)) = moved.filter(|_| number != last) else {
            return;
        };
        let hash = self.hash(key);
        let is_it = |place: &Place| place.number as usize == last;
        if let Some(place) = self.index.find_mut(spread(hash), is_it) {
            place.number = u32::try_from(number).unwrap_or(place.number);
        }
        if let Some(place) = self.room_mut(number) {
            (*place.0, *place.1) = ((key, value), since);
        }
    }

    fn unlist(&mut self, number: usize) {
        let room = self.rooms.get(number / ROOM_LEN);
        let Some((key, _)) = room.and_then(|room| room.values.get(number % ROOM_LEN)) else {
            return;
        };
        let hash = spread(self.hash(*key));
        let is_it = |place: &Place| place.number as usize == number;
        if let Ok(listed) = self.index.find_entry(hash, is_it) {
            listed.remove();
        }
    }

    /// Empty, and nobody needs to be told of it.
    pub(super) fn is_forgotten(&self) -> bool {
        let told = self.changed.as_ref();
        self.len == 0 && told.is_none_or(|changed| changed.gone.is_empty())
    }

    /// All of it is to be told again.
    pub(super) fn untold(&mut self) {
        self.changed = None;
    }

    /// Of how many it is to be told that they changed.
    pub(super) fn changed_len(&self) -> usize {
        self.changed.as_ref().map_or(self.len, Changed::len)
    }

    pub(super) fn take_some(&mut self, left: &mut usize, told: &mut impl FnMut(Key, Tale<'_, V>)) {
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
            if let Some((key, value)) = room.and_then(|room| room.values.get_mut(number % ROOM_LEN))
            {
                told(*key, Tale::Changed(value));
            }
        }
    }

    pub(super) fn take_changes(&mut self, told: &mut impl FnMut(Key, Tale<'_, V>)) {
        if self.changed.is_none() {
            self.changed = Some(Changed::default());
            let all = self.rooms.iter_mut().flat_map(|room| &mut room.values);
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

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        let rooms = self.rooms.iter().flat_map(|room| &room.values);
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
