//! Where records of a state go, and how they are read: a shell's business.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Takes records. What cannot be taken it must remember: the engine takes them for told.
pub trait Sink {
    /// A record is this now.
    fn put(&mut self, key: &[u8], value: &impl Serialize);
    /// Behind the value of a record that was told lies this, too.
    fn append(&mut self, key: &[u8], value: &impl Serialize);
    /// There is no such record any more.
    fn gone(&mut self, key: &[u8]);
    /// Of those told before there is none any more whose key begins so. Says nothing of what is
    /// put beside it.
    fn dropped(&mut self, prefix: &[u8]);
}

/// Reads the value of a record.
pub trait Decode {
    /// Reads what [`Sink::put`] was given, then what [`Sink::append`] was: the first of it;
    /// `bytes` are those behind it then.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn decode_next<T: DeserializeOwned>(&self, bytes: &mut &[u8]) -> Result<T, String>;
}

/// Records that make no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("records make no state: {reason}")]
pub struct Unfit {
    /// Why.
    pub reason: String,
}
