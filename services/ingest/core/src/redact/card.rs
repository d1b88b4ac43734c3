//! Card numbers: 13 to 19 digits that begin like a card's and pass Luhn's check, in one piece or
//! in groups behind single spaces or hyphens.

use std::ops::Range;

use super::{CARD, neighbours, replace};

const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Digits of the first group, where there are several.
const FIRST_GROUP: usize = 4;
/// Digits of any further group.
const GROUP: std::ops::RangeInclusive<usize> = 2..=7;

pub(super) fn cards(text: &str) -> Option<String> {
    let groups = groups(text);
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(rest) = groups.get(from..).filter(|rest| !rest.is_empty()) {
        match card_len(text, rest) {
            Some(len) => {
                let first = rest.first().map_or(0, |group| group.start);
                let end = rest.get(len - 1).map_or(first, |group| group.end);
                ranges.push((first..end, CARD));
                from += len;
            }
            None => from += 1,
        }
    }
    replace(text, &ranges)
}

/// Runs of digits.
fn groups(text: &str) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        if !byte.is_ascii_digit() {
            continue;
        }
        match groups.last_mut() {
            Some(group) if group.end == at => group.end = at + 1,
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

/// How many of the groups, from the first on, are a card number; the most that are one.
fn card_len(text: &str, groups: &[Range<usize>]) -> Option<usize> {
    let first = groups.first()?;
    let (before, _) = neighbours(text, first.start, first.end);
    if before.is_ascii_alphanumeric() || before == b'_' {
        return None;
    }
    let (mut digits, mut found, mut end) = (String::new(), None, first.start);
    for (index, group) in groups.iter().enumerate() {
        let joined = match text.get(end..group.start) {
            Some("") => index == 0,
            Some(" " | "-") => {
                first.len() == FIRST_GROUP && GROUP.contains(&group.len()) && index > 0
            }
            _ => false,
        };
        digits.push_str(text.get(group.clone())?);
        if !joined || digits.len() > *DIGITS.end() {
            break;
        }
        end = group.end;
        let (_, after) = neighbours(text, first.start, end);
        let whole = !after.is_ascii_alphanumeric() && after != b'_';
        if whole && DIGITS.contains(&digits.len()) && is_card(&digits) {
            found = Some(index + 1);
        }
    }
    found
}

/// Begins like an issuer's number and passes Luhn's check.
fn is_card(digits: &str) -> bool {
    if !digits.starts_with(['2', '3', '4', '5', '6']) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            let doubled = if place % 2 == 1 { digit * 2 } else { digit };
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}
