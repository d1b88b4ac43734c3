//! What came of one call, and what went wrong in words that hold no secret and no control
//! character.

use balefire_notifier_core::classify::Verdict;

use crate::guard::Refused;

/// Of an error text so much is kept, bytes.
pub const ERROR_BYTES_MAX: usize = 512;

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it means.
    pub verdict: Verdict,
    /// HTTP status; 0: none was received.
    pub status: u16,
    /// What went wrong; empty: nothing.
    pub error: String,
    /// What the receiver calls it, where that is needed later. Empty: it is not.
    pub handle: String,
}

impl Reply {
    /// A verdict, and nothing that the receiver said.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            status: 0,
            error: String::new(),
            handle: String::new(),
        }
    }
}

pub(crate) fn refused(refusal: &Refused) -> Reply {
    Reply {
        error: clip(refusal.to_string()),
        ..Reply::of(Verdict::Permanent)
    }
}

pub(crate) fn again(error: &str) -> Reply {
    Reply {
        error: clip(printable(error)),
        ..Reply::of(Verdict::Retry { after: None })
    }
}

/// No answer: worth another attempt, unless the address is refused. The URL is left out: it may
/// hold a token.
pub(crate) fn failed(error: reqwest::Error) -> Reply {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(refusal) = cause.downcast_ref::<Refused>() {
            return refused(refusal);
        }
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_timeout() {
        text.push_str(" (no answer in time)");
    }
    again(&text)
}

pub(crate) fn printable(text: &str) -> String {
    let clean = text.replace(|c: char| c.is_control(), " ");
    clean.trim().to_owned()
}

pub(crate) fn clip(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let mut end = ERROR_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(clip("é".repeat(400)).len(), ERROR_BYTES_MAX);
        assert_eq!(printable("a\r\nb\u{1b}[31m"), "a  b [31m");
    }
}
