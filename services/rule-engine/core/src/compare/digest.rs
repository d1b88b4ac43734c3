//! What a live engine says of its state in few bytes, so that one that was built from the log at
//! the same positions can say whether it holds the same.

use balefire_event::digest::FieldHasher;
use balefire_event::{Digest, RuleId, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::{Kept, kept, slots_behind};
use crate::engine::Engine;

/// Digest of a part of a state, as far as it is the same under every order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDigest {
    /// Of which part.
    pub of: StatePart,
    /// What lies at or before it is left out: it may have left memory.
    pub cut: Timestamp,
    /// Over the rest.
    pub digest: Digest,
    /// How many entries or slots that is.
    pub count: u64,
}

/// A part of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatePart {
    /// The entries of a rule, as it decided from a control revision on.
    Entries {
        /// The rule.
        rule: RuleId,
        /// What it decides by.
        signature: Digest,
        /// First control revision.
        first: u64,
    },
    /// The escalated slots of a rule and re-arm period.
    Slots {
        /// The rule.
        rule: RuleId,
        /// R, nanoseconds.
        rearm: i64,
    },
}

impl Engine {
    /// Newest control revision that it knows of.
    #[must_use]
    pub const fn known_revision(&self) -> u64 {
        self.known_revision
    }

    /// Of every part that is compared. Walks over the whole state.
    #[must_use]
    pub fn digests(&self) -> Vec<PartDigest> {
        let mut digests = Vec::new();
        for generation in self.generations.iter().filter(|one| !one.warming) {
            let counting = generation.counting.as_ref().filter(|c| !c.is_at_close());
            let Some(counting) = counting else { continue };
            let since = counting.horizon.unwrap_or(Timestamp::MIN);
            let of = StatePart::Entries {
                rule: generation.spec().id,
                signature: generation.spec().signature,
                first: generation.first,
            };
            let cut = self.cut(counting.window.window(), since);
            digests.extend(self.digest_of(&of, cut));
        }
        let books = self.books.iter().enumerate();
        for (index, book) in books.filter(|(_, book)| !book.at_close) {
            let of = StatePart::Slots {
                rule: book.rule,
                rearm: book.rearm,
            };
            let cut = self.slots_cut(index, book, Timestamp::MIN);
            digests.extend(self.digest_of(&of, cut));
        }
        digests
    }

    /// Digest of a part of this state behind a cut; `None`: it has no such part.
    #[must_use]
    pub fn digest_of(&self, of: &StatePart, cut: Timestamp) -> Option<PartDigest> {
        let mut hasher = FieldHasher::new("balefire state part v1");
        let count = match of {
            StatePart::Entries {
                rule,
                signature,
                first,
            } => {
                let mut all = self.generations.iter();
                let generation = all.find(|one| {
                    let spec = one.spec();
                    spec.id == *rule && spec.signature == *signature && one.first == *first
                })?;
                let counting = generation.counting.as_ref()?;
                let mut count = 0u64;
                for (tenant, key, window) in counting.keys.sorted() {
                    let at = (&**tenant, key);
                    let kept = kept(self, counting.book, &counting.window, at, Some(window), cut);
                    if kept.is_empty() {
                        continue;
                    }
                    count += kept.len() as u64;
                    hasher.field(tenant.as_bytes()).field(&key.0);
                    kept.iter().for_each(|entry| hash(&mut hasher, entry));
                }
                count
            }
            StatePart::Slots { rule, rearm } => {
                let mut all = self.books.iter();
                let book = all.find(|book| book.rule == *rule && book.rearm == *rearm)?;
                let mut count = 0u64;
                for (tenant, key, track) in book.keys.sorted() {
                    let slots = slots_behind(book, Some(track), cut);
                    if slots.is_empty() {
                        continue;
                    }
                    count += slots.len() as u64;
                    hasher.field(tenant.as_bytes()).field(&key.0);
                    slots.iter().for_each(|slot| {
                        hasher.number(*slot);
                    });
                }
                count
            }
        };
        Some(PartDigest {
            of: *of,
            cut,
            digest: Digest(hasher.digest()),
            count,
        })
    }

    /// The name of a part for people.
    #[must_use]
    pub fn name_of(&self, of: &StatePart) -> String {
        match of {
            StatePart::Entries { rule, first, .. } => {
                format!(
                    "the windows of rule {} of revision {first}",
                    self.rule_name(*rule)
                )
            }
            StatePart::Slots { rule, .. } => {
                format!("the escalated slots of rule {}", self.rule_name(*rule))
            }
        }
    }
}

fn hash(hasher: &mut FieldHasher, entry: &Kept<'_>) {
    hasher
        .number(entry.t.0)
        .field(&entry.dedup_id.0)
        .field(&entry.value.to_le_bytes())
        .field(&[u8::from(entry.may_breach)])
        .field(entry.event_id.as_bytes());
}
