//! Lists, steps and redo: laws of the plain bookkeeping.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use balefire_driver::ledger::{Ledger, Misfit, OutOfOrder, Redo, Run, RunList};
use proptest::prelude::*;

/// A machine whose output depends on the whole order: a hash chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chain(u64);

impl Chain {
    fn apply(&mut self, source: usize, sequence: u64) -> Option<u64> {
        self.0 = (self.0 ^ (source as u64 * 7919 + sequence))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(17);
        self.0.is_multiple_of(3).then_some(self.0)
    }
}

struct Snapshot {
    ledger: Ledger,
    chain: Chain,
}

struct FirstRun {
    lists: BTreeMap<u64, RunList>,
    outputs: BTreeMap<u64, Vec<u64>>,
    snapshots: Vec<Snapshot>,
    chain: Chain,
    positions: Vec<u64>,
}

/// Runs live: each pick is (source, whether the publish in flight is acknowledged after it,
/// whether a checkpoint is wanted).
fn first_run(picks: &[(usize, bool, bool)]) -> FirstRun {
    let mut ledger = Ledger::new(vec![0; 3], 0, RunList::default());
    let mut chain = Chain(1);
    let mut pending = Vec::new();
    let mut run = FirstRun {
        lists: BTreeMap::new(),
        outputs: BTreeMap::new(),
        snapshots: vec![Snapshot {
            ledger: ledger.clone(),
            chain,
        }],
        chain,
        positions: Vec::new(),
    };
    for &(source, acknowledge, checkpoint) in picks {
        let sequence = ledger.positions()[source] + 1;
        ledger.consume(source, sequence).unwrap();
        pending.extend(chain.apply(source, sequence));
        if acknowledge {
            ledger.acknowledged();
        }
        if !pending.is_empty()
            && let Some((number, list)) = ledger.cut()
        {
            run.lists.insert(number, list);
            run.outputs.insert(number, std::mem::take(&mut pending));
        }
        if checkpoint && pending.is_empty() && ledger.in_flight().is_none() {
            run.snapshots.push(Snapshot {
                ledger: ledger.clone(),
                chain,
            });
        }
    }
    // What was consumed behind the last list is in no list: a new owner picks again.
    for (source, sequence) in ledger.list().iter() {
        assert!(sequence <= ledger.positions()[source]);
    }
    run.chain = chain;
    run.positions = ledger.positions().to_vec();
    run
}

fn redo_outputs(redo: &Redo, chain: &mut Chain) -> BTreeMap<u64, Vec<u64>> {
    let apply = |list: &RunList, chain: &mut Chain| {
        list.iter()
            .filter_map(|(source, sequence)| chain.apply(source, sequence))
            .collect()
    };
    redo.steps
        .iter()
        .map(|(step, list)| (*step, apply(list, chain)))
        .collect()
}

proptest! {
    #[test]
    fn lists_keep_every_input_in_order(inputs in prop::collection::vec((0usize..3, 1u64..9), 0..80)) {
        let mut list = RunList::default();
        for &(source, sequence) in &inputs {
            list.push(source, sequence);
        }
        prop_assert_eq!(list.iter().collect::<Vec<_>>(), inputs.clone());
        prop_assert_eq!(list.inputs(), inputs.len() as u64);
        let again: RunList = list.runs().iter().copied().collect();
        prop_assert_eq!(&again, &list);
        for cut in 0..=inputs.len() {
            let mut prefix = RunList::default();
            let mut rest = RunList::default();
            inputs[..cut].iter().for_each(|&(s, q)| prefix.push(s, q));
            inputs[cut..].iter().for_each(|&(s, q)| rest.push(s, q));
            prop_assert_eq!(list.strip_prefix(&prefix), Some(rest));
        }
    }

    #[test]
    fn redo_from_any_checkpoint_equals_the_first_run(
        picks in prop::collection::vec((0usize..3, any::<bool>(), any::<bool>()), 0..120),
    ) {
        let run = first_run(&picks);
        let mut ends = Vec::new();
        for Snapshot { ledger, chain } in &run.snapshots {
            let redo = Redo::from_checkpoint(ledger, &run.lists).unwrap();
            let mut chain = *chain;
            let outputs = redo_outputs(&redo, &mut chain);
            for (step, outputs) in &outputs {
                prop_assert_eq!(outputs, &run.outputs[step]);
            }
            let behind = run.lists.keys().filter(|step| **step > ledger.step()).count();
            prop_assert_eq!(outputs.len(), behind);
            if behind > 0 {
                ends.push(chain);
            }
        }
        prop_assert!(ends.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn redo_from_the_log_alone_equals_the_first_run(
        picks in prop::collection::vec((0usize..3, any::<bool>(), any::<bool>()), 0..120),
    ) {
        let run = first_run(&picks);
        let redo = Redo::from_log(&[0; 3], 0, &run.lists).unwrap();
        let outputs = redo_outputs(&redo, &mut Chain(1));
        prop_assert_eq!(outputs, run.outputs);
        prop_assert_eq!(redo.last(), run.lists.len() as u64);
    }

    #[test]
    fn a_rebuild_from_the_middle_takes_each_later_input_once(
        picks in prop::collection::vec((0usize..3, any::<bool>(), any::<bool>()), 0..120),
        parts in prop::array::uniform3(0u64..5),
    ) {
        let run = first_run(&picks);
        let start: Vec<u64> = run.positions.iter().zip(parts).map(|(p, part)| p * part / 4).collect();
        let redo = Redo::from_log(&start, 0, &run.lists).unwrap();
        let mut next = start.clone();
        for (source, sequence) in redo.steps.iter().flat_map(|(_, list)| list.iter().collect::<Vec<_>>()) {
            next[source] += 1;
            prop_assert_eq!(sequence, next[source]);
        }
    }
}

fn list(inputs: &[(usize, u64)]) -> RunList {
    inputs
        .iter()
        .map(|&(source, first)| Run {
            source,
            first,
            count: 1,
        })
        .collect()
}

#[test]
fn an_input_that_does_not_follow_is_refused() {
    let mut ledger = Ledger::new(vec![4], 0, RunList::default());
    let refused = OutOfOrder {
        source_index: 0,
        position: 4,
        sequence: 6,
    };
    assert_eq!(ledger.consume(0, 6), Err(refused));
    assert_eq!(ledger.consume(0, 5), Ok(()));
    assert!(ledger.consume(0, 5).is_err());
    assert!(ledger.consume(1, 1).is_err());
}

#[test]
fn one_step_is_in_flight_at_a_time() {
    let mut ledger = Ledger::new(vec![0], 7, RunList::default());
    ledger.consume(0, 1).unwrap();
    assert_eq!(ledger.cut(), Some((8, list(&[(0, 1)]))));
    ledger.consume(0, 2).unwrap();
    assert_eq!(ledger.cut(), None);
    ledger.acknowledged();
    assert_eq!(ledger.step(), 8);
    assert_eq!(ledger.cut(), Some((9, list(&[(0, 2)]))));
}

#[test]
fn a_checkpoint_of_a_way_not_taken_does_not_fit() {
    // It had consumed the urgent lane's first; the owner after it took another order.
    let tail = list(&[(0, 1), (1, 1)]);
    let ledger = Ledger::new(vec![1, 1], 3, tail);
    let other = BTreeMap::from([(4, list(&[(1, 1), (1, 2)]))]);
    assert_eq!(
        Redo::from_checkpoint(&ledger, &other),
        Err(Misfit::Tail { step: 4 })
    );
    let same = BTreeMap::from([(4, list(&[(0, 1), (1, 1), (1, 2)]))]);
    let redo = Redo::from_checkpoint(&ledger, &same).unwrap();
    assert_eq!(redo.steps, [(4, list(&[(1, 2)]))]);
}

#[test]
fn a_missing_step_is_noticed() {
    let ledger = Ledger::new(vec![0], 0, RunList::default());
    let holed = BTreeMap::from([(1, list(&[(0, 1)])), (3, list(&[(0, 2)]))]);
    assert_eq!(
        Redo::from_checkpoint(&ledger, &holed),
        Err(Misfit::Missing { step: 2 })
    );
    assert_eq!(
        Redo::from_log(&[0], 3, &holed),
        Err(Misfit::Missing { step: 2 })
    );
}

#[test]
fn a_list_with_a_hole_is_noticed() {
    let ledger = Ledger::new(vec![0], 0, RunList::default());
    let holed = BTreeMap::from([(1, list(&[(0, 2)]))]);
    assert!(matches!(
        Redo::from_checkpoint(&ledger, &holed),
        Err(Misfit::Order { step: 1, .. })
    ));
}
