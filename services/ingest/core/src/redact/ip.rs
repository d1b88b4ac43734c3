//! IP addresses, by what the standard library reads as one.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::{IP, neighbours, replace};

/// Longest text of an address, bytes.
const ADDRESS_BYTES_MAX: usize = 45;

pub(super) fn addresses_v4(text: &str) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let ranges: Vec<_> = runs(text, is_part)
        .map(|run| trimmed(text, run, "."))
        .filter(|run| is_v4(text.get(run.clone()).unwrap_or_default()))
        .filter(|run| stands_alone(text, run))
        .map(|run| (run, IP))
        .collect();
    replace(text, &ranges)
}

fn is_v4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn addresses_v6(text: &str) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let ranges: Vec<_> = runs(text, is_part)
        .filter_map(|run| address_v6(text, run))
        .filter(|run| stands_alone(text, run))
        .map(|run| (run, IP))
        .collect();
    replace(text, &ranges)
}

/// The address in a run, without the punctuation around it.
fn address_v6(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let run = trimmed(text, run, ".");
    let inner = text.get(run.clone())?;
    let start = run.start + usize::from(inner.starts_with(':') && !inner.starts_with("::"));
    let end = run.end - usize::from(inner.ends_with(':') && !inner.ends_with("::"));
    let address = text.get(start..end)?;
    let telling = address.bytes().any(|byte| byte.is_ascii_digit())
        || address.bytes().filter(|&byte| byte == b':').count() > 2;
    let is_address =
        telling && address.len() <= ADDRESS_BYTES_MAX && address.parse::<Ipv6Addr>().is_ok();
    is_address.then_some(start..end)
}

/// Not a piece of a word.
fn stands_alone(text: &str, run: &Range<usize>) -> bool {
    let (before, after) = neighbours(text, run.start, run.end);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !word(before) && !word(after)
}

fn trimmed(text: &str, run: Range<usize>, edge: &str) -> Range<usize> {
    let inner = text.get(run.clone()).unwrap_or_default();
    let start = run.start + (inner.len() - inner.trim_start_matches(edge).len());
    let end = run.end - (inner.len() - inner.trim_end_matches(edge).len());
    start..end.max(start)
}

/// The longest runs of bytes of a class.
fn runs(text: &str, is_part: impl Fn(u8) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let bytes = text.as_bytes();
        let start = at + bytes.get(at..)?.iter().position(|&byte| is_part(byte))?;
        let rest = bytes.get(start..)?;
        let len = rest
            .iter()
            .position(|&byte| !is_part(byte))
            .unwrap_or(rest.len());
        at = start + len;
        Some(start..at)
    })
}
