//! Time: integer nanoseconds since 1970, UTC. Nobody reads a clock here.

/// A point in time, nanoseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Timestamp(pub i64);

/// Nanoseconds of a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds of a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;

/// Bytes of a time as text.
pub const TEXT_LEN: usize = 30;

/// Text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time; expected RFC 3339 with an offset, such as 2026-02-11T14:30:00Z")]
pub struct MalformedTime;

impl Timestamp {
    /// Before every time.
    pub const MIN: Self = Self(i64::MIN);
    /// After every time.
    pub const MAX: Self = Self(i64::MAX);

    /// Later by `nanos`, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn plus(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Earlier by `nanos`, at least [`Timestamp::MIN`].
    #[must_use]
    pub const fn minus(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    /// Nanoseconds since `earlier`; negative where it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 with an offset; "Z", "+01:00", lower-case and a space for "T" do.
    ///
    /// # Errors
    /// Anything else, and times before 1678 or after 2262.
    pub fn parse(text: &str) -> Result<Self, MalformedTime> {
        let parsed: jiff::Timestamp = text.trim().parse().map_err(|_| MalformedTime)?;
        i64::try_from(parsed.as_nanosecond())
            .map(Self)
            .map_err(|_| MalformedTime)
    }

    /// RFC 3339, UTC, always nine decimals: sorts as text.
    #[must_use]
    pub fn text(self) -> [u8; TEXT_LEN] {
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let of_day = self.0.div_euclid(SECOND).rem_euclid(DAY_SECONDS);
        let (year, month, day) = civil(self.0.div_euclid(SECOND).div_euclid(DAY_SECONDS));
        let mut rest = text.as_mut_slice();
        for (number, digits) in [
            (year, 4),
            (month, 2),
            (day, 2),
            (of_day / 3600, 2),
            (of_day / 60 % 60, 2),
            (of_day % 60, 2),
            (self.0.rem_euclid(SECOND), 9),
        ] {
            // None of them has more digits.
            let mut number = u32::try_from(number).unwrap_or(0);
            let Some((place, behind)) = rest.split_at_mut_checked(digits) else {
                break;
            };
            for digit in place.iter_mut().rev() {
                *digit += u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
            // The sign behind it stays.
            rest = behind.get_mut(1..).unwrap_or_default();
        }
        text
    }
}

const DAY_SECONDS: i64 = 86_400;

/// Year, month and day of a number of days since 1970, in the Gregorian calendar: years begin in
/// March, so that a leap day is their last.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let (month, next) = match march {
        0..=9 => (march + 3, 0),
        _ => (march - 9, 1),
    };
    (year + era * 400 + next, month, day)
}

impl std::fmt::Display for Timestamp {
    /// [`Timestamp::text`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl std::fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_jiff(time: Timestamp) -> String {
        let time = jiff::Timestamp::from_nanosecond(i128::from(time.0)).unwrap();
        format!("{time:.9}")
    }

    proptest::proptest! {
        #[test]
        fn every_time_is_what_jiff_writes(nanos: i64, day in -97_000_i64..97_000) {
            for time in [nanos, day * 86_400 * SECOND, day * 86_400 * SECOND - 1] {
                proptest::prop_assert_eq!(Timestamp(time).to_string(), by_jiff(Timestamp(time)));
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_what_jiff_writes() {
        for time in [Timestamp::MIN, Timestamp::MAX, Timestamp(0), Timestamp(-1)] {
            assert_eq!(time.to_string(), by_jiff(time));
        }
        // Every day of 400 years and more.
        for day in -97_000_i64..97_000 {
            let time = Timestamp(day * 86_400 * SECOND);
            assert_eq!(time.to_string(), by_jiff(time));
        }
    }

    #[test]
    fn reads_and_writes_rfc_3339() {
        let time = Timestamp::parse("2026-02-11T14:30:00Z").unwrap();
        assert_eq!(time.0, 1_770_820_200 * SECOND);
        assert_eq!(time.to_string(), "2026-02-11T14:30:00.000000000Z");
        assert_eq!(
            Timestamp::parse("2026-02-11T15:30:00.000000001+01:00")
                .unwrap()
                .0,
            time.0 + 1
        );
        assert_eq!(Timestamp::parse("2026-02-11 14:30"), Err(MalformedTime));
        assert_eq!(Timestamp::parse("yesterday"), Err(MalformedTime));
    }
}
