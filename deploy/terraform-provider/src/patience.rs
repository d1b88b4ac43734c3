//! Whether a call that was refused is made again, and when: as the server says, within bounds.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A call that nobody answers is made so often.
const ATTEMPTS_MAX: u32 = 6;
/// When to come again where nobody says.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Longest single wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// A call that is too much waits for so long altogether. Terraform makes ten at a time: with the
/// lowest rate there can be, one change a second, each of them has its turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one call has waited already.
#[derive(Debug, Default)]
pub struct Patience {
    attempts: u32,
    waited: Duration,
}

impl Patience {
    /// How long to wait before the call is made again; `None`: it is over. What is ABORTED never
    /// is made again, nor what is too much without a word when to come again.
    pub fn next(&mut self, status: &Status) -> Option<Duration> {
        let told = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        self.attempts = self.attempts.saturating_add(1);
        let wait = if status.code() == Code::Unavailable && self.attempts < ATTEMPTS_MAX {
            told.unwrap_or(RETRY_AFTER)
        } else if status.code() == Code::ResourceExhausted {
            told?
        } else {
            return None;
        };
        let wait = wait.min(RETRY_AFTER_MAX);
        self.waited = self.waited.saturating_add(wait);
        (self.waited <= PATIENCE).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn refused(code: Code, after: Option<u64>) -> Status {
        let details = ErrorDetails::with_retry_info(after.map(Duration::from_millis));
        match after {
            Some(_) => Status::with_error_details(code, "no", details),
            None => Status::new(code, "no"),
        }
    }

    fn waits(status: &Status) -> Vec<Duration> {
        let mut patience = Patience::default();
        std::iter::from_fn(|| patience.next(status)).collect()
    }

    #[test]
    fn what_is_too_much_waits_as_it_is_told_and_not_for_ever() {
        let short = waits(&refused(Code::ResourceExhausted, Some(700)));
        assert!(short.iter().all(|wait| wait.as_millis() == 700));
        assert_eq!(short.len(), 171);
        let long = waits(&refused(Code::ResourceExhausted, Some(3_600_000)));
        assert_eq!(long, [RETRY_AFTER_MAX; 4]);
    }

    #[test]
    fn what_time_does_not_mend_is_not_tried_again() {
        for code in [Code::ResourceExhausted, Code::Aborted, Code::Internal] {
            assert!(waits(&refused(code, None)).is_empty());
        }
        assert!(waits(&refused(Code::Aborted, Some(1))).is_empty());
        assert_eq!(waits(&refused(Code::Unavailable, None)), [RETRY_AFTER; 5]);
    }
}
