//! What a checkpoint is told, in parts and with losses, is the state of the live correlator.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use balefire_correlator_core::{Config, Correlator, Decode, Effect, Record, State, Stored};
use balefire_event::{
    Assurance, BarrierId, CorrelationKey, DedupId, Event, Hint, Identity, IdentityKind, KeyKind,
    Lane, Naming, Sealed, Stub, SubjectRef, Timestamp,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;

const TENANT: &str = "acme";

#[derive(Debug, Clone)]
enum What {
    Event { id: u8, revision: u64 },
    Hint { user: u8, j: i64, model: u8 },
    Stub { id: u8 },
    Tick,
    Barrier { id: u8 },
}

/// A record, and the time it was received.
#[derive(Debug, Clone)]
struct Fed {
    lane: Lane,
    at: i64,
    keys: Vec<u8>,
    what: What,
}

/// What happens to checkpoints behind a record.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    /// A part is told ahead.
    Part(usize),
    Checkpoint,
    /// What is told does not come to lie on disk.
    Lost,
    /// Another correlator goes on from what lies there.
    Restart,
}

fn fed() -> impl Strategy<Value = (Fed, Then)> {
    let what = prop_oneof![
        4 => (0..6u8, 0..2u64).prop_map(|(id, revision)| What::Event { id, revision }),
        4 => (0..3u8, 1..9i64, 0..2u8).prop_map(|(user, j, model)| What::Hint { user, j, model }),
        2 => (0..6u8).prop_map(|id| What::Stub { id }),
        1 => Just(What::Tick),
        1 => (0..2u8).prop_map(|id| What::Barrier { id }),
    ];
    let then = prop_oneof![
        4 => Just(Then::Nothing),
        2 => (1..4usize).prop_map(Then::Part),
        2 => Just(Then::Checkpoint),
        1 => Just(Then::Lost),
        1 => Just(Then::Restart),
    ];
    let keys = prop::sample::subsequence(vec![0u8, 1, 2], 1..=2);
    (0..3usize, 0..4i64, keys, what, then).prop_map(|(lane, back, keys, what, then)| {
        let lane = Lane::ALL[lane];
        let fed = Fed {
            lane,
            at: -back,
            keys,
            what,
        };
        (fed, then)
    })
}

/// Time goes on by one a record, a little back now and then.
fn log() -> impl Strategy<Value = Vec<(Fed, Then)>> {
    prop::collection::vec(fed(), 1..60).prop_map(|mut log| {
        for (at, (fed, _)) in (0..).zip(&mut log) {
            fed.at += at;
        }
        log
    })
}

fn keys(fed: &Fed) -> Vec<CorrelationKey<'static>> {
    let key = |key: &u8| CorrelationKey {
        kind: KeyKind::Request,
        value: key.to_string().into(),
    };
    fed.keys.iter().map(key).collect()
}

fn feed(core: &mut Correlator, fed: &Fed) -> Vec<Effect> {
    let (received_at, keys, mut effects) = (Timestamp(fed.at), keys(fed), Vec::new());
    let mut apply = |record: Record<'_>| core.apply(fed.lane, TENANT, record, &mut effects);
    match fed.what {
        What::Event { id, revision } => apply(Record::Event(&Event {
            dedup_id: DedupId([id; 16]),
            received_at,
            control_revision: revision,
            source: "app".into(),
            keys,
            ..Event::default()
        })),
        What::Hint { user, j, model } => apply(Record::Hint(&Hint {
            keys,
            identity: Identity {
                subject_ref: SubjectRef([user; 16]),
                kind: IdentityKind::User,
                assurance: Assurance::Claimed,
                via: "user_id".into(),
                label: (user > 0).then(|| Sealed::plain("ann".into())),
            },
            source: "gateway".into(),
            received_at,
            join_horizon: j,
            authority: 0,
            facts: vec![("model".into(), "m".repeat(model.into()).into())],
            dedup_id: DedupId([user; 16]),
        })),
        What::Stub { id } => apply(Record::Stub(&Stub {
            key: keys[0].clone(),
            dedup_id: DedupId([id; 16]),
            partition: 1,
            first_key: keys[0].clone(),
            received_at,
        })),
        What::Tick => apply(Record::Tick(received_at)),
        What::Barrier { id } => apply(Record::Barrier(BarrierId([id; 16]), received_at)),
    }
    effects
}

struct Json;

impl Decode for Json {
    fn decode<T: DeserializeOwned>(&self, value: &[u8]) -> Option<T> {
        serde_json::from_slice(value).ok()
    }
}

type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is told, as it comes.
#[derive(Default)]
struct Told {
    whole: bool,
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Told {
    fn of(core: &Correlator) -> Self {
        Self {
            whole: !core.is_told(),
            records: Vec::new(),
        }
    }

    fn take(&mut self, key: &[u8], value: Option<Stored<'_>>) {
        let value = value.map(|value| serde_json::to_vec(&value).unwrap());
        self.records.push((key.to_vec(), value));
    }

    fn write(self, disk: &mut Disk) {
        if self.whole {
            disk.clear();
        }
        for (key, value) in self.records {
            match value {
                Some(value) => disk.insert(key, value),
                None => disk.remove(&key),
            };
        }
    }
}

fn core() -> Correlator {
    Correlator::new(Config {
        partition: 0,
        partitions: 2,
        hold: 3,
        hold_urgent: 1,
        join_horizon: 4,
        skew: 2,
    })
}

fn assembled(disk: &Disk) -> State {
    let records = disk.iter().map(|(key, value)| (&key[..], &value[..]));
    State::assemble(records, &Json).unwrap()
}

/// Everything of it, but as what an event was counted since the start.
fn shown(state: &State) -> String {
    let mut text = format!("{state:?}");
    for naming in Naming::ALL {
        text = text.replace(&format!("counted: Some({naming:?})"), "counted: None");
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_told_is_the_live_state(log in log()) {
        let (mut live, mut disk, mut ahead) = (core(), Disk::new(), None);
        for (fed, then) in &log {
            feed(&mut live, fed);
            match then {
                Then::Nothing => {}
                Then::Part(most) => {
                    let told = ahead.get_or_insert_with(|| Told::of(&live));
                    live.take_ahead(*most, &mut |key, value| told.take(key, value));
                }
                Then::Checkpoint => {
                    let mut told = ahead.take().unwrap_or_else(|| Told::of(&live));
                    live.take_changes(&mut |key, value| told.take(key, value));
                    told.write(&mut disk);
                    prop_assert_eq!(live.changed_len(), 0);
                }
                Then::Lost => {
                    live.take_changes(&mut |_, _| {});
                    ahead = None;
                    live.untold();
                }
                Then::Restart => {
                    let mut told = ahead.take().unwrap_or_else(|| Told::of(&live));
                    live.take_changes(&mut |key, value| told.take(key, value));
                    told.write(&mut disk);
                    live = core();
                    live.restore(assembled(&disk)).unwrap();
                    live.told();
                }
            }
        }
        let mut told = ahead.take().unwrap_or_else(|| Told::of(&live));
        live.take_changes(&mut |key, value| told.take(key, value));
        told.write(&mut disk);
        // Every index that is not stored included.
        live.untold();
        prop_assert_eq!(shown(&assembled(&disk)), shown(live.state()));
    }

    #[test]
    fn a_record_that_lacks_is_noticed(log in log(), at in any::<prop::sample::Index>()) {
        let (mut live, mut disk) = (core(), Disk::new());
        for (fed, _) in &log {
            feed(&mut live, fed);
        }
        let mut told = Told::of(&live);
        live.take_changes(&mut |key, value| told.take(key, value));
        told.write(&mut disk);
        live.untold();
        let key = disk.keys().nth(at.index(disk.len())).unwrap().clone();
        disk.remove(&key);
        let records = disk.iter().map(|(key, value)| (&key[..], &value[..]));
        let state = State::assemble(records, &Json).map(|state| shown(&state));
        prop_assert!(state != Ok(shown(live.state())));
    }
}
