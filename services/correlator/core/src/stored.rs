//! The state as records by key: what a checkpoint writes is what changed since the one before.
//!
//! A head with everything that is small, then a record for each fact, the claims of each key, each
//! kept event and each stub. What follows from these is not stored.

use balefire_event::{DedupId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use crate::barrier::Barriers;
use crate::claim::{Claims, Held, OfKey};
use crate::correlator::{Correlator, Damaged, State};
use crate::entry::{Entries, Entry};
use crate::fact::{Fact, FactId};
use crate::key::KeyHash;
use crate::repair::Stragglers;
use crate::stub::{Place, StubKey, Stubs};

const HEAD: u8 = 0;
const FACT: u8 = 1;
const CLAIMS: u8 = 2;
const ENTRY: u8 = 3;
const STUB: u8 = 4;

/// What there is one of.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    clocks: [Option<Timestamp>; 3],
    join_horizon_max: i64,
    /// Of claims, entries, stubs.
    horizons: [Timestamp; 3],
    barriers: Barriers,
    stragglers: Stragglers,
    promised: Option<Timestamp>,
    promise_told: Option<Timestamp>,
}

impl Head {
    fn of(state: &State) -> Self {
        Self {
            clocks: state.clocks,
            join_horizon_max: state.join_horizon_max,
            horizons: [
                state.claims.horizon(),
                state.entries.horizon(),
                state.stubs.horizon(),
            ],
            barriers: state.barriers.clone(),
            stragglers: state.stragglers.clone(),
            promised: state.promised,
            promise_told: state.promise_told,
        }
    }
}

/// The value of a record, to be encoded.
#[derive(Debug)]
pub struct Stored<'s>(Value<'s>);

#[derive(Debug)]
enum Value<'s> {
    Head(Box<Head>),
    Fact(&'s Fact),
    Claims(&'s OfKey),
    Entry(&'s Entry),
    Stub(&'s Place),
}

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Value::Head(head) => head.serialize(serializer),
            Value::Fact(fact) => fact.serialize(serializer),
            Value::Claims(claims) => claims.serialize(serializer),
            Value::Entry(entry) => entry.serialize(serializer),
            Value::Stub(place) => place.serialize(serializer),
        }
    }
}

/// Reads values of records: a shell's business.
pub trait Decode {
    /// Reads what was encoded of a [`Stored`]; `None`: it is something else.
    fn decode<T: DeserializeOwned>(&self, value: &[u8]) -> Option<T>;
}

fn key_of(kind: u8, hash: &[u8; 16]) -> [u8; 17] {
    let mut key = [kind; 17];
    if let Some(place) = key.last_chunk_mut() {
        *place = *hash;
    }
    key
}

fn stub_key((key, at, id): &StubKey) -> Vec<u8> {
    [&[STUB], &key.0[..], &at.0.to_be_bytes(), &id.0].concat()
}

fn read_stub_key(key: &[u8]) -> Option<StubKey> {
    let (hash, rest) = key.split_first_chunk()?;
    let (at, id) = rest.split_first_chunk()?;
    let at = Timestamp(i64::from_be_bytes(*at));
    Some((KeyHash(*hash), at, DedupId(id.try_into().ok()?)))
}

impl Correlator {
    /// Whether what is told next is only what changed since the last time.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.told
    }

    /// All of the state is on disk: what is told next is what changes from here on.
    pub fn told(&mut self) {
        let State {
            claims,
            entries,
            stubs,
            ..
        } = &mut self.state;
        claims.changed_facts.begin(std::iter::empty());
        claims.changed_keys.begin(std::iter::empty());
        entries.changed.begin(std::iter::empty());
        stubs.changed.begin(std::iter::empty());
        self.told = true;
    }

    /// What was told is not on disk: the next time all of the state is.
    pub fn untold(&mut self) {
        let State {
            claims,
            entries,
            stubs,
            ..
        } = &mut self.state;
        claims.changed_facts.end();
        claims.changed_keys.end();
        entries.changed.end();
        stubs.changed.end();
        self.told = false;
    }

    /// How many records changed since they were told; all of them where none was.
    #[must_use]
    pub fn changed_len(&self) -> usize {
        let State {
            claims,
            entries,
            stubs,
            ..
        } = &self.state;
        if !self.told {
            let of_claims = claims.facts().len() + claims.by_key().len();
            return of_claims + entries.len() + stubs.len();
        }
        let of_claims = claims.changed_facts.len() + claims.changed_keys.len();
        of_claims + entries.changed.len() + stubs.changed.len()
    }

    /// Tells what became of `most` records that changed: each by its key, `None` where it is gone.
    /// A record that changes again is told again; the later counts.
    pub fn take_ahead(&mut self, most: usize, tell: &mut impl FnMut(&[u8], Option<Stored<'_>>)) {
        self.note_all();
        let State {
            claims,
            entries,
            stubs,
            ..
        } = &mut self.state;
        for _ in 0..most {
            if let Some(id) = claims.changed_facts.take() {
                let fact = claims.fact(id).map(|fact| Stored(Value::Fact(fact)));
                tell(&key_of(FACT, &id.0), fact);
            } else if let Some(key) = claims.changed_keys.take() {
                let found = claims.by_key().get(&key);
                let found = found.map(|claims| Stored(Value::Claims(claims)));
                tell(&key_of(CLAIMS, &key.0), found);
            } else if let Some(id) = entries.changed.take() {
                let entry = entries.by_id().get(&id);
                let entry = entry.map(|entry| Stored(Value::Entry(entry)));
                tell(&key_of(ENTRY, &id.0), entry);
            } else if let Some(key) = stubs.changed.take() {
                let place = stubs.by_key().get(&key);
                let place = place.map(|place| Stored(Value::Stub(place)));
                tell(&stub_key(&key), place);
            } else {
                return;
            }
        }
    }

    /// Tells the rest of what changed, and the head: with what was told ahead and before, the state
    /// as it is now.
    pub fn take_changes(&mut self, tell: &mut impl FnMut(&[u8], Option<Stored<'_>>)) {
        self.take_ahead(usize::MAX, tell);
        let head = Head::of(&self.state);
        tell(&[HEAD], Some(Stored(Value::Head(Box::new(head)))));
    }

    /// Where nothing was told yet everything has changed.
    fn note_all(&mut self) {
        if self.told {
            return;
        }
        self.state.claims.change_all();
        self.state.entries.change_all();
        self.state.stubs.change_all();
        self.told = true;
    }
}

/// Records on their way to a state. In the order of their keys, so that what holds them is full.
#[derive(Default)]
struct Parts {
    head: Option<Head>,
    facts: Vec<(FactId, Held)>,
    claims: Vec<(KeyHash, OfKey)>,
    entries: Vec<(DedupId, Entry)>,
    stubs: Vec<(StubKey, Place)>,
}

impl Parts {
    fn take(&mut self, key: &[u8], value: &[u8], decode: &impl Decode) -> Option<()> {
        let (kind, key) = key.split_first()?;
        let hash = || <[u8; 16]>::try_from(key).ok();
        match *kind {
            HEAD => self.head = Some(decode.decode(value)?),
            FACT => {
                let held = Held::of(decode.decode(value)?);
                self.facts.push((FactId(hash()?), held));
            }
            CLAIMS => {
                let claims = decode.decode(value)?;
                self.claims.push((KeyHash(hash()?), claims));
            }
            ENTRY => {
                let entry = decode.decode(value)?;
                self.entries.push((DedupId(hash()?), entry));
            }
            STUB => {
                let place = decode.decode(value)?;
                self.stubs.push((read_stub_key(key)?, place));
            }
            _ => return None,
        }
        Some(())
    }
}

impl State {
    /// The state that records make, in any order.
    ///
    /// # Errors
    /// [`Damaged`] where they make none.
    pub fn assemble<'r>(
        records: impl Iterator<Item = (&'r [u8], &'r [u8])>,
        decode: &impl Decode,
    ) -> Result<Self, Damaged> {
        let mut parts = Parts::default();
        for (key, value) in records {
            parts.take(key, value, decode).ok_or(Damaged)?;
        }
        let head = parts.head.ok_or(Damaged)?;
        let [claims, entries, stubs] = head.horizons;
        let (facts, by_key) = (parts.facts, parts.claims);
        let mut state = Self {
            clocks: head.clocks,
            join_horizon_max: head.join_horizon_max,
            claims: Claims::of(
                facts.into_iter().collect(),
                by_key.into_iter().collect(),
                claims,
            ),
            entries: Entries::of(parts.entries.into_iter().collect(), entries),
            stubs: Stubs::of(parts.stubs.into_iter().collect(), stubs),
            barriers: head.barriers,
            stragglers: head.stragglers,
            promised: head.promised,
            promise_told: head.promise_told,
        };
        state.rebuild()?;
        Ok(state)
    }

    /// Makes again what is not stored.
    ///
    /// # Errors
    /// [`Damaged`] where something is of what is not there, or cannot be read.
    pub(crate) fn rebuild(&mut self) -> Result<(), Damaged> {
        self.stubs.rebuild();
        let sound = self.entries.rebuild() && self.claims.rebuild(self.entries.met());
        sound.then_some(()).ok_or(Damaged)
    }
}
