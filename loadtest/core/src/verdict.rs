//! What the figures are held to, and whether they keep it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::{Delivered, Escalations, Events};
use crate::report::Attainment;
use crate::standstill::{self, Standstill};
use crate::statistics::{real, wilson_lower};

/// The file `slo.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Targets of time.
    #[serde(default)]
    pub latency: Vec<Latency>,
    /// Share of planned events that must be acknowledged.
    pub availability_min: Option<f64>,
    /// Share of planned events that may be refused or unanswered.
    pub errors_max: Option<f64>,
    /// Share of the time in which nothing may come back for 100 ms and more although something
    /// waits.
    pub standstill_share_max: Option<f64>,
}

/// "This share of escalations arrives within this time."
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// For people.
    pub name: String,
    /// From the intended sending of the completing event to the receiver, milliseconds.
    pub within_ms: u64,
    /// Between 0 and 1.
    pub share_min: f64,
    /// Only this severity; absent: every one.
    pub severity: Option<String>,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// The figures.
    pub detail: String,
}

/// An error in `slo.toml`.
#[derive(Debug, thiserror::Error)]
#[error("read the targets")]
pub struct Error(#[from] toml::de::Error);

impl Slo {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not TOML, or holds what is not known.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(toml::from_str(text)?)
    }

    /// Holds a run to its targets. What is missing or dead-lettered has not arrived in time.
    #[must_use]
    pub fn checks(&self, events: &Events, escalations: &Escalations) -> Vec<Check> {
        let mut checks: Vec<_> = self
            .latency
            .iter()
            .map(|target| target.check(escalations))
            .collect();
        let planned = count(events.planned);
        checks.extend(self.availability_min.map(|least| {
            let share = wilson_lower(count(events.acknowledged), planned);
            Check {
                name: format!("more than {} % of events are acknowledged", least * 100.0),
                passed: share >= least,
                detail: format!(
                    "{} of {}, at least {:.3} % (95 % Wilson)",
                    events.acknowledged,
                    planned,
                    share * 100.0
                ),
            }
        }));
        checks.extend(self.errors_max.map(|most| {
            let errors = count(events.refused + events.unknown);
            let share = 1.0 - wilson_lower(planned - errors, planned);
            Check {
                name: format!("less than {} % of events are errors", most * 100.0),
                passed: share <= most,
                detail: format!(
                    "{errors} of {planned}, at most {:.3} % (95 % Wilson)",
                    share * 100.0
                ),
            }
        }));
        checks
    }
}

impl Slo {
    /// Holds a run's standstills to the target.
    #[must_use]
    pub fn moving(&self, found: &[Standstill], seconds: u32) -> Option<Check> {
        let most = self.standstill_share_max?;
        let share = standstill::share(found, seconds);
        Some(Check {
            name: format!(
                "nothing stands still for more than {} % of the time",
                most * 100.0
            ),
            passed: share <= most,
            detail: format!(
                "{:.1} %; standstills: {}",
                share * 100.0,
                standstill::summary(found)
            ),
        })
    }

    /// How each target of time was kept, by the second in which escalations were due.
    #[must_use]
    pub fn attainment(&self, books: &Escalations) -> Vec<Attainment> {
        let one = |target: &Latency| {
            let mut seconds: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            let mut add = |due_ns: u64, kept: bool| {
                let (all, good) = seconds.entry(due_ns / crate::SECOND).or_default();
                *all += 1;
                *good += u64::from(kept);
            };
            for delivered in books
                .delivered
                .iter()
                .filter(|one| target.asks(&one.severity))
            {
                add(delivered.due.at_ns, target.keeps(delivered));
            }
            for (_, due) in &books.missing {
                add(due.at_ns, false);
            }
            let points = seconds.into_iter();
            let points = points.map(|(at, (all, good))| (real(at), real(good) / real(all) * 100.0));
            Attainment {
                name: target.name.clone(),
                points: points.collect(),
            }
        };
        self.latency.iter().map(one).collect()
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl Latency {
    fn asks(&self, severity: &str) -> bool {
        self.severity.as_deref().is_none_or(|one| one == severity)
    }

    fn keeps(&self, delivered: &Delivered) -> bool {
        let took = delivered.at_ns.saturating_sub(delivered.due.at_ns);
        took <= self.within_ms * crate::MILLISECOND
    }

    fn check(&self, escalations: &Escalations) -> Check {
        let mut trials = count(escalations.missing.len() + escalations.dead_lettered.len());
        let mut kept = 0;
        for delivered in &escalations.delivered {
            if !self.asks(&delivered.severity) {
                continue;
            }
            trials += 1;
            kept += u64::from(self.keeps(delivered));
        }
        let bound = wilson_lower(kept, trials);
        let share = if trials == 0 {
            0.0
        } else {
            real(kept) / real(trials)
        };
        let passed = bound >= self.share_min;
        let short = if !passed && share >= self.share_min {
            "; too few to be sure"
        } else {
            ""
        };
        Check {
            name: format!(
                "{}: {} % within {} ms",
                self.name,
                self.share_min * 100.0,
                self.within_ms
            ),
            passed,
            detail: format!(
                "{kept} of {trials} ({:.2} %), at least {:.2} % (95 % Wilson){short}",
                share * 100.0,
                bound * 100.0
            ),
        }
    }
}

/// What must hold of every run, whatever the machine: the books balance, nothing acknowledged is
/// lost, nothing arrives twice, nothing arrives that was not due.
#[must_use]
pub fn identities(events: &Events, escalations: &Escalations) -> Vec<Check> {
    let check = |name: &str, passed: bool, detail: String| Check {
        name: name.to_owned(),
        passed,
        detail,
    };
    vec![
        check(
            "planned = acknowledged + refused + unsent + unknown",
            events.balance(),
            format!(
                "{} = {} + {} + {} + {}",
                events.planned, events.acknowledged, events.refused, events.unsent, events.unknown
            ),
        ),
        check(
            "expected = delivered once + delivered again + dead-lettered + missing",
            escalations.balance(),
            format!(
                "{} = {} + {} + {} + {}",
                escalations.expected,
                escalations.once,
                escalations.again.len(),
                escalations.dead_lettered.len(),
                escalations.missing.len()
            ),
        ),
        check(
            "nothing expected is missing",
            escalations.missing.is_empty(),
            format!("{} missing", escalations.missing.len()),
        ),
        check(
            "nothing is delivered twice",
            escalations.again.is_empty(),
            format!("{} delivered again", escalations.again.len()),
        ),
        check(
            "nothing unexpected is delivered",
            escalations.unexpected.is_empty(),
            format!("{} unexpected", escalations.unexpected.len()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Completion, Name, Rule};

    fn escalations(quick: u32, slow: u32) -> Escalations {
        let delivered = (0..quick + slow).map(|number| Delivered {
            name: Name {
                rule: Rule::PromptAttack,
                key: number,
                slot_ns: 0,
            },
            due: Completion {
                number,
                at_ns: 0,
                joined: false,
            },
            at_ns: crate::SECOND * if number < quick { 1 } else { 20 },
            severity: "high".into(),
        });
        Escalations {
            expected: delivered.len(),
            once: delivered.len(),
            delivered: delivered.collect(),
            ..Escalations::default()
        }
    }

    fn slo() -> Slo {
        Slo::parse("[[latency]]\nname = \"p99\"\nwithin_ms = 10_000\nshare_min = 0.99\n").unwrap()
    }

    fn first(escalations: &Escalations) -> Check {
        slo().checks(&Events::default(), escalations).remove(0)
    }

    #[test]
    fn a_target_is_kept_when_its_lower_bound_keeps_it() {
        assert!(first(&escalations(400, 0)).passed);
        assert!(!first(&escalations(400, 10)).passed);
    }

    #[test]
    fn a_few_good_samples_prove_nothing() {
        let check = first(&escalations(50, 0));
        assert!(!check.passed && check.detail.contains("too few"));
        assert!(!first(&escalations(0, 0)).passed);
    }

    #[test]
    fn what_is_missing_is_late() {
        let mut books = escalations(1000, 0);
        let name = books.delivered[0].name;
        let due = books.delivered[0].due;
        books.missing = vec![(name, due); 30];
        assert!(!first(&books).passed);
    }

    #[test]
    fn a_target_is_shown_by_the_second_in_which_it_was_missed() {
        let mut books = escalations(3, 0);
        books.delivered[1].due.at_ns = 4 * crate::SECOND;
        books.delivered[1].at_ns = 40 * crate::SECOND;
        let lost = books.delivered.remove(2);
        books.missing.push((lost.name, lost.due));
        let kept = slo().attainment(&books).remove(0);
        assert_eq!(kept.points, [(0.0, 50.0), (4.0, 0.0)]);
    }

    #[test]
    fn standing_still_too_often_fails_and_says_how_often() {
        let slo = Slo::parse("standstill_share_max = 0.05").unwrap();
        let found: Vec<_> = (0..10)
            .map(|second| Standstill {
                from_ns: second * crate::SECOND,
                length_ns: 200 * crate::MILLISECOND,
                waiting: 9,
            })
            .collect();
        let check = slo.moving(&found, 10).unwrap();
        assert!(
            !check.passed
                && check
                    .detail
                    .contains("10 of about 200 ms, one every 1.00 s")
        );
        assert!(slo.moving(&found[..2], 10).unwrap().passed);
    }

    #[test]
    fn the_targets_of_the_repository_are_read() {
        let slo = Slo::parse(include_str!("../../slo.toml")).unwrap();
        assert!(slo.latency.len() >= 4 && slo.availability_min.is_some());
    }
}
