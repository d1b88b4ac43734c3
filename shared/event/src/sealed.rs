//! A value that people may read and stages may not.

use std::borrow::Cow;

use crate::event::Text;

/// A readable value that people may see and stages may not. Scheme 0 is plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// 0: plain UTF-8.
    pub scheme: u32,
    /// Epoch of the sealing key.
    pub key_epoch: u32,
    /// The sealed bytes.
    pub data: Cow<'a, [u8]>,
}

impl<'a> Sealed<'a> {
    /// Seals under scheme 0.
    #[must_use]
    pub fn plain(text: Text<'a>) -> Self {
        let data = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self {
            scheme: 0,
            key_epoch: 0,
            data,
        }
    }

    /// The readable text, where it is not encrypted.
    #[must_use]
    pub fn readable(&self) -> Option<&str> {
        if self.scheme == 0 {
            std::str::from_utf8(&self.data).ok()
        } else {
            None
        }
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Sealed<'static> {
        Sealed {
            scheme: self.scheme,
            key_epoch: self.key_epoch,
            data: Cow::Owned(self.data.into_owned()),
        }
    }
}
