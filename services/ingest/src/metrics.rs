//! What ingest counts: for /metrics, and for `balefire status`.

use std::sync::atomic::{AtomicU64, Ordering};

use balefire_event::{Groups, Naming, Timing};
use balefire_ingest_core::Reason;
use balefire_wire::status::v1::Counter;

use crate::outcome::{Outcome, Refusal};

/// The counters since start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    duplicate: AtomicU64,
    rejected: AtomicU64,
    late: AtomicU64,
    future: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    /// Counts the outcomes of a request.
    pub fn outcomes(&self, outcomes: &[Outcome]) {
        let (mut accepted, mut duplicate, mut late, mut future) = (0, 0, 0, 0);
        let mut rejected = [0_u64; Reason::ALL.len()];
        for outcome in outcomes {
            match outcome {
                Outcome::Accepted { timing, .. } => {
                    accepted += 1;
                    late += u64::from(*timing == Timing::Late);
                    future += u64::from(*timing == Timing::Future);
                }
                Outcome::Duplicate { .. } => duplicate += 1,
                Outcome::Rejected(violation) => {
                    let reasons = Reason::ALL.iter().zip(&mut rejected);
                    for (_, count) in reasons.filter(|(reason, _)| **reason == violation.reason) {
                        *count += 1;
                    }
                }
            }
        }
        add(&self.accepted, accepted);
        add(&self.duplicate, duplicate);
        add(&self.late, late);
        add(&self.future, future);
        add(&self.rejected, rejected.iter().sum());
        metrics::counter!("balefire_ingest_accepted_total").increment(accepted);
        metrics::counter!("balefire_ingest_duplicate_total").increment(duplicate);
        metrics::counter!("balefire_ingest_late_total").increment(late);
        metrics::counter!("balefire_ingest_future_total").increment(future);
        for (reason, count) in Reason::ALL
            .iter()
            .zip(rejected)
            .filter(|(_, count)| *count > 0)
        {
            metrics::counter!("balefire_ingest_rejected_total", "reason" => reason.as_str())
                .increment(count);
        }
    }

    /// Counts a request that was refused.
    pub fn refusal(&self, refusal: &Refusal) {
        add(&self.refused, 1);
        metrics::counter!("balefire_ingest_refused_total", "reason" => refusal.code()).increment(1);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Counter> {
        [
            ("balefire_ingest_accepted_total", &self.accepted),
            ("balefire_ingest_duplicate_total", &self.duplicate),
            ("balefire_ingest_rejected_total", &self.rejected),
            ("balefire_ingest_late_total", &self.late),
            ("balefire_ingest_future_total", &self.future),
            ("balefire_ingest_refused_total", &self.refused),
        ]
        .into_iter()
        .map(|(name, value)| Counter {
            name: name.to_owned(),
            value: value.load(Ordering::Relaxed),
        })
        .collect()
    }
}

/// Counts whose the events are that went straight to EVENTS.
pub fn named(groups: &Groups) {
    for ((source, category), shares) in groups.totals() {
        for naming in Naming::ALL {
            if shares.of(naming) > 0 {
                metrics::counter!(
                    "balefire_ingest_events_total",
                    "source" => source.to_owned(),
                    "category" => category.as_str(),
                    "naming" => naming.as_str()
                )
                .increment(shares.of(naming));
            }
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
