//! Goes over JSON text once, front to back, and finds where its values begin and end.
//!
//! It takes exactly the texts that `serde_json` takes, down to [`NESTING_MAX`] levels; a law holds it
//! against that. Its own, because members kept as the text they were are read here for every event,
//! and nested ones again: it takes three fifths of the instructions that `RawValue` takes.

use balefire_event::limits::NESTING_MAX;

/// Why a text is no JSON object. Places are counted in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is, or begins like, another JSON value.
    NotAnObject,
    /// It ends within a value.
    EndsEarly,
    /// What stands at this place cannot stand there.
    At(usize),
    /// Its values nest deeper than a record's may.
    TooDeep,
}

/// A value, as the text it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Its JSON text, from its first byte to its last.
    pub json: &'a str,
    /// Something in it is escaped.
    pub escaped: bool,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes were gone over.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The byte that is next; 0, which no token is, at the end.
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is no white space, taken.
    #[inline(always)]
    fn token(&mut self) -> u8 {
        let byte = self.spaced();
        self.at += 1;
        byte
    }

    /// The next byte that is no white space, not taken.
    #[inline(always)]
    fn spaced(&mut self) -> u8 {
        let mut byte = self.byte();
        while matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
            byte = self.byte();
        }
        byte
    }

    /// What is wrong at the byte that is next, or at the one just taken.
    fn fault(&self, taken: usize) -> Fault {
        match self.at - taken {
            at if at < self.text.len() => Fault::At(at),
            _ => Fault::EndsEarly,
        }
    }

    /// The text between two places.
    fn between(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Goes into an object; whether it has members.
    pub(super) fn enter(&mut self) -> Result<bool, Fault> {
        match self.spaced() {
            b'{' => self.at += 1,
            b'"' | b'[' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => {
                return Err(Fault::NotAnObject);
            }
            _ => return Err(self.fault(0)),
        }
        let empty = self.spaced() == b'}';
        self.at += usize::from(empty);
        Ok(!empty)
    }

    /// What lies between the quotes of the next member's name, and whether anything in it is escaped.
    #[inline(always)]
    pub(super) fn name(&mut self) -> Result<(&'a str, bool), Fault> {
        if self.token() != b'"' {
            return Err(self.fault(1));
        }
        let start = self.at;
        let escaped = self.string()?;
        let name = self.between(start, self.at - 1);
        match self.token() {
            b':' => Ok((name, escaped)),
            _ => Err(self.fault(1)),
        }
    }

    /// The next value.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Raw<'a>, Fault> {
        let first = self.spaced();
        let start = self.at;
        let escaped = match first {
            b'"' => {
                self.at += 1;
                self.string()?
            }
            b'{' | b'[' => self.container()?,
            _ => {
                self.at += 1;
                self.scalar(first)?;
                false
            }
        };
        let json = self.between(start, self.at);
        Ok(Raw { json, escaped })
    }

    /// Whether another member comes.
    #[inline(always)]
    pub(super) fn more(&mut self) -> Result<bool, Fault> {
        match self.token() {
            b',' => Ok(true),
            b'}' => Ok(false),
            _ => Err(self.fault(1)),
        }
    }

    /// Nothing may come any more.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.spaced();
        match self.at < self.text.len() {
            true => Err(Fault::At(self.at)),
            false => Ok(()),
        }
    }

    /// Goes over an object or a list, and all within; whether anything in it is escaped.
    fn container(&mut self) -> Result<bool, Fault> {
        let mut within = Within::default();
        loop {
            match self.token() {
                b'"' => within.escaped |= self.string()?,
                b'{' if self.spaced() != b'}' => {
                    within.push(true)?;
                    within.escaped |= self.name()?.1;
                    continue;
                }
                b'[' if self.spaced() != b']' => {
                    within.push(false)?;
                    continue;
                }
                b'{' | b'[' => {
                    within.push(true)?;
                    within.pop();
                    self.at += 1;
                }
                first => self.scalar(first)?,
            }
            if self.close(&mut within)? {
                return Ok(within.escaped);
            }
        }
    }

    /// Goes to the end of a number or a literal whose first byte was taken.
    fn scalar(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'0'..=b'9' => self.number(first),
            b'-' => {
                let digit = self.byte();
                self.at += 1;
                self.number(digit)
            }
            b't' => self.word("rue"),
            b'f' => self.word("alse"),
            b'n' => self.word("ull"),
            _ => Err(self.fault(1)),
        }
    }

    /// Behind a value: closes what ends here; true where nothing is open, else the next value comes.
    fn close(&mut self, within: &mut Within) -> Result<bool, Fault> {
        while let Some(object) = within.innermost() {
            match (self.token(), object) {
                (b'}', true) | (b']', false) => within.pop(),
                (b',', true) => {
                    within.escaped |= self.name()?.1;
                    return Ok(false);
                }
                (b',', false) => return Ok(false),
                _ => return Err(self.fault(1)),
            }
        }
        Ok(true)
    }

    /// Goes to the end of a string whose quote was taken; whether anything in it is escaped.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Fault> {
        self.plain();
        match self.byte() {
            b'"' => {
                self.at += 1;
                Ok(false)
            }
            _ => self.escaped_string(),
        }
    }

    /// The rest of a string, from its first backslash on.
    #[cold]
    fn escaped_string(&mut self) -> Result<bool, Fault> {
        loop {
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Ok(true);
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(self.fault(0)),
            }
            self.plain();
        }
    }

    /// Goes to the next quote, backslash or control character.
    #[inline(always)]
    fn plain(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let (eights, few) = rest.as_chunks();
        for eight in eights {
            let ends = ends(u64::from_le_bytes(*eight));
            if ends != 0 {
                self.at += (ends.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        let plain = few
            .iter()
            .take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' '));
        self.at += plain.count();
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let byte = self.byte();
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    if !self.byte().is_ascii_hexdigit() {
                        return Err(self.fault(0));
                    }
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(self.fault(1)),
        }
    }

    /// Goes to the end of a number whose first digit was taken.
    fn number(&mut self, first: u8) -> Result<(), Fault> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.fault(1)),
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), b'+' | b'-'));
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        if !self.byte().is_ascii_digit() {
            return Err(self.fault(0));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
    }

    /// The rest of a literal.
    fn word(&mut self, rest: &str) -> Result<(), Fault> {
        for expected in rest.bytes() {
            if self.byte() != expected {
                return Err(self.fault(0));
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// Which objects and lists a place lies in, a bit each; the outermost object is not counted.
#[derive(Default)]
struct Within {
    objects: u64,
    depth: usize,
    escaped: bool,
}

/// The outermost object is the first level.
const _: () = assert!(NESTING_MAX <= 64, "a bit for each level");

impl Within {
    fn push(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth + 1 >= NESTING_MAX {
            return Err(Fault::TooDeep);
        }
        self.depth += 1;
        self.objects = (self.objects << 1) | u64::from(object);
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    /// Whether the innermost is an object; `None` where nothing is open.
    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
    }
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Eight bytes, the first lowest: the lowest bit set is in the first that is a quote, a backslash or
/// a control character; 0 where none is. (Bits above it may be wrong: what is subtracted borrows upward.)
const fn ends(eight: u64) -> u64 {
    let quote = eight ^ (EACH * b'"' as u64);
    let backslash = eight ^ (EACH * b'\\' as u64);
    let is_quote = quote.wrapping_sub(EACH) & !quote;
    let is_backslash = backslash.wrapping_sub(EACH) & !backslash;
    let is_control = eight.wrapping_sub(EACH * 0x20) & !eight;
    (is_quote | is_backslash | is_control) & HIGH
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde::de::{Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    use super::*;
    use crate::json::{Member, members, nesting};

    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key()? {
                let value: &'de RawValue = map.next_value()?;
                members.push((name, value.get()));
            }
            Ok(members)
        }
    }

    /// What `serde_json` makes of it.
    fn by_serde(text: &str) -> Option<Vec<(String, &str)>> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = reader.deserialize_map(Members).ok()?;
        reader.end().ok()?;
        (nesting(text) <= NESTING_MAX).then_some(members)
    }

    fn same(text: &str) -> Result<(), TestCaseError> {
        let owned = |member: Member<'_>| (member.name.into_owned(), member.value.json.to_owned());
        let ours = members(text).map(|list| list.into_iter().map(owned).collect::<Vec<_>>());
        let theirs = by_serde(text).map(|list| {
            let owned = list.into_iter().map(|(name, json)| (name, json.to_owned()));
            owned.collect::<Vec<_>>()
        });
        prop_assert_eq!(ours.clone().ok(), theirs, "{:?}: {:?}", text, ours.err());
        Ok(())
    }

    const TOKENS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        " ",
        "\n",
        "\t",
        "\u{b}",
        "\u{0}",
        "\u{1f}",
        "\u{7f}",
        "{\"a\":",
        "\"name\"",
        "\"é\"",
        "\"a longer text than eight\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\\u12",
        "\\x",
        "0",
        "-",
        "-0",
        "01",
        "7",
        "1.",
        ".5",
        "2.50",
        "1e",
        "1E+5",
        "3e-07",
        "true",
        "false",
        "null",
        "nul",
        "True",
        "é",
        "\u{feff}",
        "a",
    ];

    fn value() -> impl Strategy<Value = String> {
        let space = || select(vec!["", "", " ", "\n\t", "\r"]);
        let text = || {
            select(vec![
                "\"\"",
                "\"plain\"",
                "\"exactly8\"",
                "\"a\\\"b\\\\\"",
                "\"\\ud800\"",
                "\"é 日本語 text\"",
            ])
        };
        let leaf = prop_oneof![
            text().prop_map(str::to_owned),
            select(vec![
                "0", "-1", "12.50", "1e9", "-0.0E-2", "true", "false", "null", "[]", "{ }"
            ])
            .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(6, 40, 5, move |inner| {
            let item = (space(), inner, space())
                .prop_map(|(before, value, after)| format!("{before}{value}{after}"));
            let member = (space(), text(), space(), item.clone())
                .prop_map(|(before, name, after, value)| format!("{before}{name}{after}:{value}"));
            prop_oneof![
                vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
                vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_tokens_are_read_as_serde_reads_them(tokens in vec(select(TOKENS), 0..24)) {
            same(&tokens.concat())?;
            same(&format!("{{\"a\":{}}}", tokens.concat()))?;
        }

        #[test]
        fn what_is_nearly_json_is_read_as_serde_reads_it(
            value in value(),
            cuts in vec((any::<Index>(), any::<Index>(), select(TOKENS), any::<bool>()), 0..3),
        ) {
            let mut text: Vec<char> = format!(" {{\"m\" : {value} , \"n\":{value}}}").chars().collect();
            same(&text.iter().collect::<String>())?;
            for (at, token, with, remove) in &cuts {
                let at = at.index(text.len());
                if *remove {
                    text.remove(at);
                }
                let insert = with.chars().take(token.index(with.chars().count() + 1));
                text.splice(at..at, insert);
                same(&text.iter().collect::<String>())?;
                same(&text.iter().take(at).collect::<String>())?;
            }
        }
    }

    #[test]
    fn every_byte_at_every_place_of_eight_ends_a_plain_text_or_does_not() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                // What stands behind it could only make a place too late.
                for behind in [b'a', 0, b'"', 0xff] {
                    let mut eight = [behind; 8];
                    eight[..place].fill(b'a');
                    eight[place] = byte;
                    let ends_here = matches!(byte, b'"' | b'\\' | 0..0x20);
                    let first = ends(u64::from_le_bytes(eight)).trailing_zeros() / 8;
                    let after = if matches!(behind, 0 | b'"') {
                        place + 1
                    } else {
                        8
                    };
                    let expected = if ends_here { place } else { after };
                    assert_eq!(first as usize, expected.min(8), "{byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn a_record_nests_as_deep_as_it_may() {
        for (lists, fits) in [
            (NESTING_MAX - 1, true),
            (NESTING_MAX, false),
            (100_000, false),
        ] {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(lists), "]".repeat(lists));
            assert_eq!(
                members(&text).err(),
                (!fits).then_some(Fault::TooDeep),
                "{lists}"
            );
        }
    }

    #[test]
    fn a_fault_says_where() {
        for (text, fault) in [
            ("[1]", Fault::NotAnObject),
            ("", Fault::EndsEarly),
            ("{\"a\":1", Fault::EndsEarly),
            ("{\"a\":\"b", Fault::EndsEarly),
            ("{\"a\":1,}", Fault::At(7)),
            ("{\"a\" 1}", Fault::At(5)),
            ("{\"a\":\"\t\"}", Fault::At(6)),
            ("{\"a\":01}", Fault::At(6)),
            ("{} {}", Fault::At(3)),
        ] {
            assert_eq!(members(text).unwrap_err(), fault, "{text}");
        }
    }
}
