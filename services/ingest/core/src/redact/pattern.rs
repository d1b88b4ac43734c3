//! Secrets, e-mail addresses and phone numbers, by pattern.
//!
//! Patterns are linear in the text. A class never contains a bracket, so that no placeholder is
//! ever part of a match.

use std::sync::LazyLock;

use regex::Regex;

use super::{EMAIL, PHONE, SECRET, neighbours, replace};

/// Fewest characters of a bearer token without a digit; words of prose are shorter.
const BEARER_WORD_MAX: usize = 24;
/// Fewest digits of a phone number in international form.
const PHONE_DIGITS: usize = 8;

/// AWS access keys; `sk-` keys (OpenAI, Anthropic); Stripe; JSON web tokens; GitHub; GitLab;
/// Slack; Google; PEM blocks, to their end or the text's.
static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u:\b)(?:",
        r"(?:AKIA|ASIA|AIPA|AGPA|ANPA|AROA)[A-Z0-9]{16}",
        r"|sk-[A-Za-z0-9_-]{16,}",
        r"|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}",
        r"|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?",
        r"|gh[pousr]_[A-Za-z0-9]{20,}",
        r"|github_pat_[A-Za-z0-9_]{20,}",
        r"|glpat-[A-Za-z0-9_-]{16,}",
        r"|xox[a-z]-[A-Za-z0-9-]{10,}",
        r"|AIza[A-Za-z0-9_-]{35}",
        r")",
        r"|-----BEGIN [A-Z0-9 ]+-----(?s:.*?)(?:-----END [A-Z0-9 ]+-----|\z)",
        r"|(?i:(?-u:\b)bearer\s+)(?<token>[A-Za-z0-9._~+/=-]{8,})",
    ))
    .expect("a constant pattern")
});

static EMAILS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\w.%+'-]+(?:@|%40)[\w-]+(?:\.[\w-]+)*\.\p{L}{2,}").expect("a constant pattern")
});

/// International with a plus, or North American 3-3-4 with separators.
static PHONES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?-u)\+[1-9][0-9]{0,2}(?:[ ./-]?\(?[0-9]{1,12}\)?){1,6}",
        r"|(?:1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}",
    ))
    .expect("a constant pattern")
});

pub(super) fn secrets(text: &str) -> Option<String> {
    let mut ranges = Vec::new();
    for found in SECRETS.captures_iter(text) {
        let range = match found.name("token") {
            Some(token) if opaque(token.as_str()) => token.range(),
            Some(_) => continue,
            None => match found.get(0) {
                Some(whole) => whole.range(),
                None => continue,
            },
        };
        ranges.push((range, SECRET));
    }
    replace(text, &ranges)
}

/// A bearer token rather than a word after "bearer".
fn opaque(token: &str) -> bool {
    token.len() > BEARER_WORD_MAX || token.bytes().any(|byte| byte.is_ascii_digit())
}

pub(super) fn emails(text: &str) -> Option<String> {
    let ranges: Vec<_> = EMAILS
        .find_iter(text)
        .map(|found| (found.range(), EMAIL))
        .collect();
    replace(text, &ranges)
}

pub(super) fn phones(text: &str) -> Option<String> {
    let mut ranges = Vec::new();
    for found in PHONES.find_iter(text) {
        let digits = found.as_str().bytes().filter(u8::is_ascii_digit).count();
        let (before, after) = neighbours(text, found.start(), found.end());
        let part_of_more = before.is_ascii_alphanumeric() || after.is_ascii_alphanumeric();
        if digits >= PHONE_DIGITS && !part_of_more {
            ranges.push((found.range(), PHONE));
        }
    }
    replace(text, &ranges)
}
