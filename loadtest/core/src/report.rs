//! What a load test tells: figures with everything that is needed to judge them.

use serde::{Deserialize, Serialize};

use crate::plan::Shape;
use crate::search::Step;
use crate::statistics::{Summary, median};
use crate::verdict::Check;

/// Most lines of each list in a report.
pub const LISTED_MAX: usize = 1_000;

/// Where and of what the figures are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Revision of the checkout; empty: none.
    pub commit: String,
    /// What the binary under test calls itself, and the digest of its bytes.
    pub product: String,
    /// Digest of `balefire config show`.
    pub configuration: String,
    /// Number and model.
    pub cpu: String,
    /// Release.
    pub kernel: String,
    /// Of the data dir.
    pub filesystem: String,
    /// What `nats-server --version` says.
    pub nats: String,
    /// Sync mode and replicas of the log.
    pub log: String,
    /// How the generator was built.
    pub generator: String,
}

/// One stage of the way, for one severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// From where to where.
    pub name: String,
    /// Of the escalation.
    pub severity: String,
    /// From intended times.
    pub corrected: Summary,
    /// What a generator that waits for answers would have said; only for the whole way.
    pub uncorrected: Option<Summary>,
    /// Percentile and milliseconds.
    pub curve: Vec<(f64, f64)>,
}

/// One second of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Events meant to be sent in it.
    pub planned: u64,
    /// Events sent in it.
    pub sent: u64,
    /// Events answered in it.
    pub acknowledged: u64,
    /// Escalations that arrived in it.
    pub delivered: u64,
    /// Largest send lag, milliseconds.
    pub lag_max_ms: f64,
    /// Largest time of an escalation that was due in it, milliseconds.
    pub latency_max_ms: f64,
}

/// What a process took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Program.
    pub name: String,
    /// CPU, microseconds an event.
    pub cpu_us_per_event: f64,
    /// Resident memory after, MiB.
    pub rss_mib: f64,
    /// Bytes written to disk, an event.
    pub disk_bytes_per_event: f64,
    /// Bytes sent and received over TCP, an event; `None`: this system does not tell.
    pub wire_bytes_per_event: Option<f64>,
}

/// Something that was done to the product at a known time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds after the start.
    pub at_s: f64,
    /// What was done.
    pub what: String,
}

/// How a target was kept over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attainment {
    /// The target.
    pub name: String,
    /// Second in which escalations were due, and the percentage of them that came in time.
    pub points: Vec<(f64, f64)>,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Scenario, rate, seconds.
    pub title: String,
    /// What the plan was made from.
    pub shape: Option<Shape>,
    /// Of chance.
    pub seed: u64,
    /// Digest of the plan.
    pub plan: String,
    /// Events a second, as planned.
    pub offered: f64,
    /// Events a second, acknowledged, until the last answer.
    pub achieved: f64,
    /// Load average of the machine before.
    pub load: Option<f64>,
    /// How late frames left; `None`: none did.
    pub send_lag: Option<Summary>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What was done to the product meanwhile.
    pub marks: Vec<Mark>,
    /// How each target was kept, second by second.
    pub attainment: Vec<Attainment>,
    /// When nothing came back although something waited.
    pub standstills: Vec<String>,
    /// Whether it was stopped by hand; what was not yet due then is not in its books.
    pub stopped: bool,
    /// Identities, and targets where the run is held to them.
    pub checks: Vec<Check>,
    /// Due and nowhere; by what completes them.
    pub missing: Vec<String>,
    /// Arrived more than once.
    pub again: Vec<String>,
    /// Kept as dead letters.
    pub dead_lettered: Vec<String>,
    /// Arrived and not due.
    pub unexpected: Vec<String>,
    /// Open dead letters of all stages, by stage and reason.
    pub dead_letters: Vec<String>,
    /// What each process took.
    pub processes: Vec<Process>,
    /// Bytes of frames, an event.
    pub wire_bytes_per_event: f64,
}

/// One pair of the product and the bare broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Escalations.
    pub escalations: u64,
    /// Messages.
    pub messages: usize,
    /// Streams.
    pub streams: usize,
    /// The product's whole way.
    pub product_p50_ms: f64,
    /// The product's whole way.
    pub product_p99_ms: f64,
    /// The product's way into the log of escalations, which the hop is the like of; 0: not read.
    #[serde(default)]
    pub log_p50_ms: f64,
    /// The same.
    #[serde(default)]
    pub log_p99_ms: f64,
    /// The hop.
    pub hop_p50_ms: f64,
    /// The hop.
    pub hop_p99_ms: f64,
    /// Load average before.
    pub load: Option<f64>,
}

/// A whole report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where and of what.
    pub machine: Machine,
    /// What the instrument read of what was known. Empty: it was not asked.
    pub calibration: Vec<Check>,
    /// The runs.
    pub runs: Vec<Run>,
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// Held against an earlier ratio.
    pub regression: Option<Check>,
    /// The rates that the search for the highest one tried.
    #[serde(default)]
    pub search: Vec<Step>,
    /// What ended the test before its end; empty: nothing did.
    #[serde(default)]
    pub ended: String,
}

/// What a report comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything holds.
    Passed,
    /// Something does not.
    Failed,
    /// The instrument could not be believed.
    Invalid,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::Invalid => "INVALID",
        }
    }
}

impl Report {
    /// What it comes to. A loss is a loss on any instrument: it fails before it is invalid.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let runs = self.runs.iter().flat_map(|run| &run.checks);
        let held = runs.chain(&self.regression).all(|check| check.passed);
        if !held || self.runs.is_empty() || !self.ended.is_empty() {
            Verdict::Failed
        } else if self.stopped()
            || self.calibration.is_empty()
            || !self.calibration.iter().all(|one| one.passed)
        {
            Verdict::Invalid
        } else {
            Verdict::Passed
        }
    }

    /// Whether it was stopped by hand: the rest was not asked.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.runs.iter().any(|run| run.stopped)
    }

    /// Medians over the pairs of the product's p50 and p99 to the hop's.
    #[must_use]
    pub fn ratios(&self) -> Option<(f64, f64)> {
        let of = |ratio: fn(&Pair) -> f64| median(self.pairs.iter().map(ratio).collect());
        let p50 = of(|pair| pair.product_p50_ms / pair.hop_p50_ms)?;
        let p99 = of(|pair| pair.product_p99_ms / pair.hop_p99_ms)?;
        Some((p50, p99))
    }

    /// The same of the way into the log of escalations.
    #[must_use]
    pub fn log_ratios(&self) -> Option<(f64, f64)> {
        let read = || self.pairs.iter().filter(|pair| pair.log_p50_ms > 0.0);
        let p50 = median(
            read()
                .map(|pair| pair.log_p50_ms / pair.hop_p50_ms)
                .collect(),
        )?;
        let p99 = median(
            read()
                .map(|pair| pair.log_p99_ms / pair.hop_p99_ms)
                .collect(),
        )?;
        Some((p50, p99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passed: bool) -> Check {
        Check {
            name: "x".into(),
            passed,
            detail: String::new(),
        }
    }

    fn run(passed: bool) -> Run {
        Run {
            checks: vec![check(passed)],
            ..Run::default()
        }
    }

    fn report(calibrated: bool, passed: bool) -> Report {
        Report {
            calibration: vec![check(calibrated)],
            runs: vec![run(passed)],
            ..Report::default()
        }
    }

    #[test]
    fn only_a_calibrated_report_passes() {
        assert_eq!(report(true, true).verdict(), Verdict::Passed);
        assert_eq!(report(false, true).verdict(), Verdict::Invalid);
        assert_eq!(report(true, false).verdict(), Verdict::Failed);
        assert_eq!(report(false, false).verdict(), Verdict::Failed);
        let mut unasked = report(true, true);
        unasked.calibration.clear();
        assert_eq!(unasked.verdict(), Verdict::Invalid);
        let mut slower = report(true, true);
        slower.regression = Some(check(false));
        assert_eq!(slower.verdict(), Verdict::Failed);
        assert_eq!(Report::default().verdict(), Verdict::Failed);
        let mut stopped = report(true, true);
        stopped.runs[0].stopped = true;
        assert_eq!(stopped.verdict(), Verdict::Invalid);
        let mut ended = report(true, true);
        ended.ended = "the product is gone".into();
        assert_eq!(ended.verdict(), Verdict::Failed);
    }

    #[test]
    fn ratios_are_medians_of_pairs() {
        let pair = |product: f64, hop: f64| Pair {
            escalations: 1,
            messages: 1,
            streams: 1,
            product_p50_ms: product,
            product_p99_ms: product,
            log_p50_ms: product / 2.0,
            log_p99_ms: 0.0,
            hop_p50_ms: hop,
            hop_p99_ms: hop,
            load: None,
        };
        let mut report = Report::default();
        assert_eq!(report.ratios(), None);
        report.pairs = vec![pair(9.0, 1.0), pair(4.0, 2.0), pair(6.0, 2.0)];
        assert_eq!(report.ratios(), Some((3.0, 3.0)));
        assert_eq!(report.log_ratios(), Some((1.5, 0.0)));
        report.pairs = vec![Pair {
            log_p50_ms: 0.0,
            ..pair(9.0, 1.0)
        }];
        assert_eq!(report.log_ratios(), None, "nobody read it");
    }
}
