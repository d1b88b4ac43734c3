//! Whether a text is worth a look at its words: sixteen bytes at a time, so that names and plain words,
//! which most texts are, cost next to nothing.
//!
//! What is passed over here is a promise as in [`super::sign`]: nothing is found in it.

/// Fewest bytes of a secret.
pub(super) const SECRET_LEN: usize = 14;
/// Fewest bytes of a bearer token with the word before it, where the token has a digit.
const BEARER_LEN: usize = 15;
/// The same of one without a digit.
const BEARER_WORD_LEN: usize = 32;
/// Fewest digits of an IPv4 address, and its dots.
const IPV4: (u64, usize) = (4, 3);
/// Fewest digits of what is neither an address nor a phone number behind a plus: a social security
/// number's.
const NUMBER_DIGITS: u64 = 9;
/// Fewest digits of a card, which needs nothing between them.
const CARD_DIGITS: u64 = 13;
/// Fewest colons of an IPv6 address.
const COLONS: u64 = 2;
/// Digits that each account's number begins with, and the bytes that it has at least.
const IBAN: (u64, usize) = (2, 15);

/// Bytes looked at together: a register has room for as many.
const LANES: usize = 16;

/// What stands in a text, by lanes, so that the compiler makes one instruction for all of them.
#[derive(Debug, Default)]
struct Kinds {
    digits: [u8; LANES],
    colons: [u8; LANES],
    /// Not zero where `@` or `%` of an e-mail address stood, or the backslash of an escape.
    marks: [u8; LANES],
    /// Not zero where the `A` or the `J` of the secrets stood that have neither a hyphen nor an
    /// underscore near their beginning.
    capitals: [u8; LANES],
}

impl Kinds {
    #[inline(always)]
    fn add(&mut self, bytes: &[u8; LANES]) {
        let numbers = self.digits.iter_mut().zip(&mut self.colons);
        let signs = self.marks.iter_mut().zip(&mut self.capitals);
        for (((digits, colons), (marks, capitals)), byte) in numbers.zip(signs).zip(bytes) {
            let byte = *byte;
            *digits = digits.saturating_add(u8::from(byte.wrapping_sub(b'0') < 10));
            *colons = colons.saturating_add(u8::from(byte == b':'));
            *marks |= u8::from((byte == b'@') | (byte == b'%') | (byte == b'\\'));
            *capitals |= u8::from((byte == b'A') | (byte == b'J'));
        }
    }
}

fn any(lanes: &[u8; LANES]) -> bool {
    lanes.iter().fold(0, |all, lane| all | lane) != 0
}

/// The sum of lanes. One of more than 255 counts as 255, which is more than is asked for.
fn sum(lanes: &[u8; LANES]) -> u64 {
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

/// Whether a text, or JSON text as it is, can hold nothing that is masked.
pub(super) fn holds_nothing(bytes: &[u8]) -> bool {
    let mut kinds = Kinds::default();
    let (whole, rest) = bytes.as_chunks::<LANES>();
    for lanes in whole {
        kinds.add(lanes);
    }
    // What is left is looked at together with what stands before it, so some digits count twice: then
    // a text is looked at more closely than it had to be.
    if !rest.is_empty() {
        match bytes.last_chunk() {
            Some(last) => kinds.add(last),
            None => kinds.add(&short(bytes)),
        }
    }
    let (digits, len) = (sum(&kinds.digits), bytes.len());
    if sum(&kinds.colons) >= COLONS || holds_number(bytes, digits) {
        return false;
    }
    if any(&kinds.marks) {
        return false;
    }
    if len < SECRET_LEN {
        return true;
    }
    let bearer_len = if digits == 0 {
        BEARER_WORD_LEN
    } else {
        BEARER_LEN
    };
    let account = digits >= IBAN.0 && len >= IBAN.1;
    let bearer = || len >= bearer_len && has_gap(bytes);
    let bare = || any(&kinds.capitals) && begins_bare(bytes);
    !account && !bearer() && !bare() && !begins_secret(bytes)
}

/// Whether there may be an IPv4 address, a phone number, a social security number or a card.
fn holds_number(bytes: &[u8], digits: u64) -> bool {
    if digits < IPV4.0 {
        return false;
    }
    if digits < NUMBER_DIGITS {
        let dots = || memchr::memchr_iter(b'.', bytes).count();
        return dots() >= IPV4.1 || memchr::memchr(b'+', bytes).is_some();
    }
    let between = |byte: &u8| matches!(byte, b' ' | b'.' | b'-' | b'+' | b'(');
    digits >= CARD_DIGITS || bytes.iter().any(between)
}

/// Whether a key begins that has neither a hyphen nor an underscore: AWS's, Google's, or a JSON web
/// token.
fn begins_bare(bytes: &[u8]) -> bool {
    memchr::memchr2_iter(b'A', b'J', bytes).any(|at| {
        let before = bytes.get(..at).unwrap_or_default();
        match bytes.get(at..).unwrap_or_default() {
            [
                b'A',
                b'K' | b'S' | b'I' | b'G' | b'N' | b'R',
                b'I' | b'P' | b'O' | b'z',
                ..,
            ] => true,
            [b'J', ..] => before.ends_with(b"ey"),
            _ => false,
        }
    })
}

/// Whether there is white space, or anything that is not ASCII and might be.
fn has_gap(bytes: &[u8]) -> bool {
    let gap = |byte: &u8| (*byte <= b' ') | (*byte >= 128);
    bytes.iter().fold(false, |any, byte| any | gap(byte))
}

/// All bytes of a text of fewer than there are lanes, some of them twice, and zeros, which tell nothing.
fn short(bytes: &[u8]) -> [u8; LANES] {
    let (low, high) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                (first.into(), last.into())
            }
            _ => {
                let eight = |eight, byte: &u8| (eight << 8) | u64::from(*byte);
                (bytes.iter().fold(0, eight), 0)
            }
        },
    };
    (u128::from(low) | (u128::from(high) << 64)).to_le_bytes()
}

/// Whether the beginning of a secret stands before a hyphen or an underscore, in a text of eight bytes or
/// more.
fn begins_secret(bytes: &[u8]) -> bool {
    let (eights, _) = bytes.as_chunks();
    let dashed = |from: usize, eight: &[u8; 8]| {
        let eight = u64::from_le_bytes(*eight);
        let mut dashes = places(eight, b'-') | places(eight, b'_');
        while dashes != 0 {
            // At most 63.
            let at = from + dashes.trailing_zeros() as usize / 8;
            if is_beginning(bytes.get(..at).unwrap_or_default()) {
                return true;
            }
            dashes &= dashes - 1;
        }
        false
    };
    let mut eights = eights.iter().enumerate();
    eights.any(|(index, eight)| dashed(8 * index, eight))
        || bytes
            .last_chunk()
            .is_some_and(|last| dashed(bytes.len() - last.len(), last))
}

/// The highest bit of each of eight bytes that is this one.
fn places(eight: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let other = eight ^ (ONES * u64::from(byte));
    !(((other & !HIGH) + !HIGH) | other) & HIGH
}

/// `sk-`, `sk_`, `rk_`, `ghp_` and its kind, `github_`, `glpat-`, `xoxb-` and its kind, `-----BEGIN`.
fn is_beginning(before: &[u8]) -> bool {
    matches!(
        before,
        [.., b'-']
            | [.., b's' | b'r', b'k']
            | [.., b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r']
            | [.., b'i', b't', b'h', b'u', b'b']
            | [.., b'l', b'p', b'a', b't']
            | [.., b'x', b'o', b'x', _]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_of_each_byte_and_of_no_other() {
        for byte in 0..=255_u8 {
            let mut kinds = Kinds::default();
            let mut lanes = [b'x'; LANES];
            lanes[9] = byte;
            kinds.add(&lanes);
            assert_eq!(any(&kinds.marks), b"@%\\".contains(&byte), "{byte}");
            assert_eq!(any(&kinds.capitals), b"AJ".contains(&byte), "{byte}");
            assert_eq!(sum(&kinds.digits), u64::from(byte.is_ascii_digit()));
            assert_eq!(sum(&kinds.colons), u64::from(byte == b':'));
        }
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
            "",
        ] {
            assert!(holds_nothing(text.as_bytes()), "{text}");
        }
    }
}
