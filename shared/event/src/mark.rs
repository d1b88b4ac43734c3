//! The mark of what Balefire itself caused.

use crate::event::Event;

/// The label that marks it, with the value `true`.
pub const SELF_CAUSED: &str = "self_caused";

impl Event<'_> {
    /// Whether a recommendation of Balefire's own caused it, by its mark: it counts for no rule, or a
    /// block would keep itself up for ever.
    #[must_use]
    pub fn is_self_caused(&self) -> bool {
        let mut labels = self.labels.iter();
        labels.any(|(name, value)| name == SELF_CAUSED && value == "true")
    }
}
