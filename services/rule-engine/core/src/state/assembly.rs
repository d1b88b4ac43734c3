//! The state put together from its records.

use std::collections::BTreeMap;

use balefire_event::{DedupId, EscalationId, Lane};
use balefire_stream::Entry;
use serde::de::DeserializeOwned;

use super::records::{
    COPY, HEAD, KEY_LEN, PatchValue, Prefix, RECENT, TRACK, TrackValue, WINDOW, WindowValue,
    prefix_of_book, prefix_of_rule,
};
use super::sink::{Decode, Unfit};
use super::{EngineState, KeyState, Number, TrackState};
use crate::copies::Seen;
use crate::generation::Contribution;
use crate::key::Key;

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
        let (mut state, number): (Self, u64) = decoded(decode, head)?;
        state.told = Number(number);
        let mut assembly = Assembly::of(state)?;
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
                let WindowValue { canonical, values } = self.window(value, decode)?;
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

    /// A window as it was told, and what became of it since.
    fn window(&self, mut bytes: &[u8], decode: &impl Decode) -> Result<WindowValue, Unfit> {
        let mut window: WindowValue = next(decode, &mut bytes)?;
        let mut before = 0;
        while !bytes.is_empty() {
            let PatchValue { number, patch }: PatchValue<Entry<Contribution>> =
                next(decode, &mut bytes)?;
            if number <= before || number > self.state.told.0 {
                return Err(unfit("what became of a window is not in its order"));
            }
            if !patch.apply(&mut window.values) {
                return Err(unfit("what became of a window is of another"));
            }
            before = number;
        }
        Ok(window)
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

fn decoded<T: DeserializeOwned>(decode: &impl Decode, mut bytes: &[u8]) -> Result<T, Unfit> {
    let value = next(decode, &mut bytes)?;
    if !bytes.is_empty() {
        return Err(unfit("one is longer than what it holds"));
    }
    Ok(value)
}

fn next<T: DeserializeOwned>(decode: &impl Decode, bytes: &mut &[u8]) -> Result<T, Unfit> {
    decode.decode_next(bytes).map_err(|reason| Unfit { reason })
}

fn unfit(reason: &str) -> Unfit {
    Unfit {
        reason: reason.to_owned(),
    }
}
