//! The state as records by key: what a checkpoint writes is what changed since the one before.
//!
//! A head with everything that is small, then a record for each window, each track of emitted
//! slots and each remembered copy. Their keys name the rule by what makes it the same rule, never
//! by its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::{DedupId, EscalationId, Lane};
use balefire_stream::slots::Emitted;
use balefire_stream::{Entry, Window};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use super::sink::{Decode, Sink, Unfit};
use super::{BookState, EngineState, GenerationState, KeyState, TrackState};
use crate::book::{Book, Track};
use crate::copies::{Copies, Seen};
use crate::engine::Engine;
use crate::generation::{Contribution, Counting, Generation};
use crate::key::Key;
use crate::keyed::Keyed;

/// What a record is, and of which rule.
type Prefix = [u8; 9];

const KEY_LEN: usize = 16;
// In the order in which they are read.
const HEAD: u8 = 0;
const RECENT: u8 = 1;
const COPY: u8 = 2;
const TRACK: u8 = 3;
const WINDOW: u8 = 4;

#[derive(Serialize)]
struct WindowRef<'w> {
    canonical: &'w [u8],
    values: EntriesRef<'w>,
}

struct EntriesRef<'w>(&'w Window<Contribution>);

impl Serialize for EntriesRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.entries())
    }
}

#[derive(Deserialize)]
struct WindowValue {
    canonical: Box<[u8]>,
    values: Vec<Entry<Contribution>>,
}

#[derive(Serialize)]
struct TrackRef<'t> {
    canonical: &'t [u8],
    emitted: &'t [Emitted],
}

#[derive(Deserialize)]
struct TrackValue {
    canonical: Box<[u8]>,
    emitted: Vec<Emitted>,
}

/// What was told last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Rules and books of it; `None`: nothing was told.
    prefixes: Option<BTreeSet<Prefix>>,
}

impl Engine {
    /// Whether the next changes are only those since the last ones.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.told.prefixes.is_some()
    }

    /// Tells what changed since the last call, all of the state the first time and after
    /// [`Engine::untold`]. Between two batches, with no repair open.
    pub fn take_changes(&mut self, sink: &mut impl Sink) {
        sink.put(&[HEAD], &self.head());
        if self.is_told() && !self.recent.is_told() {
            sink.dropped(&[RECENT]);
        }
        self.recent.take_changes(|id, number| {
            let mut key = vec![RECENT];
            key.extend_from_slice(&id.0);
            match number {
                Some(number) => sink.put(&key, &(number, id)),
                None => sink.gone(&key),
            }
        });
        self.copies.take_changes(|lane, id, seen| {
            let key = copy_key(lane, id);
            match seen {
                Some(seen) => sink.put(&key, &(lane, id, *seen)),
                None => sink.gone(&key),
            }
        });
        let before = self.told.prefixes.take().unwrap_or_default();
        let mut prefixes = BTreeSet::new();
        for generation in &mut self.generations {
            let prefix = prefix_of(generation);
            if let Some(counting) = &mut generation.counting {
                prefixes.insert(prefix);
                replaced(&counting.keys, &prefix, &before, sink);
                windows(counting, &prefix, sink);
            }
        }
        for book in &mut self.books {
            let prefix = prefix_of_book(book.rule.0.as_slice(), book.rearm);
            prefixes.insert(prefix);
            replaced(&book.keys, &prefix, &before, sink);
            tracks(book, &prefix, sink);
        }
        for gone in before.difference(&prefixes) {
            sink.dropped(gone);
        }
        self.told.prefixes = Some(prefixes);
    }

    /// As it stands it was told: it was restored from what was.
    pub fn told(&mut self) {
        struct Nobody;
        impl Sink for Nobody {
            fn put(&mut self, _: &[u8], _: &impl Serialize) {}
            fn gone(&mut self, _: &[u8]) {}
            fn dropped(&mut self, _: &[u8]) {}
        }
        self.take_changes(&mut Nobody);
        // Their numbers are others than before.
        self.recent.untold();
    }

    /// What was told is lost.
    pub fn untold(&mut self) {
        self.told.prefixes = None;
        self.copies.untold();
        self.recent.untold();
        for generation in &mut self.generations {
            if let Some(counting) = &mut generation.counting {
                counting.keys.untold();
            }
        }
        for book in &mut self.books {
            book.keys.untold();
        }
    }

    /// The state without what is told by key.
    fn head(&self) -> EngineState {
        let generations = self.generations.iter();
        let books = self.books.iter();
        EngineState {
            recent: Vec::new(),
            copies: Copies::default(),
            generations: generations
                .map(|one| GenerationState::of(one, Vec::new()))
                .collect(),
            books: books.map(|book| BookState::of(book, Vec::new())).collect(),
            ..self.small()
        }
    }
}

/// What was told of the same rule before, of a table that is not there any more, is gone.
fn replaced<V: Default>(
    keys: &Keyed<V>,
    prefix: &Prefix,
    before: &BTreeSet<Prefix>,
    sink: &mut impl Sink,
) {
    if !keys.is_told() && before.contains(prefix) {
        sink.dropped(prefix);
    }
}

fn windows(counting: &mut Counting, prefix: &Prefix, sink: &mut impl Sink) {
    let Counting {
        keys, canonicals, ..
    } = counting;
    let mut at = Vec::new();
    keys.take_changes(|tenant, key, window| {
        record_key(&mut at, prefix, tenant, key);
        let Some(window) = window else {
            return sink.gone(&at);
        };
        let canonical = canonicals.get(tenant, key);
        let value = WindowRef {
            canonical: canonical.map_or(&[][..], |canonical| canonical),
            values: EntriesRef(window),
        };
        sink.put(&at, &value);
    });
}

fn tracks(book: &mut Book, prefix: &Prefix, sink: &mut impl Sink) {
    let mut at = Vec::new();
    book.keys.take_changes(|tenant, key, track| {
        record_key(&mut at, prefix, tenant, key);
        let Some(Track { slots, canonical }) = track else {
            return sink.gone(&at);
        };
        let emitted = slots.emitted();
        sink.put(&at, &TrackRef { canonical, emitted });
    });
}

fn prefix_of(generation: &Generation) -> Prefix {
    let spec = generation.spec();
    prefix_of_rule(
        spec.id.0.as_slice(),
        spec.signature.0.as_slice(),
        generation.first,
    )
}

fn prefix_of_rule(rule: &[u8], signature: &[u8], first: u64) -> Prefix {
    let mut hasher = FieldHasher::new("balefire checkpoint rule v1");
    hasher
        .field(rule)
        .field(signature)
        .field(&first.to_le_bytes());
    prefix(WINDOW, hasher.digest())
}

fn prefix_of_book(rule: &[u8], rearm: i64) -> Prefix {
    let mut hasher = FieldHasher::new("balefire checkpoint book v1");
    hasher.field(rule).number(rearm);
    prefix(TRACK, hasher.digest())
}

fn prefix(kind: u8, digest: [u8; 32]) -> Prefix {
    let mut prefix = [kind; 9];
    for (to, from) in prefix.iter_mut().skip(1).zip(digest) {
        *to = from;
    }
    prefix
}

fn record_key(at: &mut Vec<u8>, prefix: &Prefix, tenant: &Arc<str>, key: Key) {
    at.clear();
    at.extend_from_slice(prefix);
    at.extend_from_slice(tenant.as_bytes());
    // Last: where a page ends depends on a key's last bytes.
    at.extend_from_slice(&key.0);
}

fn copy_key(lane: Lane, id: DedupId) -> Vec<u8> {
    let lane = u8::try_from(lane.index()).unwrap_or(u8::MAX);
    let mut key = vec![COPY, lane];
    key.extend_from_slice(&id.0);
    key
}

/// A state that is put together.
struct Assembly {
    state: EngineState,
    /// By number.
    recent: BTreeMap<u64, EscalationId>,
    /// Places of generations and books by their prefix.
    places: BTreeMap<Prefix, usize>,
}

impl EngineState {
    /// Puts the records of a checkpoint together, in the order of their keys. Those of rules that
    /// its head does not name are left out.
    ///
    /// # Errors
    /// [`Unfit`] for anything that [`Engine::take_changes`] does not tell.
    pub fn assemble<'r>(
        records: impl IntoIterator<Item = (&'r [u8], &'r [u8])>,
        decode: &impl Decode,
    ) -> Result<Self, Unfit> {
        let mut records = records.into_iter();
        let head = records.next().filter(|(key, _)| *key == [HEAD]);
        let (_, head) = head.ok_or_else(|| unfit("they have no head"))?;
        let mut assembly = Assembly::of(decoded(decode, head)?)?;
        for (key, value) in records {
            assembly.take(key, value, decode)?;
        }
        Ok(EngineState {
            recent: assembly.recent.into_values().collect(),
            ..assembly.state
        })
    }
}

impl Assembly {
    fn of(state: EngineState) -> Result<Self, Unfit> {
        let generations = state.generations.iter();
        let generations = generations
            .map(|one| prefix_of_rule(&one.rule.0, &one.signature.0, one.first))
            .enumerate();
        let books = state.books.iter();
        let books = books
            .map(|book| prefix_of_book(&book.rule.0, book.rearm))
            .enumerate();
        let mut places = BTreeMap::new();
        for (place, prefix) in generations.chain(books) {
            if places.insert(prefix, place).is_some() {
                return Err(unfit("two rules have one name"));
            }
        }
        Ok(Self {
            state,
            recent: BTreeMap::new(),
            places,
        })
    }

    fn take(&mut self, key: &[u8], value: &[u8], decode: &impl Decode) -> Result<(), Unfit> {
        match key.first() {
            Some(&RECENT) => {
                let (number, id): (u64, EscalationId) = decoded(decode, value)?;
                self.recent.insert(number, id);
            }
            Some(&COPY) => {
                let (lane, id, seen): (Lane, DedupId, Seen) = decoded(decode, value)?;
                self.state.copies.put(lane, id, seen);
            }
            Some(&TRACK) => {
                let (prefix, tenant, key) = parts(key)?;
                let Some(book) = self.places.get(&prefix) else {
                    return Ok(());
                };
                let TrackValue { canonical, emitted } = decoded(decode, value)?;
                if let Some(book) = self.state.books.get_mut(*book) {
                    book.keys.push(TrackState {
                        tenant,
                        key,
                        canonical,
                        emitted,
                    });
                }
            }
            Some(&WINDOW) => {
                let (prefix, tenant, key) = parts(key)?;
                let Some(generation) = self.places.get(&prefix) else {
                    return Ok(());
                };
                let WindowValue { canonical, values } = decoded(decode, value)?;
                if let Some(generation) = self.state.generations.get_mut(*generation) {
                    generation.keys.push(KeyState {
                        tenant,
                        key,
                        canonical,
                        values,
                    });
                }
            }
            Some(_) | None => return Err(unfit("one is of no kind that is known")),
        }
        Ok(())
    }
}

fn parts(record: &[u8]) -> Result<(Prefix, String, Key), Unfit> {
    let split = record.split_first_chunk();
    let split =
        split.and_then(|(prefix, rest)| Some((prefix, rest.split_last_chunk::<KEY_LEN>()?)));
    let Some((prefix, (tenant, key))) = split else {
        return Err(unfit("a key is too short"));
    };
    let tenant = std::str::from_utf8(tenant).map_err(|_| unfit("a tenant is no text"))?;
    Ok((*prefix, tenant.to_owned(), Key(*key)))
}

fn decoded<T: DeserializeOwned>(decode: &impl Decode, bytes: &[u8]) -> Result<T, Unfit> {
    decode.decode(bytes).map_err(|reason| Unfit { reason })
}

fn unfit(reason: &str) -> Unfit {
    Unfit {
        reason: reason.to_owned(),
    }
}
