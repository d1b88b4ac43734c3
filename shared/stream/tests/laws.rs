//! Windows and episodes against their set definitions, which share no code with them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{DedupId, EscalationId, EscalationKind, Timestamp};
use balefire_stream::{Entry, Slots, Window, WindowSpec};
use proptest::prelude::*;

/// A record as the definition sees it: time, id, whether it may breach.
type Row = (i64, u8, bool);

#[derive(Debug, Clone, Copy)]
struct Rule {
    n: usize,
    w: i64,
    r: i64,
}

fn floor(t: i64, r: i64) -> i64 {
    let toward_zero = t / r;
    if toward_zero * r > t {
        toward_zero - 1
    } else {
        toward_zero
    }
}

/// The set definition: SQL `RANGE BETWEEN W PRECEDING AND CURRENT ROW`, and floor(t / R).
fn defined(rows: &[Row], rule: Rule) -> BTreeSet<i64> {
    let mut set: BTreeMap<(i64, u8), bool> = BTreeMap::new();
    for &(t, id, may_breach) in rows {
        *set.entry((t, id)).or_default() |= may_breach;
    }
    let mut slots = BTreeSet::new();
    for (&(t, _), &may_breach) in &set {
        let inside = set.keys().filter(|(u, _)| t - rule.w <= *u && *u <= t);
        if may_breach && inside.count() > rule.n {
            slots.insert(floor(t, rule.r));
        }
    }
    slots
}

#[derive(Clone, Copy, PartialEq)]
enum Trim {
    Always,
    Never,
}

/// The window fed one by one; every slot it reports must be new.
fn fed(rows: &[Row], rule: Rule, trim: Trim) -> (BTreeSet<i64>, Window<()>) {
    let spec = WindowSpec::new(rule.n as u64, rule.w, rule.r).unwrap();
    let mut window = Window::default();
    let mut emitted = BTreeSet::new();
    for &(t, id, may_breach) in rows {
        let entry = Entry::new(Timestamp(t), DedupId([id; 16]), may_breach, ());
        let breaches = window.insert(&spec, entry, |slot| emitted.contains(&slot));
        for breach in &breaches {
            assert!(emitted.insert(breach.slot), "reported twice");
            assert_eq!(spec.slot_of(breach.at), breach.slot);
        }
        if trim == Trim::Always {
            for breach in &breaches {
                window.trim(&spec, breach.at, true);
            }
            let known = emitted.contains(&spec.slot_of(Timestamp(t)));
            window.trim(&spec, Timestamp(t), known);
        }
        let places: Vec<_> = window.entries().map(|e| (e.t, e.dedup_id)).collect();
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
    }
    (emitted, window)
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        0usize..4,
        1i64..9,
        prop_oneof![1i64..4, Just(8), Just(17), Just(24)],
    )
        .prop_map(|(n, w, r)| Rule { n, w, r })
}

fn rows(len: usize) -> impl Strategy<Value = Vec<Row>> {
    prop::sample::select(vec![4i64, 12, 30, 60]).prop_flat_map(move |span| {
        prop::collection::vec((-span..span, 0u8..60, any::<bool>()), 1..len)
    })
}

/// Few ids at few times make copies: the same id keeps its time.
fn with_copies(mut rows: Vec<Row>, copies: &[(usize, bool)]) -> Vec<Row> {
    for (index, row) in rows.iter_mut().enumerate() {
        row.1 = u8::try_from(index).unwrap();
    }
    let originals = rows.clone();
    for (index, may_breach) in copies {
        let (t, id, _) = originals[index % originals.len()];
        rows.push((t, id, *may_breach));
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_order_with_copies_breaches_the_slots_of_the_definition(
        rule in rule(),
        rows in rows(40),
        copies in prop::collection::vec((0usize..40, any::<bool>()), 0..6),
        seed in any::<u64>(),
    ) {
        let mut rows = with_copies(rows, &copies);
        shuffle(&mut rows, seed);
        let wanted = defined(&rows, rule);
        prop_assert_eq!(&fed(&rows, rule, Trim::Never).0, &wanted);
        prop_assert_eq!(&fed(&rows, rule, Trim::Always).0, &wanted);
    }

    #[test]
    fn trimming_keeps_few_entries(rule in rule(), times in prop::collection::vec(0i64..48, 300..301)) {
        let rows: Vec<Row> = times.iter().enumerate()
            .map(|(index, t)| (*t, u8::try_from(index % 256).unwrap(), index % 3 == 0))
            .collect();
        let (_, window) = fed(&rows, rule, Trim::Always);
        // Cells of W cut at slot ends, each at most 3 N + 1.
        let cells = 48 / rule.w + 1 + 48 / rule.r + 1;
        prop_assert!(window.len() <= (3 * rule.n + 1) * usize::try_from(cells).unwrap());
    }

    #[test]
    fn what_a_digest_reads_is_the_same_under_every_order(
        rule in rule(),
        rows in rows(40),
        cut in -30i64..30,
        seed in any::<u64>(),
    ) {
        let rows = with_copies(rows, &[]);
        let mut other = rows.clone();
        shuffle(&mut other, seed);
        prop_assert_eq!(reduced(&rows, rule, cut), reduced(&other, rule, cut));
    }

    #[test]
    fn episodes_are_the_fold_over_the_log(slots in prop::collection::vec(-12i64..12, 1..24)) {
        let mut state = Slots::default();
        let mut log: Vec<(i64, u8)> = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            let id = u8::try_from(index).unwrap();
            let known = |s: i64| log.iter().find(|(other, _)| *other == s).map(|(_, e)| *e);
            let wanted = match (known(*slot), known(slot - 1), known(slot + 1)) {
                (Some(_), _, _) => None,
                (None, Some(episode), _) | (None, None, Some(episode)) => {
                    Some((EscalationKind::Continued, episode))
                }
                (None, None, None) => Some((EscalationKind::Raised, id)),
            };
            let got = state.emit(*slot, EscalationId([id; 16]));
            prop_assert_eq!(got.map(|e| (e.kind, e.episode_id.0[0])), wanted);
            if let Some((_, episode)) = wanted {
                log.push((*slot, episode));
            }
        }
        let loaded = Slots::from_emitted(state.emitted().to_vec());
        prop_assert_eq!(loaded, state);
    }
}

/// The canonical entries after trimming on the way, with the slots finally emitted.
fn reduced(rows: &[Row], rule: Rule, cut: i64) -> Vec<(i64, DedupId)> {
    let spec = WindowSpec::new(rule.n as u64, rule.w, rule.r).unwrap();
    let (emitted, window) = fed(rows, rule, Trim::Always);
    window
        .canonical(&spec, Timestamp(cut), |slot| emitted.contains(&slot))
        .map(|entry| (entry.t.0, entry.dedup_id))
        .collect()
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

fn permutations(rows: &[Row], visit: &mut impl FnMut(&[Row])) {
    fn go(rows: &mut Vec<Row>, from: usize, visit: &mut impl FnMut(&[Row])) {
        if from == rows.len() {
            return visit(rows);
        }
        for index in from..rows.len() {
            rows.swap(from, index);
            go(rows, from + 1, visit);
            rows.swap(from, index);
        }
    }
    go(&mut rows.to_vec(), 0, visit);
}

/// Every sorted choice of up to `len` times below `span`.
fn choices(len: usize, span: i64) -> Vec<Vec<i64>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..len {
        let mut next = Vec::new();
        for choice in &last {
            for t in choice.last().copied().unwrap_or(-2)..span {
                let mut longer: Vec<i64> = choice.clone();
                longer.push(t);
                next.push(longer);
            }
        }
        all.extend(next.clone());
        last = next;
    }
    all
}

#[test]
fn every_order_of_every_set_up_to_six_breaches_what_is_defined() {
    for n in 1..3 {
        for w in 1..3 {
            for r in [1, 3] {
                let rule = Rule { n, w, r };
                for times in choices(6, 2) {
                    let rows: Vec<Row> = (0u8..).zip(&times).map(|(i, t)| (*t, i, true)).collect();
                    let wanted = defined(&rows, rule);
                    permutations(&rows, &mut |rows| {
                        assert_eq!(fed(rows, rule, Trim::Always).0, wanted, "{rule:?} {rows:?}");
                    });
                }
            }
        }
    }
}

#[test]
fn a_hot_window_in_any_order_breaches_the_slots_of_the_definition() {
    for (n, seed) in [(150, 1), (190, 2), (210, 3)] {
        let rule = Rule { n, w: 500, r: 350 };
        let mut rows: Vec<Row> = (0..800u16)
            .map(|index| {
                let id = u8::try_from(index % 256).unwrap();
                (i64::from(index) * 7_919 % 2_000, id, index % 3 > 0)
            })
            .collect();
        // Half in order, half in none.
        shuffle(&mut rows, seed);
        rows[..400].sort_unstable();
        let wanted = defined(&rows, rule);
        assert_eq!(fed(&rows, rule, Trim::Never).0, wanted);
        assert_eq!(fed(&rows, rule, Trim::Always).0, wanted);
        assert_eq!(wanted.is_empty(), n == 210, "both answers occur");
    }
}

#[test]
fn the_threshold_is_strict_and_both_ends_of_the_window_count() {
    let rule = Rule {
        n: 10,
        w: 300,
        r: 300,
    };
    let ten: Vec<Row> = (0..10).map(|i| (i64::from(i) * 30, i, true)).collect();
    assert!(fed(&ten, rule, Trim::Always).0.is_empty());
    for (t, fires) in [(270, true), (299, true), (300, true), (301, false)] {
        let mut eleven = ten.clone();
        eleven.push((t, 10, true));
        assert_eq!(!fed(&eleven, rule, Trim::Always).0.is_empty(), fires, "{t}");
    }
}

#[test]
fn times_before_1970_lie_in_the_slot_below() {
    let spec = WindowSpec::new(0, 10, 10).unwrap();
    for (t, slot) in [(-11, -2), (-10, -1), (-1, -1), (0, 0), (9, 0), (10, 1)] {
        assert_eq!(spec.slot_of(Timestamp(t)), slot);
        assert!(spec.slot_start(slot) <= Timestamp(t));
    }
    assert!(WindowSpec::new(1, 0, 1).is_err());
    assert!(WindowSpec::new(1, 1, -1).is_err());
}

#[test]
fn the_ends_of_time_do_no_harm() {
    let rule = Rule { n: 1, w: 7, r: 5 };
    let rows: Vec<Row> = [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1, i64::MIN, 0]
        .iter()
        .zip(0u8..)
        .map(|(t, id)| (*t, id, true))
        .collect();
    let (slots, _) = fed(&rows, rule, Trim::Always);
    assert!(slots.len() >= 2);
}
