//! ESCALATIONS, followed: which escalation ids there are and where each stands first, and which
//! barriers came out.
//!
//! Rebuilt from the log at every start; a cache, never a truth.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use balefire_bus::{Bus, Log, Message, Topology};
use balefire_event::{BarrierId, EscalationId, EscalationKind};
use balefire_wire::{BatchView, RecordView};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Error, wiring};

/// Barriers remembered.
const BARRIERS_MAX: usize = 1024;

/// Where a record of ESCALATIONS lies: partition, stream sequence, index in the batch.
pub type Place = (u32, u64, u32);

#[derive(Debug, Default)]
struct Seen {
    first: HashMap<EscalationId, Place>,
    /// By partition: from its EVENTS, and from its REKEYED.
    barriers: BTreeMap<BarrierId, BTreeSet<(u32, bool)>>,
    barrier_order: std::collections::VecDeque<BarrierId>,
    /// Last sequence taken in, by partition.
    read: Vec<u64>,
}

/// What is known of ESCALATIONS.
#[derive(Debug, Clone)]
pub struct Projection {
    seen: Arc<RwLock<Seen>>,
    moved: watch::Sender<u64>,
    partitions: u32,
}

impl Projection {
    /// Empty, of so many partitions.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let seen = Seen {
            read: (0..partitions).map(|_| 0).collect(),
            ..Seen::default()
        };
        Self {
            seen: Arc::new(RwLock::new(seen)),
            moved: watch::Sender::new(0),
            partitions,
        }
    }

    /// How many partitions there are.
    #[must_use]
    pub const fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Whether the record at a place is the one that stands for its id: readers drop repeats.
    #[must_use]
    pub fn is_first(&self, id: &EscalationId, place: Place) -> bool {
        let seen = self.seen.read();
        seen.is_ok_and(|seen| seen.first.get(id).is_none_or(|first| *first == place))
    }

    /// Where an escalation id stands first.
    #[must_use]
    pub fn place(&self, id: &EscalationId) -> Option<Place> {
        let seen = self.seen.read().ok()?;
        seen.first.get(id).copied()
    }

    /// Waits until all of these ids are there.
    pub async fn holds(&self, ids: &[EscalationId]) {
        self.until(|seen| ids.iter().all(|id| seen.first.contains_key(id)))
            .await;
    }

    /// How many escalation ids there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen
            .read()
            .map(|seen| seen.first.len())
            .unwrap_or_default()
    }

    fn take(&self, partition: u32, message: &Message) {
        let sequence = message.sequence;
        let Ok(batch) = BatchView::parse(&message.payload) else {
            tracing::error!(partition, sequence, "malformed batch in ESCALATIONS");
            return;
        };
        let Ok(mut seen) = self.seen.write() else {
            return;
        };
        for (index, record) in (0u32..).zip(batch.records()) {
            match record {
                Ok(RecordView::Escalation(escalation)) => {
                    if matches!(
                        escalation.kind,
                        EscalationKind::Raised | EscalationKind::Continued
                    ) {
                        let place = (partition, sequence, index);
                        let first = seen.first.entry(escalation.escalation_id).or_insert(place);
                        // Partitions are read side by side; the lowest place stands for the id.
                        *first = (*first).min(place);
                    }
                }
                Ok(RecordView::Barrier { id, .. }) => {
                    seen.barrier(id, (partition, wiring::is_rekeyed(&message.subject)));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(partition, sequence, index, %error, "malformed record in ESCALATIONS")
                }
            }
        }
        if let Some(read) = usize::try_from(partition)
            .ok()
            .and_then(|p| seen.read.get_mut(p))
        {
            *read = sequence;
        }
        drop(seen);
        self.moved
            .send_modify(|moves| *moves = moves.wrapping_add(1));
    }

    /// Waits until everything that was in the log at the call is taken in.
    ///
    /// # Errors
    /// Where the log is out of reach.
    pub async fn caught_up(&self, bus: &Bus, topology: &Topology) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for partition in 0..self.partitions {
            wanted.push(
                bus.stream_info(&topology.escalations_stream(partition))
                    .await?
                    .last_sequence,
            );
        }
        self.until(|seen| {
            seen.read
                .iter()
                .zip(&wanted)
                .all(|(read, wanted)| read >= wanted)
        })
        .await;
        Ok(())
    }

    /// Waits until a barrier came out of every partition, straight and through REKEYED.
    pub async fn barrier(&self, id: BarrierId) {
        let all = usize::try_from(self.partitions).unwrap_or(usize::MAX / 2);
        self.until(|seen| {
            let out = seen.barriers.get(&id);
            out.is_some_and(|out| out.len() >= 2 * all)
        })
        .await;
    }

    async fn until(&self, condition: impl Fn(&Seen) -> bool) {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            if self.seen.read().is_ok_and(|seen| condition(&seen)) {
                return;
            }
            if moved.changed().await.is_err() {
                return;
            }
        }
    }

    /// Follows one partition until `shutdown`.
    ///
    /// # Errors
    /// Where the log shows a gap.
    pub async fn follow(
        self,
        bus: Bus,
        stream: String,
        partition: u32,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let mut tail = Log::new(&bus).tail(&stream, 1);
        loop {
            let message = tokio::select! {
                message = tail.next() => message,
                () = shutdown.cancelled() => return Ok(()),
            };
            match message.map_err(|error| (error.begins_at(), error)) {
                Ok(Some(message)) => self.take(partition, &message),
                Ok(None) => return Ok(()),
                // Its first records met a full disk.
                Err((Some(first), _)) => tail = Log::new(&bus).tail(&stream, first),
                Err((None, error)) => return Err(error.into()),
            }
        }
    }
}

impl Seen {
    fn barrier(&mut self, id: BarrierId, from: (u32, bool)) {
        if !self.barriers.contains_key(&id) {
            self.barrier_order.push_back(id);
            if self.barrier_order.len() > BARRIERS_MAX
                && let Some(oldest) = self.barrier_order.pop_front()
            {
                self.barriers.remove(&oldest);
            }
        }
        self.barriers.entry(id).or_default().insert(from);
    }
}
