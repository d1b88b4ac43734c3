//! The dead letters of every stage: follows DEADLETTERS, and writes what people decide.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balefire_bus::{Bus, Log, Role, topology};
use balefire_event::Timestamp;
use balefire_notifier_core::letters::{self, Decision};
use balefire_wire::deadletter::v1::{DeadLetter, DeadLetterState, Resolution};
use balefire_wire::letter::{LetterView, PackedLetter};
use balefire_wire::log::v1::record::Kind;
use balefire_wire::record::kind;
use balefire_wire::{BatchView, BatchWriter, RecordRef, RecordView};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::letter::frame;

const RETRY_DELAY: Duration = Duration::from_millis(500);
/// A decision that was written is seen within this time, or its caller hears UNAVAILABLE.
const SEEN_MAX: Duration = Duration::from_secs(10);

/// What is kept of a letter: all but its payload, and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    packed: PackedLetter,
    /// Its sequence in DEADLETTERS.
    pub sequence: u64,
}

impl Kept {
    /// The letter without its payload.
    #[must_use]
    pub fn letter(&self) -> DeadLetter {
        self.packed.open()
    }
}

/// The fold.
pub type Folded = letters::Letters<Kept, Resolution>;

/// The dead letters as this process knows them.
#[derive(Debug)]
pub struct Letters {
    log: Log,
    bus: Bus,
    writer_id: [u8; 16],
    folded: Mutex<Folded>,
    seen: watch::Sender<u64>,
    ready: watch::Sender<bool>,
}

impl Letters {
    /// Before the first record.
    #[must_use]
    pub fn new(bus: &Bus, writer_id: [u8; 16]) -> Arc<Self> {
        Arc::new(Self {
            log: Log::new(bus),
            bus: bus.clone(),
            writer_id,
            folded: Mutex::default(),
            seen: watch::Sender::new(0),
            ready: watch::Sender::new(false),
        })
    }

    /// The fold; held for moments only.
    pub fn folded(&self) -> MutexGuard<'_, Folded> {
        self.folded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that was there at the start is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Follows DEADLETTERS until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow() => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "dead letters are read again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }

    async fn follow(&self) -> Result<(), balefire_bus::Error> {
        let stream = topology::DEADLETTERS;
        let info = self.bus.stream_info(stream).await?;
        let there = info.last_sequence;
        // It may begin later than at 1.
        let from = (*self.seen.borrow()).max(info.first_sequence.saturating_sub(1));
        self.ready.send_replace(from >= there);
        let mut tail = self.log.tail(stream, from + 1);
        while let Some(message) = tail.next().await? {
            self.take(message.sequence, &message.payload);
            self.seen.send_replace(message.sequence);
            if message.sequence >= there {
                self.ready.send_replace(true);
            }
        }
        Ok(())
    }

    fn take(&self, sequence: u64, payload: &[u8]) {
        let Ok(view) = BatchView::parse(payload) else {
            tracing::error!(sequence, "a message of DEADLETTERS cannot be read");
            return;
        };
        for record in view.raw_records() {
            let read = record.and_then(|record| match record.kind {
                kind::DEAD_LETTER => {
                    let LetterView {
                        id,
                        last_failed_at,
                        packed,
                    } = LetterView::parse(record.message)?;
                    let kept = Kept { packed, sequence };
                    self.folded().letter(id, last_failed_at, kept);
                    Ok(None)
                }
                _ => record.view().map(Some),
            });
            match read {
                Ok(Some(RecordView::Other(Kind::Resolution(resolution)))) => {
                    let decision = match resolution.state() {
                        DeadLetterState::Replayed => Decision::Replayed,
                        DeadLetterState::Discarded => Decision::Discarded,
                        DeadLetterState::Open | DeadLetterState::Unspecified => continue,
                    };
                    let (id, at) = (resolution.id.clone(), Timestamp(resolution.at_ns));
                    self.folded().decision(&id, decision, at, resolution);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(sequence, %error, "a record of DEADLETTERS cannot be read");
                }
            }
        }
    }

    /// The letter with its payload.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn whole(&self, kept: &Kept) -> Result<Option<DeadLetter>, balefire_bus::Error> {
        let found = self.log.get(topology::DEADLETTERS, kept.sequence).await?;
        let Some(message) = found else {
            return Ok(None);
        };
        let Ok(view) = BatchView::parse(&message.payload) else {
            return Ok(None);
        };
        let id = kept.letter().id;
        let letter = view.records().find_map(|record| match record {
            Ok(RecordView::Other(Kind::DeadLetter(letter))) if letter.id == id => Some(letter),
            Ok(_) | Err(_) => None,
        });
        Ok(letter)
    }

    /// Writes a letter with another payload and waits until it is known here. The letter as it was
    /// stays in the log.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn amend(&self, letter: &DeadLetter) -> Result<(), balefire_bus::Error> {
        let mut batch = BatchWriter::default();
        batch.push(RecordRef::DeadLetter(letter));
        let at = letter.edits.last().map_or(0, |edit| edit.at_ns);
        let payload = frame(&mut batch, self.writer_id, &letter.tenant, Timestamp(at));
        let msg_id = format!("ed:{}:{at}", letter.id);
        let subject = topology::deadletters(Role::Notifier.as_str());
        let place = self.log.append(&subject, payload, Some(&msg_id)).await?;
        self.known(place.sequence, "waiting for an edit to be read")
            .await
    }

    /// Waits until a record is known here.
    async fn known(&self, sequence: u64, doing: &str) -> Result<(), balefire_bus::Error> {
        let mut seen = self.seen.subscribe();
        let known = seen.wait_for(|seen| *seen >= sequence);
        match tokio::time::timeout(SEEN_MAX, known).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(balefire_bus::Error::Unavailable {
                doing: doing.into(),
                reason: "it is written and shows later".into(),
            }),
        }
    }

    /// Writes a decision and waits until it is known here.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn resolve(
        &self,
        resolution: &Resolution,
        tenant: &str,
    ) -> Result<(), balefire_bus::Error> {
        let mut batch = BatchWriter::default();
        batch.push(RecordRef::Resolution(resolution));
        let at = Timestamp(resolution.at_ns);
        let payload = frame(&mut batch, self.writer_id, tenant, at);
        let msg_id = format!("rs:{}:{}", resolution.id, resolution.at_ns);
        let subject = topology::DEADLETTERS_RESOLUTION;
        let place = self.log.append(subject, payload, Some(&msg_id)).await?;
        self.known(place.sequence, "waiting for a decision to be read")
            .await
    }
}
