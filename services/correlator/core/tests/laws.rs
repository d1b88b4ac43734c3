//! Laws: whatever the interleaving of lanes and partitions, and whatever leaves memory on the
//! way, the set of (event, user) pairs is the union of SEMANTICS §8, taken by brute force.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use balefire_correlator_core::{Config, Correlator, Effect, Record};
use balefire_event::{
    Assurance, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind, Lane, Stub,
    SubjectRef, Timestamp, partition,
};
use proptest::prelude::*;

const TENANTS: [&str; 2] = ["acme", "umbrella"];
const VALUES: [&str; 2] = ["a", "b"];
/// Lanes disagree with the server's time by at most this, as does received_at.
const SKEW: i64 = 2;

type Key = (usize, usize);
/// Tenant, event, user.
type Pair = (usize, u8, u8);

/// A record as a producer's source sends it.
#[derive(Debug, Clone)]
struct Sent {
    tenant: usize,
    lane: usize,
    /// When the server stores it.
    stored: i64,
    received: i64,
    keys: Vec<Key>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Event {
        id: u8,
    },
    Hint {
        user: u8,
        j: i64,
        authority: u32,
        model: u8,
    },
}

fn sent() -> impl Strategy<Value = Sent> {
    let keys = prop::sample::subsequence(
        vec![(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (4, 0)],
        1..=3,
    );
    let what = prop_oneof![
        (0..6u8).prop_map(|id| What::Event { id }),
        (0..3u8, 1..9i64, 0..2u32, 0..2u8).prop_map(|(user, j, authority, model)| What::Hint {
            user,
            j,
            authority,
            model
        }),
    ];
    (0..2usize, 0..3usize, 0..40i64, -SKEW..=SKEW, keys, what).prop_map(
        |(tenant, lane, stored, off, keys, what)| Sent {
            tenant,
            lane,
            stored,
            received: stored + off,
            keys,
            what,
        },
    )
}

/// Copies of one event carry the same keys and lie in the same lane, as dedup_id says.
fn world() -> impl Strategy<Value = Vec<Sent>> {
    prop::collection::vec(sent(), 1..24).prop_map(|mut records| {
        records.sort_by_key(|record| record.stored);
        let mut shapes: BTreeMap<(usize, u8), (usize, Vec<Key>)> = BTreeMap::new();
        for record in &mut records {
            if let What::Event { id } = record.what {
                let shape = shapes
                    .entry((record.tenant, id))
                    .or_insert_with(|| (record.lane, record.keys.clone()));
                (record.lane, record.keys) = shape.clone();
            }
        }
        records
    })
}

fn union(records: &[Sent]) -> BTreeSet<Pair> {
    let mut pairs = BTreeSet::new();
    for event in records {
        let What::Event { id } = event.what else {
            continue;
        };
        for hint in records.iter().filter(|hint| hint.tenant == event.tenant) {
            let What::Hint { user, j, .. } = hint.what else {
                continue;
            };
            let shared = event.keys.iter().any(|key| hint.keys.contains(key));
            if shared && (event.received - hint.received).abs() <= j {
                pairs.insert((event.tenant, id, user));
            }
        }
    }
    pairs
}

fn correlation_key((kind, value): Key) -> CorrelationKey<'static> {
    CorrelationKey {
        kind: KeyKind::ALL[kind],
        value: VALUES[value].into(),
    }
}

/// A record as it lies in a partition of INTAKE.
#[derive(Debug, Clone)]
enum Laid {
    Event(Box<Event<'static>>),
    Hint(Hint<'static>),
    Stub(Stub),
    Tick(Timestamp),
}

impl Laid {
    fn record(&self) -> Record<'_> {
        match self {
            Self::Event(event) => Record::Event(event),
            Self::Hint(hint) => Record::Hint(hint),
            Self::Stub(stub) => Record::Stub(stub),
            Self::Tick(at) => Record::Tick(*at),
        }
    }
}

#[derive(Debug, Clone)]
struct Place {
    tenant: &'static str,
    stored: i64,
    laid: Laid,
}

/// One partition: its lanes as they were written, how far they were read, its correlator.
struct Partition {
    lanes: [Vec<Place>; 3],
    read: [usize; 3],
    core: Correlator,
}

/// What a run left behind.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    pairs: BTreeSet<Pair>,
    passed: BTreeSet<(usize, u8)>,
    amended_first: bool,
    emitted: u64,
}

struct Run {
    partitions: Vec<Partition>,
    outcome: Outcome,
    /// The time of the newest record read anywhere.
    now: i64,
}

impl Run {
    /// Lays the records as ingest does: an event where its first key lies, stubs at the others;
    /// a hint at each of its keys.
    fn new(records: &[Sent], count: u32, config: impl Fn(u32) -> Config) -> Self {
        let mut partitions: Vec<Partition> = (0..count)
            .map(|index| Partition {
                lanes: Default::default(),
                read: [0; 3],
                core: Correlator::new(config(index)),
            })
            .collect();
        for sent in records {
            for (at, lane, laid) in laid(sent, count) {
                partitions[at as usize].lanes[lane].push(Place {
                    tenant: TENANTS[sent.tenant],
                    stored: sent.stored,
                    laid,
                });
            }
        }
        Self {
            partitions,
            outcome: Outcome::default(),
            now: 0,
        }
    }

    /// Reads one record of a lane; false where it is read to its end.
    fn step(&mut self, at: usize, lane: usize) -> bool {
        let partition = &mut self.partitions[at];
        let Some(place) = partition.lanes[lane].get(partition.read[lane]).cloned() else {
            return false;
        };
        partition.read[lane] += 1;
        self.now = self.now.max(place.stored);
        let mut effects = Vec::new();
        partition.core.apply(
            Lane::ALL[lane],
            place.tenant,
            place.laid.record(),
            &mut effects,
        );
        self.act(at, effects);
        self.mend(at);
        true
    }

    /// Reads the partition again where it asks for it, as far as it was read.
    fn mend(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        let Some(from) = partition.core.repair_wanted() else {
            return;
        };
        partition.core.repair_begin();
        for (lane, places) in partition.lanes.iter().enumerate() {
            for place in &places[..partition.read[lane]] {
                if place.stored >= from.0 {
                    let record = place.laid.record();
                    partition
                        .core
                        .repair_record(Lane::ALL[lane], place.tenant, record);
                }
            }
        }
        let mut effects = Vec::new();
        partition.core.repair_end(&mut effects);
        assert_eq!(partition.core.repair_wanted(), None);
        self.act(at, effects);
    }

    fn act(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit {
                    tenant,
                    event,
                    partition,
                    ..
                } => self.emitted(&tenant, &event, partition),
                Effect::Forward {
                    partition, hint, ..
                } if partition as usize == at => panic!("forwarded to itself: {hint:?}"),
                Effect::Forward {
                    tenant,
                    partition,
                    hint,
                } => self.partitions[partition as usize].lanes[2].push(Place {
                    tenant: TENANTS.into_iter().find(|t| *t == tenant).unwrap(),
                    stored: self.now,
                    laid: Laid::Hint(*hint),
                }),
                Effect::BarrierOut { .. } | Effect::Watermark { .. } | Effect::Repair { .. } => {}
            }
        }
    }

    fn emitted(&mut self, tenant: &str, event: &Event<'_>, to: u32) {
        let count = u32::try_from(self.partitions.len()).unwrap();
        let tenant = TENANTS.iter().position(|t| *t == tenant).unwrap();
        let id = event.dedup_id.0[1];
        let join = event.join.as_ref().unwrap();
        assert_eq!(join.partial, event.user.is_none());
        let first = self.outcome.passed.insert((tenant, id));
        self.outcome.amended_first |= first && join.amendment;
        self.outcome.emitted += 1;
        if let Some(user) = &event.user {
            self.outcome
                .pairs
                .insert((tenant, id, user.subject_ref.0[0]));
            assert_eq!(
                to,
                partition::of_subject(TENANTS[tenant], &user.subject_ref, count)
            );
        } else {
            assert_eq!(
                to,
                partition::of_event(TENANTS[tenant], &event.dedup_id, count)
            );
        }
    }

    /// Reads everything in the order that `picks` says, forwarded hints included.
    fn finish(mut self, picks: &[(prop::sample::Index, usize)]) -> Outcome {
        let mut picks: VecDeque<_> = picks.iter().cycle().take(4096).collect();
        let count = self.partitions.len();
        let mut idle = 0;
        while idle < 64 {
            let (at, lane) = picks.pop_front().unwrap();
            idle = if self.step(at.index(count), *lane) {
                0
            } else {
                idle + 1
            };
        }
        while (0..count).any(|at| (0..3).any(|lane| self.step(at, lane))) {}
        // Time passes: every hold ends, everything may leave memory.
        for at in 0..count {
            for lane in 0..3 {
                self.partitions[at].lanes[lane].push(Place {
                    tenant: "",
                    stored: 1000,
                    laid: Laid::Tick(Timestamp(1000)),
                });
            }
        }
        while (0..count).any(|at| (0..3).any(|lane| self.step(at, lane))) {}
        for partition in &self.partitions {
            let usage = partition.core.usage();
            assert_eq!(
                (usage.held, usage.events, usage.claims, usage.stubs),
                (0, 0, 0, 0)
            );
            assert_eq!((usage.event_bytes, usage.alarms), (0, 0));
        }
        self.outcome
    }
}

fn laid(sent: &Sent, count: u32) -> Vec<(u32, usize, Laid)> {
    let tenant = TENANTS[sent.tenant];
    let of = |key: &CorrelationKey<'_>| partition::of_key(tenant, key.kind, &key.value, count);
    let keys: Vec<CorrelationKey<'static>> =
        sent.keys.iter().map(|key| correlation_key(*key)).collect();
    let received_at = Timestamp(sent.received);
    match sent.what {
        What::Event { id } => {
            let mut dedup_id = DedupId::default();
            dedup_id.0[..2].copy_from_slice(&[u8::try_from(sent.tenant).unwrap(), id]);
            let home = of(&keys[0]);
            let event = Event {
                dedup_id,
                received_at,
                source: "app".into(),
                keys: keys.clone(),
                ..Event::default()
            };
            let stubs = keys[1..].iter().map(|key| {
                let stub = Stub {
                    key: key.clone(),
                    dedup_id,
                    partition: home,
                    first_key: keys[0].clone(),
                    received_at,
                };
                (of(key), 2, Laid::Stub(stub))
            });
            std::iter::once((home, sent.lane, Laid::Event(Box::new(event))))
                .chain(stubs)
                .collect()
        }
        What::Hint {
            user,
            j,
            authority,
            model,
        } => {
            let hint = Hint {
                keys: keys.clone(),
                identity: Identity {
                    subject_ref: SubjectRef([user; 16]),
                    kind: IdentityKind::User,
                    assurance: Assurance::Claimed,
                    via: "user_id".into(),
                    label: None,
                },
                source: "gateway".into(),
                received_at,
                join_horizon: j,
                authority,
                facts: vec![("model".into(), "?".repeat(model.into()).into())],
                dedup_id: DedupId::default(),
            };
            let at: BTreeSet<u32> = keys.iter().map(of).collect();
            at.into_iter()
                .map(|at| (at, sent.lane, Laid::Hint(hint.clone())))
                .collect()
        }
    }
}

/// Small times, so that everything leaves memory within a run.
fn config(count: u32) -> impl Fn(u32) -> Config {
    move |partition| Config {
        partition,
        partitions: count,
        hold: 3,
        hold_urgent: 1,
        join_horizon: 2,
        skew: 2 * SKEW,
    }
}

fn picks() -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..3usize), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_interleaving_names_exactly_the_union(
        records in world(), picks in picks(), power in 0..4u32,
    ) {
        let count = 1 << power;
        let outcome = Run::new(&records, count, config(count)).finish(&picks);
        prop_assert_eq!(&outcome.pairs, &union(&records));
        prop_assert!(!outcome.amended_first, "an amendment of what was never passed on");
        let events: BTreeSet<(usize, u8)> = records
            .iter()
            .filter_map(|sent| match sent.what {
                What::Event { id } => Some((sent.tenant, id)),
                What::Hint { .. } => None,
            })
            .collect();
        prop_assert_eq!(outcome.passed, events);
    }

    #[test]
    fn trimmed_is_never_trimmed(records in world(), picks in picks()) {
        let trimmed = Run::new(&records, 2, config(2)).finish(&picks);
        let forever = |partition| Config { join_horizon: 500, ..config(2)(partition) };
        let kept = Run::new(&records, 2, forever).finish(&picks);
        prop_assert_eq!(trimmed.pairs, kept.pairs);
        prop_assert_eq!(trimmed.passed, kept.passed);
    }

    #[test]
    fn a_hold_changes_when_and_never_what(records in world(), picks in picks()) {
        let short = |partition| Config { hold: 0, hold_urgent: 0, ..config(2)(partition) };
        let long = |partition| Config { hold: 400, hold_urgent: 400, ..config(2)(partition) };
        let early = Run::new(&records, 2, short).finish(&picks);
        let late = Run::new(&records, 2, long).finish(&picks);
        prop_assert_eq!(early.pairs, late.pairs);
        prop_assert_eq!(early.passed, late.passed);
    }

    #[test]
    fn a_restored_state_goes_on_as_the_first_would(
        records in world(), order in picks(), cut in any::<prop::sample::Index>(),
    ) {
        let mut run = Run::new(&records, 1, config(1));
        let (mut one, mut two) = (Correlator::new(config(1)(0)), Correlator::new(config(1)(0)));
        let cut = cut.index(order.len());
        for (step, (_, lane)) in order.iter().enumerate() {
            if step == cut {
                two.restore(one.state().clone()).unwrap();
            }
            let partition = &mut run.partitions[0];
            let Some(place) = partition.lanes[*lane].get(partition.read[*lane]) else { continue };
            partition.read[*lane] += 1;
            let (mut first, mut second) = (Vec::new(), Vec::new());
            one.apply(Lane::ALL[*lane], place.tenant, place.laid.record(), &mut first);
            if step >= cut {
                two.apply(Lane::ALL[*lane], place.tenant, place.laid.record(), &mut second);
                prop_assert_eq!(first, second);
                prop_assert_eq!(one.next_deadline(), two.next_deadline());
                prop_assert_eq!(one.watermark(), two.watermark());
            }
        }
    }

    #[test]
    fn the_promise_holds_where_nothing_straggles(mut records in world()) {
        // In order of storage nothing straggles. A copy that is kept beyond J by a later one of
        // the same event is amended like a straggler: each event once here.
        let mut met = BTreeSet::new();
        records.retain(|sent| match sent.what {
            What::Event { id } => met.insert((sent.tenant, id)),
            What::Hint { .. } => true,
        });
        let widest = |partition| Config { join_horizon: 9, ..config(1)(partition) };
        let mut run = Run::new(&records, 1, widest);
        let mut order: Vec<(i64, usize)> = Vec::new();
        for (lane, places) in run.partitions[0].lanes.iter().enumerate() {
            order.extend(places.iter().map(|place| (place.stored, lane)));
        }
        order.sort_unstable();
        let mut core = Correlator::new(widest(0));
        for (_, lane) in order {
            let partition = &mut run.partitions[0];
            let place = &partition.lanes[lane][partition.read[lane]];
            partition.read[lane] += 1;
            let promise = core.watermark();
            let mut effects = Vec::new();
            core.apply(Lane::ALL[lane], place.tenant, place.laid.record(), &mut effects);
            for effect in effects {
                if let Effect::Emit { event, .. } = effect {
                    prop_assert!(Some(event.received_at) >= promise, "{event:?} {promise:?}");
                } else {
                    let repair = matches!(effect, Effect::Repair { .. });
                    prop_assert!(!repair, "no straggler, yet {effect:?}");
                }
            }
        }
    }

    #[test]
    fn a_record_that_comes_twice_does_nothing_more(records in world(), order in picks()) {
        let mut run = Run::new(&records, 1, config(1));
        let mut core = Correlator::new(Config { join_horizon: 500, ..config(1)(0) });
        for (_, lane) in order {
            let partition = &mut run.partitions[0];
            let Some(place) = partition.lanes[lane].get(partition.read[lane]) else { continue };
            partition.read[lane] += 1;
            core.apply(Lane::ALL[lane], place.tenant, place.laid.record(), &mut Vec::new());
            let mut again = Vec::new();
            core.apply(Lane::ALL[lane], place.tenant, place.laid.record(), &mut again);
            prop_assert_eq!(again, Vec::new());
        }
    }
}
