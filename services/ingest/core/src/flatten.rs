//! Fields that Balefire has no name for: nested objects become names joined by dots, everything
//! else stays the JSON text it was, without insignificant white space and with each string in its
//! one canonical spelling.

use std::borrow::Cow;

use balefire_event::Extension;
use balefire_event::event::Text;
use balefire_event::limits::{EVENT_BYTES_MAX, NAME_BYTES_MAX};

use crate::json::{Member, Raw, holds_control, members, quoted, repeated, unquoted};
use crate::violation::{Reason, Violation};

/// Flattens members into extensions, sorted by name.
///
/// # Errors
/// Where a name is too long or there twice, a string cannot be decoded, or the whole is larger
/// than an event may be.
pub fn extensions<'a>(fields: Vec<Member<'a>>) -> Result<Vec<Extension<'a>>, Violation> {
    let mut flat = Flat::default();
    for Member { name, value } in fields {
        flat.add(name, value)?;
    }
    let mut extensions = flat.extensions;
    extensions.sort_by(|one, other| one.name.cmp(&other.name));
    let twice = extensions
        .array_windows()
        .find(|[one, next]| one.name == next.name);
    match twice {
        Some([one, _]) => Err(Violation::named(
            &one.name,
            Reason::Conflict,
            "given twice, once nested and once with dots; send it once",
        )),
        None => Ok(extensions),
    }
}

#[derive(Default)]
struct Flat<'a> {
    extensions: Vec<Extension<'a>>,
    bytes: usize,
}

impl<'a> Flat<'a> {
    /// Recurses at most as deep as a record may be nested.
    fn add(&mut self, name: Text<'a>, value: Raw<'a>) -> Result<(), Violation> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Violation::new(
                "extensions",
                Reason::TooLarge,
                "a field name, with the names around it, may have 256 bytes",
            ));
        }
        if holds_control(&name) {
            return Err(Violation::new(
                "extensions",
                Reason::Malformed,
                "a field name holds a control character",
            ));
        }
        if value.json.starts_with('{') {
            let inner = members(value.json)
                .map_err(|_| Violation::named(&name, Reason::Malformed, "not JSON"))?;
            if !inner.is_empty() {
                return self.nested(&name, inner);
            }
        }
        let json = compact_value(value)
            .ok_or_else(|| Violation::named(&name, Reason::Malformed, "not Unicode text"))?;
        self.bytes += name.len() + json.len();
        if self.bytes > EVENT_BYTES_MAX {
            return Err(Violation::new(
                "extensions",
                Reason::TooLarge,
                "flattened, the further fields may have 64 KiB",
            ));
        }
        self.extensions.push(Extension { name, json });
        Ok(())
    }

    fn nested(&mut self, name: &str, inner: Vec<Member<'a>>) -> Result<(), Violation> {
        if let Some(twice) = repeated(&inner) {
            return Err(Violation::named(
                &format!("{name}.{twice}"),
                Reason::Conflict,
                "given twice; send each field once",
            ));
        }
        inner
            .into_iter()
            .try_for_each(|Member { name: child, value }| {
                self.add(Cow::Owned([name, &child].join(".")), value)
            })
    }
}

/// The same as [`compact`], of a value that was read.
fn compact_value(value: Raw<'_>) -> Option<Text<'_>> {
    match value.json.as_bytes() {
        [b'{' | b'[', ..] => compact(value.json),
        _ if value.escaped => compact(value.json),
        _ => Some(Cow::Borrowed(value.json)),
    }
}

/// JSON text without white space between tokens and with strings in canonical spelling; `None`
/// where a string holds half a surrogate pair.
#[must_use]
pub fn compact(json: &str) -> Option<Text<'_>> {
    // All bytes are looked at, many at a time. White space is among what is at most a space.
    let plain = |byte: u8| (byte > b' ') & (byte != b'\\');
    if json.bytes().fold(true, |all, byte| all & plain(byte)) {
        return Some(Cow::Borrowed(json));
    }
    if json.starts_with('"') && !json.contains('\\') {
        return Some(Cow::Borrowed(json));
    }
    map_strings(json, |literal, out| {
        if literal.contains('\\') {
            out.push_str(&quoted(&unquoted(literal)?));
        } else {
            out.push_str(literal);
        }
        Some(())
    })
    .map(Cow::Owned)
}

/// Copies JSON text without white space between tokens, each string literal through `write`.
pub(crate) fn map_strings(
    json: &str,
    mut write: impl FnMut(&str, &mut String) -> Option<()>,
) -> Option<String> {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        let (before, literal) = rest.split_at_checked(start)?;
        out.extend(before.chars().filter(|c| !c.is_ascii_whitespace()));
        let (literal, after) = literal.split_at_checked(literal_len(literal)?)?;
        write(literal, &mut out)?;
        rest = after;
    }
    out.extend(rest.chars().filter(|c| !c.is_ascii_whitespace()));
    Some(out)
}

/// Length of the literal that the text begins with, quotes included.
fn literal_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(json: &str) -> Result<Vec<(String, String)>, Violation> {
        let list = extensions(members(json).unwrap())?;
        Ok(list
            .into_iter()
            .map(|e| (e.name.into_owned(), e.json.into_owned()))
            .collect())
    }

    #[test]
    fn nested_fields_get_dotted_names() {
        let list = flat(
            r#"{"z":1.50,"gen_ai":{"usage":{"cost": 3e2},"e":{},"list":[ 1, {"x": "a b"} ]},"s":"\u0041 b"}"#,
        );
        let expected = [
            ("gen_ai.e", "{}"),
            ("gen_ai.list", r#"[1,{"x":"a b"}]"#),
            ("gen_ai.usage.cost", "3e2"),
            ("s", r#""A b""#),
            ("z", "1.50"),
        ];
        assert_eq!(
            list.unwrap(),
            expected.map(|(n, j)| (n.to_owned(), j.to_owned()))
        );
    }

    #[test]
    fn one_name_twice_is_refused_however_it_is_spelt() {
        for json in [r#"{"a":{"b":1},"a.b":2}"#, r#"{"a":{"b":1,"b":2}}"#] {
            let violation = flat(json).unwrap_err();
            assert_eq!(
                (&*violation.field, violation.reason),
                ("a.b", Reason::Conflict)
            );
        }
    }

    #[test]
    fn flattening_cannot_blow_a_record_up() {
        let inner = (0..4000)
            .map(|i| format!(r#""{i}":1"#))
            .collect::<Vec<_>>()
            .join(",");
        let violation = flat(&format!(r#"{{"{}":{{{inner}}}}}"#, "n".repeat(200))).unwrap_err();
        assert_eq!(violation.reason, Reason::TooLarge);
    }
}
