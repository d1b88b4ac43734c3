//! Copies of a correlation key.

use std::borrow::Cow;

use crate::event::CorrelationKey;

impl CorrelationKey<'_> {
    /// The same, borrowed from this one.
    #[must_use]
    pub fn borrowed(&self) -> CorrelationKey<'_> {
        CorrelationKey {
            kind: self.kind,
            value: Cow::Borrowed(&self.value),
        }
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> CorrelationKey<'static> {
        CorrelationKey {
            kind: self.kind,
            value: Cow::Owned(self.value.into_owned()),
        }
    }
}
