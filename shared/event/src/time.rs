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
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339, UTC, always nine decimals: sorts as text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{time:.9}")
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
