//! [`Keyed`]: values by tenant and [`Key`], a million of them in little memory.
//!
//! Values lie side by side in rooms that never move; a hash index of eight bytes a key says where.
//! So growing copies the index alone, and what the index leaves free costs little. Beside the values
//! lies how old each is at the most: who looks for what is old reads eight bytes of a value that is not.
//!
//! Once it was asked what changed it marks what does from then on, one bit a key.

mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::Timestamp;

use crate::key::Key;
use table::Table;

/// What became of a value that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Same,
    Changed,
    Gone,
}

/// A value, to be changed.
#[derive(Debug)]
pub(crate) struct Found<'v, V> {
    pub(crate) value: &'v mut V,
    /// Nothing in it is older; [`Timestamp::MIN`]: it is to be looked at.
    pub(crate) since: &'v mut Timestamp,
    /// It was told as it stands.
    pub(crate) told: bool,
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
        let found = self.find_or_make(tenant, key);
        *found.since = Timestamp::MIN;
        found.value
    }

    /// The same, with what is known of it. Who changes it says since when what is in it is.
    pub(crate) fn find_or_make(&mut self, tenant: &Arc<str>, key: Key) -> Found<'_, V> {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(Arc::clone(tenant), Table::new());
        }
        let table = self.tenants.entry(Arc::clone(tenant));
        table.or_insert_with(Table::new).entry(key)
    }

    /// Works on every value, in no order; says what became of each.
    pub(crate) fn each(&mut self, mut work: impl FnMut(&Arc<str>, Key, &mut V) -> Fate) {
        self.each_since(Timestamp::MAX, |tenant, key, value, _| {
            (work(tenant, key, value), Timestamp::MIN)
        });
    }

    /// Works on every value in which something may be as old as `until`, given whether it was told as it
    /// stands; says what became of each, and since when what is in it now is. Since when all of them
    /// are; `None`: there are none.
    pub(crate) fn each_since(
        &mut self,
        until: Timestamp,
        mut work: impl FnMut(&Arc<str>, Key, &mut V, bool) -> (Fate, Timestamp),
    ) -> Option<Timestamp> {
        let mut oldest = None;
        for (tenant, table) in &mut self.tenants {
            let of_table = table.each(until, &mut |key, value, told| {
                work(tenant, key, value, told)
            });
            oldest = [oldest, of_table].into_iter().flatten().min();
        }
        self.tenants.retain(|_, table| !table.is_forgotten());
        oldest
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
        self.tenants.values_mut().for_each(Table::untold);
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
                let Found { value: entry, told, .. } = keyed.find_or_make(tenant, key(n));
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

        /// Values are times; what is old is looked for again and again, and dropped.
        #[test]
        fn whatever_is_old_is_found(
            steps in prop::collection::vec((any::<bool>(), 0u16..400, 0i64..60), 1..1_500),
        ) {
            let tenants = [Arc::from("a"), Arc::from("b")];
            let mut keyed = Keyed::<Vec<i64>>::default();
            let mut plain = BTreeMap::<_, Vec<i64>>::new();
            for (index, (second, n, t)) in (0_i64..).zip(steps) {
                let (tenant, t) = (&tenants[usize::from(second)], t + index / 4);
                let found = keyed.find_or_make(tenant, key(n));
                found.value.push(t);
                *found.since = found.value.iter().min().map_or(Timestamp::MIN, |t| Timestamp(*t));
                plain.entry((Arc::clone(tenant), key(n))).or_default().push(t);
                if index % 150 != 149 {
                    continue;
                }
                let until = index / 4 + 10;
                let (mut looked, with) = (0, plain.values().filter(|times| times.iter().any(|t| *t <= until)).count());
                let oldest = keyed.each_since(Timestamp(until), |_, _, times, _| {
                    looked += 1;
                    times.retain(|t| *t > until);
                    match times.iter().min() {
                        Some(first) => (Fate::Changed, Timestamp(*first)),
                        None => (Fate::Gone, Timestamp::MAX),
                    }
                });
                plain.values_mut().for_each(|times| times.retain(|t| *t > until));
                plain.retain(|_, times| !times.is_empty());
                prop_assert_eq!(looked, with, "no other is looked at");
                prop_assert_eq!(oldest, plain.values().flatten().min().copied().map(Timestamp));
                let all = keyed.sorted().into_iter().map(|(t, k, v)| ((Arc::clone(t), k), v.clone()));
                prop_assert!(all.eq(plain.clone()));
            }
        }
    }
}
