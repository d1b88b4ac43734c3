//! JSON written straight into a buffer that many items share: a feed writes every event there is.
//! The same bytes as serde_json's, which the tests compare.

use serde::Serialize;

/// What stands in place of a byte behind its backslash; `u`: its number.
const fn escape(byte: u8) -> Option<u8> {
    match byte {
        b'"' => Some(b'"'),
        b'\\' => Some(b'\\'),
        0x08 => Some(b'b'),
        0x09 => Some(b't'),
        0x0a => Some(b'n'),
        0x0c => Some(b'f'),
        0x0d => Some(b'r'),
        0x00..=0x1f => Some(b'u'),
        _ => None,
    }
}

const fn is_plain(byte: u8) -> bool {
    // No short cut: what has none is compared many bytes at a time.
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}

/// Where the first byte is that needs an escape.
fn first_escape(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for chunk in bytes.as_chunks::<16>().0 {
        let plain = chunk.iter().fold(true, |all, byte| all & is_plain(*byte));
        if !plain {
            break;
        }
        at += chunk.len();
    }
    let mut rest = bytes.get(at..)?.iter();
    Some(at + rest.position(|byte| !is_plain(*byte))?)
}

/// A string in its quotes.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_escape(rest) {
        let (before, behind) = rest.split_at(at);
        out.extend_from_slice(before);
        let Some((byte, behind)) = behind.split_first() else {
            break;
        };
        let letter = escape(*byte).unwrap_or(*byte);
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            let digit = |value: u8| match value {
                0..=9 => b'0' + value,
                _ => b'a' + (value - 10),
            };
            out.extend_from_slice(&[b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The name of a field with all that stands around it, written at once: `name!("model")`. Names
/// are this program's own and need no escape.
#[derive(Clone, Copy)]
pub(crate) struct Name(pub(crate) &'static str);

macro_rules! name {
    ($name:literal) => {
        $crate::json::Name(concat!(",\"", $name, "\":"))
    };
}
pub(crate) use name;

/// An object that is being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    begun: bool,
}

impl<'a> Object<'a> {
    /// Opens it.
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        Self { out, begun: false }
    }

    /// Begins a field; its value is written to what this gives.
    pub(crate) fn field(&mut self, name: Name) -> &mut Vec<u8> {
        let name = name.0.as_bytes();
        match (self.begun, name.split_first()) {
            (false, Some((_, name))) => {
                self.begun = true;
                self.out.push(b'{');
                self.out.extend_from_slice(name);
            }
            _ => self.out.extend_from_slice(name),
        }
        self.out
    }

    /// A text.
    pub(crate) fn text(&mut self, name: Name, value: &str) {
        text(self.field(name), value);
    }

    /// A text that may be missing: null then.
    pub(crate) fn said(&mut self, name: Name, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.field(name).extend_from_slice(b"null"),
        }
    }

    /// A text that may be missing: no field then.
    pub(crate) fn only(&mut self, name: Name, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// What needs no quotes: digits and letters of this program's own.
    pub(crate) fn quoted(&mut self, name: Name, parts: &[&[u8]]) {
        let out = self.field(name);
        out.push(b'"');
        for part in parts {
            out.extend_from_slice(part);
        }
        out.push(b'"');
    }

    /// A truth.
    pub(crate) fn flag(&mut self, name: Name, value: bool) {
        let word = if value { "true" } else { "false" };
        self.field(name).extend_from_slice(word.as_bytes());
    }

    /// A number, null, what is made of them.
    pub(crate) fn plain(&mut self, name: Name, value: &impl Serialize) {
        // Into memory nothing fails, and plain values have a JSON form.
        let _written = serde_json::to_writer(self.field(name), value);
    }

    /// Closes it.
    pub(crate) fn close(self) {
        if !self.begun {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::nasty;
    use proptest::prelude::*;

    fn written(value: &str) -> String {
        let mut out = Vec::new();
        text(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_text_is_what_serde_writes(value in nasty()) {
            prop_assert_eq!(written(&value), serde_json::to_string(&value).unwrap());
        }
    }

    #[test]
    fn every_byte_of_ascii_is_what_serde_writes() {
        let all: String = (0..=127_u8).map(char::from).collect();
        assert_eq!(written(&all), serde_json::to_string(&all).unwrap());
    }

    /// Wherever it stands among what is compared at once, and behind it.
    #[test]
    fn an_escape_is_seen_in_every_place() {
        for length in 1..50 {
            for place in 0..length {
                for odd in ['"', '\\', '\n', '\u{1f}', 'é'] {
                    let text: String = (0..length)
                        .map(|at| if at == place { odd } else { ' ' })
                        .collect();
                    assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    #[test]
    fn an_object_without_a_field_is_one() {
        let mut out = Vec::new();
        Object::open(&mut out).close();
        let mut object = Object::open(&mut out);
        object.flag(name!("a"), true);
        object.said(name!("b"), None);
        object.close();
        assert_eq!(out, br#"{}{"a":true,"b":null}"#);
    }
}
