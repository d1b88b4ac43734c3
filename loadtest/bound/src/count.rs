//! The four rules of the baseline pack, counted by the shortest way there is.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::size_of;

use serde::Deserialize;

const SECOND: i64 = 1_000;
/// A user's blocks: more than ten within five minutes, told once in five.
const BLOCKS: usize = 10;
const BLOCKS_MS: i64 = 300 * SECOND;
/// A user's grave flags: more than three within an hour, told once in one.
const FLAGS: usize = 3;
const FLAGS_MS: i64 = 3_600 * SECOND;

/// What the rules read of a record; strings with escapes are not read.
#[derive(Deserialize)]
struct Record<'a> {
    timestamp: &'a str,
    severity: &'a str,
    category: &'a str,
    #[serde(default)]
    user_id: &'a str,
    tool_allowed: Option<bool>,
}

/// Milliseconds since 1970 of `2026-02-11T14:30:00.000Z`, and of nothing that looks otherwise.
fn millis(text: &str) -> Option<i64> {
    let text: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
        b'.',
        f0,
        f1,
        f2,
        b'Z',
    ] = *text
    else {
        return None;
    };
    let digits = |digits: &[u8]| {
        let digit = |sum: i64, byte: &u8| sum * 10 + i64::from(byte.wrapping_sub(b'0'));
        digits.iter().fold(0, digit)
    };
    let (year, month) = (digits(&[y0, y1, y2, y3]), digits(&[m0, m1]));
    // Days from 1970 by the calendar of a year that begins in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leaps + (153 * month + 2) / 5 + digits(&[d0, d1]) - 1 - 719_468;
    let minutes = (days * 24 + digits(&[h0, h1])) * 60 + digits(&[n0, n1]);
    Some((minutes * 60 + digits(&[s0, s1])) * SECOND + digits(&[f0, f1, f2]))
}

/// Times of a key's last `N` events, in the order in which they came.
struct Last<const N: usize> {
    times: [i64; N],
    next: usize,
    /// The slot in which it was told last.
    told: i64,
}

impl<const N: usize> Default for Last<N> {
    fn default() -> Self {
        Self {
            times: [i64::MIN / 2; N],
            next: 0,
            told: i64::MIN,
        }
    }
}

impl<const N: usize> Last<N> {
    /// Whether this one is the first of its slot that makes more than `N` within the time.
    fn breaches(&mut self, t: i64, within: i64) -> bool {
        let Some(place) = self.times.get_mut(self.next) else {
            return false;
        };
        let oldest = std::mem::replace(place, t);
        self.next = (self.next + 1) % N;
        let slot = t.div_euclid(within);
        t - oldest <= within && std::mem::replace(&mut self.told, slot) != slot
    }
}

/// Eight bytes at a time: each key is one string, of a file that we wrote ourselves.
#[derive(Default)]
struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: [u8; 8]) {
        let word = u128::from(self.0 ^ u64::from_le_bytes(word) ^ 0x9e37_79b9_7f4a_7c15);
        let product = word * 0xa076_1d64_78bd_642f;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(*word);
        }
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        self.fold(word);
    }

    /// What ends a string.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

type ByUser<'a, const N: usize> = HashMap<&'a str, Last<N>, BuildHasherDefault<Folded>>;

/// What was counted of some lines.
#[derive(Default)]
pub struct Counts<'a> {
    /// Records.
    pub events: u64,
    /// Alerts: one for each event of the rules without a window, one for each slot of the others.
    pub alerts: u64,
    blocks: ByUser<'a, BLOCKS>,
    flags: ByUser<'a, FLAGS>,
}

impl<'a> Counts<'a> {
    /// Parses and counts lines.
    ///
    /// # Errors
    /// The first line that is no record as `balefire-bound write` makes them.
    pub fn of(mut lines: &'a [u8]) -> Result<Self, String> {
        let mut counts = Self::default();
        while !lines.is_empty() {
            let end = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
            let (line, rest) = lines.split_at(end);
            lines = rest.get(1..).unwrap_or_default();
            let record = sonic_rs::from_slice(line).map_err(|e| e.to_string())?;
            let breach = counts.take(&record);
            counts.events += 1;
            counts.alerts += u64::from(breach.ok_or_else(|| {
                format!(
                    "{}: no time as balefire-bound write makes them",
                    record.timestamp
                )
            })?);
        }
        Ok(counts)
    }

    fn take(&mut self, record: &Record<'a>) -> Option<bool> {
        let t = millis(record.timestamp)?;
        let breach = match record.category {
            "guardrail_block" => {
                let last = self.blocks.entry(record.user_id).or_default();
                last.breaches(t, BLOCKS_MS)
            }
            "judge_flag" if matches!(record.severity, "high" | "critical") => {
                let last = self.flags.entry(record.user_id).or_default();
                last.breaches(t, FLAGS_MS)
            }
            "agent_boundary_violation" => record.tool_allowed == Some(false),
            category => category == "prompt_attack",
        };
        Some(breach)
    }

    /// Bytes that the windows take, as their tables are filled.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let blocks = self.blocks.len() * size_of::<(&str, Last<BLOCKS>)>();
        let flags = self.flags.len() * size_of::<(&str, Last<FLAGS>)>();
        u64::try_from(blocks + flags).unwrap_or(u64::MAX)
    }
}
