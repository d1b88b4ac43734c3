//! Numbers that a state or a bank gives: US social security numbers and IBANs.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{IBAN, SSN, neighbours, replace};

/// Length of an IBAN without spaces.
const IBAN_LEN: std::ops::RangeInclusive<usize> = 15..=34;

/// A number that a state gives each person.
struct National {
    /// How people write it.
    pattern: LazyLock<Regex>,
    /// Whether it can have been given to anybody.
    given: fn(&str) -> bool,
    /// Stands for it.
    placeholder: &'static str,
}

/// Every one that is looked for. A further one is a line here, its placeholder in `count.rs`, and what
/// its words look like in `sign.rs`, whose law fails where the two do not agree.
static NATIONAL: [National; 1] = [
    // US social security numbers, with separators: nine digits in one piece are an order number as
    // often.
    National {
        pattern: LazyLock::new(|| {
            Regex::new(r"(?-u)[0-9]{3}([ -])[0-9]{2}[ -][0-9]{4}").expect("a constant pattern")
        }),
        given: is_issued,
        placeholder: SSN,
    },
];

/// In one piece, or in groups of four.
static IBANS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)[A-Za-z]{2}[0-9]{2}(?:[A-Za-z0-9]{11,30}|(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,3})?)")
        .expect("a constant pattern")
});

pub(super) fn national(text: &str) -> Option<String> {
    let mut masked: Option<String> = None;
    for one in &NATIONAL {
        let text = masked.as_deref().unwrap_or(text);
        let found = one.pattern.find_iter(text).map(|found| found.range());
        let given = |range: &Range<usize>| text.get(range.clone()).is_some_and(one.given);
        let ranges: Vec<_> = found
            .filter(|range| stands_alone(text, range) && given(range))
            .map(|range| (range, one.placeholder))
            .collect();
        if let Some(next) = replace(text, &ranges) {
            masked = Some(next);
        }
    }
    masked
}

/// Areas 000, 666 and from 900, group 00 and serial 0000 are nobody's.
fn is_issued(said: &str) -> bool {
    let part = |range: Range<usize>| said.get(range).unwrap_or_default();
    let area = part(0..3);
    !matches!(area, "000" | "666")
        && !area.starts_with('9')
        && part(4..6) != "00"
        && part(7..11) != "0000"
}

pub(super) fn ibans(text: &str) -> Option<String> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| IBANS.find(rest)) {
        let (start, end) = (from + found.start(), from + found.end());
        match iban_end(text, start, end).filter(|end| stands_alone(text, &(start..*end))) {
            Some(end) => {
                ranges.push((start..end, IBAN));
                from = end;
            }
            None => from = start + 1,
        }
    }
    replace(text, &ranges)
}

/// The end of the longest IBAN that begins here: words behind it may look like groups.
fn iban_end(text: &str, start: usize, end: usize) -> Option<usize> {
    let whole = text.get(start..end)?;
    let spaces = whole.match_indices(' ').map(|(at, _)| start + at);
    let ends: Vec<usize> = spaces.chain([end]).collect();
    let is_iban = |end: &usize| text.get(start..*end).is_some_and(checks);
    ends.into_iter().rev().find(is_iban)
}

/// ISO 7064 mod 97-10.
fn checks(said: &str) -> bool {
    let said: Vec<u8> = said.bytes().filter(|byte| *byte != b' ').collect();
    let Some((head, rest)) = said.split_at_checked(4) else {
        return false;
    };
    let mut sum = 0_u32;
    for &byte in rest.iter().chain(head) {
        sum = match char::from(byte).to_digit(36) {
            Some(digit @ 0..=9) => sum * 10 + digit,
            Some(letter) => sum * 100 + letter,
            None => return false,
        } % 97;
    }
    IBAN_LEN.contains(&said.len()) && sum == 1
}

fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let (before, after) = neighbours(text, range.start, range.end);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !word(before) && !word(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn social_security_numbers_that_can_be_issued_are_masked() {
        let masked = |text| national(text);
        assert_eq!(
            masked("my ssn is 536-22-1234.").as_deref(),
            Some("my ssn is [SSN].")
        );
        assert_eq!(masked("536 22 1234").as_deref(), Some("[SSN]"));
        for kept in [
            "000-22-1234",
            "666-22-1234",
            "900-22-1234",
            "536-00-1234",
            "536-22-0000",
            "1536-22-1234",
            "536221234",
        ] {
            assert_eq!(masked(kept), None, "{kept}");
        }
    }

    #[test]
    fn account_numbers_that_pass_their_check_are_masked() {
        for iban in [
            "GB82WEST12345698765432",
            "GB82 WEST 1234 5698 7654 32",
            "de89370400440532013000",
            "NO93 8601 1117 947",
        ] {
            assert_eq!(
                ibans(&format!("to {iban}, now")).as_deref(),
                Some("to [IBAN], now"),
                "{iban}"
            );
            assert_eq!(
                ibans(&format!("{iban} then more")).as_deref(),
                Some("[IBAN] then more"),
                "{iban}"
            );
        }
        for kept in [
            "GB83WEST12345698765432",
            "XGB82WEST12345698765432",
            "version ab12 cafe beef dead",
        ] {
            assert_eq!(ibans(kept), None, "{kept}");
        }
    }
}
