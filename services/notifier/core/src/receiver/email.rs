//! E-mail over SMTP. Dedup: `Message-ID` is made of the escalation's id and the same for every
//! attempt; who has the message already is not sent it again. Updates: `In-Reply-To` and
//! `References` name the first of the episode, so that clients show one thread. Resolve: a message
//! of its own, where `updates` is on.

use balefire_event::time::SECOND;
use balefire_event::{EscalationKind, Timestamp};
use serde::Deserialize;

use super::{Call, Method};
use crate::record::Notice;
use crate::story::{Story, clip, line};
use crate::view::View;

/// Most recipients.
pub const RECIPIENTS_MAX: usize = 16;
/// Longest address, bytes.
const ADDRESS_BYTES_MAX: usize = 254;
/// Longest subject, characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// Longest text, characters.
const TEXT_CHARS_MAX: usize = 32_000;
/// Bytes of one encoded word: 45 are 60 of base64, which stays under the 75 of RFC 2047.
const WORD_BYTES_MAX: usize = 45;
/// Bytes of a line of base64, before encoding.
const LINE_BYTES: usize = 57;

/// Configuration of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who sends: an address.
    pub from: String,
    /// Who gets it: addresses, separated by commas.
    pub to: String,
}

impl Config {
    /// The recipients.
    #[must_use]
    pub fn recipients(&self) -> Vec<&str> {
        let all = self.to.split(',').map(str::trim);
        all.filter(|address| !address.is_empty()).collect()
    }

    /// What is wrong with it, in words; `None`: nothing.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if !is_address(&self.from) {
            return Some(format!("from {:?} is no address", self.from));
        }
        let all = self.recipients();
        if let Some(wrong) = all.iter().find(|address| !is_address(address)) {
            return Some(format!("to {wrong:?} is no address"));
        }
        let fits = (1..=RECIPIENTS_MAX).contains(&all.len());
        (!fits).then(|| format!("to names 1 to {RECIPIENTS_MAX} addresses"))
    }

    fn domain(&self) -> &str {
        let (_, domain) = self.from.rsplit_once('@').unwrap_or(("", "balefire"));
        domain
    }
}

/// Of printable ASCII without what ends an address in SMTP or in a header.
fn is_address(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&byte);
    text.len() <= ADDRESS_BYTES_MAX
        && text.bytes().all(plain)
        && text.split_once('@').is_some_and(|(name, domain)| {
            !name.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
}

/// The whole message, with CRLF. Only ASCII, whatever it says.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Call {
    let (record, story) = (view.record(), Story::of(view));
    let domain = config.domain();
    let first = record.kind == EscalationKind::Raised;
    let mut head = vec![
        ("From", config.from.clone()),
        ("To", config.recipients().join(", ")),
        ("Subject", words(&clip(&story.headline, SUBJECT_CHARS_MAX))),
        ("Date", date(record.received_at)),
        ("Message-ID", format!("<{}@{domain}>", message_name(view))),
    ];
    if !first {
        let thread = format!("<{}@{domain}>", record.episode_id);
        head.push(("In-Reply-To", thread.clone()));
        head.push(("References", thread));
    }
    head.extend([
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Transfer-Encoding", "base64".to_owned()),
    ]);
    let mut message = String::new();
    for (name, value) in head {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    message.push_str("\r\n");
    let text = story.text(TEXT_CHARS_MAX).replace('\n', "\r\n");
    for chunk in text.as_bytes().chunks(LINE_BYTES) {
        message.push_str(&base64(chunk));
        message.push_str("\r\n");
    }
    Call {
        method: Method::Post,
        path: String::new(),
        content_type: "message/rfc822",
        body: message.into_bytes(),
    }
}

/// The left part of a record's Message-ID. That of what raised an episode is the episode's.
fn message_name(view: &View) -> String {
    let record = view.record();
    let id = record.escalation_id;
    match Notice::about(record) {
        Notice::First => id.to_string(),
        Notice::Amended(revision) => format!("{id}.amended.{revision}"),
        Notice::Closed(revision) => format!("{id}.closed.{revision}"),
    }
}

/// A header's text as encoded words (RFC 2047), folded: one for so many bytes, none cut within a
/// character.
fn words(text: &str) -> String {
    let text = line(text);
    let mut all: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD_BYTES_MAX {
            all.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    all.push(word);
    let encoded = all
        .iter()
        .map(|word| format!("=?UTF-8?B?{}?=", base64(word.as_bytes())));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for (index, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from((bits >> shift) & 63).ok();
            let digit = digit.and_then(|digit| DIGITS.get(digit));
            let there = index <= chunk.len();
            text.push(if there {
                digit.map_or('=', |d| char::from(*d))
            } else {
                '='
            });
        }
    }
    text
}

/// As RFC 5322 writes a time: "Wed, 11 Feb 2026 14:30:00 +0000".
fn date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = at.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or("00");
    let days = at.0.div_euclid(24 * 3600 * SECOND).rem_euclid(7);
    let day = usize::try_from(days).ok().and_then(|day| DAYS.get(day));
    let month = part(5, 7).parse::<usize>().ok();
    let month = month.and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    format!(
        "{}, {} {} {} {} +0000",
        day.unwrap_or(&"Thu"),
        part(8, 10),
        month.unwrap_or(&"Jan"),
        part(0, 4),
        part(11, 19)
    )
}

/// What one recipient came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Who.
    pub address: String,
    /// The code of the answer that decided; 0: none came.
    pub code: u16,
    /// What it said.
    pub text: String,
}

impl Told {
    const fn has(&self) -> bool {
        matches!(self.code, 200..=299)
    }

    const fn is_refused(&self) -> bool {
        matches!(self.code, 500..=599)
    }
}

/// What a whole attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it means.
    pub verdict: crate::classify::Verdict,
    /// What went wrong, in words. Empty: nothing.
    pub error: String,
    /// The message and who has it, for the next attempt. Empty: nobody has.
    pub handle: String,
}

/// Who does not have a message yet, of the handle of an attempt before.
#[must_use]
pub fn still<'c>(config: &'c Config, view: &View, handle: &str) -> Vec<&'c str> {
    let name = message_name(view);
    let mut had = handle.split(' ');
    let same = had.next() == Some(name.as_str());
    let had: Vec<&str> = had.filter(|_| same).collect();
    let all = config.recipients().into_iter();
    all.filter(|address| !had.contains(address)).collect()
}

/// Sums up what recipients came to. Where one must be tried again the message is, for those alone;
/// where some refused for good the delivery is refused, and says who has it.
#[must_use]
pub fn outcome(config: &Config, view: &View, handle: &str, told: &[Told]) -> Outcome {
    use crate::classify::Verdict;
    let open = still(config, view, handle);
    let all = config.recipients();
    let before = all
        .iter()
        .filter(|address| !open.contains(address))
        .copied();
    let now = told
        .iter()
        .filter(|one| one.has())
        .map(|one| one.address.as_str());
    let have: Vec<&str> = before.chain(now).collect();
    let missing: Vec<&Told> = told.iter().filter(|one| !one.has()).collect();
    let verdict = if missing.is_empty() {
        Verdict::Delivered
    } else if missing.iter().all(|one| one.is_refused()) {
        Verdict::Permanent
    } else {
        Verdict::Retry { after: None }
    };
    let mut error: Vec<String> = missing
        .iter()
        .map(|one| format!("{}: {} {}", one.address, one.code, line(&one.text)))
        .collect();
    if !error.is_empty() && !have.is_empty() {
        error.push(format!("told: {}", have.join(", ")));
    }
    let handle = match have.is_empty() || missing.is_empty() {
        true => String::new(),
        false => format!("{} {}", message_name(view), have.join(" ")),
    };
    Outcome {
        verdict,
        error: error.join("; "),
        handle,
    }
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
