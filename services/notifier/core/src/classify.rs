//! What an HTTP answer means for a delivery.

use balefire_event::Timestamp;
use balefire_event::time::SECOND;

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// Reads a status and, where there is one, the Retry-After header. Redirects are not followed and
/// count as refusals. 408, 425, 429 and every 5xx are worth another attempt.
#[must_use]
pub fn classify(status: u16, retry_after: Option<&str>, now: Timestamp) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry {
            after: retry_after.and_then(|text| parse_retry_after(text, now)),
        },
        _ => Verdict::Permanent,
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
