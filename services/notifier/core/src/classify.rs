//! What an answer of a receiver means for a delivery. Each kind of receiver reads its own
//! (`receiver/`); what HTTP itself says is read here.

use balefire_event::Timestamp;
use balefire_event::time::SECOND;

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Worth another attempt, not before `after` (nanoseconds from now) where it is said.
    Retry {
        /// What the receiver asked for.
        after: Option<i64>,
    },
    /// No attempt will do better.
    Permanent,
    /// The credential ran out: the shell gets a new one where it can, and tries again.
    AuthExpired,
    /// A batch went in parts: what each item came to, in the order they were sent.
    Partial(Vec<Item>),
}

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// The receiver has it.
    Delivered,
    /// Worth another attempt.
    Retry {
        /// What the receiver asked for, nanoseconds from now.
        after: Option<i64>,
    },
    /// No attempt will do better.
    Permanent,
}

impl Verdict {
    /// What it means for a delivery that was sent alone. Of several items the one that needs
    /// another attempt counts, then the one that was refused.
    #[must_use]
    pub fn alone(&self) -> Item {
        match self {
            Self::Delivered => Item::Delivered,
            Self::Retry { after } => Item::Retry { after: *after },
            Self::Permanent => Item::Permanent,
            Self::AuthExpired => Item::Retry { after: None },
            Self::Partial(items) => {
                let open = items
                    .iter()
                    .find(|item| matches!(item, Item::Retry { .. }))
                    .or_else(|| items.iter().find(|item| **item == Item::Permanent));
                open.copied().unwrap_or(Item::Delivered)
            }
        }
    }
}

/// An answer as a receiver's classifier gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// HTTP status.
    pub status: u16,
    /// What Retry-After asked for, nanoseconds from now.
    pub retry_after: Option<i64>,
    /// The first 4 KiB of the body.
    pub body: &'a [u8],
}

impl Response<'_> {
    /// What the status alone says. 408, 425, 429 and every 5xx are worth another attempt;
    /// redirects are not followed and count as refusals.
    #[must_use]
    pub fn by_status(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Delivered,
            408 | 425 | 429 | 500..=599 => self.again(),
            _ => Verdict::Permanent,
        }
    }

    /// Another attempt, when the receiver asked for it.
    #[must_use]
    pub fn again(&self) -> Verdict {
        Verdict::Retry {
            after: self.retry_after,
        }
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.body).unwrap_or_default()
    }
}

/// Seconds, or an HTTP date ("Sun, 06 Nov 1994 08:49:37 GMT"), as nanoseconds from now; a date in
/// the past is 0. `None` where it is neither.
#[must_use]
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<i64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse::<i64>().unwrap_or(i64::MAX);
        return Some(seconds.saturating_mul(SECOND));
    }
    Some(http_date(text)?.since(now).max(0))
}

fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    if words.next() != Some("GMT") || words.next().is_some() {
        return None;
    }
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(784_111_777 * SECOND);

    fn classify(status: u16, retry_after: Option<&str>, now: Timestamp) -> Verdict {
        let retry_after = retry_after.and_then(|text| parse_retry_after(text, now));
        Response {
            status,
            retry_after,
            body: b"",
        }
        .by_status()
    }

    #[test]
    fn a_batch_of_one_is_read_by_its_worst_item() {
        let retry = Item::Retry { after: Some(1) };
        for (items, alone) in [
            (vec![], Item::Delivered),
            (vec![Item::Delivered], Item::Delivered),
            (vec![Item::Delivered, Item::Permanent], Item::Permanent),
            (vec![Item::Permanent, retry], retry),
        ] {
            assert_eq!(Verdict::Partial(items).alone(), alone);
        }
        assert_eq!(Verdict::AuthExpired.alone(), Item::Retry { after: None });
    }

    #[test]
    fn only_success_is_delivery() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(classify(status, None, NOW), Verdict::Delivered);
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 409, 410, 413, 422, 600] {
            assert_eq!(classify(status, None, NOW), Verdict::Permanent, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(
                classify(status, None, NOW),
                Verdict::Retry { after: None },
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text| parse_retry_after(text, NOW);
        assert_eq!(read("120"), Some(120 * SECOND));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("99999999999999999999999"), Some(i64::MAX));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10 * SECOND));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:30 GMT"), Some(0));
        for text in ["", "-1", "soon", "Sun, 06 Nov 1994", "1.5", "Sun, x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_does_not_read_the_header() {
        assert_eq!(classify(400, Some("1"), NOW), Verdict::Permanent);
        assert_eq!(
            classify(503, Some("2"), NOW),
            Verdict::Retry {
                after: Some(2 * SECOND)
            }
        );
    }
}
