//! Fenced publishes: the outputs of a stateful stage.
//!
//! A subject has one owner at a time. Each publish names the last sequence of the subject that
//! its owner knows; the server refuses it where another owner has published since.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use bytes::Bytes;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::Error;
use crate::log::{Which, get};
use crate::message::Message;
use crate::publish::{Failure, publish};

/// A publish or claim is tried again for this long; the fence stays usable afterwards.
pub const STEP_GIVE_UP: Duration = Duration::from_secs(30);
/// Owners that take the subject from each other stop after so many rounds.
const CLAIMS_MAX: usize = 8;
const RETRY_FIRST: Duration = Duration::from_millis(25);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The right to publish on one subject.
#[derive(Debug)]
pub struct Fence {
    bus: Bus,
    stream: String,
    subject: String,
    /// Last sequence of the subject known to this owner; `None` before the claim.
    expected: Option<u64>,
    /// A publish is without an answer: it may be in the stream.
    uncertain: bool,
}

enum Seen {
    /// Our own, this far.
    Ours(u64),
    /// Nothing since the sequence we know.
    Unchanged,
    /// Somebody else's.
    Foreign,
}

impl Fence {
    /// For `subject` of `stream`. Owns nothing until [`Fence::claim`].
    #[must_use]
    pub fn new(bus: &Bus, stream: &str, subject: &str) -> Self {
        Self {
            bus: bus.clone(),
            stream: stream.to_owned(),
            subject: subject.to_owned(),
            expected: None,
            uncertain: false,
        }
    }

    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The last message on the subject, whoever published it: where outputs stand.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    pub async fn last(&self) -> Result<Option<Message>, Error> {
        let found = get(&self.bus, &self.stream, Which::LastOf(&self.subject)).await?;
        Ok(found.map(|stored| Message::from_stored(&stored)))
    }

    /// Takes the subject over: publishes `payload` (an empty step that names its owner) after
    /// whatever is there. Every earlier owner is fenced from then on.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another claims at the same time again and again;
    /// [`Error::Unavailable`] after [`STEP_GIVE_UP`]; [`Error::Full`].
    pub async fn claim(&mut self, payload: Bytes) -> Result<u64, Error> {
        let mut last_refusal = None;
        for _ in 0..CLAIMS_MAX {
            let last = self.last_with_retry().await?;
            self.expected = Some(last.map_or(0, |message| message.sequence));
            self.uncertain = false;
            match self.publish(payload.clone()).await {
                Err(refusal @ Error::Fenced { .. }) => last_refusal = Some(refusal),
                done => return done,
            }
        }
        Err(last_refusal.unwrap_or_else(|| self.fenced()))
    }

    /// Publishes the next step and returns its sequence. Where an answer is lost, looks whether
    /// the step is in the stream before it tries again: it is stored once.
    ///
    /// After [`Error::Unavailable`] or [`Error::Full`] call it again with the same payload.
    ///
    /// # Errors
    /// [`Error::Fenced`]: another owner has published, or nothing was claimed; stop.
    pub async fn publish(&mut self, payload: Bytes) -> Result<u64, Error> {
        let Some(expected) = self.expected else {
            return Err(self.fenced());
        };
        let give_up = Instant::now() + STEP_GIVE_UP;
        let mut delay = RETRY_FIRST;
        loop {
            if !self.bus.connected_by(give_up).await {
                let doing = format!("publishing on {}", self.subject);
                return Err(Error::unavailable(doing, "nats is not connected"));
            }
            let failed = match self.attempt(expected, &payload).await {
                Ok(sequence) => {
                    self.expected = Some(sequence);
                    self.uncertain = false;
                    return Ok(sequence);
                }
                Err(failed) => failed,
            };
            if !matches!(failed, Error::Unavailable { .. }) || Instant::now() >= give_up {
                return Err(failed);
            }
            tracing::debug!(subject = %self.subject, error = %failed, "publishing the step again");
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }

    /// One look, where needed, and one publish.
    async fn attempt(&mut self, expected: u64, payload: &Bytes) -> Result<u64, Error> {
        if self.uncertain {
            match self.look(expected, payload).await? {
                Seen::Ours(sequence) => return Ok(sequence),
                Seen::Foreign => return Err(self.fenced()),
                Seen::Unchanged => {}
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            expected.to_string().as_str(),
        );
        match publish(&self.bus, &self.subject, Some(headers), payload.clone()).await {
            Ok(stored) => Ok(stored.sequence),
            Err(Failure::WrongLastSequence) if self.uncertain => {
                // An earlier attempt may have arrived after the look.
                match self.look(expected, payload).await? {
                    Seen::Ours(sequence) => Ok(sequence),
                    Seen::Unchanged | Seen::Foreign => Err(self.fenced()),
                }
            }
            Err(Failure::WrongLastSequence) => Err(self.fenced()),
            Err(failure) => {
                self.uncertain |= matches!(failure, Failure::Unknown(_));
                Err(failure.into_error(&self.subject, payload.len()))
            }
        }
    }

    /// Is the last message ours? The same bytes alone would not tell: a later owner derives the
    /// same step. With the sequence it was fenced by they do, for no two messages of a subject
    /// follow the same one.
    async fn look(&self, expected: u64, payload: &Bytes) -> Result<Seen, Error> {
        let found = get(&self.bus, &self.stream, Which::LastOf(&self.subject)).await?;
        let Some(last) = found else {
            return Ok(if expected == 0 {
                Seen::Unchanged
            } else {
                Seen::Foreign
            });
        };
        if last.sequence == expected {
            return Ok(Seen::Unchanged);
        }
        let fenced_by = last
            .headers
            .get(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE)
            .and_then(|value| value.as_str().parse::<u64>().ok());
        Ok(if fenced_by == Some(expected) && last.payload == *payload {
            Seen::Ours(last.sequence)
        } else {
            Seen::Foreign
        })
    }

    async fn last_with_retry(&self) -> Result<Option<Message>, Error> {
        let give_up = Instant::now() + STEP_GIVE_UP;
        let mut delay = RETRY_FIRST;
        loop {
            match self.last().await {
                Err(error @ Error::Unavailable { .. }) if Instant::now() < give_up => {
                    tracing::debug!(subject = %self.subject, %error, "looking again");
                }
                done => return done,
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }

    fn fenced(&self) -> Error {
        Error::Fenced {
            subject: self.subject.clone(),
            expected: self.expected.unwrap_or(0),
        }
    }
}
