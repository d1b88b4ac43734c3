//! Times as vendors write them.

use balefire_event::Timestamp;
use serde_json::Value;

use super::view::text;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads RFC 3339 (UTC where it has no offset), the Common Log Format, or a number since 1970:
/// seconds, milli-, micro- or nanoseconds by how many digits it has.
#[must_use]
pub fn of(value: &Value) -> Option<Timestamp> {
    let said = text(value)?;
    if said
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return epoch(&said);
    }
    Timestamp::parse(&said)
        .or_else(|_| Timestamp::parse(&format!("{said}Z")))
        .ok()
        .or_else(|| common_log(&said))
}

/// By the digits themselves: a binary fraction would round.
fn epoch(said: &str) -> Option<Timestamp> {
    let (whole, fraction) = said.split_once('.').unwrap_or((said, ""));
    let unit_digits: usize = match whole.len() {
        1..=11 => 9,
        12..=14 => 6,
        15..=17 => 3,
        18 | 19 => 0,
        _ => return None,
    };
    let mut digits = format!("{whole}{fraction}");
    digits.truncate(whole.len() + unit_digits);
    while digits.len() < whole.len() + unit_digits {
        digits.push('0');
    }
    digits.parse().ok().map(Timestamp)
}

/// `22/Nov/2026:10:30:00 +0000`.
fn common_log(said: &str) -> Option<Timestamp> {
    let (moment, offset) = said.trim_matches(['[', ']']).split_once(' ')?;
    let (day, clock) = moment.split_once(':')?;
    let mut parts = day.split('/');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (hours, minutes) = offset.split_at_checked(3)?;
    Timestamp::parse(&format!("{year}-{month:02}-{day}T{clock}{hours}:{minutes}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_vendors_spelling_is_the_same_moment() {
        let second = Timestamp::parse("2026-11-22T10:30:00Z").unwrap();
        for said in [
            json!("2026-11-22T10:30:00Z"),
            json!("2026-11-22 10:30:00"),
            json!("2026-11-22T10:30:00.0000000Z"),
            json!("22/Nov/2026:10:30:00 +0000"),
            json!("22/Nov/2026:11:30:00 +0100"),
            json!(1_795_343_400),
            json!(1_795_343_400_000_u64),
            json!("1795343400000000000"),
        ] {
            assert_eq!(of(&said), Some(second), "{said}");
        }
        let micro = of(&json!(1_795_343_400.410914)).unwrap();
        assert_eq!(micro.since(second), 410_914_000);
        for none in [
            json!("yesterday"),
            json!(""),
            json!(true),
            json!("1.2.3"),
            json!("."),
        ] {
            assert_eq!(of(&none), None, "{none}");
        }
    }
}
