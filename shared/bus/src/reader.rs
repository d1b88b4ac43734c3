//! The lanes of a partition, read with priority: urgent before normal before bulk, and every
//! sixteenth pick from the lowest upwards, so that no lane starves.

use std::task::Poll;

use balefire_event::Timestamp;

use crate::connection::Bus;
use crate::error::Error;
use crate::message::{Message, StreamInfo};
use crate::pump::{self, Pump};

/// Every so manieth pick starts from the lowest lane.
pub const MINIMUM_SHARE: u64 = 16;
/// Messages of a lane that wait here; small, so that the priority means something.
pub const LANE_QUEUE_MAX: usize = 16;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first message that is still there.
    Earliest,
    /// At this sequence (0 is 1); the one after the last is the next to come.
    Sequence(u64),
    /// At the first message stored at or after this time.
    Time(Timestamp),
}

/// A lane to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneStart {
    /// Its stream.
    pub stream: String,
    /// Where to begin.
    pub start: Start,
}

/// Reads several streams, the first with the highest priority. Losses of the connection and of
/// consumers are mended inside; what comes out is contiguous in each lane.
pub struct LaneReader {
    bus: Bus,
    lanes: Vec<Lane>,
    picks: u64,
}

struct Lane {
    stream: String,
    pump: Pump,
}

impl LaneReader {
    /// Reads `lanes`, highest priority first. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(bus: &Bus, lanes: Vec<LaneStart>) -> Self {
        let lanes = lanes
            .into_iter()
            .map(|lane| Lane {
                pump: pump::spawn(bus, &lane.stream, lane.start, LANE_QUEUE_MAX),
                stream: lane.stream,
            })
            .collect();
        Self {
            bus: bus.clone(),
            lanes,
            picks: 0,
        }
    }

    /// The next message and its lane's index; waits for one. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Gap`] and [`Error::LogRegression`]: stop, touch nothing. [`Error::Ended`] after
    /// such an error. Nothing else: all else is mended.
    pub async fn next(&mut self) -> Result<(usize, Message), Error> {
        let from_lowest = self.picks % MINIMUM_SHARE == MINIMUM_SHARE - 1;
        // A lane just drained may hold more that its task had no turn to hand over: before a
        // lower lane is taken, every task gets a turn.
        let mut gave_turn = from_lowest;
        let picked = std::future::poll_fn(|cx| {
            for index in pick_order(self.lanes.len(), from_lowest) {
                let Some(lane) = self.lanes.get_mut(index) else {
                    continue;
                };
                if index > 0 && !gave_turn && !lane.pump.messages.is_empty() {
                    gave_turn = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Poll::Ready(received) = lane.pump.messages.poll_recv(cx) {
                    return Poll::Ready((index, received));
                }
            }
            Poll::Pending
        })
        .await;
        let (index, received) = picked;
        let message = self.open(index, received)?;
        self.picks = self.picks.wrapping_add(1);
        Ok((index, message))
    }

    /// The next message of one lane, whatever the others have: to go again through a recorded
    /// order. Cancel-safe; no pick is counted.
    ///
    /// # Errors
    /// As [`LaneReader::next`].
    pub async fn next_from(&mut self, lane: usize) -> Result<Message, Error> {
        let received = match self.lanes.get_mut(lane) {
            Some(lane) => lane.pump.messages.recv().await,
            None => None,
        };
        self.open(lane, received)
    }

    fn open(
        &self,
        lane: usize,
        received: Option<Result<Message, Error>>,
    ) -> Result<Message, Error> {
        received.unwrap_or_else(|| {
            Err(Error::Ended {
                stream: self.stream(lane).to_owned(),
            })
        })
    }

    /// The stream of a lane; empty for a lane that is none.
    #[must_use]
    pub fn stream(&self, lane: usize) -> &str {
        self.lanes.get(lane).map_or("", |lane| &lane.stream)
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Reads a lane from elsewhere from now on; what waited of it is dropped.
    pub fn start_at(&mut self, lane: usize, start: Start) {
        let bus = self.bus.clone();
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.pump = pump::spawn(&bus, &lane.stream, start, LANE_QUEUE_MAX);
        }
    }

    /// The last sequence of a lane's stream now; 0 while it is empty.
    ///
    /// # Errors
    /// [`Error::StreamMissing`], [`Error::Unavailable`].
    pub async fn last_sequence(&self, lane: usize) -> Result<u64, Error> {
        self.info(lane).await.map(|info| info.last_sequence)
    }

    /// What a lane's stream holds now.
    ///
    /// # Errors
    /// [`Error::StreamMissing`], [`Error::Unavailable`].
    pub async fn info(&self, lane: usize) -> Result<StreamInfo, Error> {
        self.bus.stream_info(self.stream(lane)).await
    }
}

/// The lanes in the order in which a pick looks at them.
fn pick_order(lanes: usize, from_lowest: bool) -> impl Iterator<Item = usize> {
    (0..lanes).map(
        move |step| {
            if from_lowest { lanes - 1 - step } else { step }
        },
    )
}
