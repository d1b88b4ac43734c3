//! The manifest: what proves that pages and meta belong together and are whole.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Meta;
use crate::encoding::{decode, encode};
use crate::error::Error;

/// Version of the envelope. Any other is in doubt.
pub(crate) const VERSION: u32 = 1;
/// Pages of a state, bytes: what did not change is not written again.
pub(crate) const PAGE_BYTES: usize = 256 * 1024;
const MAGIC: &[u8; 4] = b"BFCP";
const DIGEST_BYTES: usize = 32;

pub(crate) type PageDigest = [u8; DIGEST_BYTES];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) meta: Meta,
    pub(crate) state_bytes: u64,
    pub(crate) pages: Vec<PageDigest>,
}

impl Manifest {
    pub(crate) fn of(meta: Meta, state: &[u8]) -> Self {
        Self {
            meta,
            state_bytes: state.len() as u64,
            pages: state.chunks(PAGE_BYTES).map(page_digest).collect(),
        }
    }

    /// Magic, version, body, and BLAKE3 over all of it.
    pub(crate) fn seal(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&encode(self)?);
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// # Errors
    /// [`Error::Doubt`] for anything but a whole manifest of this version.
    pub(crate) fn open(sealed: &[u8]) -> Result<Self, Error> {
        let split = sealed.len().checked_sub(DIGEST_BYTES);
        let Some((content, digest)) = split.and_then(|at| sealed.split_at_checked(at)) else {
            return Err(Error::doubt("manifest is too short"));
        };
        if blake3::hash(content).as_bytes() != digest {
            return Err(Error::doubt("manifest has another checksum"));
        }
        let body = content
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(&VERSION.to_le_bytes()))
            .ok_or_else(|| Error::doubt("manifest has another version"))?;
        decode(body).map_err(Error::doubt)
    }

    /// Puts the pages together again.
    ///
    /// # Errors
    /// [`Error::Doubt`] where one is missing or altered.
    pub(crate) fn assemble<P: AsRef<[u8]>>(
        &self,
        mut page: impl FnMut(usize) -> Result<Option<P>, Error>,
    ) -> Result<Vec<u8>, Error> {
        let mut state = Vec::new();
        for (index, digest) in self.pages.iter().enumerate() {
            let bytes =
                page(index)?.ok_or_else(|| Error::doubt(format!("page {index} is missing")))?;
            if page_digest(bytes.as_ref()) != *digest {
                return Err(Error::doubt(format!("page {index} has another checksum")));
            }
            state.extend_from_slice(bytes.as_ref());
        }
        if state.len() as u64 != self.state_bytes {
            return Err(Error::doubt("state has another length"));
        }
        Ok(state)
    }
}

pub(crate) fn page_digest(page: &[u8]) -> PageDigest {
    *blake3::hash(page).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest(state: &[u8]) -> Manifest {
        let meta = Meta {
            stage_version: 3,
            partition: 1,
            step: 9,
            sources: Vec::new(),
            targets: Vec::new(),
            tail: Vec::new(),
            taken_at_ns: 5,
        };
        Manifest::of(meta, state)
    }

    #[test]
    fn a_state_of_several_pages_comes_together_again() {
        let state: Vec<u8> = (0..=250).cycle().take(PAGE_BYTES * 2 + 5).collect();
        let pages: Vec<&[u8]> = state.chunks(PAGE_BYTES).collect();
        let manifest = Manifest::open(&manifest(&state).seal().unwrap()).unwrap();
        let whole = manifest.assemble(|i| Ok(pages.get(i).copied())).unwrap();
        assert_eq!(whole, state);
        assert!(
            manifest
                .assemble(|i| Ok(pages.get(i + 1).copied()))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn an_altered_manifest_is_in_doubt(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut sealed = manifest(b"state").seal().unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(Manifest::open(&sealed).is_err());
        }

        #[test]
        fn random_bytes_are_in_doubt(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Manifest::open(&bytes).is_err());
        }
    }
}
