//! Hours of the week as people write them: `mon-fri 08:00-18:00 +01:00`. The offset from UTC stands
//! there in numbers: a clock that changes in summer needs two objects, or a wider stretch.

use balefire_event::Timestamp;
use balefire_event::time::MINUTE;

/// Minutes of a day.
const DAY: i64 = 24 * 60;
/// Furthest that a zone is from UTC, minutes.
const OFFSET_MAX: i64 = 14 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A stretch of hours on some days of every week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    text: String,
    /// Monday first: on which days it begins.
    days: [bool; 7],
    /// Minutes since midnight; the end may lie on the next day.
    from: i64,
    until: i64,
    /// Minutes ahead of UTC.
    offset: i64,
}

impl Hours {
    /// Reads `[DAYS ]HH:MM-HH:MM[ OFFSET]`; `None`: that is not what it is. DAYS are names of three
    /// letters, `mon-fri` or `sat,sun`; absent: every day. OFFSET is `+01:00`; absent: UTC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
        let offset = match words.last()?.split_at_checked(1) {
            Some(("+", offset)) => clock(offset)?,
            Some(("-", offset)) => -clock(offset)?,
            Some(_) | None => 0,
        };
        if words.last()?.starts_with(['+', '-']) {
            words.pop();
        }
        let (days, stretch) = match words.as_slice() {
            [stretch] => ([true; 7], *stretch),
            [days, stretch] => (of_week(days)?, *stretch),
            _ => return None,
        };
        let (from, until) = stretch.split_once('-')?;
        let (from, mut until) = (clock(from)?, clock(until)?);
        if until <= from {
            until += DAY;
        }
        let good = from < DAY && offset.abs() <= OFFSET_MAX;
        good.then(|| Self {
            text: text.to_owned(),
            days,
            from,
            until,
            offset,
        })
    }

    /// Whether it is such an hour.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let minutes = at.0.div_euclid(MINUTE) + self.offset;
        let minute = minutes.rem_euclid(DAY);
        // 1970 began on a Thursday.
        let day = (minutes.div_euclid(DAY) + 3).rem_euclid(7);
        self.holds(day, minute) || self.holds((day + 6).rem_euclid(7), minute + DAY)
    }

    fn holds(&self, day: i64, minute: i64) -> bool {
        let begins = usize::try_from(day).ok().and_then(|day| self.days.get(day));
        begins == Some(&true) && (self.from..self.until).contains(&minute)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Minutes of `HH:MM`, up to 24:00.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY).then_some(all)
}

fn of_week(text: &str) -> Option<[bool; 7]> {
    let place = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (place(first)?, place(last)?);
        loop {
            *days.get_mut(day)? = true;
            if day == last {
                break;
            }
            day = (day + 1) % DAYS.len();
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn holds(hours: &str, time: &str) -> bool {
        Hours::parse(hours).unwrap().contains(at(time))
    }

    #[test]
    fn a_working_day_has_its_days_its_hours_and_its_zone() {
        // 2026-02-11 is a Wednesday.
        let office = "mon-fri 08:00-18:00 +01:00";
        for (time, is) in [
            ("2026-02-11T07:00:00Z", true),
            ("2026-02-11T06:59:59Z", false),
            ("2026-02-11T16:59:59Z", true),
            ("2026-02-11T17:00:00Z", false),
            ("2026-02-14T10:00:00Z", false),
            ("2026-02-15T23:30:00Z", false),
            ("2026-02-16T07:30:00Z", true),
        ] {
            assert_eq!(holds(office, time), is, "{time}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = "fri 22:00-06:00";
        assert!(holds(night, "2026-02-13T22:00:00Z"));
        assert!(holds(night, "2026-02-14T05:59:00Z"));
        assert!(!holds(night, "2026-02-13T05:00:00Z"), "that of Thursday");
        assert!(!holds(night, "2026-02-14T22:30:00Z"));
        assert!(holds("00:00-24:00", "1969-12-31T23:59:59Z"));
        assert!(holds("sat,sun 00:00-24:00", "2026-02-15T12:00:00Z"));
        assert!(holds("sat-mon 10:00-11:00 -05:00", "2026-02-16T15:30:00Z"));
        assert!(!holds("sat-mon 10:00-11:00", "2026-02-17T10:30:00Z"));
    }

    #[test]
    fn what_is_no_stretch_of_hours_is_refused() {
        for text in [
            "",
            "always",
            "8-18",
            "08:00",
            "08:00-18:60",
            "24:01-25:00",
            "24:00-24:00",
            "mon",
            "monday 08:00-18:00",
            "mon- 08:00-18:00",
            "08:00-18:00 +15:00",
            "08:00-18:00 CET",
            "mon tue 08:00-18:00",
            "08:00-18:00 +1:00",
        ] {
            assert_eq!(Hours::parse(text), None, "{text}");
        }
    }
}
