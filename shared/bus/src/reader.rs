//! The lanes of a partition, read with priority: urgent before normal before bulk, and every
//! sixteenth pick from the lowest upwards, so that no lane starves.

use std::task::Poll;

use balefire_event::Timestamp;
use tokio::sync::mpsc;

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
    picker: Picker,
}

struct Lane {
    stream: String,
    pump: Pump,
}

/// Decides whose turn it is.
#[derive(Default)]
struct Picker {
    picks: u64,
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
            picker: Picker::default(),
        }
    }

    /// The next message and its lane's index; waits for one. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Gap`] and [`Error::LogRegression`]: stop, touch nothing. [`Error::Ended`] after
    /// such an error. Nothing else: all else is mended.
    pub async fn next(&mut self) -> Result<(usize, Message), Error> {
        let queues = self.lanes.iter_mut().map(|lane| &mut lane.pump.messages);
        let (index, received) = self.picker.pick(queues.collect()).await;
        let message = self.open(index, received)?;
        self.picker.picks = self.picker.picks.wrapping_add(1);
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

impl Picker {
    /// The first message there is, in the order of this turn. Counts nothing: a turn is over
    /// when its message is out.
    async fn pick<T>(&self, mut queues: Vec<&mut mpsc::Receiver<T>>) -> (usize, Option<T>) {
        let from_lowest = self.picks % MINIMUM_SHARE == MINIMUM_SHARE - 1;
        // A lane just drained may hold more that its task had no turn to hand over: before a
        // lower lane is taken, every task gets a turn.
        let mut gave_turn = from_lowest;
        std::future::poll_fn(|cx| {
            let lanes = queues.len();
            for step in 0..lanes {
                let index = if from_lowest { lanes - 1 - step } else { step };
                let Some(queue) = queues.get_mut(index) else {
                    continue;
                };
                if index > 0 && !gave_turn && !queue.is_empty() {
                    gave_turn = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Poll::Ready(received) = queue.poll_recv(cx) {
                    return Poll::Ready((index, received));
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues that hold `waiting` messages each.
    fn queues(waiting: [u32; 3]) -> Vec<mpsc::Receiver<u32>> {
        waiting
            .into_iter()
            .map(|count| {
                let (sender, receiver) = mpsc::channel(256);
                for n in 0..count {
                    sender.try_send(n).unwrap();
                }
                std::mem::forget(sender);
                receiver
            })
            .collect()
    }

    async fn picks(queues: &mut [mpsc::Receiver<u32>], count: usize) -> Vec<usize> {
        let mut picker = Picker::default();
        let mut picked = Vec::new();
        for _ in 0..count {
            let (lane, message) = picker.pick(queues.iter_mut().collect()).await;
            assert!(message.is_some());
            picker.picks += 1;
            picked.push(lane);
        }
        picked
    }

    #[tokio::test]
    async fn every_sixteenth_pick_is_the_lowest_lanes() {
        let picked = picks(&mut queues([200, 200, 200]), 64).await;
        for (pick, lane) in picked.into_iter().enumerate() {
            assert_eq!(lane, if pick % 16 == 15 { 2 } else { 0 }, "pick {pick}");
        }
    }

    #[tokio::test]
    async fn a_lane_is_drained_before_the_next_one() {
        let picked = picks(&mut queues([3, 4, 5]), 12).await;
        assert_eq!(picked, [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
    }
}
