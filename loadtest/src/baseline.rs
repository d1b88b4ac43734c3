//! The ratio to the bare broker that later runs are held to. A ratio, not a time: it says what the
//! product costs on top of what the broker costs on the same machine.

use std::path::Path;

use balefire_loadtest_core::report::Report;
use balefire_loadtest_core::verdict::Check;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A ratio may grow by so much.
const GROWTH_MAX: f64 = 1.3;
/// Fewer pairs say nothing: single ones ranged from 0.6 to 2.3 for the same thing.
const PAIRS_MIN: usize = 3;

/// What is kept, as TOML.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Median over the pairs of the product's p50 to the hop's.
    pub p50_ratio: f64,
    /// The same of the p99; kept to be read, not held: it takes more samples than a short run has.
    pub p99_ratio: f64,
    /// Pairs it was taken from.
    pub pairs: usize,
    /// Escalations of all of them.
    pub escalations: u64,
    /// Revision of the checkout.
    pub commit: String,
    /// Number and model.
    pub cpu: String,
}

impl Baseline {
    /// Of a report.
    ///
    /// # Errors
    /// It has fewer than three pairs.
    pub fn of(report: &Report, path: &Path) -> Result<Self, Error> {
        let few = || Error::Malformed {
            path: path.to_path_buf(),
            reason: format!("a baseline takes {PAIRS_MIN} pairs, this run has fewer"),
        };
        let (p50_ratio, p99_ratio) = report.ratios().ok_or_else(few)?;
        if report.pairs.len() < PAIRS_MIN {
            return Err(few());
        }
        Ok(Self {
            p50_ratio,
            p99_ratio,
            pairs: report.pairs.len(),
            escalations: report.pairs.iter().map(|pair| pair.escalations).sum(),
            commit: report.machine.commit.clone(),
            cpu: report.machine.cpu.clone(),
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// The file is not there, or is not one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            path: path.to_path_buf(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| Error::Malformed {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = toml::to_string(self).map_err(|error| Error::Malformed {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })?;
        std::fs::write(path, text).map_err(|source| Error::File {
            path: path.to_path_buf(),
            source,
        })
    }

    /// Holds a report to it: the median p50 ratio may grow by 30 %.
    #[must_use]
    pub fn hold(&self, report: &Report) -> Check {
        let now = report.ratios().map(|(p50, _)| p50);
        let now = now.filter(|_| report.pairs.len() >= PAIRS_MIN);
        Check {
            name: "the p50 ratio to the bare broker grew by at most 30 %".to_owned(),
            passed: now.is_some_and(|now| now <= self.p50_ratio * GROWTH_MAX),
            detail: now.map_or_else(
                || format!("fewer than {PAIRS_MIN} pairs, nothing to compare"),
                |now| format!("{now:.2} × now, {:.2} × before", self.p50_ratio),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_loadtest_core::report::Pair;

    fn report(ratios: &[f64]) -> Report {
        let pair = |ratio: &f64| Pair {
            escalations: 300,
            messages: 2_000,
            streams: 4,
            product_p50_ms: 2.0 * ratio,
            product_p99_ms: 4.0 * ratio,
            log_p50_ms: 1.0,
            log_p99_ms: 2.0,
            hop_p50_ms: 2.0,
            hop_p99_ms: 4.0,
            load: None,
        };
        Report {
            pairs: ratios.iter().map(pair).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn thirty_percent_more_fails_and_one_odd_pair_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.toml");
        let before = Baseline::of(&report(&[2.0, 2.0, 2.0]), &path).unwrap();
        before.write(&path).unwrap();
        let before = Baseline::read(&path).unwrap();
        assert!(before.hold(&report(&[2.0, 2.5, 9.0])).passed);
        assert!(!before.hold(&report(&[2.7, 2.7, 1.0])).passed);
    }

    #[test]
    fn two_pairs_are_neither_a_baseline_nor_a_comparison() {
        let path = Path::new("nowhere");
        let good = Baseline::of(&report(&[2.0; 3]), path).unwrap();
        assert!(Baseline::of(&report(&[2.0; 2]), path).is_err());
        assert!(!good.hold(&report(&[2.0; 2])).passed);
        assert!(!good.hold(&Report::default()).passed);
    }
}
