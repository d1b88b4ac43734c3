//! [`Masked`]: how much of each kind was masked in an event.

use super::{CARD, EMAIL, IBAN, IP, PHONE, REDACTED, SECRET, SSN};

/// Kinds in the order in which they are told, with their placeholders.
const KINDS: [(&str, &str); 8] = [
    ("card", CARD),
    ("email", EMAIL),
    ("iban", IBAN),
    ("ip", IP),
    ("phone", PHONE),
    ("secret", SECRET),
    ("ssn", SSN),
    ("text", REDACTED),
];

/// Placeholders put in, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Masked([u32; KINDS.len()]);

impl Masked {
    /// Counts what a text lost. What it was sent with is not counted.
    pub(super) fn count(&mut self, before: &str, after: &str) {
        let (said, had) = (said(after), said(before));
        for ((slot, said), had) in self.0.iter_mut().zip(said).zip(had) {
            *slot = slot.saturating_add(said.saturating_sub(had));
        }
    }

    /// Whether nothing was masked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Whether something was masked whose loss has consequences by itself: a card, an account, a
    /// social security number, a secret, or text that could not be told apart from them.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        let grave = |kind: &str| matches!(kind, "card" | "iban" | "secret" | "ssn" | "text");
        let counts = self.0.iter().zip(KINDS);
        counts
            .into_iter()
            .any(|(count, (kind, _))| *count > 0 && grave(kind))
    }

    /// `card:1,email:2`.
    #[must_use]
    pub fn told(&self) -> String {
        let counts = self.0.iter().zip(KINDS).filter(|(count, _)| **count > 0);
        let told: Vec<String> = counts
            .map(|(count, (kind, _))| format!("{kind}:{count}"))
            .collect();
        told.join(",")
    }
}

/// How often a text says each placeholder.
fn said(text: &str) -> [u32; KINDS.len()] {
    let mut counts = [0_u32; KINDS.len()];
    for (at, _) in text.match_indices('[') {
        let rest = text.get(at..).unwrap_or_default();
        for (count, (_, placeholder)) in counts.iter_mut().zip(KINDS) {
            *count = count.saturating_add(u32::from(rest.starts_with(placeholder)));
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_counted_and_what_was_there_is_not() {
        let mut masked = Masked::default();
        assert!(masked.is_empty());
        masked.count("[EMAIL] a@b.example c@d.example", "[EMAIL] [EMAIL] [EMAIL]");
        assert_eq!(masked.told(), "email:2");
        assert!(!masked.is_restricted());
        masked.count("4111111111111111", "[CC]");
        assert_eq!(masked.told(), "card:1,email:2");
        assert!(masked.is_restricted());
    }
}
