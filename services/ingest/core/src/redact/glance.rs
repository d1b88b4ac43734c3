//! Whether a text is worth a look at its words: sixteen places at a time, so that names and plain words,
//! which most texts are, cost next to nothing.
//!
//! Everything is worked out for every place, with nothing to decide on the way: what costs in short texts
//! is each turn that was not foreseen. What is passed over here is a promise as in [`super::sign`]:
//! nothing is found in it.

use super::numbers;

/// Fewest bytes of a secret.
pub(super) const SECRET_LEN: usize = 14;
/// Fewest colons of an IPv6 address that has no two of them together.
const COLONS: u64 = 6;
/// Fewest digits of what has any: those that an account's number begins with.
const DIGITS: u64 = 2;

/// Dots of an IPv4 address.
pub(super) const IPV4_DOTS: u64 = 3;
/// Fewest digits of a phone number.
const PHONE_DIGITS: u64 = 8;

/// Places looked at together: a register has room for as many.
pub(super) const LANES: usize = 16;
/// Bytes before a place that are looked at with it.
const BACK: usize = 4;
pub(super) type Lanes = [u8; LANES];
/// Places, and the bytes before them.
type Window = [u8; BACK + LANES];

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Whether a text, or JSON text as it is, can hold nothing that is masked.
#[inline(never)]
pub(super) fn holds_nothing(bytes: &[u8]) -> bool {
    // Most are short, and of these most are words.
    (bytes.len() < SECRET_LEN && is_word(bytes)) || {
        let kinds = Kinds::of(bytes);
        kinds.are_plain() || (!kinds.tell() && numbers::hold_nothing(bytes))
    }
}

/// Looks at names one behind the other: most begin as the one before did.
#[derive(Debug, Default)]
pub(super) struct Names<'n> {
    /// The last one, if it was plain.
    plain: &'n [u8],
}

impl<'n> Names<'n> {
    /// As [`holds_nothing`].
    #[inline(always)]
    pub(super) fn holds_nothing(&mut self, name: &'n [u8]) -> bool {
        let plain = std::mem::take(&mut self.plain);
        if ends_plainly(name, plain) {
            self.plain = name;
            return true;
        }
        if name.len() >= SECRET_LEN && Kinds::of(name).are_plain() {
            self.plain = name;
            return true;
        }
        holds_nothing(name)
    }
}

/// Whether a name is plain that begins as a plain one does: of all but its last places nothing is to be
/// seen that was not, and in these is nothing at all.
#[inline(always)]
fn ends_plainly(name: &[u8], plain: &[u8]) -> bool {
    let Some(window) = name.last_chunk() else {
        return false;
    };
    let len = name.len() - LANES;
    if name.get(..len) != plain.get(..len) {
        return false;
    }
    let Kinds {
        signs,
        digits,
        colons,
    } = Kinds::default().and(window);
    u128::from_ne_bytes(signs) | u128::from_ne_bytes(digits) | u128::from_ne_bytes(colons) == 0
}

/// With nothing before them.
#[inline(always)]
fn at_the_edge(lanes: Lanes) -> Window {
    let mut window = [0; BACK + LANES];
    if let Some(last) = window.last_chunk_mut() {
        *last = lanes;
    }
    window
}

/// Whether a text that is too short for a secret has none of what everything else has: two colons, an
/// `@` or the per cent of one, the backslash of an escape, the three dots of an address, the eight
/// digits of a phone number.
#[inline(always)]
fn is_word(bytes: &[u8]) -> bool {
    let (low, high) = halves(bytes);
    let count = |low: u64, high: u64| ((low >> 7) + (high >> 7)).wrapping_mul(ONES) >> 56;
    let both = |byte| (places(low, byte), places(high, byte));
    let marks = [b'@', b'%', b'\\'].map(|byte| places(low, byte) | places(high, byte));
    let ((colons, or_colons), (dots, or_dots)) = (both(b':'), both(b'.'));
    marks == [0; 3]
        && count(colons, or_colons) < 2
        && count(dots, or_dots) < IPV4_DOTS
        && count(digits(low), digits(high)) < PHONE_DIGITS
}

/// All bytes of a text of fewer than sixteen in their order, and zeros, which tell nothing. Those of one of
/// four or eight bytes stand there twice.
#[inline(always)]
fn halves(bytes: &[u8]) -> (u64, u64) {
    // Behind the first half, of the last half what is not in the first.
    let twice = |half: usize| u32::try_from(8 * (2 * half).saturating_sub(bytes.len()));
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (
            u64::from_le_bytes(*first),
            u64::from_le_bytes(*last).wrapping_shr(twice(8).unwrap_or_default()),
        ),
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                let last = u32::from_le_bytes(*last);
                let last = last.wrapping_shr(twice(4).unwrap_or_default());
                let first = u64::from(u32::from_le_bytes(*first));
                (first | (u64::from(last) << 32), 0)
            }
            _ => {
                let eight = |eight, byte: &u8| (eight << 8) | u64::from(*byte);
                (bytes.iter().rev().fold(0, eight), 0)
            }
        },
    }
}

#[inline(never)]
fn short(bytes: &[u8]) -> Lanes {
    let (low, high) = halves(bytes);
    (u128::from(low) | (u128::from(high) << 64)).to_le_bytes()
}

/// The highest bit of each of eight bytes that is a digit.
#[inline(always)]
const fn digits(eight: u64) -> u64 {
    let zero = (eight & !HIGH) + ONES * (128 - b'0' as u64);
    let beyond = (eight & !HIGH) + ONES * (127 - b'9' as u64);
    zero & !beyond & !eight & HIGH
}

/// The highest bit of each of eight bytes that is this one.
#[inline(always)]
fn places(eight: u64, byte: u8) -> u64 {
    let other = eight ^ (ONES * u64::from(byte));
    !(((other & !HIGH) + !HIGH) | other) & HIGH
}

/// What stands in a text, by lanes.
#[derive(Debug, Default, Clone, Copy)]
struct Kinds {
    /// Not zero where something may begin that is no number.
    signs: Lanes,
    digits: Lanes,
    colons: Lanes,
}

impl Kinds {
    #[inline(never)]
    fn of(bytes: &[u8]) -> Self {
        let mut kinds = Self::default();
        let mut edge = match bytes.first_chunk() {
            Some(first) => at_the_edge(*first),
            None => at_the_edge(short(bytes)),
        };
        let mut window = &edge;
        let mut next = LANES;
        loop {
            kinds = kinds.and(window);
            if next >= bytes.len() {
                break;
            }
            let whole = bytes.get(next - BACK..).and_then(|rest| rest.first_chunk());
            window = match whole.or_else(|| bytes.last_chunk()) {
                // Behind the last whole one some places are looked at twice.
                Some(whole) => whole,
                // Nothing is before the first of these, but they were looked at with all that is.
                None => {
                    edge = at_the_edge(bytes.last_chunk().copied().unwrap_or_default());
                    &edge
                }
            };
            next += LANES;
        }
        kinds
    }

    /// Whether something may be there that is no number.
    #[inline(always)]
    fn tell(&self) -> bool {
        any(&self.signs) || sum(&self.colons) >= COLONS
    }

    /// Whether nothing may, nor any number.
    #[inline(always)]
    fn are_plain(&self) -> bool {
        !self.tell() && sum(&self.digits) < DIGITS
    }

    #[inline(always)]
    fn and(mut self, window: &Window) -> Self {
        let from = |place: usize| window.get(place..).and_then(|rest| rest.first_chunk());
        let from = |place: usize| -> Lanes { from(place).copied().unwrap_or_default() };
        let (before, one, two, three, four) = (from(0), from(1), from(2), from(3), from(4));
        let fives = before
            .iter()
            .zip(&one)
            .zip(two.iter().zip(&three))
            .zip(&four);
        let counts = self.digits.iter_mut().zip(&mut self.colons);
        let lanes = self.signs.iter_mut().zip(counts).zip(fives);
        for ((signs, (digits, colons)), (((before, one), (two, three)), four)) in lanes {
            *signs |= u8::from(is_sign([*before, *one, *two, *three, *four]));
            *digits = digits.saturating_add(u8::from(four.wrapping_sub(b'0') < 10));
            let colon = (*four == b':') & !is_beyond_hex(*three);
            *colons = colons.saturating_add(u8::from(colon));
        }
        self
    }
}

/// A letter that is no hexadecimal digit: a colon behind it is of no IPv6 address.
#[inline(always)]
const fn is_beyond_hex(byte: u8) -> bool {
    (byte | 32).wrapping_sub(b'g') <= b'z' - b'g'
}

/// Whether something that is no number may begin within five bytes, of which the first may be of a word
/// before it.
#[inline(always)]
fn is_sign([before, one, two, three, four]: [u8; 5]) -> bool {
    // Of an e-mail address or an escape.
    let mark = (four == b'@') | (four == b'\\') | ((three == b'%') & (four == b'4'));
    let colons = (three == b':') & (four == b':') & !is_beyond_hex(two);
    // White space, or anything that is not ASCII and might be: a token stands behind it.
    let bearer = (four.cast_signed() <= b' '.cast_signed())
        & (three | 32 == b'r')
        & (two | 32 == b'e')
        & (one | 32 == b'r');
    mark | colons | bearer | begins_secret([before, one, two, three, four])
}

/// Whether a secret may begin: behind no letter, for that is of its word.
#[inline(always)]
pub(super) fn begins_secret([before, one, two, three, four]: [u8; 5]) -> bool {
    // `sk-`, `sk_`, `rk_`; `ghp_` and its kind, `github_`, `glpat-`; `xoxb-` and its kind; a JSON web
    // token; AWS's keys and Google's.
    let begins = ((two == b'k') & ((three == b'-') | (three == b'_')))
        | ((one == b'g') & (two.wrapping_sub(b'h') <= b'l' - b'h'))
        | ((one == b'x') & (two == b'o'))
        | ((two == b'y') & (three == b'J'))
        | ((one == b'A') & (two.wrapping_sub(b'G') <= b'S' - b'G') & (four | 32 == b'a'));
    let pem = (three == b'-') & (four == b'-');
    pem | (begins & ((before | 32).wrapping_sub(b'a') > b'z' - b'a'))
}

pub(super) fn any(lanes: &Lanes) -> bool {
    u128::from_ne_bytes(*lanes) != 0
}

/// The sum of lanes. Each counts to 255, which is more than is asked for.
#[inline(always)]
pub(super) fn sum(lanes: &Lanes) -> u64 {
    // Pairs, and pairs of these, so that no sum runs into the next.
    const PAIRS: u64 = 0x00ff_00ff_00ff_00ff;
    const FOUR_ONES: u64 = 0x0001_0001_0001_0001;
    let (eights, _) = lanes.as_chunks::<8>();
    let pairs = eights.iter().map(|eight| {
        let eight = u64::from_le_bytes(*eight);
        (eight & PAIRS) + ((eight >> 8) & PAIRS)
    });
    pairs.sum::<u64>().wrapping_mul(FOUR_ONES) >> 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_colons_are_counted_and_no_other_bytes() {
        for byte in 0..=255_u8 {
            let mut window = [b'x'; BACK + LANES];
            window[9] = byte;
            let kinds = Kinds::default().and(&window);
            assert_eq!(any(&kinds.signs), b"@\\".contains(&byte), "{byte}");
            assert_eq!(sum(&kinds.digits), u64::from(byte.is_ascii_digit()));
            let mut behind = [b'7'; BACK + LANES];
            behind[9] = byte;
            let colons = Kinds::default().and(&behind).colons;
            assert_eq!(sum(&colons), u64::from(byte == b':'));
        }
    }

    #[test]
    fn a_colon_behind_a_letter_of_a_word_is_of_no_address() {
        let colons = |text: &str| sum(&Kinds::of(text.as_bytes()).colons);
        assert_eq!(colons("arn:aws:im:9:f:G"), 2);
        assert!(any(&Kinds::of(b"to ::1 and others").signs));
        assert!(!any(&Kinds::of(b"arn:aws:iam::111122223333").signs));
    }

    #[test]
    fn a_byte_is_found_in_each_place_of_eight() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut eight = *b"abcdefgh";
                eight[place] = byte;
                let found = places(u64::from_le_bytes(eight), b'-');
                let there = if byte == b'-' { 0x80 << (8 * place) } else { 0 };
                assert_eq!(found, there);
            }
        }
    }

    #[test]
    fn the_beginning_of_a_secret_is_seen_at_every_place() {
        for before in 0..20 {
            for secret in [
                "sk-",
                "rk_",
                "ghp_",
                "github_",
                "glpat-",
                "xoxb-",
                "-----BEGIN ",
            ] {
                let text = format!("{}{secret}abcdefghijklmnop", " ".repeat(before));
                assert!(!holds_nothing(text.as_bytes()), "{text}");
            }
        }
    }

    #[test]
    fn however_many_there_are_they_are_enough() {
        for len in [13, 16, 64, 4080, 4096, 100_000] {
            assert!(!holds_nothing(&vec![b'7'; len]), "{len}");
        }
    }

    #[test]
    fn a_short_text_stands_in_its_order_among_the_lanes() {
        for len in 0..LANES {
            let text: Vec<u8> = (1..).take(len).collect();
            let twice = matches!(len, 4 | 8);
            let text = if twice { text.repeat(2) } else { text };
            let lanes = short(&text[..len]);
            assert_eq!(lanes[..text.len()], text);
            assert_eq!(lanes[text.len()..], vec![0; LANES - text.len()]);
        }
    }

    #[test]
    fn what_a_name_ends_with_is_seen_behind_any_that_it_begins_as() {
        let plain = b"gen_ai.usage.details.cached_input_tokens";
        for len in 0..plain.len() {
            for sign in ["@", "sk-", "ghp_", "AKIA", "::", "42", "-----"] {
                let mut name = plain[..len].to_vec();
                name.extend(sign.as_bytes());
                name.extend(b"abcdefghijklmnopqrstuvw".iter().take(16 + len % 8));
                let mut names = Names::default();
                assert!(names.holds_nothing(plain));
                assert!(!ends_plainly(&name, plain), "{len} {sign}");
                assert_eq!(
                    names.holds_nothing(&name),
                    holds_nothing(&name),
                    "{len} {sign}"
                );
            }
        }
        let mut names = Names::default();
        assert!(names.holds_nothing(plain));
        assert!(ends_plainly(b"gen_ai.usage.details.input_tokens", plain));
        // What was not plain begins nothing that is.
        assert!(!names.holds_nothing(b"gen_ai.usage.details.ada@example.com"));
        assert!(!names.holds_nothing(b"gen_ai.usage.details.ada@example.com.input_tokens"));
    }

    #[test]
    fn every_byte_is_seen_at_every_length() {
        for len in 0..40 {
            let plain = vec![b'x'; len];
            assert!(holds_nothing(&plain), "{len}");
            for place in 0..len {
                let mut text = plain.clone();
                text[place] = b'@';
                assert!(!holds_nothing(&text), "{place} of {len}");
            }
        }
    }

    #[test]
    fn names_and_words_hold_nothing() {
        for text in [
            "gen_ai.usage.input_tokens",
            "x-request-id",
            "gpt-4o-mini",
            "blocked by policy",
            "AML.T0054",
            "Llama-Guard-4",
            "v2.10",
            "\"prompt_injection\"",
            "a note of the guardrail: said",
            "a:b",
            "50",
            "v2.1:a",
            "2026-11",
            "AML.T0051.000",
            "2026-11-22T10:30:00Z",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:iam::111122223333:role/ChatBackendRole",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "3b1f0f77-7f0a-4b9a-9d7c-1c2d3e4f5a6b",
            "",
        ] {
            assert!(holds_nothing(text.as_bytes()), "{text}");
        }
    }
}
