//! A state as records by key: [`Records`] is a whole one, [`Changes`] what became of it since.
//!
//! A checkpoint writes what changed; pages of records and the changes behind them make the whole
//! again. Nothing here knows what a record means.

use serde::Serialize;

use crate::encoding::encode_into;
use crate::error::Error;
use crate::fold::Fold;

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// A state without keys is cut into records of this size.
const SLICE_BYTES: usize = 256 * 1024;

/// Length of a key and of a value.
const HEAD_BYTES: usize = 6;
/// In place of a value's length: the record is gone.
const GONE: u32 = u32::MAX;
/// In place of a value's length: every record whose key begins so is gone.
const DROPPED: u32 = u32::MAX - 1;
/// Beside a value's length: it lies behind the value that is there.
const APPENDED: u32 = 1 << 31;
/// A value, and what is appended at once, is shorter than that, bytes.
pub(crate) const VALUE_BYTES_END: u32 = APPENDED - 2;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate<'b> {
    Value(&'b [u8]),
    Appended(&'b [u8]),
    Gone,
    Dropped,
}

/// What changed of a state since the checkpoint before, or all of it. In any order; of two changes
/// of a key the later counts, but for what is appended, which lies behind what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    whole: bool,
    bytes: Vec<u8>,
    len: usize,
}

impl Changes {
    /// All of a state: nothing that was there before counts.
    #[must_use]
    pub const fn whole() -> Self {
        Self {
            whole: true,
            bytes: Vec::new(),
            len: 0,
        }
    }

    /// What changed since the last changes that were given.
    #[must_use]
    pub const fn since() -> Self {
        Self {
            whole: false,
            bytes: Vec::new(),
            len: 0,
        }
    }

    /// All of a state that has no keys: it is cut into slices; see [`Records::joined`].
    #[must_use]
    pub fn sliced(state: &[u8]) -> Self {
        let mut changes = Self::whole();
        for (index, slice) in (0u32..).zip(state.chunks(SLICE_BYTES)) {
            // Far below what is too long.
            let _taken = changes.put_encoded(&index.to_be_bytes(), slice);
        }
        changes
    }

    /// Whether this is all of a state.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// How many records it says something of.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of it.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// A record is this now.
    ///
    /// # Errors
    /// [`Error::Encoding`] where serde refuses, or it is too long.
    pub fn put<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Error> {
        self.encoded(key, value, 0)
    }

    /// Behind the value of a record that is there lies this, too: what reads it finds one behind
    /// the other. Where there is no such record, what holds both is in doubt.
    ///
    /// # Errors
    /// [`Error::Encoding`] where serde refuses, or it is too long.
    pub fn append<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Error> {
        self.encoded(key, value, APPENDED)
    }

    fn encoded<T: Serialize>(&mut self, key: &[u8], value: &T, mark: u32) -> Result<(), Error> {
        check(key)?;
        let begin = self.bytes.len();
        self.begin(key, 0);
        let value_at = self.bytes.len();
        let written = encode_into(value, &mut self.bytes);
        let len = u32::try_from(self.bytes.len() - value_at);
        let len = len.ok().filter(|len| *len < VALUE_BYTES_END);
        let (Ok(()), Some(len)) = (&written, len) else {
            self.bytes.truncate(begin);
            self.len -= 1;
            return written.and(Err(too_long("value")));
        };
        if let Some(place) = self.bytes.get_mut(begin + 2..begin + HEAD_BYTES) {
            place.copy_from_slice(&(len | mark).to_le_bytes());
        }
        Ok(())
    }

    /// A record is this now, encoded already.
    ///
    /// # Errors
    /// [`Error::Encoding`] where it is too long.
    pub fn put_encoded(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.take(key, value, 0)
    }

    /// The same as [`Changes::append`], encoded already.
    ///
    /// # Errors
    /// [`Error::Encoding`] where it is too long.
    pub fn append_encoded(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.take(key, value, APPENDED)
    }

    fn take(&mut self, key: &[u8], value: &[u8], mark: u32) -> Result<(), Error> {
        check(key)?;
        let len = u32::try_from(value.len()).ok();
        let len = len.filter(|len| *len < VALUE_BYTES_END);
        self.begin(key, mark | len.ok_or_else(|| too_long("value"))?);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// There is no such record any more.
    ///
    /// # Errors
    /// [`Error::Encoding`] for a key that is too long.
    pub fn gone(&mut self, key: &[u8]) -> Result<(), Error> {
        check(key)?;
        self.begin(key, GONE);
        Ok(())
    }

    /// There is no record any more whose key begins so.
    ///
    /// # Errors
    /// [`Error::Encoding`] for a prefix that is too long.
    pub fn dropped(&mut self, prefix: &[u8]) -> Result<(), Error> {
        check(prefix)?;
        self.begin(prefix, DROPPED);
        Ok(())
    }

    fn begin(&mut self, key: &[u8], value_len: u32) {
        let key_len = u16::try_from(key.len()).unwrap_or_default();
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.len += 1;
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn check(key: &[u8]) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(too_long("key"));
    }
    Ok(())
}

fn too_long(what: &str) -> Error {
    Error::Encoding {
        doing: "encode",
        reason: format!("a {what} is too long"),
    }
}

/// A whole state: records in the order of their keys, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// What a first checkpoint of these changes holds.
    ///
    /// # Errors
    /// [`Error::Doubt`]: never for what [`Changes`] wrote.
    pub fn of(changes: Changes) -> Result<Self, Error> {
        let deltas = [changes.into_bytes()];
        let mut records = Self::default();
        let fold = Fold::of(&deltas)?;
        let mut merge = fold.merge();
        merge.rest(&mut |key, value| write(&mut records.bytes, key, value))?;
        Ok(records)
    }

    /// Key and value of each, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Read(&self.bytes)
            .map_while(Result::ok)
            .filter_map(|(key, fate)| match fate {
                Fate::Value(value) => Some((key, value)),
                Fate::Appended(_) | Fate::Gone | Fate::Dropped => None,
            })
    }

    /// All values, one behind the other: what [`Changes::sliced`] was given.
    #[must_use]
    pub fn joined(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes.len());
        self.iter()
            .for_each(|(_, value)| all.extend_from_slice(value));
        all
    }

    /// How many records there are. Walks over all of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same as changes of which nothing was there before.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        Changes {
            whole: true,
            len: self.len(),
            bytes: self.bytes,
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) {
        write(&mut self.bytes, key, value);
    }
}

/// Puts a record behind what is there.
pub(crate) fn write(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let key_len = u16::try_from(key.len()).unwrap_or_default();
    let value_len = u32::try_from(value.len()).unwrap_or_default();
    bytes.extend_from_slice(&key_len.to_le_bytes());
    bytes.extend_from_slice(&value_len.to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
}

/// What bytes say, one record after the other.
pub(crate) struct Read<'b>(pub(crate) &'b [u8]);

impl<'b> Read<'b> {
    fn one(&mut self) -> Option<(&'b [u8], Fate<'b>)> {
        let (head, rest) = self.0.split_first_chunk::<HEAD_BYTES>()?;
        let [k0, k1, v0, v1, v2, v3] = *head;
        let key_len = usize::from(u16::from_le_bytes([k0, k1]));
        let value_len = u32::from_le_bytes([v0, v1, v2, v3]);
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (fate, rest) = match value_len {
            GONE => (Fate::Gone, rest),
            DROPPED => (Fate::Dropped, rest),
            marked => {
                let len = usize::try_from(marked & !APPENDED).ok()?;
                let (value, rest) = rest.split_at_checked(len)?;
                let appended = marked & APPENDED != 0;
                let fate = if appended {
                    Fate::Appended
                } else {
                    Fate::Value
                };
                (fate(value), rest)
            }
        };
        self.0 = rest;
        Some((key, fate))
    }
}

impl<'b> Iterator for Read<'b> {
    type Item = Result<(&'b [u8], Fate<'b>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = self.one();
        if one.is_none() {
            self.0 = &[];
        }
        Some(one.ok_or_else(|| Error::doubt("a record is cut off")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    type Plain = BTreeMap<Vec<u8>, Vec<u8>>;

    #[derive(Debug, Clone)]
    enum Step {
        Put(Vec<u8>, u16),
        /// Where there is something.
        Append(Vec<u8>, u16),
        Gone(Vec<u8>),
        Drop(Vec<u8>),
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0u8..3, 0..5)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (key(), any::<u16>()).prop_map(|(key, value)| Step::Put(key, value)),
            6 => (key(), any::<u16>()).prop_map(|(key, value)| Step::Append(key, value)),
            2 => key().prop_map(Step::Gone),
            1 => prop::collection::vec(0u8..3, 1..3).prop_map(Step::Drop),
        ]
    }

    /// The changes of some steps, and what they make of a plain map: what drops comes first.
    fn taken(plain: &mut Plain, steps: &[Step], mut changes: Changes) -> Changes {
        for step in steps {
            if let Step::Drop(prefix) = step {
                plain.retain(|key, _| !key.starts_with(prefix));
            }
        }
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    plain.insert(key.clone(), crate::encode(value).unwrap());
                    changes.put(key, value).unwrap();
                }
                Step::Append(key, value) => {
                    let Some(before) = plain.get_mut(key) else {
                        continue;
                    };
                    before.extend(crate::encode(value).unwrap());
                    changes.append(key, value).unwrap();
                }
                Step::Gone(key) => {
                    plain.remove(key);
                    changes.gone(key).unwrap();
                }
                Step::Drop(prefix) => changes.dropped(prefix).unwrap(),
            }
        }
        changes
    }

    fn held(records: &Records) -> Plain {
        let all = records.iter();
        all.map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect()
    }

    proptest! {
        #[test]
        fn pages_and_changes_hold_what_a_plain_map_holds(
            first in prop::collection::vec(step(), 0..60),
            later in prop::collection::vec(prop::collection::vec(step(), 0..20), 0..5),
        ) {
            let mut plain = Plain::new();
            let base = Records::of(taken(&mut plain, &first, Changes::whole())).unwrap();
            prop_assert_eq!(held(&base), plain.clone());
            let deltas: Vec<Vec<u8>> = later
                .iter()
                .map(|steps| taken(&mut plain, steps, Changes::since()).into_bytes())
                .collect();
            let fold = Fold::of(&deltas).unwrap();
            let (mut merge, mut whole) = (fold.merge(), Records::default());
            let half = base.iter().nth(base.len() / 2).map_or(0, |(key, _)| {
                key.as_ptr() as usize - base.bytes.as_ptr() as usize - HEAD_BYTES
            });
            for page in [&base.bytes[..half], &base.bytes[half..]] {
                merge.page(page, &mut |key, value| whole.put(key, value)).unwrap();
            }
            merge.rest(&mut |key, value| whole.put(key, value)).unwrap();
            prop_assert_eq!(held(&whole), plain.clone());
            prop_assert_eq!(Records::of(whole.clone().into_changes()).unwrap(), whole);
        }

        #[test]
        fn random_bytes_are_refused_or_read_to_their_end(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            for record in Read(&bytes) {
                if record.is_err() {
                    return Ok(());
                }
            }
            let appends = Read(&bytes)
                .any(|record| matches!(record, Ok((_, Fate::Appended(_)))));
            prop_assert!(appends || Fold::of(std::slice::from_ref(&bytes)).is_ok());
        }
    }

    #[test]
    fn what_is_appended_to_nothing_is_in_doubt() {
        let appended = |mut changes: Changes| {
            changes.append(b"key", &7u8).unwrap();
            changes.into_bytes()
        };
        let alone = appended(Changes::since());
        let mut gone = Changes::since();
        gone.gone(b"key").unwrap();
        let mut dropped = Changes::since();
        dropped.dropped(b"ke").unwrap();
        let deltas = [gone.into_bytes(), alone.clone()];
        assert!(Fold::of(&deltas).is_err());
        let deltas = [dropped.into_bytes(), alone.clone()];
        assert!(Fold::of(&deltas).is_err());
        let deltas = [alone];
        let fold = Fold::of(&deltas).unwrap();
        assert!(fold.merge().rest(&mut |_, _| ()).is_err());
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        write(&mut before, b"a", b"1");
        write(&mut behind, b"z", b"1");
        let mut merge = fold.merge();
        assert!(merge.page(&before, &mut |_, _| ()).is_ok());
        assert!(merge.page(&behind, &mut |_, _| ()).is_err());
    }

    #[test]
    fn a_state_without_keys_comes_together_again() {
        let state: Vec<u8> = (0..=250).cycle().take(SLICE_BYTES * 2 + 5).collect();
        let records = Records::of(Changes::sliced(&state)).unwrap();
        assert_eq!((records.len(), records.joined()), (3, state));
        assert!(Records::of(Changes::sliced(&[])).unwrap().is_empty());
    }

    #[test]
    fn what_is_too_long_is_refused_and_leaves_nothing() {
        let mut changes = Changes::since();
        let key = vec![0; KEY_BYTES_MAX + 1];
        assert!(changes.put(&key, &1).is_err() && changes.gone(&key).is_err());
        assert!(changes.is_empty() && changes.byte_len() == 0);
    }
}
