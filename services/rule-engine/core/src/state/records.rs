//! The state as records by key: what a checkpoint writes is what changed since the one before.
//!
//! A head with everything that is small, then a record for each window, each track of emitted
//! slots and each remembered copy. Their keys name the rule by what makes it the same rule, never
//! by its place.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::{DedupId, Lane};
use balefire_stream::slots::Emitted;
use balefire_stream::{Entry, Patch, Window};
use serde::{Deserialize, Serialize, Serializer};

use super::sink::Sink;
use super::{BookState, EngineState, GenerationState};
use crate::book::{Book, Track};
use crate::copies::Copies;
use crate::engine::Engine;
use crate::generation::{Contribution, Counting, Generation};
use crate::key::Key;
use crate::keyed::{Fate, Keyed, Tale};

/// What a record is, and of which rule.
pub(super) type Prefix = [u8; 9];

pub(super) const KEY_LEN: usize = 16;
// In the order in which they are read.
pub(super) const HEAD: u8 = 0;
pub(super) const RECENT: u8 = 1;
pub(super) const COPY: u8 = 2;
pub(super) const TRACK: u8 = 3;
pub(super) const WINDOW: u8 = 4;

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
pub(super) struct WindowValue {
    pub(super) canonical: Box<[u8]>,
    pub(super) values: Vec<Entry<Contribution>>,
}

/// What lies behind a window that was told.
#[derive(Serialize, Deserialize)]
pub(super) struct PatchValue<E> {
    /// Of the changes it was told with: ascending.
    pub(super) number: u64,
    pub(super) patch: Patch<E>,
}

#[derive(Serialize)]
struct TrackRef<'t> {
    canonical: &'t [u8],
    emitted: &'t [Emitted],
}

#[derive(Deserialize)]
pub(super) struct TrackValue {
    pub(super) canonical: Box<[u8]>,
    pub(super) emitted: Vec<Emitted>,
}

/// What was told last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Rules and books of it; `None`: nothing was told.
    prefixes: Option<BTreeSet<Prefix>>,
    /// How often something was told; a state that was restored goes on from there.
    pub(crate) number: u64,
    /// Rules and books of what was told ahead; `None`: nothing was.
    ahead: Option<BTreeSet<Prefix>>,
}

impl Engine {
    /// Whether the next changes are only those since the last ones.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        self.told.prefixes.is_some()
    }

    /// How many windows and tracks changed since they were told: what [`Engine::take_changes`]
    /// would tell at once.
    #[must_use]
    pub fn changed_len(&self) -> usize {
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        let windows: usize = counting.map(|counting| counting.keys.changed_len()).sum();
        let tracks: usize = self.books.iter().map(|book| book.keys.changed_len()).sum();
        windows + tracks
    }

    /// Tells of some windows and tracks what [`Engine::take_changes`] would, `most` of them: what
    /// it tells then is behind that, and less. Between two batches, with no repair open.
    ///
    /// False, and nothing is told: rules came that were never told. They are told first.
    pub fn take_ahead(&mut self, most: usize, sink: &mut impl Sink) -> bool {
        let rules = self.prefixes();
        let known = self.told.prefixes.as_ref();
        if known.is_some_and(|known| *known != rules || !self.all_told()) {
            return false;
        }
        self.told.ahead.get_or_insert(rules);
        self.told.number += 1;
        let (number, mut left) = (self.told.number, most);
        for generation in &mut self.generations {
            let prefix = prefix_of(generation);
            if let Some(counting) = &mut generation.counting {
                windows(counting, (&prefix, number), Some(&mut left), sink);
            }
        }
        for book in &mut self.books {
            let prefix = prefix_of_book(book.rule.0.as_slice(), book.rearm);
            tracks(book, &prefix, Some(&mut left), sink);
        }
        true
    }

    /// Whether what was told ahead is of the rules that there are. If not it is of no use: call
    /// [`Engine::untold`].
    #[must_use]
    pub fn is_ahead_sound(&self) -> bool {
        let ahead = self.told.ahead.as_ref();
        ahead.is_none_or(|ahead| *ahead == self.prefixes() && self.all_told())
    }

    /// Rules and books whose windows and tracks are told.
    fn prefixes(&self) -> BTreeSet<Prefix> {
        let counting = self.generations.iter().filter(|g| g.counting.is_some());
        let books = self.books.iter();
        let books = books.map(|book| prefix_of_book(book.rule.0.as_slice(), book.rearm));
        counting.map(prefix_of).chain(books).collect()
    }

    fn all_told(&self) -> bool {
        let mut counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        counting.all(|counting| counting.keys.is_told())
            && self.books.iter().all(|book| book.keys.is_told())
    }

    /// Tells what changed since the last call, all of the state the first time and after
    /// [`Engine::untold`]. Between two batches, with no repair open.
    pub fn take_changes(&mut self, sink: &mut impl Sink) {
        self.told.number += 1;
        let number = self.told.number;
        sink.put(&[HEAD], &(self.head(), number));
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
        self.told.ahead = None;
        let before = self.told.prefixes.take().unwrap_or_default();
        let mut prefixes = BTreeSet::new();
        for generation in &mut self.generations {
            let prefix = prefix_of(generation);
            if let Some(counting) = &mut generation.counting {
                prefixes.insert(prefix);
                replaced(&counting.keys, &prefix, &before, sink);
                windows(counting, (&prefix, number), None, sink);
            }
        }
        for book in &mut self.books {
            let prefix = prefix_of_book(book.rule.0.as_slice(), book.rearm);
            prefixes.insert(prefix);
            replaced(&book.keys, &prefix, &before, sink);
            tracks(book, &prefix, None, sink);
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
            fn append(&mut self, _: &[u8], _: &impl Serialize) {}
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
        self.told.ahead = None;
        self.copies.untold();
        self.recent.untold();
        for generation in &mut self.generations {
            if let Some(counting) = &mut generation.counting {
                counting.keys.untold();
                // What they would say is behind what is lost.
                counting.keys.each(|_, _, window| {
                    window.give_up_journal();
                    Fate::Same
                });
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

/// All that changed of them, or some.
fn windows(
    counting: &mut Counting,
    (prefix, number): (&Prefix, u64),
    some: Option<&mut usize>,
    sink: &mut impl Sink,
) {
    let Counting {
        keys, canonicals, ..
    } = counting;
    let mut at = Vec::new();
    let tell = |tenant: &Arc<str>, key: Key, tale: Tale<'_, Window<Contribution>>| {
        record_key(&mut at, prefix, tenant, key);
        let window = match tale {
            Tale::Gone => return sink.gone(&at),
            Tale::Whole(window) => {
                window.give_up_journal();
                window
            }
            Tale::Changed(window) => {
                if is_appended(window, (key, number), &at, sink) {
                    return;
                }
                window
            }
        };
        let canonical = canonicals.get(tenant, key);
        let value = WindowRef {
            canonical: canonical.map_or(&[][..], |canonical| canonical),
            values: EntriesRef(window),
        };
        sink.put(&at, &value);
    };
    match some {
        Some(left) => keys.take_some(left, tell),
        None => keys.take_changes(tell),
    }
}

/// Tells no more of a window than what became of it, where that is known. Not always: it is told
/// whole with the chance of what there is to say among its entries. So what lies behind a window
/// comes to as much as itself, on average, and telling windows anew to as much as what became of
/// them; and nothing is kept to know when.
fn is_appended(
    window: &mut Window<Contribution>,
    (key, number): (Key, u64),
    at: &[u8],
    sink: &mut impl Sink,
) -> bool {
    let len = window.len();
    let Some(patch) = window.take_patch() else {
        return false;
    };
    if drawn(key, number, len) < patch.len() {
        return false;
    }
    sink.append(at, &PatchValue { number, patch });
    true
}

/// A number below `len` that looks like any.
fn drawn(key: Key, number: u64, len: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (key.0, number).hash(&mut hasher);
    let share = u128::from(hasher.finish()) * len as u128;
    usize::try_from(share >> u64::BITS).unwrap_or_default()
}

fn tracks(book: &mut Book, prefix: &Prefix, some: Option<&mut usize>, sink: &mut impl Sink) {
    let mut at = Vec::new();
    let tell = |tenant: &Arc<str>, key: Key, tale: Tale<'_, Track>| {
        record_key(&mut at, prefix, tenant, key);
        let Track { slots, canonical } = match tale {
            Tale::Gone => return sink.gone(&at),
            Tale::Whole(track) | Tale::Changed(track) => track,
        };
        let emitted = slots.emitted();
        sink.put(&at, &TrackRef { canonical, emitted });
    };
    match some {
        Some(left) => book.keys.take_some(left, tell),
        None => book.keys.take_changes(tell),
    }
}

fn prefix_of(generation: &Generation) -> Prefix {
    let spec = generation.spec();
    prefix_of_rule(
        spec.id.0.as_slice(),
        spec.signature.0.as_slice(),
        generation.first,
    )
}

pub(super) fn prefix_of_rule(rule: &[u8], signature: &[u8], first: u64) -> Prefix {
    let mut hasher = FieldHasher::new("balefire checkpoint rule v1");
    hasher
        .field(rule)
        .field(signature)
        .field(&first.to_le_bytes());
    prefix(WINDOW, hasher.digest())
}

pub(super) fn prefix_of_book(rule: &[u8], rearm: i64) -> Prefix {
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
