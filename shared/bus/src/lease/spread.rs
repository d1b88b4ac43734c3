//! Who should own what: rendezvous hashing with an upper limit, so that the shares are even. A
//! function of the set of live instances alone: all of them come to the same answer.

use std::collections::{BTreeMap, BTreeSet};

use super::InstanceId;

/// The preferred owner of each partition; nobody where there is no instance. No instance gets more
/// than its share, rounded up.
pub(crate) fn spread(
    stage: &str,
    partitions: u32,
    live: &BTreeSet<InstanceId>,
) -> BTreeMap<u32, InstanceId> {
    let count = u32::try_from(live.len()).unwrap_or(u32::MAX);
    let share = partitions.div_ceil(count.max(1));
    let mut load: BTreeMap<InstanceId, u32> = BTreeMap::new();
    let mut owners = BTreeMap::new();
    for partition in 0..partitions {
        let preferred = live
            .iter()
            .filter(|id| load.get(*id).copied().unwrap_or(0) < share)
            .max_by_key(|id| weight(stage, partition, **id));
        if let Some(id) = preferred {
            *load.entry(*id).or_default() += 1;
            owners.insert(partition, *id);
        }
    }
    owners
}

fn weight(stage: &str, partition: u32, id: InstanceId) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(&id.0)
        .update(&partition.to_le_bytes())
        .update(stage.as_bytes());
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(count: u8) -> BTreeSet<InstanceId> {
        (0..count).map(|n| InstanceId([n; 16])).collect()
    }

    #[test]
    fn shares_differ_by_one_at_most_where_they_can() {
        for partitions in [1, 2, 4, 8, 16] {
            for count in 1..6u8 {
                let owners = spread("rule-engine", partitions, &live(count));
                assert_eq!(owners.len(), usize::try_from(partitions).unwrap());
                let most = partitions.div_ceil(u32::from(count));
                for id in live(count) {
                    let has = owners.values().filter(|owner| **owner == id).count();
                    assert!(u32::try_from(has).unwrap() <= most);
                }
            }
        }
        assert!(spread("rule-engine", 4, &BTreeSet::new()).is_empty());
    }
}
