//! What an ingest is configured by.

use std::collections::BTreeMap;
use std::time::Duration;

use balefire_event::stamp::{ClockPolicy, LATENESS};
use balefire_event::time::{HOUR, MINUTE, SECOND};
use balefire_ingest_core::Source;

use crate::error::Error;

pub use balefire_event::limits::{BATCH_EVENTS_MAX, REQUEST_BYTES_MAX};

/// Bytes of requests that may be on their way into the log.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that may wait for one stream.
pub const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Calls at once.
pub const CALLS_MAX: usize = 512;
/// Messages that the owner of a partition may be behind before bulk is turned away: some ten
/// seconds of full batches.
pub const BULK_LAG_MAX: u64 = 20_000;
/// How long a request may take to arrive.
pub const UPLOAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest lateness bound, nanoseconds.
pub(crate) const LATENESS_MAX: i64 = 31 * 24 * HOUR;

/// Settings of an ingest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// L of sources that declare none, nanoseconds.
    pub lateness: i64,
    /// Declared sources, by name.
    pub sources: BTreeMap<String, Source>,
    /// Bytes of requests on their way into the log; beyond it: RESOURCE_EXHAUSTED.
    pub in_flight_bytes_max: usize,
    /// Bytes that wait for one stream; beyond it: RESOURCE_EXHAUSTED.
    pub queue_bytes_max: usize,
    /// Calls at once; beyond it: RESOURCE_EXHAUSTED.
    pub calls_max: usize,
    /// Messages that the owner of a partition may be behind; beyond it requests of bulk events alone
    /// get RESOURCE_EXHAUSTED.
    pub bulk_lag_max: u64,
    /// How long a request may take to arrive: who sends slowly holds no place for longer.
    pub upload_time_max: Duration,
    /// How often a heartbeat is placed; `None`: none is.
    pub heartbeat: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lateness: LATENESS,
            sources: BTreeMap::new(),
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            calls_max: CALLS_MAX,
            bulk_lag_max: BULK_LAG_MAX,
            upload_time_max: UPLOAD_TIME_MAX,
            heartbeat: None,
        }
    }
}

impl Config {
    /// The clock policy of a source that is not declared.
    #[must_use]
    pub fn clock(&self) -> ClockPolicy {
        ClockPolicy {
            lateness: self.lateness,
            ..ClockPolicy::default()
        }
    }

    /// A source, declared or not.
    #[must_use]
    pub fn source(&self, name: &str) -> Source {
        let undeclared = || Source::undeclared(name, self.clock());
        self.sources.get(name).cloned().unwrap_or_else(undeclared)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |setting, reason| Err(Error::Config { setting, reason });
        if !(SECOND..=LATENESS_MAX).contains(&self.lateness) {
            return refuse(
                "--allowed-lateness",
                "must lie between 1 second and 31 days",
            );
        }
        if self.in_flight_bytes_max < 2 * REQUEST_BYTES_MAX {
            return refuse("--in-flight-bytes", "must hold two requests of 4 MiB");
        }
        if self.calls_max == 0 {
            return refuse("--calls", "must be at least 1");
        }
        Ok(())
    }
}

/// Flags of ingest beside those every service has.
#[derive(Debug, Clone, clap::Args)]
pub struct IngestArgs {
    /// How late an event may be and still count in windows (30s, 15m, 1h, 2d)
    #[arg(long, env = "BALEFIRE_ALLOWED_LATENESS", default_value = "1h", value_parser = span, value_name = "SPAN")]
    pub allowed_lateness: i64,
    /// Bytes of requests that may be on their way into the log; beyond it senders come again
    #[arg(long, env = "BALEFIRE_IN_FLIGHT_BYTES", default_value_t = IN_FLIGHT_BYTES_MAX, value_name = "BYTES")]
    pub in_flight_bytes: usize,
    /// gRPC calls at once
    #[arg(long, env = "BALEFIRE_CALLS", default_value_t = CALLS_MAX, value_name = "COUNT")]
    pub calls: usize,
    /// Batches that the owner of a partition may be behind; beyond it bulk events are turned away,
    /// urgent and normal ones are not
    #[arg(long, env = "BALEFIRE_BULK_LAG_MAX", default_value_t = BULK_LAG_MAX, value_name = "COUNT")]
    pub bulk_lag_max: u64,
}

impl IngestArgs {
    /// The configuration they make.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            lateness: self.allowed_lateness,
            in_flight_bytes_max: self.in_flight_bytes,
            calls_max: self.calls,
            bulk_lag_max: self.bulk_lag_max,
            ..Config::default()
        }
    }
}

/// Reads a span such as `90s`, in nanoseconds.
fn span(text: &str) -> Result<i64, &'static str> {
    let wanted = "expected a number and s, m, h or d, such as 1h";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("s") => SECOND,
        Some("m") => MINUTE,
        Some("h") => HOUR,
        Some("d") => 24 * HOUR,
        Some(_) | None => return Err(wanted),
    };
    let count: i64 = digits.parse().map_err(|_| wanted)?;
    count.checked_mul(unit).ok_or("too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        assert_eq!(span("90s"), Ok(90 * SECOND));
        assert_eq!(span("2d"), Ok(48 * HOUR));
        for bad in ["", "1", "h", "1.5h", "1 h", "1w", "99999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_that_cannot_run_is_refused() {
        assert!(Config::default().check().is_ok());
        let too_long = Config {
            lateness: 32 * 24 * HOUR,
            ..Config::default()
        };
        assert!(too_long.check().is_err());
    }
}
