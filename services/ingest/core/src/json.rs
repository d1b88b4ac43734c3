//! Reads one JSON record, borrowed from its bytes.
//!
//! Refuses what JSON leaves open: bytes that are not UTF-8, a field given twice, anything after
//! the record, nesting deeper than [`NESTING_MAX`]. Numbers are never rounded on the way: what
//! has no typed field is kept as the text it was.

use std::borrow::Cow;
use std::fmt;

use balefire_event::event::Text;
use balefire_event::limits::{NESTING_MAX, REQUEST_BYTES_MAX};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::violation::{Reason, Violation};

/// One member of an object: its name and the JSON text of its value.
pub type Member<'a> = (Text<'a>, &'a str);

/// The members of a record, in the record's order.
///
/// # Errors
/// Where the bytes are no JSON object, or one that is too large or too deep, or says something
/// twice.
pub fn record(bytes: &[u8]) -> Result<Vec<Member<'_>>, Violation> {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(Violation::new(
            "",
            Reason::TooLarge,
            "a record with its bodies may have 4 MiB",
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Violation::new("", Reason::Malformed, "not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(Violation::new(
            "",
            Reason::Malformed,
            "empty; send one JSON object",
        ));
    }
    if too_deep(text) {
        return Err(Violation::new(
            "",
            Reason::TooLarge,
            "nested deeper than 64 levels; flatten it",
        ));
    }
    let members = members(text).map_err(|error| refused(&error))?;
    match repeated(&members) {
        Some(name) => Err(Violation::named(
            name,
            Reason::Conflict,
            "given twice; send each field once",
        )),
        None => Ok(members),
    }
}

fn refused(error: &serde_json::Error) -> Violation {
    let description = match error.classify() {
        serde_json::error::Category::Data => Cow::Borrowed("not an object; send one JSON object"),
        serde_json::error::Category::Eof => Cow::Borrowed("JSON ends too early"),
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            Cow::Owned(format!("not JSON at column {}", error.column()))
        }
    };
    Violation {
        field: Cow::Borrowed(""),
        reason: Reason::Malformed,
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

/// The members of a JSON object, in its order.
///
/// # Errors
/// Where the text is no JSON object.
pub fn members(text: &str) -> Result<Vec<Member<'_>>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader.deserialize_map(Members)?;
    reader.end()?;
    Ok(members)
}

/// The first name that two members have.
#[must_use]
pub fn repeated<'m>(members: &'m [Member<'_>]) -> Option<&'m str> {
    if begin_differently(members) {
        return None;
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names
        .array_windows()
        .find(|[one, next]| one == next)
        .map(|[name, _]| *name)
}

/// Most names that are told apart by their beginnings.
const GLANCE_LEN: usize = 32;

/// Whether no two of a few names have the same first eight bytes: so it is with most records, and
/// then no two are the same.
fn begin_differently(members: &[Member<'_>]) -> bool {
    let mut seen = [0; GLANCE_LEN];
    for (place, (name, _)) in members.iter().enumerate() {
        let beginning = beginning(name.as_bytes());
        if seen
            .get(..place)
            .is_none_or(|before| before.contains(&beginning))
        {
            return false;
        }
        match seen.get_mut(place) {
            Some(own) => *own = beginning,
            None => return false,
        }
    }
    true
}

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
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// Encodes a JSON string literal.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Name<'a>(Text<'a>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(24);
        while let Some(Name(name)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            members.push((name, value.get()));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_borrowed() {
        let members = record(br#" {"a": 1.50 ,"\u0062":"x\"y", "c":[1, {"d":2}]} "#).unwrap();
        assert_eq!(
            members,
            vec![
                (Cow::Borrowed("a"), "1.50"),
                (Cow::Borrowed("b"), r#""x\"y""#),
                (Cow::Borrowed("c"), r#"[1, {"d":2}]"#),
            ]
        );
        assert!(matches!(members[0].0, Cow::Borrowed(_)));
    }

    #[test]
    fn names_given_twice_are_found_however_they_begin() {
        let named = |names: &[String]| {
            let members: Vec<Member<'_>> = names.iter().map(|n| (n.as_str().into(), "1")).collect();
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
