//! What the figures are held to, and whether they keep it.

use serde::{Deserialize, Serialize};

use crate::account::{Escalations, Events};
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

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl Latency {
    fn check(&self, escalations: &Escalations) -> Check {
        let ours = |severity: &str| self.severity.as_deref().is_none_or(|one| one == severity);
        let mut trials = count(escalations.missing.len() + escalations.dead_lettered.len());
        let mut kept = 0;
        for delivered in &escalations.delivered {
            if !ours(&delivered.severity) {
                continue;
            }
            trials += 1;
            let took = delivered.at_ns.saturating_sub(delivered.due.at_ns);
            kept += u64::from(took <= self.within_ms * crate::MILLISECOND);
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
    use crate::account::Delivered;
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
    fn the_targets_of_the_repository_are_read() {
        let slo = Slo::parse(include_str!("../../slo.toml")).unwrap();
        assert!(slo.latency.len() >= 4 && slo.availability_min.is_some());
    }
}
