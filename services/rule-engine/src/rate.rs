//! [`Rates`]: how many calls of the ControlService a caller may make in a second. Who makes more is
//! told when to come again; nobody waits here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use balefire_kit::violation::limited;
use balefire_kit::{Caller, Scope};
use tokio::time::Instant;
use tonic::Status;

/// Changes of one caller a second: each compiles and writes.
pub const CHANGES_PER_SECOND: u32 = 100;
/// Reads of one caller a second: each asks the log for its end.
pub const READS_PER_SECOND: u32 = 500;
/// So many seconds' worth may come at once.
pub const BURST_SECONDS: u32 = 5;
/// Callers that are told apart at once: tenant and subject.
pub const CALLERS_MAX: usize = 4096;

/// What each caller may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Pace {
    /// Changes of control objects that one caller may make in a second, five times as many at once;
    /// beyond it: RESOURCE_EXHAUSTED, with the time to come again
    #[arg(long, env = "BALEFIRE_CHANGES_PER_SECOND", default_value_t = CHANGES_PER_SECOND, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub changes_per_second: u32,
    /// Reads of control objects, likewise
    #[arg(long, env = "BALEFIRE_READS_PER_SECOND", default_value_t = READS_PER_SECOND, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub reads_per_second: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            changes_per_second: CHANGES_PER_SECOND,
            reads_per_second: READS_PER_SECOND,
        }
    }
}

/// When each caller will have caught up with its rate, were it to stop now.
#[derive(Debug, Default)]
struct Callers(BTreeMap<(Arc<str>, Arc<str>), Instant>);

impl Callers {
    /// Counts a call; else how long to wait.
    fn enter(&mut self, caller: &Caller, per_second: u32, now: Instant) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / per_second.max(1);
        let key = (Arc::clone(&caller.tenant), Arc::clone(&caller.subject));
        if self.0.len() >= CALLERS_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, even| *even > now);
            if self.0.len() >= CALLERS_MAX {
                return Err(each);
            }
        }
        let even = self.0.entry(key).or_insert(now);
        let from = (*even).max(now);
        let ahead = (from + each).saturating_duration_since(now);
        match ahead.checked_sub(Duration::from_secs(BURST_SECONDS.into())) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                *even = from + each;
                Ok(())
            }
        }
    }
}

/// Counts the calls of each caller.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    pace: Pace,
    changes: Arc<Mutex<Callers>>,
    reads: Arc<Mutex<Callers>>,
}

impl Rates {
    /// None made yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            ..Self::default()
        }
    }

    /// The caller of a change.
    ///
    /// # Errors
    /// No right to; RESOURCE_EXHAUSTED where it makes too many.
    pub fn change<T>(&self, call: &tonic::Request<T>) -> Result<Caller, Status> {
        let caller = Caller::of(call, Scope::Operate)?;
        let limit = ("changes-per-second", self.pace.changes_per_second);
        enter(&self.changes, &caller, limit)?;
        Ok(caller)
    }

    /// The caller of a read.
    ///
    /// # Errors
    /// No right to; RESOURCE_EXHAUSTED where it makes too many.
    pub fn read<T>(&self, call: &tonic::Request<T>) -> Result<Caller, Status> {
        let caller = Caller::of(call, Scope::Read)?;
        let limit = ("reads-per-second", self.pace.reads_per_second);
        enter(&self.reads, &caller, limit)?;
        Ok(caller)
    }
}

fn enter(
    callers: &Mutex<Callers>,
    caller: &Caller,
    (limit, per_second): (&'static str, u32),
) -> Result<(), Status> {
    // Whoever panicked left counts: no more than that.
    let mut callers = callers.lock().unwrap_or_else(PoisonError::into_inner);
    let entered = callers.enter(caller, per_second, Instant::now());
    drop(callers);
    entered.map_err(|wait| {
        metrics::counter!("balefire_control_refused_total", "limit" => limit).increment(1);
        let message = format!(
            "over {per_second} a second by {:?} (--{limit}); come again in {} ms",
            caller.subject,
            wait.as_millis().saturating_add(1)
        );
        limited(limit, &message, wait)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(subject: &str) -> Caller {
        Caller {
            tenant: Arc::from("default"),
            subject: Arc::from(subject),
            method: String::new(),
            client: String::new(),
            scopes: Arc::from([Scope::Operate]),
        }
    }

    #[test]
    fn who_makes_too_many_is_told_when_the_next_one_may_come() {
        let (mut callers, ada) = (Callers::default(), caller("ada"));
        let start = Instant::now();
        for _ in 0..10 * BURST_SECONDS {
            assert_eq!(callers.enter(&ada, 10, start), Ok(()));
        }
        let wait = callers.enter(&ada, 10, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        // What is refused counts nothing; others have their own rate.
        assert_eq!(callers.enter(&ada, 10, start), Err(wait));
        assert_eq!(callers.enter(&caller("bob"), 10, start), Ok(()));
        // Exactly then it may, once.
        assert_eq!(callers.enter(&ada, 10, start + wait), Ok(()));
        assert_eq!(callers.enter(&ada, 10, start + wait), Err(wait));
        // After a pause the whole burst is there again, and no more.
        let later = start + Duration::from_secs(600);
        let entered = (0..1000).filter(|_| callers.enter(&ada, 10, later).is_ok());
        assert_eq!(entered.count(), 50);
    }

    #[test]
    fn callers_that_are_even_are_forgotten_first() {
        let (mut callers, start) = (Callers::default(), Instant::now());
        for n in 0..CALLERS_MAX {
            assert_eq!(callers.enter(&caller(&n.to_string()), 1, start), Ok(()));
        }
        assert!(callers.enter(&caller("one more"), 1, start).is_err());
        let later = start + Duration::from_secs(2);
        assert_eq!(callers.enter(&caller("one more"), 1, later), Ok(()));
        assert_eq!(callers.0.len(), 1);
    }
}
