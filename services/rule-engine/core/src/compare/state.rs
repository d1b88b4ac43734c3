//! A stored state against one that was built from the log at the same positions.

use std::fmt::{self, Write as _};

use balefire_event::{DedupId, Lane, RuleId, Timestamp};
use balefire_stream::{Entry, Window};

use super::hex;
use crate::book::{Book, Track};
use crate::engine::Engine;
use crate::generation::{Contribution, Generation};
use crate::key::Key;

/// The first difference between a stored state and one that was built from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where: a rule, a tenant and a key, or a part of the state that has none.
    pub place: String,
    /// What is there.
    pub stored: String,
    /// What the log gives.
    pub derived: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            stored,
            derived,
        } = self;
        write!(f, "{place}: stored {stored}, the log gives {derived}")
    }
}

const NOTHING: &str = "nothing";

/// Keys of two states side by side, in order.
type Side<'s, V> = (&'s str, Key, Option<&'s V>, Option<&'s V>);

fn side_by_side<'s, V>(
    stored: Vec<(&'s std::sync::Arc<str>, Key, &'s V)>,
    derived: Vec<(&'s std::sync::Arc<str>, Key, &'s V)>,
) -> impl Iterator<Item = Side<'s, V>> {
    let mut stored = stored.into_iter().peekable();
    let mut derived = derived.into_iter().peekable();
    std::iter::from_fn(move || {
        let left = stored.peek().map(|(tenant, key, _)| (&***tenant, *key));
        let right = derived.peek().map(|(tenant, key, _)| (&***tenant, *key));
        let at = match (left, right) {
            (Some(left), Some(right)) => left.min(right),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        let take = |side: &mut std::iter::Peekable<std::vec::IntoIter<_>>| {
            side.next_if(|(tenant, key, _): &(&std::sync::Arc<str>, Key, &V)| {
                (&***tenant, *key) == at
            })
            .map(|(_, _, value)| value)
        };
        Some((at.0, at.1, take(&mut stored), take(&mut derived)))
    })
}

impl Engine {
    /// Compares this state with `derived`, which was built from the log at the same positions
    /// under the same rules; `None`: the same. `since`: what counts no entry with a later t than
    /// this is not judged, because the log does not reach back to it;
    /// [`Timestamp::MIN`] judges all.
    #[must_use]
    pub fn first_difference(&self, derived: &Self, since: Timestamp) -> Option<Mismatch> {
        self.watermark_differs(derived)
            .or_else(|| self.horizon_differs())
            .or_else(|| self.slots_differ(derived, since))
            .or_else(|| self.entries_differ(derived, since))
            .or_else(|| self.copies_differ(derived, since))
    }

    /// Which records of untrusted clocks were seen. A log that begins later says less of it.
    fn copies_differ(&self, derived: &Self, since: Timestamp) -> Option<Mismatch> {
        let low = self.watermark.low()?;
        if since > Timestamp::MIN {
            return None;
        }
        let memory = self.config.untrusted_memory;
        let stored: Vec<_> = self.copies.kept(low, memory).collect();
        let derived: Vec<_> = derived.copies.kept(low, memory).collect();
        let (one, another) = first_apart(&stored, &derived)?;
        let said = |one: Option<&(Lane, DedupId, Timestamp, Timestamp)>| {
            one.map_or(NOTHING.into(), |(lane, id, last, counted)| {
                let lane = lane.as_str();
                format!("event {id} of lane {lane}, last at {last}, counted at {counted}")
            })
        };
        Some(Mismatch {
            place: "copies seen".into(),
            stored: said(one),
            derived: said(another),
        })
    }

    /// How far it has come depends on the order in which the lanes were read, within bounds.
    fn watermark_differs(&self, derived: &Self) -> Option<Mismatch> {
        let low = self.watermark.low();
        let (least, most) = derived.watermark.bounds();
        let said = |at: Option<Timestamp>| at.map_or("none".into(), |at| at.to_string());
        (low < least || low > most).then(|| Mismatch {
            place: "low watermark".into(),
            stored: said(low),
            derived: match least == most {
                true => said(least),
                false => format!("{} to {}", said(least), said(most)),
            },
        })
    }

    /// What lies at or before it is not compared: it may have left memory.
    pub(super) fn cut(&self, window: i64, since: Timestamp) -> Timestamp {
        let low = self.watermark.low();
        let cut = low.map_or(Timestamp::MIN, |low| {
            low.minus(self.lateness_now()).minus(window)
        });
        cut.max(since)
    }

    /// Nothing leaves memory, by whatever L there was, that lies within W of the low watermark.
    fn horizon_differs(&self) -> Option<Mismatch> {
        let low = self.watermark.low()?;
        let mut all = self.generations.iter();
        all.find_map(|generation| {
            let counting = generation.counting.as_ref()?;
            let horizon = counting.horizon?;
            let latest = low.minus(counting.window.window());
            (horizon > latest).then(|| Mismatch {
                place: format!("rule {}, horizon", generation.spec().name),
                stored: horizon.to_string(),
                derived: format!("at most {latest}"),
            })
        })
    }

    fn slots_differ(&self, derived: &Self, since: Timestamp) -> Option<Mismatch> {
        let mut books = self.books.iter().zip(&derived.books).enumerate();
        books.find_map(|(index, (book, other))| {
            let mut warming = self.generations.iter().filter(|one| one.warming);
            let warms = warming.any(|one| one.counting.as_ref().is_some_and(|c| c.book == index));
            if book.at_close || warms {
                return None;
            }
            let cut = self.slots_cut(index, book, since);
            let name = self.rule_name(book.rule);
            book_differs(book, other, cut).map(|at| at.named(&name))
        })
    }

    /// Slots that begin at or before it are not compared.
    pub(super) fn slots_cut(&self, index: usize, book: &Book, since: Timestamp) -> Timestamp {
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        let of_book = counting.filter(|counting| counting.book == index);
        let window = of_book.clone().map(|c| c.window.window()).max();
        // A slot that was forgotten lies behind the horizon of all that share the book.
        let horizon = of_book.filter_map(|c| c.horizon).max();
        // A book keeps a slot for one period longer.
        let kept = window.unwrap_or(0).saturating_add(book.rearm);
        self.cut(kept, since.max(horizon.unwrap_or(since)))
    }

    pub(super) fn rule_name(&self, rule: RuleId) -> String {
        let of_rule = self.generations.iter().find(|g| g.spec().id == rule);
        of_rule.map_or_else(|| rule.to_uuid(), |g| g.spec().name.clone())
    }

    fn entries_differ(&self, derived: &Self, since: Timestamp) -> Option<Mismatch> {
        let pairs = self.generations.iter().zip(&derived.generations);
        // One that warms up lacks what is still being read again.
        let mut pairs = pairs.filter(|(generation, _)| !generation.warming);
        pairs.find_map(|(generation, other)| {
            let counting = generation.counting.as_ref().filter(|c| !c.is_at_close())?;
            // Where L was smaller before, more has left memory.
            let since = since.max(counting.horizon.unwrap_or(since));
            let cut = self.cut(counting.window.window(), since);
            let at = windows_differ((self, generation), (derived, other), cut)?;
            Some(at.named(&generation.spec().name))
        })
    }
}

/// A difference whose rule is still to be named.
struct At {
    tenant: String,
    key: String,
    stored: String,
    derived: String,
}

impl At {
    fn named(self, rule: &str) -> Mismatch {
        Mismatch {
            place: format!("rule {rule}, tenant {}, key {}", self.tenant, self.key),
            stored: self.stored,
            derived: self.derived,
        }
    }
}

pub(super) fn slots_behind(book: &Book, track: Option<&Track>, cut: Timestamp) -> Vec<i64> {
    let emitted = track.map_or(&[][..], |track| track.slots.emitted());
    let slots = emitted.iter().map(|emitted| emitted.slot);
    // A slot begins behind the cut, so that all that can breach it is behind it, too.
    slots
        .filter(|slot| Timestamp(slot.saturating_mul(book.rearm)) > cut)
        .collect()
}

fn book_differs(book: &Book, other: &Book, cut: Timestamp) -> Option<At> {
    let mut sides = side_by_side(book.keys.sorted(), other.keys.sorted());
    sides.find_map(|(tenant, key, stored, derived)| {
        let (left, right) = (
            slots_behind(book, stored, cut),
            slots_behind(book, derived, cut),
        );
        let (stored_slot, derived_slot) = first_apart(&left, &right)?;
        let said = |slot: Option<&i64>| {
            slot.map_or(NOTHING.into(), |slot| {
                let start = Timestamp(slot.saturating_mul(book.rearm));
                format!("the escalated slot from {start} on")
            })
        };
        let canonical = stored.or(derived).map(|track| &*track.canonical);
        Some(At {
            tenant: tenant.to_owned(),
            key: shown(canonical.filter(|bytes| !bytes.is_empty()), key),
            stored: said(stored_slot),
            derived: said(derived_slot),
        })
    })
}

/// A readable key as far as the canonical bytes have it, else the sixteen bytes of the state.
fn shown(canonical: Option<&[u8]>, key: Key) -> String {
    let Some(canonical) = canonical else {
        return hex(&key.0);
    };
    let parts = crate::key::parts_of(canonical, &[]);
    let mut text = String::new();
    for part in parts {
        let value = if part.readable.is_empty() {
            hex(&part.canonical)
        } else {
            part.readable
        };
        // Writing into a String cannot fail.
        let _ = write!(text, "{}{}={value}", gap(&text), part.field);
    }
    text
}

const fn gap(text: &str) -> &'static str {
    if text.is_empty() { "" } else { " " }
}

/// The first place at which two ordered lists differ.
fn first_apart<'l, T: PartialEq>(
    left: &'l [T],
    right: &'l [T],
) -> Option<(Option<&'l T>, Option<&'l T>)> {
    let len = left.len().max(right.len());
    (0..len)
        .map(|at| (left.get(at), right.get(at)))
        .find(|(l, r)| l != r)
}

/// Of an entry, what must be the same.
#[derive(PartialEq)]
pub(super) struct Kept<'e> {
    pub(super) t: Timestamp,
    pub(super) dedup_id: DedupId,
    pub(super) value: u64,
    pub(super) may_breach: bool,
    pub(super) event_id: &'e str,
}

impl<'e> Kept<'e> {
    fn of(entry: &'e Entry<Contribution>) -> Self {
        Self {
            t: entry.t,
            dedup_id: entry.dedup_id,
            value: entry.value,
            may_breach: entry.may_breach,
            event_id: &entry.payload.event_id,
        }
    }

    fn said(one: Option<&Self>) -> String {
        let Some(one) = one else {
            return NOTHING.into();
        };
        let more = match (one.value, one.may_breach) {
            (0, true) => String::new(),
            (0, false) => ", counts but does not breach".into(),
            (value, true) => format!(", value {value}"),
            (value, false) => format!(", value {value}, counts but does not breach"),
        };
        let Self {
            t,
            dedup_id,
            event_id,
            ..
        } = one;
        format!("event {event_id:?} ({dedup_id}) at {t}{more}")
    }
}

fn windows_differ(
    (stored, generation): (&Engine, &Generation),
    (derived, other): (&Engine, &Generation),
    cut: Timestamp,
) -> Option<At> {
    let (left, right) = (generation.counting.as_ref()?, other.counting.as_ref()?);
    let canonical = |engine: &Engine, book: usize, tenant: &str, key: Key| {
        let track = engine.books.get(book)?.keys.get(tenant, key)?;
        Some(track.canonical.clone())
    };
    let mut sides = side_by_side(left.keys.sorted(), right.keys.sorted());
    sides.find_map(|(tenant, key, ours, theirs)| {
        let ours = kept(stored, left.book, &left.window, (tenant, key), ours, cut);
        let theirs = kept(
            derived,
            right.book,
            &left.window,
            (tenant, key),
            theirs,
            cut,
        );
        let (one, another) = first_apart(&ours, &theirs)?;
        let name = canonical(stored, left.book, tenant, key)
            .or_else(|| canonical(derived, right.book, tenant, key));
        Some(At {
            tenant: tenant.to_owned(),
            key: shown(name.as_deref().filter(|bytes| !bytes.is_empty()), key),
            stored: Kept::said(one),
            derived: Kept::said(another),
        })
    })
}

pub(super) fn kept<'w>(
    engine: &'w Engine,
    book: usize,
    spec: &'w balefire_stream::WindowSpec,
    (tenant, key): (&'w str, Key),
    window: Option<&'w Window<Contribution>>,
    cut: Timestamp,
) -> Vec<Kept<'w>> {
    let Some(window) = window else {
        return Vec::new();
    };
    let book = engine.books.get(book);
    let emitted = move |slot| book.is_some_and(|book| book.contains(tenant, key, slot));
    let canonical = window.canonical(spec, cut, emitted);
    canonical.map(Kept::of).collect()
}
