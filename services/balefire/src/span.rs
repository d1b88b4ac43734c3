//! Spans of time on the command line: `250ms`, `10s`, `5m`, `1h`, `2d`.

use std::time::Duration;

use balefire_event::Timestamp;

use crate::Failure;

/// Reads a span.
///
/// # Errors
/// A text that says what would do.
pub fn parse(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is no span of time; write it like 250ms, 10s, 5m, 1h or 2d");
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// Nanoseconds of a span, at most those of 292 years.
#[must_use]
pub fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A moment of the past, nanoseconds since 1970: a time, or a span up to now.
///
/// # Errors
/// A text that is neither.
pub fn since(text: &str) -> Result<i64, Failure> {
    match (parse(text), Timestamp::parse(text)) {
        (Ok(span), _) => Ok(balefire_kit::clock::now().minus(nanos(span)).0),
        (_, Ok(time)) => Ok(time.0),
        (Err(_), Err(_)) => {
            let message = "--since takes a span such as 2h or a time such as 2026-02-11T14:30:00Z";
            Err(Failure::Usage(message.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_unit_and_names_the_way_out() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "h", "1", "-1h", "1y", "99999999999999999999h"] {
            assert!(parse(wrong).unwrap_err().contains("5m"), "{wrong}");
        }
    }
}
