//! Whether a text could hold anything at all: one pass over its words, so that nearly every text is
//! passed on without a look by any pattern.
//!
//! A word is a run of ASCII letters and digits. Whatever a pattern finds begins where a word does,
//! and a number is made of words that are digits alone. So a word is looked at once, by its length,
//! its beginning and its neighbours. A sign that is not shown is a promise that the pattern behind
//! it finds nothing; one that is shown promises nothing.

/// What a text shows signs of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) email: bool,
    pub(super) iban: bool,
    pub(super) national: bool,
    pub(super) card: bool,
    pub(super) phone: bool,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
    pub(super) secret: bool,
    /// Of JSON: an escape, behind which a word may stand that looks like a piece of another.
    escape: bool,
}

/// Fewest digits of a card number.
const CARD_DIGITS: usize = 13;
/// Bytes of an IBAN in one piece.
const IBAN_LEN: std::ops::RangeInclusive<usize> = 15..=34;
/// Bytes of an AWS access key.
const AWS_KEY_LEN: usize = 20;
/// Colons of an IPv6 address that leaves nothing out, where its end is an IPv4 address.
const COLONS: usize = 6;

const DIGIT: u8 = 1;
/// A letter that is a hexadecimal digit too.
const HEX: u8 = 2;
const LETTER: u8 = 4;
/// Of a word.
const WORD: u8 = DIGIT | HEX | LETTER;
/// Of no word, and not to be passed over.
const MARK: u8 = 8;
/// What a secret begins with.
const START: u8 = 16;

/// What each byte is; 0: nothing.
#[expect(
    clippy::indexing_slicing,
    reason = "by the compiler, which sees its end"
)]
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => HEX,
            b'g'..=b'z' | b'G'..=b'Z' => LETTER,
            b':' | b'.' | b'@' | b'%' | b'+' | b'\\' => MARK,
            _ => 0,
        };
        if matches!(byte, b'A' | b'e' | b's' | b'r' | b'g' | b'x' | b'b' | b'B') {
            classes[byte as usize] |= START;
        }
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// A word that is digits alone.
#[derive(Debug, Clone, Copy, Default)]
struct Number {
    len: usize,
    end: usize,
    /// The byte before it, where that is all there is between it and another number before it.
    joined_by: Option<u8>,
    /// The byte before it.
    before: u8,
}

/// What is known at a place of a text.
#[derive(Debug, Default)]
struct Scan {
    signs: Signs,
    at_seen: bool,
    /// The last number, and the one before it.
    last: Number,
    earlier: Number,
    /// Digits of numbers joined by single spaces and hyphens, up to the last.
    joined_digits: usize,
    /// Numbers joined by single dots, up to the last.
    dotted: usize,
    /// Colons of the run of hexadecimal digits, colons and dots.
    colons: usize,
    /// End of a word that is no hexadecimal number.
    plain_end: usize,
}

impl Signs {
    pub(super) fn of(text: &str) -> Self {
        let scan = Self::scanned(text.as_bytes());
        Self {
            escape: false,
            ..scan.signs
        }
    }

    fn scanned(bytes: &[u8]) -> Scan {
        let mut scan = Scan::default();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let first = class(byte);
            if first & WORD == 0 {
                if first == 0 {
                    scan.colons = 0;
                } else {
                    scan.mark(bytes, at, byte);
                }
                at += 1;
                continue;
            }
            let (start, mut seen) = (at, first);
            at += 1;
            while let Some(class) = bytes.get(at).map(|byte| class(*byte))
                && class & WORD != 0
            {
                seen |= class;
                at += 1;
            }
            if seen & LETTER != 0 {
                scan.colons = 0;
                scan.plain_end = at;
            }
            if seen & WORD == DIGIT {
                scan.number(bytes, start..at);
            } else if (first & START) | (seen & DIGIT) != 0 {
                scan.word(bytes, start..at);
            }
        }
        scan
    }

    /// The same of JSON text, quotes and escapes as they are.
    pub(super) fn of_json(json: &str) -> Self {
        Self::scanned(json.as_bytes()).signs
    }

    /// Whether a pattern has to look at all.
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }
}

impl Scan {
    /// A byte of no word, one of those that tell something.
    #[inline(never)]
    fn mark(&mut self, bytes: &[u8], at: usize, byte: u8) {
        let next = || bytes.get(at + 1).copied().unwrap_or(b' ');
        match byte {
            b':' => {
                self.colons += 1;
                // Behind another word it is a piece of that word.
                let free = at == 0 || self.plain_end != at;
                self.signs.ipv6 |= (next() == b':' && free) || self.colons >= COLONS;
                return;
            }
            b'.' => {
                self.signs.email |= self.at_seen;
                return;
            }
            b'\\' => self.signs.escape = true,
            b'@' => self.at_seen = true,
            b'%' => self.at_seen |= bytes.get(at..).is_some_and(|rest| rest.starts_with(b"%40")),
            b'+' => self.signs.phone |= matches!(next(), b'1'..=b'9'),
            _ => {}
        }
        self.colons = 0;
    }

    /// A word that begins as secrets do, or that has digits.
    #[inline(never)]
    fn word(&mut self, bytes: &[u8], range: std::ops::Range<usize>) {
        let start = range.start;
        let after = || bytes.get(range.end).copied().unwrap_or(b' ');
        if let Some(word) = bytes.get(range.clone()) {
            let dashed = || start.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'-');
            self.signs.secret |= begins_secret(word, dashed, after);
            self.signs.iban |= begins_iban(word, after);
        }
    }

    #[inline(never)]
    fn number(&mut self, bytes: &[u8], range: std::ops::Range<usize>) {
        let before = range.start.checked_sub(1).and_then(|at| bytes.get(at));
        let before = before.copied().unwrap_or(b' ');
        // The first number of a text ends nowhere before it.
        let adjacent = self.last.len > 0 && range.start == self.last.end + 1;
        let number = Number {
            len: range.len(),
            end: range.end,
            joined_by: adjacent.then_some(before),
            before,
        };
        let (last, earlier) = (self.last, self.earlier);
        let spaced = matches!(number.joined_by, Some(b' ' | b'-'));
        self.joined_digits = if spaced { self.joined_digits } else { 0 } + number.len;
        self.dotted = match number.joined_by {
            Some(b'.') => self.dotted + 1,
            Some(_) | None => 1,
        };
        self.signs.card |= self.joined_digits >= CARD_DIGITS;
        self.signs.ipv4 |= self.dotted >= 4;
        if number.len == 4 {
            self.signs.phone |= matches!(number.joined_by, Some(b' ' | b'.' | b'-'))
                && last.len == 3
                && matches!(last.before, b' ' | b'.' | b'-' | b')');
            self.signs.national |= spaced
                && last.len == 2
                && matches!(last.joined_by, Some(b' ' | b'-'))
                && earlier.len == 3;
        }
        (self.earlier, self.last) = (last, number);
    }
}

/// Whether a word, with the bytes around it, is the beginning of a key, a token or a private key.
fn begins_secret(word: &[u8], dashed: impl Fn() -> bool, after: impl Fn() -> u8) -> bool {
    match word {
        [
            b'A',
            b'K' | b'S' | b'I' | b'G' | b'N' | b'R',
            b'I' | b'P' | b'O',
            b'A',
            ..,
        ] => word.len() >= AWS_KEY_LEN,
        [b'A', b'I', b'z', b'a', ..] | [b'e', b'y', b'J', ..] => true,
        [b's', b'k'] => matches!(after(), b'-' | b'_'),
        [b'r', b'k'] | [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r'] => after() == b'_',
        [b'x', b'o', b'x', _] => after() == b'-',
        b"github" => after() == b'_',
        b"glpat" => after() == b'-',
        b"BEGIN" => dashed(),
        [b'b' | b'B', ..] => word.eq_ignore_ascii_case(b"bearer"),
        _ => false,
    }
}

/// Whether a word may be an IBAN, or the first group of one.
fn begins_iban(word: &[u8], after: impl Fn() -> u8) -> bool {
    let [a, b, c, d, ..] = word else {
        return false;
    };
    let letters = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
    let digits = c.is_ascii_digit() && d.is_ascii_digit();
    letters && digits && (IBAN_LEN.contains(&word.len()) || (word.len() == 4 && after() == b' '))
}

#[cfg(test)]
mod tests {
    use super::super::glance::{Names, holds_nothing};
    use super::super::{card, ip, number, pattern};
    use super::*;
    use proptest::prelude::*;

    type Find = fn(&str) -> Option<String>;

    /// What shows no sign, no pattern finds.
    fn promise(text: &str) {
        let signs = Signs::of(text);
        let patterns: [(&str, bool, Find); 8] = [
            ("secret", signs.secret, pattern::secrets),
            ("email", signs.email, pattern::emails),
            ("iban", signs.iban, number::ibans),
            ("national", signs.national, number::national),
            ("card", signs.card, card::cards),
            ("phone", signs.phone, pattern::phones),
            ("ipv6", signs.ipv6, ip::addresses_v6),
            ("ipv4", signs.ipv4, ip::addresses_v4),
        ];
        for (name, shown, find) in patterns {
            assert!(shown || find(text).is_none(), "{name} in {text:?}");
            let glanced = holds_nothing(text.as_bytes());
            assert!(
                !glanced || find(text).is_none(),
                "{name} at a glance in {text:?}"
            );
        }
        let whole = holds_nothing(text.as_bytes());
        for before in ["gen_ai.usage.input_tokens", text] {
            let mut names = Names::default();
            names.holds_nothing(before.as_bytes());
            let behind = names.holds_nothing(text.as_bytes());
            assert!(!behind || whole, "behind {before:?}: {text:?}");
        }
    }

    /// Whatever each pattern finds, and pieces of it.
    const PIECES: &str = concat!(
        "AKIAIOSFODNN7EXAMPLE|ASIA[A-Z0-9]{16}|AROA[A-Z0-9]{16}|sk-[a-z0-9_-]{16,20}|[sr]k_(live|test)_[a-z0-9]{10}",
        "|eyJ[a-zA-Z0-9_-]{5}\\.[a-z]{5}|gh[pousr]_[a-z0-9]{20}|github_pat_[a-z0-9]{20}|glpat-[a-z0-9]{16}",
        "|xox[a-z]-[a-z0-9]{10}|AIza[a-z0-9_-]{35}|-----BEGIN [A-Z ]{1,4}-----|[bB][eE]arer  ?[a-z0-9]{8,12}",
        "|[a-zé.+]{1,4}(@|%40)[a-z]{1,3}\\.[a-zé]{2,3}|GB82WEST12345698765432|GB82 WEST 1234 5698 7654 32",
        "|NO93 8601 1117 947|536[ -]22[ -]1234|4111[ -]?1111[ -]?1111[ -]?1111|378282246310005|3782 822463 10005",
        "|\\+[1-9][0-9]{0,2}[ ./-]?\\(?[0-9]{3,4}\\)?[ ./-]?[0-9]{4}|(1[ .-])?(\\([0-9]{3}\\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}",
        "|203\\.0\\.113\\.77|2001:db8::77|fe80::1|::1|::ffff:1\\.2\\.3\\.4|1:2:3:4:5:6:7:8|1:2:3:4:5:6:1\\.2\\.3\\.4",
        "|[a-z]{1,3}|[0-9]{1,5}|[ ._:@%+()-]|\u{e9}|\\n",
    );

    proptest! {
        #[test]
        fn what_shows_no_sign_no_pattern_finds(
            pieces in prop::collection::vec((PIECES, "[ ._:/\"'\\[,()é-]{0,2}"), 0..5),
        ) {
            let text: String = pieces.into_iter().map(|(piece, edge)| piece + &edge).collect();
            promise(&text);
        }

        #[test]
        fn nor_in_any_text(text in "[0-9A-Fa-f:. ()+_@%-]{0,40}|[ -~]{0,60}|.{0,30}") {
            promise(&text);
        }
    }

    proptest! {
        #[test]
        fn a_name_behind_one_that_begins_alike_is_looked_at_as_well(
            begins in "[a-z_.@:0-9-]{0,24}", ends in prop::collection::vec(PIECES, 2..4),
        ) {
            let texts: Vec<String> = ends.iter().map(|end| format!("{begins}{end}")).collect();
            let mut names = Names::default();
            for text in &texts {
                let behind = names.holds_nothing(text.as_bytes());
                prop_assert!(!behind || holds_nothing(text.as_bytes()), "{text:?} of {texts:?}");
            }
        }
    }

    #[test]
    fn what_records_are_full_of_shows_none() {
        for text in [
            "2026-11-22T10:30:00.123456789+01:00",
            "550e8400-e29b-41d4-a716-44665544abcd",
            "arn:aws:sts::111122223333:assumed-role/app/i-0abcd1234ef567890",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "maybe the monkey asked, bearing gifts: 3.14, 12:30, 99.9 %",
            "a@b",
            "2.31.1",
        ] {
            assert!(!Signs::of(text).any(), "{text}: {:?}", Signs::of(text));
        }
    }
}
