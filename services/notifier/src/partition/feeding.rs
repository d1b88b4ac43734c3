//! The feeds of one partition: a task for each feed receiver and lane, as long as the partition is
//! owned.

use std::sync::Arc;

use balefire_event::Lane;
use balefire_notifier_core::FeedPosition;
use balefire_notifier_core::route::Receiver;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Parts;
use crate::feed::{Feeder, POSITIONS_MAX};

/// What runs, and how far it came.
pub(crate) struct Feeding {
    tasks: JoinSet<()>,
    receivers: Vec<Receiver>,
    positions: mpsc::Sender<FeedPosition>,
    positioned: mpsc::Receiver<FeedPosition>,
}

impl Feeding {
    /// Nothing runs.
    pub(crate) fn new() -> Self {
        let (positions, positioned) = mpsc::channel(POSITIONS_MAX);
        Self {
            tasks: JoinSet::new(),
            receivers: Vec::new(),
            positions,
            positioned,
        }
    }

    /// Makes what runs be what is in force. Where a feed receiver came, went or changed all begin
    /// again where the log says they are.
    pub(crate) fn keep(&mut self, parts: &Parts) {
        let plan = parts.desk.plan();
        let wanted = plan.receivers.iter().filter(|one| one.feed);
        let wanted: Vec<Receiver> = wanted.cloned().collect();
        if self.receivers == wanted {
            return;
        }
        self.tasks = JoinSet::new();
        for receiver in &wanted {
            for &lane in Lane::ALL {
                let had = parts.view.state().fed(&receiver.name, lane);
                let feeder = Feeder {
                    bus: parts.bus.clone(),
                    topology: parts.topology,
                    partition: parts.writer.partition,
                    desk: Arc::clone(&parts.desk),
                    backoff: parts.empty.backoff(),
                    letterbox: parts.letterbox.clone(),
                    positions: self.positions.clone(),
                    feeds: Arc::clone(&parts.feeds),
                };
                self.tasks.spawn(feeder.run(receiver.clone(), lane, had));
            }
        }
        self.receivers = wanted;
    }

    /// The next position that is to be written. Cancel-safe; waits for ever where nothing comes.
    pub(crate) async fn next(&mut self) -> FeedPosition {
        match self.positioned.recv().await {
            Some(position) => position,
            None => std::future::pending().await,
        }
    }

    /// Ends what runs; the positions that are still to be written.
    pub(crate) async fn stop(&mut self) -> Vec<FeedPosition> {
        self.tasks.shutdown().await;
        let mut left = Vec::new();
        while let Ok(position) = self.positioned.try_recv() {
            left.push(position);
        }
        left
    }
}
