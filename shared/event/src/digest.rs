//! One way to hash several fields: a domain, then each field with its length.

/// So many bytes are gathered before they are hashed: hashing many short fields one by one costs
/// several times what hashing them at once does. One chunk of BLAKE3.
const GATHERED_MAX: usize = 1024;

/// BLAKE3 over length-prefixed fields, so that no two field lists share a digest.
#[derive(Clone)]
pub struct FieldHasher {
    key: Option<[u8; 32]>,
    gathered: [u8; GATHERED_MAX],
    length: usize,
    /// What came before the gathered bytes; `None`: nothing did.
    before: Option<Box<blake3::Hasher>>,
}

impl FieldHasher {
    const fn start(key: Option<[u8; 32]>) -> Self {
        Self {
            key,
            gathered: [0; GATHERED_MAX],
            length: 0,
            before: None,
        }
    }

    /// Starts under a domain (`"balefire dedup v1"`).
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self::start(None);
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Starts under a domain and a 32-byte key.
    #[must_use]
    pub fn keyed(key: &[u8; 32], domain: &str) -> Self {
        let mut hasher = Self::start(Some(*key));
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Adds a field: its length as eight little-endian bytes, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        let length = (bytes.len() as u64).to_le_bytes();
        let end = self.length.saturating_add(length.len() + bytes.len());
        let room = self.gathered.get_mut(self.length..end);
        if let Some((head, tail)) = room.and_then(|room| room.split_first_chunk_mut()) {
            *head = length;
            tail.copy_from_slice(bytes);
            self.length = end;
        } else {
            self.add(&length);
            self.add(bytes);
        }
        self
    }

    /// Adds a signed number as a field of eight little-endian bytes.
    pub fn number(&mut self, number: i64) -> &mut Self {
        self.field(&number.to_le_bytes())
    }

    fn add(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(room) = self.gathered.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
            return;
        }
        let mut hasher = self.before.take().unwrap_or_else(|| Box::new(self.empty()));
        hasher.update(self.waiting());
        hasher.update(bytes);
        self.before = Some(hasher);
        self.length = 0;
    }

    fn empty(&self) -> blake3::Hasher {
        self.key
            .as_ref()
            .map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed)
    }

    fn waiting(&self) -> &[u8] {
        self.gathered.get(..self.length).unwrap_or_default()
    }

    /// The full digest.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let hash = match (&self.before, &self.key) {
            (Some(before), _) => before.as_ref().clone().update(self.waiting()).finalize(),
            (None, Some(key)) => blake3::keyed_hash(key, self.waiting()),
            (None, None) => blake3::hash(self.waiting()),
        };
        *hash.as_bytes()
    }

    /// The first 16 bytes of the digest.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(self.digest().split_at(16).0);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: every field on its own.
    fn defined(key: Option<&[u8; 32]>, fields: &[Vec<u8>]) -> [u8; 32] {
        let mut hasher = key.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        for field in [b"domain".to_vec()].iter().chain(fields) {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        *hasher.finalize().as_bytes()
    }

    proptest! {
        #[test]
        fn gathering_changes_no_digest(
            fields in prop::collection::vec(
                prop_oneof![
                    9 => prop::collection::vec(any::<u8>(), 0..40),
                    1 => prop::collection::vec(any::<u8>(), 900..3_000),
                ],
                0..60,
            ),
        ) {
            let key = [7; 32];
            for (mut hasher, key) in [
                (FieldHasher::new("domain"), None),
                (FieldHasher::keyed(&key, "domain"), Some(&key)),
            ] {
                for field in &fields {
                    hasher.field(field);
                }
                let want = defined(key, &fields);
                prop_assert_eq!(hasher.digest(), want);
                prop_assert_eq!(&hasher.id()[..], &want[..16]);
            }
        }
    }
}
