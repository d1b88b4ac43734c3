//! Whether a text could hold anything at all: one pass over its bytes, so that most texts are
//! passed on without a look by any pattern.

use std::sync::LazyLock;

use regex::Regex;

/// What a text shows signs of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signs {
    pub(super) email: bool,
    pub(super) card: bool,
    pub(super) phone: bool,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
    pub(super) secret: bool,
}

/// Fewest digits of a card number.
const CARD_DIGITS: usize = 13;
/// Fewest digits of a phone number.
const PHONE_DIGITS: usize = 8;
/// Shortest text that a secret fits in, bytes.
const SECRET_BYTES: usize = 14;

static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)A[KSIRGN][IPN]A|AROA|AIza|[sr]k[-_]|eyJ|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|-----BEGIN|(?i:bearer)",
    )
    .expect("a constant pattern")
});

/// Whether two neighbours are the beginning of something that [`PREFIX`] finds: most texts have
/// none, and looking costs less than the pattern does.
fn begins(text: &str) -> bool {
    let begin = |pair: &[u8; 2]| {
        matches!(
            pair,
            [b'A', b'K' | b'S' | b'I' | b'R' | b'G' | b'N']
                | [b's' | b'r', b'k']
                | [b'e', b'y']
                | [b'g', b'h' | b'i' | b'l']
                | [b'x', b'o']
                | [b'-', b'-']
                | [b'b' | b'B', b'e' | b'E']
        )
    };
    text.as_bytes().array_windows().any(begin)
}

impl Signs {
    pub(super) fn of(text: &str) -> Self {
        let (mut digits, mut dots, mut colons, mut ats, mut percents) = (0, 0, 0, 0, 0);
        for byte in text.bytes() {
            digits += usize::from(byte.is_ascii_digit());
            dots += usize::from(byte == b'.');
            colons += usize::from(byte == b':');
            ats += usize::from(byte == b'@');
            percents += usize::from(byte == b'%');
        }
        Self {
            email: ats + percents > 0 && dots > 0,
            card: digits >= CARD_DIGITS,
            phone: digits >= PHONE_DIGITS,
            ipv4: dots >= 3 && digits >= 4,
            ipv6: colons >= 2,
            secret: text.len() >= SECRET_BYTES && begins(text) && PREFIX.is_match(text),
        }
    }

    /// Whether a pattern has to look at all.
    pub(super) const fn any(self) -> bool {
        self.email || self.card || self.phone || self.ipv4 || self.ipv6 || self.secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_pattern_finds_begins_like_it(
            before in "[ -~]{0,6}",
            prefix in "A[KSIRGN][IPN]A|AROA|AIza|[sr]k[-_]|eyJ|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|-----BEGIN|[bB][eE][aA][rR][eE][rR]",
            text in "[ -~]{0,20}",
        ) {
            let shown = format!("{before}{prefix}{text}");
            prop_assert!(PREFIX.is_match(&shown) && begins(&shown));
            prop_assert!(!PREFIX.is_match(&text) || begins(&text));
        }
    }
}
