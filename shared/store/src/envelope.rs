//! The manifest: what proves that pages and meta belong together and are whole.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Meta;
use crate::encoding::{decode, encode};
use crate::error::Error;

/// Version of the envelope. Any other is in doubt: the state is built from the log.
pub(crate) const VERSION: u32 = 3;
const MAGIC: &[u8; 4] = b"BFCP";
const DIGEST_BYTES: usize = 32;

pub(crate) type PageDigest = [u8; DIGEST_BYTES];

/// The changes of one checkpoint, as they lie behind the pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta {
    /// Which one: ascending, never again under the same name.
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: PageDigest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) meta: Meta,
    /// The base, in the order of its keys.
    pub(crate) pages: Vec<PageDigest>,
    /// Bytes of the base.
    pub(crate) page_bytes: u64,
    /// What changed since, the oldest first.
    pub(crate) deltas: Vec<Delta>,
    /// Number of the next delta.
    pub(crate) next_delta: u64,
}

impl Manifest {
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
            .and_then(|rest| rest.split_first_chunk());
        let Some((version, body)) = body else {
            return Err(Error::doubt("it is no manifest"));
        };
        match u32::from_le_bytes(*version) {
            VERSION => decode::<Self>(body).map_err(Error::doubt)?.in_order(),
            found => Err(Error::Version { found }),
        }
    }

    /// None of its deltas is missing, none is there twice, none before its time.
    fn in_order(self) -> Result<Self, Error> {
        let behind = self.deltas.iter().rev().zip(1u64..);
        for (delta, back) in behind {
            if self.next_delta.checked_sub(back) != Some(delta.number) {
                return Err(Error::doubt("its deltas do not follow one another"));
            }
        }
        Ok(self)
    }

    /// Bytes of all deltas.
    pub(crate) fn delta_bytes(&self) -> u64 {
        self.deltas.iter().map(|delta| delta.bytes).sum()
    }
}

pub(crate) fn page_digest(page: &[u8]) -> PageDigest {
    *blake3::hash(page).as_bytes()
}

/// # Errors
/// [`Error::Doubt`] where it is missing or altered.
pub(crate) fn whole<P: AsRef<[u8]>>(
    what: &str,
    found: Option<P>,
    digest: &PageDigest,
) -> Result<P, Error> {
    let bytes = found.ok_or_else(|| Error::doubt(format!("a {what} is missing")))?;
    if page_digest(bytes.as_ref()) != *digest {
        return Err(Error::doubt(format!("a {what} has another checksum")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let meta = Meta {
            stage_version: 3,
            partition: 1,
            step: 9,
            sources: Vec::new(),
            targets: Vec::new(),
            tail: Vec::new(),
            taken_at_ns: 5,
        };
        Manifest {
            meta,
            pages: vec![page_digest(b"page")],
            page_bytes: 4,
            deltas: vec![Delta {
                number: 7,
                bytes: 5,
                digest: page_digest(b"delta"),
            }],
            next_delta: 8,
        }
    }

    #[test]
    fn what_was_sealed_is_opened_and_an_older_one_is_named() {
        let sealed = manifest().seal().unwrap();
        assert_eq!(Manifest::open(&sealed).unwrap(), manifest());
        let mut older = sealed[..sealed.len() - DIGEST_BYTES].to_vec();
        older[4] = 1;
        let digest = blake3::hash(&older);
        older.extend_from_slice(digest.as_bytes());
        let refused = Manifest::open(&older).unwrap_err();
        assert!(matches!(refused, Error::Version { found: 1 }), "{refused}");
    }

    #[test]
    fn a_delta_that_is_lost_doubled_or_out_of_order_is_in_doubt() {
        let numbered = |numbers: &[u64]| {
            let deltas = numbers.iter().map(|number| Delta {
                number: *number,
                bytes: 5,
                digest: page_digest(b"delta"),
            });
            let manifest = Manifest {
                deltas: deltas.collect(),
                ..manifest()
            };
            Manifest::open(&manifest.seal().unwrap())
        };
        assert!(numbered(&[]).is_ok() && numbered(&[5, 6, 7]).is_ok());
        for numbers in [
            &[5, 7][..],
            &[5, 6],
            &[6, 7, 7],
            &[6, 6, 7],
            &[6, 5, 7],
            &[7, 6],
            &[8],
        ] {
            assert!(numbered(numbers).is_err(), "{numbers:?}");
        }
    }

    #[test]
    fn what_is_missing_or_altered_is_in_doubt() {
        let digest = page_digest(b"page");
        assert!(whole("page", Some(b"page"), &digest).is_ok());
        assert!(whole("page", Some(b"pagf"), &digest).is_err());
        assert!(whole("page", None::<Vec<u8>>, &digest).is_err());
    }

    proptest! {
        #[test]
        fn an_altered_manifest_is_in_doubt(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut sealed = manifest().seal().unwrap();
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
