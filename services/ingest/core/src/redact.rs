//! Masks personal data and secrets in free text with typed placeholders.
//!
//! Identity fields (user_id, src_ip, correlation keys …) are who an event belongs to and stay.
//! Names of things (model, tool, verdict, policy, endpoint) lose secrets, e-mail addresses, cards, bank
//! accounts, US social security numbers and phone numbers; free text (reason, labels, every string of
//! an unknown field) loses IP addresses too. JSON numbers stay. Redacting twice is redacting once, and what holds nothing of
//! this kind is not copied.

mod card;
mod count;
mod event;
mod glance;
mod ip;
mod number;
mod numbers;
mod pattern;
mod sign;

pub use count::Masked;
pub use event::{event, json};

use sign::Signs;

/// Stands for an e-mail address.
pub const EMAIL: &str = "[EMAIL]";
/// Stands for a card number.
pub const CARD: &str = "[CC]";
/// Stands for a phone number.
pub const PHONE: &str = "[PHONE]";
/// Stands for a US social security number.
pub const SSN: &str = "[SSN]";
/// Stands for a bank account's international number.
pub const IBAN: &str = "[IBAN]";
/// Stands for an IP address.
pub const IP: &str = "[IP]";
/// Stands for a key, a token or a private key.
pub const SECRET: &str = "[SECRET]";
/// Stands for text in which masking went on uncovering more.
pub const REDACTED: &str = "[REDACTED]";

/// Most rounds over one text: what one round masks may uncover the edge of something else.
const ROUNDS_MAX: usize = 4;

/// How much of a text may be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The name of a thing: everything but IP addresses, which are names of hosts.
    Name,
    /// Free text: everything.
    Text,
}

/// The masked text; `None` where there is nothing to mask.
#[must_use]
#[inline(always)]
pub fn masked(text: &str, depth: Depth) -> Option<String> {
    if glance::holds_nothing(text.as_bytes()) {
        return None;
    }
    masked_suspect(text, depth)
}

/// The same of a text that a glance does not pass over.
fn masked_suspect(text: &str, depth: Depth) -> Option<String> {
    let mut current = patterns(text, depth)?;
    for _ in 1..ROUNDS_MAX {
        match round(&current, depth) {
            Some(next) => current = next,
            None => return Some(current),
        }
    }
    match round(&current, depth) {
        Some(_) => Some(REDACTED.to_owned()),
        None => Some(current),
    }
}

/// One round of every pattern that the text has a sign of.
fn round(text: &str, depth: Depth) -> Option<String> {
    if glance::holds_nothing(text.as_bytes()) {
        return None;
    }
    patterns(text, depth)
}

#[inline(never)]
fn patterns(text: &str, depth: Depth) -> Option<String> {
    let signs = Signs::of(text);
    if !signs.any() {
        return None;
    }
    let mut edit = Edit { text, new: None };
    if signs.secret {
        edit.apply(pattern::secrets);
    }
    if signs.email {
        edit.apply(pattern::emails);
    }
    if signs.iban {
        edit.apply(number::ibans);
    }
    if signs.national {
        edit.apply(number::national);
    }
    if signs.card {
        edit.apply(card::cards);
    }
    if signs.phone {
        edit.apply(pattern::phones);
    }
    if depth == Depth::Text {
        if signs.ipv6 {
            edit.apply(ip::addresses_v6);
        }
        if signs.ipv4 {
            edit.apply(ip::addresses_v4);
        }
    }
    edit.new
}

struct Edit<'t> {
    text: &'t str,
    new: Option<String>,
}

impl Edit<'_> {
    fn apply(&mut self, mask: fn(&str) -> Option<String>) {
        if let Some(next) = mask(self.new.as_deref().unwrap_or(self.text)) {
            self.new = Some(next);
        }
    }
}

/// Replaces byte ranges, which are in order and do not overlap; `None` where there are none.
fn replace(text: &str, ranges: &[(std::ops::Range<usize>, &str)]) -> Option<String> {
    if ranges.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (range, placeholder) in ranges {
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(placeholder);
        done = range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Some(out)
}

/// The byte before a place and the byte at it, where text begins or ends: a space.
fn neighbours(text: &str, start: usize, end: usize) -> (u8, u8) {
    let bytes = text.as_bytes();
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    (
        before.copied().unwrap_or(b' '),
        bytes.get(end).copied().unwrap_or(b' '),
    )
}
