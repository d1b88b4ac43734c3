//! What goes out together, and who waits for it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{Places, Run};
use crate::error::Error;

/// Why tickets fail; one reason, many tickets.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    Unavailable(String),
    Full(String),
    TooLarge(usize),
    Refused(String),
}

impl Failed {
    pub(super) fn into_error(self, stream: &str) -> Error {
        match self {
            Self::Unavailable(reason) => {
                Error::unavailable(format!("committing to {stream}"), reason)
            }
            Self::Full(reason) => Error::Full {
                subject: stream.to_owned(),
                reason,
            },
            Self::TooLarge(bytes) => Error::TooLarge {
                subject: stream.to_owned(),
                bytes,
            },
            Self::Refused(reason) => Error::Refused {
                doing: format!("committing to {stream}"),
                reason,
            },
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Unavailable(reason) | Self::Full(reason) | Self::Refused(reason) => {
                reason.clone()
            }
            Self::TooLarge(bytes) => format!("a record of {bytes} bytes is too large"),
        }
    }
}

/// A submission's answer, filled batch by batch.
#[derive(Debug)]
pub(super) struct Completion(Mutex<Progress>);

#[derive(Debug)]
struct Progress {
    items_left: usize,
    runs: Vec<Run>,
    answer: Option<oneshot::Sender<Result<Places, Error>>>,
}

impl Completion {
    pub(super) fn new(items: usize) -> (Arc<Self>, oneshot::Receiver<Result<Places, Error>>) {
        let (answer, receiver) = oneshot::channel();
        let progress = Progress {
            items_left: items,
            runs: Vec::with_capacity(1),
            answer: Some(answer),
        };
        (Arc::new(Self(Mutex::new(progress))), receiver)
    }

    fn stored(&self, run: Run) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = usize::try_from(run.count).unwrap_or(usize::MAX);
        progress.items_left = progress.items_left.saturating_sub(count);
        progress.runs.push(run);
        if progress.items_left == 0
            && let Some(answer) = progress.answer.take()
        {
            let places = Places {
                runs: std::mem::take(&mut progress.runs),
            };
            // A caller that went away wants no answer.
            let _ = answer.send(Ok(places));
        }
    }

    /// Answers a submission without items.
    pub(super) fn stored_nothing(&self) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = progress.answer.take() {
            // As above.
            let _ = answer.send(Ok(Places::default()));
        }
    }

    pub(super) fn fail(&self, failed: &Failed, stream: &str) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = progress.answer.take() {
            // Likewise.
            let _ = answer.send(Err(failed.clone().into_error(stream)));
        }
    }
}

/// The part of a submission that is in a batch.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) completion: Arc<Completion>,
    pub(super) count: u32,
}

/// Items of one tenant that go out as one record.
#[derive(Debug)]
pub(super) struct Batch<I> {
    pub(super) tenant: Arc<str>,
    pub(super) items: Vec<I>,
    pub(super) bytes: usize,
    pub(super) parts: Vec<Part>,
}

impl<I> Batch<I> {
    /// Tells the waiting that it lies at `sequence`.
    pub(super) fn stored(self, sequence: u64) {
        let mut index = 0;
        for part in self.parts {
            part.completion.stored(Run {
                sequence,
                index,
                count: part.count,
            });
            index += part.count;
        }
    }

    pub(super) fn fail(self, failed: &Failed, stream: &str) {
        for part in self.parts {
            part.completion.fail(failed, stream);
        }
    }
}
