//! Under which keys what lies in the database.

use crate::envelope::{Delta, PageDigest};

/// A delta lies in pieces of this many bytes: sled holds a value, and what lies beside it, several
/// times over.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

pub(crate) fn manifest_key(name: &str) -> Vec<u8> {
    format!("{name}/m").into_bytes()
}

pub(crate) fn page_prefix(name: &str) -> Vec<u8> {
    format!("{name}/p").into_bytes()
}

pub(crate) fn page_key(name: &str, digest: &PageDigest) -> Vec<u8> {
    let mut key = page_prefix(name);
    key.extend_from_slice(digest);
    key
}

/// How many pieces there are of a delta, at least one.
pub(crate) fn pieces_of(delta: &Delta) -> usize {
    let bytes = usize::try_from(delta.bytes).unwrap_or(usize::MAX);
    bytes.div_ceil(PIECE_BYTES).max(1)
}

pub(crate) fn piece_key(name: &str, number: u64, index: usize) -> Vec<u8> {
    let mut key = format!("{name}/d").into_bytes();
    key.extend_from_slice(&number.to_be_bytes());
    // The first one lies where all of it lay once.
    if index > 0 {
        key.extend_from_slice(&(index as u64).to_be_bytes());
    }
    key
}
