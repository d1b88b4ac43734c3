//! [`EngineState`]: everything a checkpoint holds, as plain data, and the state digest.

mod assembly;
mod records;
mod sink;

use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::{BarrierId, Digest, EscalationId, RuleId, Timestamp};
use balefire_stream::slots::Emitted;
use balefire_stream::{Barriers, Entry, Lateness, Slots, Watermark, Window};
use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::copies::Copies;
use crate::counters::Counters;
use crate::engine::{Engine, Error};
use crate::generation::{Contribution, Generation};
use crate::key::Key;
use crate::recent::Recent;
use crate::redo::Held;

pub(crate) use records::Told;
pub use sink::{Decode, Sink, Unfit};

/// Version of [`EngineState`]. Another one is not read: the state is built from the log.
pub const STATE_VERSION: u32 = 9;

/// A snapshot of an engine between two batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineState {
    version: u32,
    partition: u32,
    known_revision: u64,
    watermark: Watermark,
    lateness: Lateness,
    swept: Option<i64>,
    barriers: Barriers,
    recent: Vec<EscalationId>,
    copies: Copies,
    untrusted: bool,
    counters: Counters,
    generations: Vec<GenerationState>,
    books: Vec<BookState>,
    /// Barriers that wait for rules to be whole.
    held: Vec<(BarrierId, Timestamp)>,
    /// How often something of it was told.
    #[serde(skip)]
    told: Number,
}

/// Of what was told. No part of the state.
#[derive(Debug, Clone, Copy, Default)]
struct Number(u64);

impl PartialEq for Number {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Number {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GenerationState {
    rule: RuleId,
    signature: Digest,
    first: u64,
    horizon: Option<Timestamp>,
    oldest: Option<Timestamp>,
    decided_until: Option<Timestamp>,
    warming: bool,
    read_from: Option<Timestamp>,
    keys: Vec<KeyState<Entry<Contribution>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BookState {
    rule: RuleId,
    rearm: i64,
    open_from: Option<Timestamp>,
    closed_until: Option<Timestamp>,
    keys: Vec<TrackState>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TrackState {
    tenant: String,
    key: Key,
    canonical: Box<[u8]>,
    emitted: Vec<Emitted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyState<T> {
    tenant: String,
    key: Key,
    /// Of a rule that is decided at close; else empty.
    canonical: Box<[u8]>,
    values: Vec<T>,
}

impl GenerationState {
    fn of(generation: &Generation, keys: Vec<KeyState<Entry<Contribution>>>) -> Self {
        let counting = generation.counting.as_ref();
        Self {
            rule: generation.spec().id,
            signature: generation.spec().signature,
            first: generation.first,
            horizon: counting.and_then(|counting| counting.horizon),
            oldest: counting.and_then(|counting| counting.oldest),
            decided_until: counting.and_then(|counting| counting.decided_until),
            warming: generation.warming,
            read_from: generation.read_from,
            keys,
        }
    }
}

impl BookState {
    const fn of(book: &Book, keys: Vec<TrackState>) -> Self {
        Self {
            rule: book.rule,
            rearm: book.rearm,
            open_from: book.open_from,
            closed_until: book.closed_until,
            keys,
        }
    }
}

impl EngineState {
    /// Newest control revision that it knew of: the rule sets up to there are its.
    #[must_use]
    pub const fn known_revision(&self) -> u64 {
        self.known_revision
    }
}

impl Engine {
    /// The whole state. Taken between batches, with no repair open.
    #[must_use]
    pub fn snapshot(&self) -> EngineState {
        EngineState {
            recent: self.recent.ids().copied().collect(),
            copies: self.copies.clone(),
            generations: self.generation_states(),
            books: self.book_states(),
            ..self.small()
        }
    }

    /// What there is one of.
    fn small(&self) -> EngineState {
        EngineState {
            version: STATE_VERSION,
            partition: self.partition,
            known_revision: self.known_revision,
            watermark: self.watermark.clone(),
            lateness: self.lateness.clone(),
            swept: self.swept,
            barriers: self.barriers.clone(),
            recent: Vec::new(),
            copies: Copies::default(),
            untrusted: self.untrusted,
            counters: self.counters.clone(),
            generations: Vec::new(),
            books: Vec::new(),
            held: self.held.iter().map(|held| (held.id, held.at)).collect(),
            told: Number(self.told.number),
        }
    }

    fn generation_states(&self) -> Vec<GenerationState> {
        let states = self.generations.iter().map(|generation| {
            let counting = generation.counting.as_ref();
            let keys = counting.map(|counting| counting.keys.sorted());
            let keys = keys.unwrap_or_default().into_iter();
            let keys = keys.map(|(tenant, key, window)| KeyState {
                tenant: tenant.to_string(),
                key,
                canonical: counting
                    .and_then(|counting| counting.canonicals.get(tenant, key))
                    .cloned()
                    .unwrap_or_default(),
                values: window.entries().cloned().collect(),
            });
            GenerationState::of(generation, keys.collect())
        });
        states.collect()
    }

    fn book_states(&self) -> Vec<BookState> {
        let states = self.books.iter().map(|book| {
            let keys = book.keys.sorted().into_iter();
            let keys = keys.map(|(tenant, key, track)| TrackState {
                tenant: tenant.to_string(),
                key,
                canonical: track.canonical.clone(),
                emitted: track.slots.emitted().to_vec(),
            });
            BookState::of(book, keys.collect())
        });
        states.collect()
    }

    /// Takes over a snapshot.
    ///
    /// # Errors
    /// Another version or partition; rules that the snapshot was not taken under. The engine is
    /// then of no use: make a new one and build it from the log.
    pub fn restore(&mut self, state: EngineState) -> Result<(), Error> {
        if state.version != STATE_VERSION {
            return Err(Error::Version {
                found: state.version,
                expected: STATE_VERSION,
            });
        }
        if state.partition != self.partition {
            return Err(Error::Partition {
                found: state.partition,
                expected: self.partition,
            });
        }
        let new = self.restore_generations(state.generations)?;
        self.restore_books(state.books)?;
        self.known_revision = self.known_revision.max(state.known_revision);
        self.watermark = state.watermark;
        self.lateness = state.lateness;
        self.swept = state.swept;
        self.barriers = state.barriers;
        self.recent = Recent::default();
        for id in state.recent {
            self.recent.insert(id);
        }
        self.copies = state.copies;
        self.untrusted = state.untrusted;
        self.told.number = state.told.0;
        self.counters = state.counters;
        let held = state.held.into_iter();
        self.held = held.map(|(id, at)| Held::new(id, at)).collect();
        self.warm(&new);
        self.begin_reading();
        Ok(())
    }

    /// Those that the snapshot does not know: it is older than their rules.
    fn restore_generations(&mut self, states: Vec<GenerationState>) -> Result<Vec<usize>, Error> {
        let mut new: Vec<usize> = (0..self.generations.len()).collect();
        for state in states {
            let mut generations = self.generations.iter_mut().enumerate();
            let same = generations.find(|(_, generation)| {
                generation.spec().id == state.rule
                    && generation.spec().signature == state.signature
                    && generation.first == state.first
            });
            let (place, generation) = same.ok_or(Error::Rules)?;
            new.retain(|other| *other != place);
            generation.warming = state.warming;
            generation.read_from = state.read_from;
            let Some(counting) = &mut generation.counting else {
                continue;
            };
            counting.horizon = state.horizon;
            counting.oldest = state.oldest;
            counting.decided_until = state.decided_until;
            for key in state.keys {
                let tenant = Arc::from(key.tenant);
                if counting.is_at_close() {
                    *counting.canonicals.entry(&tenant, key.key) = key.canonical;
                }
                *counting.keys.entry(&tenant, key.key) = Window::from_entries(key.values);
            }
        }
        Ok(new)
    }

    fn restore_books(&mut self, states: Vec<BookState>) -> Result<(), Error> {
        for state in states {
            let mut books = self.books.iter_mut();
            let same = books.find(|book| book.rule == state.rule && book.rearm == state.rearm);
            let book = same.ok_or(Error::Rules)?;
            book.open_from = state.open_from;
            book.closed_until = state.closed_until;
            for key in state.keys {
                let tenant = Arc::from(key.tenant);
                let track = book.keys.entry(&tenant, key.key);
                track.canonical = key.canonical;
                track.slots = Slots::from_emitted(key.emitted);
            }
        }
        Ok(())
    }

    /// Digest of the entries with t > low watermark − L − W, as far as they are kept whatever the
    /// order of arrival was: equal for a live and a rebuilt state at the same positions.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = FieldHasher::new("balefire engine state v2");
        let low = self.watermark.low();
        let lateness = self.lateness_now();
        for generation in &self.generations {
            let Some(counting) = &generation.counting else {
                continue;
            };
            let spec = &counting.window;
            let cut = low.map_or(Timestamp::MIN, |low| {
                low.minus(lateness).minus(spec.window())
            });
            hasher
                .field(b"generation")
                .field(&generation.spec().id.0)
                .field(&generation.spec().signature.0)
                .field(&generation.first.to_le_bytes());
            for (tenant, key, window) in counting.keys.sorted() {
                let book = self.books.get(counting.book);
                let emitted = |slot| book.is_some_and(|book| book.contains(tenant, key, slot));
                let mut entries = window.canonical(spec, cut, emitted).peekable();
                if entries.peek().is_some() {
                    hasher.field(b"key").field(tenant.as_bytes()).field(&key.0);
                }
                for entry in entries {
                    hasher
                        .number(entry.t.0)
                        .field(&entry.dedup_id.0)
                        .field(&[u8::from(entry.may_breach)]);
                }
            }
        }
        Digest(hasher.digest())
    }
}
