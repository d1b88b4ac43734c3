//! What is told otherwise than by one call over HTTP: syslog, e-mail, a file; and what is asked
//! again until it is stored.

use std::time::Duration;

use balefire_notifier_core::classify::Verdict;
use balefire_notifier_core::receiver::{Target, email, splunk};
use balefire_notifier_core::view::View;

use super::{Answered, Caller};
use crate::reply::{Reply, again, refused};
use crate::stream::Refusable;
use crate::{line, smtp};

/// What was taken is stored within this time, or sent again.
const CONFIRM_MAX: Duration = Duration::from_secs(30);
/// First and longest wait between two questions whether it is.
const CONFIRM_FIRST: Duration = Duration::from_millis(100);
const CONFIRM_EVERY_MAX: Duration = Duration::from_secs(2);
impl Caller {
    /// What is no call over HTTP; `None`: it is one.
    pub(super) async fn otherwise(&self, view: &View, handle: &str, body: &[u8]) -> Option<Reply> {
        if matches!(self.target, Target::Syslog(_)) {
            return Some(self.line(body).await);
        }
        if let Target::Email(config) = &self.target {
            return Some(self.mail(config, view, handle, body).await);
        }
        if self.url.scheme() == "file" {
            return Some(self.file(body).await);
        }
        None
    }

    /// Writes one counted message, and waits a moment for the peer to refuse it.
    pub(super) async fn line(&self, message: &[u8]) -> Reply {
        let Some(tls) = &self.tls else {
            return again("TLS is not set up");
        };
        let sent = line::syslog(&self.url, &self.guard, tls, message);
        match tokio::time::timeout(self.deadline, sent).await {
            Ok(Ok(())) => Reply::of(Verdict::Delivered),
            Ok(Err(Refusable::Refused(refusal))) => refused(&refusal),
            Ok(Err(Refusable::Failed(error))) => again(&error.to_string()),
            Err(_) => again("no connection in time"),
        }
    }

    async fn file(&self, body: &[u8]) -> Reply {
        let Ok(path) = self.url.to_file_path() else {
            return again("the URL names no file of this machine");
        };
        match line::append(&path, body).await {
            Ok(()) => Reply::of(Verdict::Delivered),
            Err(error) => again(&format!("{}: {error}", path.display())),
        }
    }

    async fn mail(
        &self,
        config: &email::Config,
        view: &View,
        handle: &str,
        message: &[u8],
    ) -> Reply {
        let Some(tls) = &self.tls else {
            return again("TLS is not set up");
        };
        let letter = smtp::Letter {
            from: &config.from,
            to: email::still(config, view, handle),
            message,
            login: self.key.login(),
        };
        let sent = smtp::send(&self.url, &self.guard, tls, &letter);
        let told = match tokio::time::timeout(self.deadline, sent).await {
            Ok(Ok(told)) => told,
            Ok(Err(Refusable::Refused(refusal))) => return refused(&refusal),
            Ok(Err(Refusable::Failed(error))) => {
                return Reply {
                    handle: handle.to_owned(),
                    ..self.hidden(again(&error.to_string()))
                };
            }
            Err(_) => {
                return Reply {
                    handle: handle.to_owned(),
                    ..again("no answer in time")
                };
            }
        };
        let outcome = email::outcome(config, view, handle, &told);
        self.hidden(Reply {
            status: told.iter().map(|one| one.code).max().unwrap_or(0),
            error: outcome.error,
            handle: outcome.handle,
            ..Reply::of(outcome.verdict)
        })
    }

    /// Waits until what was taken is stored, where the target says that apart; `None`: it is, or
    /// there is nothing to wait for.
    pub(super) async fn confirm(&self, verdict: &Verdict, answered: &Answered) -> Option<Reply> {
        if !self.target.confirms() || *verdict != Verdict::Delivered {
            return None;
        }
        let Some(ack_id) = splunk::ack_id(&answered.response()) else {
            return Some(again(
                "no ackId came: the token has no indexer acknowledgement",
            ));
        };
        let until = tokio::time::Instant::now() + CONFIRM_MAX;
        let mut wait = CONFIRM_FIRST;
        while tokio::time::Instant::now() < until {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(CONFIRM_EVERY_MAX);
            let asked = self.exchange("", splunk::ask(ack_id)).await;
            let answered = match asked {
                Ok(answered) => answered,
                Err(reply) => return Some(reply),
            };
            match splunk::is_indexed(&answered.response(), ack_id) {
                Some(true) => return None,
                Some(false) => {}
                None => return Some(self.reply(Verdict::Retry { after: None }, &answered)),
            }
        }
        Some(again(
            "it was taken, and not acknowledged as indexed in time",
        ))
    }
}

/// A word in the form of a GUID.
pub(super) fn channel() -> String {
    let bytes: [u8; 16] = rand::random();
    let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}
