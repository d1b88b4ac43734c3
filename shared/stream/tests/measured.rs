//! Distinct values, sums and sequences against their set definitions, which share no code with
//! them.

#![expect(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{DedupId, Timestamp};
use balefire_stream::{Condition, Entry, Window, WindowSpec};
use proptest::prelude::*;

/// Time, id, value, whether it may breach.
type Row = (i64, u8, u64, bool);

#[derive(Debug, Clone, Copy)]
struct Rule {
    condition: Condition,
    w: i64,
    r: i64,
}

/// Whether the rows of a window fulfil the condition, tried in the plainest way.
fn fulfilled(condition: Condition, rows: &[(i64, u64)]) -> bool {
    match condition {
        Condition::Count(n) => rows.len() as u64 > n,
        Condition::Distinct(n) => {
            let values: BTreeSet<u64> = rows.iter().map(|(_, value)| *value).collect();
            values.len() as u64 > n
        }
        Condition::Sum(n) => rows.iter().map(|(_, v)| u128::from(*v)).sum::<u128>() > u128::from(n),
        Condition::Unordered(steps) => {
            (0..u64::from(steps)).all(|step| rows.iter().any(|(_, value)| *value == step))
        }
        Condition::Ordered(steps) => chain(rows, 0, u64::from(steps), i64::MIN),
        Condition::Average(_) | Condition::Percentile(..) | Condition::Absence => {
            unreachable!("decided at close")
        }
    }
}

/// Whether some entry of each step from `step` on follows, none before `after`.
fn chain(rows: &[(i64, u64)], step: u64, steps: u64, after: i64) -> bool {
    step == steps
        || rows
            .iter()
            .filter(|(t, value)| *value == step && *t >= after)
            .any(|(t, _)| chain(rows, step + 1, steps, *t))
}

fn defined(rows: &[Row], rule: Rule) -> BTreeSet<i64> {
    let mut set: BTreeMap<(i64, u8, u64), bool> = BTreeMap::new();
    for &(t, id, value, may_breach) in rows {
        *set.entry((t, id, value)).or_default() |= may_breach;
    }
    let mut slots = BTreeSet::new();
    for (&(t, ..), &may_breach) in &set {
        let inside: Vec<(i64, u64)> = set
            .keys()
            .filter(|(u, ..)| t - rule.w <= *u && *u <= t)
            .map(|(u, _, value)| (*u, *value))
            .collect();
        if may_breach && fulfilled(rule.condition, &inside) {
            slots.insert(t.div_euclid(rule.r));
        }
    }
    slots
}

fn fed(rows: &[Row], rule: Rule, trims: bool) -> (BTreeSet<i64>, Window<()>) {
    let spec = WindowSpec::with(rule.condition, rule.w, rule.r).unwrap();
    let mut window = Window::default();
    let mut emitted = BTreeSet::new();
    for &(t, id, value, may_breach) in rows {
        let entry = Entry::new(Timestamp(t), DedupId([id; 16]), may_breach, ());
        let entry = entry.with_value(value);
        let breaches = window.insert(&spec, entry, |slot| emitted.contains(&slot));
        for breach in &breaches {
            assert!(emitted.insert(breach.slot), "reported twice");
        }
        for breach in breaches.iter().filter(|_| trims) {
            assert_eq!(window.trim(&spec, breach.at, true), 0);
        }
        if trims {
            let known = emitted.contains(&spec.slot_of(Timestamp(t)));
            assert_eq!(window.trim(&spec, Timestamp(t), known), 0);
        }
    }
    (emitted, window)
}

fn rule() -> impl Strategy<Value = Rule> {
    let condition = prop_oneof![
        (0u64..4).prop_map(Condition::Distinct),
        (0u64..9).prop_map(Condition::Sum),
        (1u8..4).prop_map(Condition::Unordered),
        (1u8..4).prop_map(Condition::Ordered),
    ];
    (
        condition,
        1i64..9,
        prop::sample::select(vec![1i64, 3, 8, 24]),
    )
        .prop_map(|(condition, w, r)| Rule { condition, w, r })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::sample::select(vec![4i64, 12, 30]).prop_flat_map(|span| {
        prop::collection::vec((-span..span, 0u8..12, 0u64..4, any::<bool>()), 1..40)
    })
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for index in (1..items.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        items.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
    }
}

fn reduced(rows: &[Row], rule: Rule, cut: i64) -> Vec<(i64, DedupId, u64)> {
    let spec = WindowSpec::with(rule.condition, rule.w, rule.r).unwrap();
    let (emitted, window) = fed(rows, rule, true);
    let kept = window.canonical(&spec, Timestamp(cut), |slot| emitted.contains(&slot));
    kept.map(|entry| (entry.t.0, entry.dedup_id, entry.value))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_order_breaches_the_slots_of_the_definition(
        rule in rule(), rows in rows(), seed in any::<u64>(),
    ) {
        let mut rows = rows;
        let wanted = defined(&rows, rule);
        prop_assert_eq!(&fed(&rows, rule, false).0, &wanted);
        prop_assert_eq!(&fed(&rows, rule, true).0, &wanted);
        shuffle(&mut rows, seed);
        prop_assert_eq!(&fed(&rows, rule, true).0, &wanted);
    }

    #[test]
    fn what_a_digest_reads_is_the_same_under_every_order(
        rule in rule(), rows in rows(), cut in -30i64..30, seed in any::<u64>(),
    ) {
        let mut other = rows.clone();
        shuffle(&mut other, seed);
        prop_assert_eq!(reduced(&rows, rule, cut), reduced(&other, rule, cut));
    }

    #[test]
    fn an_escalated_slot_keeps_only_what_later_ones_can_need(
        n in 0u64..4, values in prop::collection::vec(0u64..6, 200..260),
    ) {
        let rule = Rule { condition: Condition::Distinct(n), w: 8, r: 10_000 };
        let rows: Vec<Row> = (0i64..).zip(&values)
            .map(|(t, value)| (t, 1, *value, true)).collect();
        let (emitted, window) = fed(&rows, rule, true);
        // Where nothing escalates every entry may still matter.
        prop_assert!(emitted.is_empty() || window.len() <= 32, "{}", window.len());
    }
}

#[test]
fn sequences_have_one_to_sixteen_steps() {
    for steps in [0, 17] {
        assert!(WindowSpec::with(Condition::Ordered(steps), 1, 1).is_err());
        assert!(WindowSpec::with(Condition::Unordered(steps), 1, 1).is_err());
    }
}

#[test]
fn a_cell_without_an_escalation_has_a_limit_and_says_what_it_cost() {
    let spec = WindowSpec::with(Condition::Distinct(5), 1_000_000, 1_000_000).unwrap();
    let of = |t: i64| {
        let id = DedupId(i128::from(t).to_le_bytes());
        Entry::new(Timestamp(t), id, true, ())
    };
    let mut window = Window::from_entries((0..9_990).map(of).collect());
    let (mut lost, mut cuts) = (0, 0);
    for t in 9_990..13_000 {
        window.insert(&spec, of(t), |_| false);
        let gone = window.trim(&spec, Timestamp(t), false);
        (lost, cuts) = (lost + gone, cuts + usize::from(gone > 0));
        assert!(
            (10_000 - 9..11_250).contains(&window.len()),
            "{}",
            window.len()
        );
    }
    assert_eq!((lost, cuts), (2_500, 2));
    assert_eq!(window.len(), 10_500);
    assert_eq!(window.first().map(|entry| entry.t), Some(Timestamp(2_500)));
}
