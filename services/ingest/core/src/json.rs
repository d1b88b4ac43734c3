//! Reads one JSON record, borrowed from its bytes.
//!
//! Refuses what JSON leaves open: bytes that are not UTF-8, a field given twice, anything after
//! the record, nesting deeper than [`NESTING_MAX`]. Numbers are never rounded on the way: what
//! has no typed field is kept as the text it was.

mod scan;

use std::borrow::Cow;

use balefire_event::event::Text;
use balefire_event::limits::{NESTING_MAX, REQUEST_BYTES_MAX};

use scan::Scanner;
pub use scan::{Fault, Raw};

use crate::violation::{Reason, Violation};

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, decoded.
    pub name: Text<'a>,
    /// Its value.
    pub value: Raw<'a>,
}

/// Visits each member of a record, in the record's order.
///
/// # Errors
/// Where the bytes are no JSON object, or one that is too large or too deep, or says something
/// twice; else the first that `visit` says.
pub fn each<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(Member<'a>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(Violation::new(
            "",
            Reason::TooLarge,
            "a record with its bodies may have 4 MiB",
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Violation::new("", Reason::Malformed, "not UTF-8"))?;
    let (mut seen, mut told) = (Seen::default(), Ok(()));
    let mut alike = false;
    each_of(text, |member| {
        alike = alike || !seen.begins_as_none(&member.name);
        // What is no JSON is refused as that, whatever its fields say.
        if told.is_ok() {
            told = visit(member);
        }
    })
    .map_err(|fault| refused(text, fault))?;
    if alike
        && let Ok(members) = members(text)
        && let Some(name) = repeated(&members)
    {
        return Err(Violation::named(
            name,
            Reason::Conflict,
            "given twice; send each field once",
        ));
    }
    told
}

fn refused(text: &str, fault: Fault) -> Violation {
    let (reason, description) = match fault {
        Fault::NotAnObject => (
            Reason::Malformed,
            Cow::Borrowed("not an object; send one JSON object"),
        ),
        Fault::EndsEarly if text.trim().is_empty() => (
            Reason::Malformed,
            Cow::Borrowed("empty; send one JSON object"),
        ),
        Fault::EndsEarly => (Reason::Malformed, Cow::Borrowed("JSON ends too early")),
        Fault::TooDeep => (
            Reason::TooLarge,
            Cow::Borrowed("nested deeper than 64 levels; flatten it"),
        ),
        Fault::At(at) => {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let column = before
                .iter()
                .rev()
                .take_while(|byte| **byte != b'\n')
                .count()
                + 1;
            let description = Cow::Owned(format!("not JSON at column {column}"));
            (Reason::Malformed, description)
        }
    };
    Violation {
        field: Cow::Borrowed(""),
        reason,
        description,
    }
}

/// Whether objects and arrays nest deeper than a record's may.
pub(crate) fn too_deep(text: &str) -> bool {
    // No text nests deeper than it has brackets, and nearly all have few.
    openings(text.as_bytes()) > NESTING_MAX && nesting(text) > NESTING_MAX
}

/// How many brackets open, also within strings.
fn openings(bytes: &[u8]) -> usize {
    // As many as one byte can count, so that the compiler counts sixteen at a time.
    let counts = bytes.chunks(usize::from(u8::MAX)).map(|chunk| {
        let count =
            |count: u8, byte: &u8| count.wrapping_add(u8::from((*byte == b'{') | (*byte == b'[')));
        usize::from(chunk.iter().fold(0, count))
    });
    counts.sum()
}

/// How deep objects and arrays nest. Brackets within strings do not count.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The members of a JSON object, in its order. A value may hold half a surrogate pair, a name not.
///
/// # Errors
/// Where the text is no JSON object, or nests too deep.
pub fn members(text: &str) -> Result<Vec<Member<'_>>, Fault> {
    let mut members = Vec::new();
    each_of(text, |member| members.push(member))?;
    Ok(members)
}

fn each_of<'a>(text: &'a str, mut visit: impl FnMut(Member<'a>)) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    let mut more = scanner.enter()?;
    while more {
        let (name, escaped) = scanner.name()?;
        let name = match escaped {
            true => Cow::Owned(decoded(&format!("\"{name}\"")).ok_or(Fault::At(scanner.at()))?),
            false => Cow::Borrowed(name),
        };
        let value = scanner.value()?;
        visit(Member { name, value });
        more = scanner.more()?;
    }
    scanner.end()
}

/// The first name that two members have.
#[must_use]
pub fn repeated<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    let mut seen = Seen::default();
    if members
        .iter()
        .all(|member| seen.begins_as_none(&member.name))
    {
        return None;
    }
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_ref()).collect();
    names.sort_unstable();
    names
        .array_windows()
        .find(|[one, next]| one == next)
        .map(|[name, _]| *name)
}

/// Most names that are told apart by their beginnings.
const GLANCE_LEN: usize = 32;

/// The first eight bytes of a few names: in most records no two begin alike, and then no two are
/// the same.
#[derive(Default)]
struct Seen {
    beginnings: [u64; GLANCE_LEN],
    length: usize,
    /// A bit for each of 64 sorts of beginnings: what is the first of its sort is not looked for.
    sorts: u64,
}

impl Seen {
    /// Adds a name; false where one before begins alike, or there were too many.
    fn begins_as_none(&mut self, name: &str) -> bool {
        let beginning = beginning(name.as_bytes());
        let sort = 1 << (beginning.wrapping_mul(SPREAD) >> 58);
        let before = self.beginnings.get(..self.length).unwrap_or_default();
        if self.sorts & sort != 0 && before.contains(&beginning) {
            return false;
        }
        self.sorts |= sort;
        match self.beginnings.get_mut(self.length) {
            Some(own) => *own = beginning,
            None => return false,
        }
        self.length += 1;
        true
    }
}

/// Fibonacci hashing: 2^64 by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first eight bytes, as a number; those of a shorter name and zeros.
fn beginning(name: &[u8]) -> u64 {
    if let Some(bytes) = name.first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    name.iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Whether a text holds a control character.
pub(crate) fn holds_control(text: &str) -> bool {
    // Most are plain ASCII, which takes no decoding; all bytes are looked at, many at a time.
    let plain = |all: bool, byte: u8| all & matches!(byte, b' '..0x7f);
    if text.bytes().fold(true, plain) {
        return false;
    }
    text.chars().any(char::is_control)
}

/// Decodes a JSON string literal; `None` where the text is none, or holds half a surrogate pair.
#[must_use]
pub fn unquoted(json: &str) -> Option<Text<'_>> {
    let inner = within_quotes(json)?;
    if inner.contains('\\') {
        return decoded(json).map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'a> Raw<'a> {
    /// Decodes a string; `None` where it is none, or holds half a surrogate pair.
    #[must_use]
    pub fn text(self) -> Option<Text<'a>> {
        match self.escaped {
            true => unquoted(self.json),
            false => within_quotes(self.json).map(Cow::Borrowed),
        }
    }
}

fn within_quotes(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

fn decoded(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// Encodes a JSON string literal.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_borrowed() {
        let members = members(r#" {"a": 1.50 ,"\u0062":"x\"y", "c":[1, {"d":2}]} "#).unwrap();
        let expected = [
            ("a", "1.50", false),
            ("b", r#""x\"y""#, true),
            ("c", r#"[1, {"d":2}]"#, false),
        ]
        .map(|(name, json, escaped)| Member {
            name: name.into(),
            value: Raw { json, escaped },
        });
        assert_eq!(members, expected);
        assert!(matches!(members[0].name, Cow::Borrowed(_)));
    }

    fn member(name: &str) -> Member<'_> {
        let value = Raw {
            json: "1",
            escaped: false,
        };
        Member {
            name: name.into(),
            value,
        }
    }

    #[test]
    fn names_given_twice_are_found_however_they_begin() {
        let named = |names: &[String]| {
            let members: Vec<Member<'_>> = names.iter().map(|n| member(n)).collect();
            repeated(&members).map(str::to_owned)
        };
        let many: Vec<String> = (0..40).map(|n| format!("beginning{n}")).collect();
        let few: Vec<String> = (0..40).map(|n| format!("{n}")).collect();
        for names in [many, few] {
            for length in 0..names.len() {
                let mut names = names.get(..length).unwrap().to_vec();
                assert_eq!(named(&names), None);
                if let Some(first) = names.first().cloned() {
                    names.push(first.clone());
                    assert_eq!(named(&names), Some(first));
                }
            }
        }
    }

    #[test]
    fn every_control_character_is_one() {
        for character in (0..0x3000).filter_map(char::from_u32) {
            for text in [format!("a{character}"), format!("é{character}")] {
                assert_eq!(holds_control(&text), character.is_control(), "{text:?}");
            }
        }
    }

    #[test]
    fn every_bracket_that_opens_is_counted() {
        for count in [0, 1, 64, 65, 254, 255, 256, 1000] {
            let text = "{a[".repeat(count);
            assert_eq!(openings(text.as_bytes()), 2 * count);
        }
    }

    #[test]
    fn nesting_ignores_brackets_in_strings() {
        assert_eq!(nesting(r#"{"a":"[[[\"[[","b":[[1]]}"#), 3);
    }

    #[test]
    fn literals_are_decoded_and_encoded() {
        assert_eq!(unquoted(r#""a\u0040b""#).as_deref(), Some("a@b"));
        assert_eq!(unquoted(r#""\ud800""#), None);
        assert_eq!(unquoted("12"), None);
        assert_eq!(quoted("a\"\n"), r#""a\"\n""#);
    }
}
