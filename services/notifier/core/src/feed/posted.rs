//! A batch as it is posted: its items, and what a form wants around them. Nothing is copied that
//! stands there already.

use std::ops::Range;

use crate::feed::Item;
use crate::receiver::Call;

/// A batch as it is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// All but its body.
    pub call: Call,
    /// Its bytes.
    pub body: Body,
}

/// The bytes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// They stand in the buffer there, as they are.
    There(Range<usize>),
    /// They were put together.
    Made(Vec<u8>),
}

impl Body {
    /// The bytes, where the items' buffer is that.
    #[must_use]
    pub fn bytes<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Self::There(place) => buffer.get(place.clone()).unwrap_or_default(),
            Self::Made(bytes) => bytes,
        }
    }
}

/// What stands around and between the items of a body.
#[derive(Default)]
pub(super) struct Around {
    pub(super) before: &'static str,
    pub(super) between: &'static str,
    pub(super) after: &'static str,
}

impl Around {
    /// Nothing is copied where the items stand one behind the other already.
    pub(super) fn body(&self, buffer: &[u8], items: &[Item]) -> Body {
        let length = items.iter().map(|item| item.place.len()).sum::<usize>();
        let around = self.before.len() + self.between.len() * items.len() + self.after.len();
        if let (0, Some(whole)) = (around, together(items)) {
            return Body::There(whole);
        }
        let mut made = Vec::with_capacity(length + around);
        made.extend_from_slice(self.before.as_bytes());
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                made.extend_from_slice(self.between.as_bytes());
            }
            made.extend_from_slice(item.bytes(buffer));
        }
        made.extend_from_slice(self.after.as_bytes());
        Body::Made(made)
    }
}

/// Where items stand that stand one behind the other.
fn together(items: &[Item]) -> Option<Range<usize>> {
    let start = items.first()?.place.start;
    let end = items.iter().try_fold(start, |end, item| {
        (item.place.start == end).then_some(item.place.end)
    });
    Some(start..end?)
}
