//! One way to hash several fields: a domain, then each field with its length.

/// BLAKE3 over length-prefixed fields, so that no two field lists share a digest.
#[derive(Clone)]
pub struct FieldHasher(blake3::Hasher);

impl FieldHasher {
    /// Starts under a domain (`"balefire dedup v1"`).
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new());
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Starts under a domain and a 32-byte key.
    #[must_use]
    pub fn keyed(key: &[u8; 32], domain: &str) -> Self {
        let mut hasher = Self(blake3::Hasher::new_keyed(key));
        hasher.field(domain.as_bytes());
        hasher
    }

    /// Adds a field: its length as eight little-endian bytes, then its bytes.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a signed number as a field of eight little-endian bytes.
    pub fn number(&mut self, number: i64) -> &mut Self {
        self.field(&number.to_le_bytes())
    }

    /// The full digest.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }

    /// The first 16 bytes of the digest.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.0.finalize_xof().fill(&mut id);
        id
    }
}
