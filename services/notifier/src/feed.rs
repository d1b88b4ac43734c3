//! The event feed: reads EVENTS of a partition for each feed receiver, lane by lane, and gives it
//! what it does not have. Several batches are under way at once, and how far it is is what lies
//! before the first that is not done: that stands in DELIVERIES, written along with whatever else
//! is, or once a second; after a kill what was not recorded yet goes again. A receiver that is down
//! holds up nobody but itself, and loses nothing.

mod gather;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use balefire_bus::{Bus, Topology};
use balefire_event::Lane;
use balefire_kit::clock;
use balefire_notifier_core::FeedPosition;
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::breaker::Rate;
use balefire_notifier_core::contained::said;
use balefire_notifier_core::feed::{self, Item};
use balefire_notifier_core::route::Receiver;
use bytes::Bytes;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;

use self::gather::{Batch, Gatherer};
use crate::caller::Caller;
use crate::desk::Desk;
use crate::dispatch::contained;
use crate::letter::Letterbox;
use crate::reply::Reply;

/// Positions of one partition that wait to be written.
pub const POSITIONS_MAX: usize = 64;
/// How often it is looked how far behind a feed is.
const LAG_EVERY: Duration = Duration::from_secs(2);
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Receiver, partition, lane.
type Place = (Arc<str>, u32, Lane);

/// How each feed of this process is.
#[derive(Debug, Default)]
pub struct Feeds {
    states: Mutex<BTreeMap<Place, FeedState>>,
}

/// How a feed is.
#[derive(Debug, Clone, Default)]
pub struct FeedState {
    /// Messages that the receiver does not have yet.
    pub lag: u64,
    /// What the last call that failed said; empty: the last one did not fail.
    pub error: String,
    /// Batches that wait to go again.
    failing: usize,
}

impl Feeds {
    fn states(&self) -> MutexGuard<'_, BTreeMap<Place, FeedState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of all partitions and lanes of a receiver: what lags, together, and one error.
    #[must_use]
    pub fn of(&self, receiver: &str) -> FeedState {
        let states = self.states();
        let own = states.iter().filter(|((name, ..), _)| **name == *receiver);
        own.fold(FeedState::default(), |mut sum, (_, state)| {
            sum.lag = sum.lag.saturating_add(state.lag);
            sum.failing = sum.failing.saturating_add(state.failing);
            if sum.error.is_empty() {
                sum.error.clone_from(&state.error);
            }
            sum
        })
    }

    /// The receivers that something waits for to go again.
    #[must_use]
    pub fn failing(&self) -> BTreeSet<Arc<str>> {
        let states = self.states();
        let failing = states.iter().filter(|(_, state)| state.failing > 0);
        failing.map(|((name, ..), _)| Arc::clone(name)).collect()
    }
}

/// What a feed works with.
#[derive(Clone)]
pub struct Feeder {
    /// The log.
    pub bus: Bus,
    /// Its shape.
    pub topology: Topology,
    /// The partition.
    pub partition: u32,
    /// What is in force.
    pub desk: Arc<Desk>,
    /// When a failed call is repeated.
    pub backoff: Backoff,
    /// Where what is refused goes.
    pub letterbox: Letterbox,
    /// Where positions go.
    pub positions: mpsc::Sender<FeedPosition>,
    /// How it is, for others to read.
    pub feeds: Arc<Feeds>,
}

impl Feeder {
    /// Feeds one receiver one lane, from behind `had` on; a receiver that never had any, from what
    /// comes from now on. Ends only by being dropped.
    pub async fn run(self, receiver: Receiver, lane: Lane, had: Option<u64>) {
        let place = (Arc::clone(&receiver.name), self.partition, lane);
        let _gone = Gone {
            feeds: Arc::clone(&self.feeds),
            place: place.clone(),
        };
        let line = Line {
            stream: self.topology.events_stream(lane, self.partition),
            rate: receiver.rate_per_minute.map(Rate::of).map(Mutex::new),
            failing: AtomicUsize::new(0),
            receiver,
            lane,
            place,
            feeder: self,
        };
        let mut had = had;
        loop {
            let from = match had {
                Some(had) => had,
                None => line.begin().await,
            };
            let followed = AssertUnwindSafe(line.follow(from)).catch_unwind().await;
            had = Some(match followed {
                Ok((reached, error)) => {
                    tracing::warn!(stream = line.stream, %error, "the feed reads again");
                    reached
                }
                Err(panic) => {
                    let error = said(panic.as_ref());
                    tracing::error!(stream = line.stream, %error, "the feed reads again");
                    from
                }
            });
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Forgets how a feed was when it ends.
struct Gone {
    feeds: Arc<Feeds>,
    place: Place,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.feeds.states().remove(&self.place);
    }
}

/// One receiver and lane.
struct Line {
    feeder: Feeder,
    receiver: Receiver,
    lane: Lane,
    stream: String,
    place: Place,
    rate: Option<Mutex<Rate>>,
    /// Batches whose last call failed: where there are any, no other is begun.
    failing: AtomicUsize,
}

impl Line {
    /// The end of the lane as it is now, recorded as where the feed begins.
    async fn begin(&self) -> u64 {
        loop {
            match self.feeder.bus.stream_info(&self.stream).await {
                Ok(info) => {
                    self.record(info.last_sequence).await;
                    return info.last_sequence;
                }
                Err(error) => {
                    tracing::debug!(stream = self.stream, %error, "the feed looks again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// Gives what comes until the log does not read on; how far it came.
    async fn follow(&self, had: u64) -> (u64, balefire_bus::Error) {
        let gatherer = Gatherer {
            bus: self.feeder.bus.clone(),
            desk: Arc::clone(&self.feeder.desk),
            receiver: self.receiver.clone(),
            stream: self.stream.clone(),
        };
        let lag = Lag {
            bus: self.feeder.bus.clone(),
            stream: self.stream.clone(),
            feeds: Arc::clone(&self.feeder.feeds),
            place: self.place.clone(),
        };
        let (batches, gathered) = mpsc::channel(1);
        let reached = AtomicU64::new(had);
        // Reading goes on while a batch is under way, and so does looking how much there is.
        let given = async {
            tokio::join!(
                gatherer.run(had, batches),
                self.give_all(gathered, &reached)
            )
        };
        let (error, ()) = tokio::select! {
            ended = given => ended,
            never = lag.look(&reached) => match never {},
        };
        let reached = reached.into_inner();
        let first = error.begins_at();
        (first.map_or(reached, |first| first - 1), error)
    }

    /// Gives each batch, several at once, until there are no more. What is done is recorded in
    /// order.
    async fn give_all(&self, mut batches: mpsc::Receiver<Batch>, reached: &AtomicU64) {
        let most = self.caller().await.feed_limits().batches_max;
        let (mut given, mut open) = (FuturesOrdered::new(), true);
        while open || !given.is_empty() {
            let calm = given.is_empty() || self.failing.load(Ordering::Relaxed) == 0;
            tokio::select! {
                biased;
                Some(sequence) = given.next() => {
                    self.record(sequence).await;
                    reached.store(sequence, Ordering::Relaxed);
                }
                batch = batches.recv(), if open && calm && given.len() < most => match batch {
                    Some(batch) => given.push_back(self.give(batch)),
                    None => open = false,
                },
            }
        }
    }

    /// Gives a batch until the receiver has each item or refused it for good; the last message that
    /// it holds all of.
    async fn give(&self, batch: Batch) -> u64 {
        let Batch {
            buffer,
            items,
            broken,
            sequence,
        } = batch;
        for (item, said, bytes) in &broken {
            let letterbox = &self.feeder.letterbox;
            letterbox
                .refused(&self.stream, &self.receiver.name, (item, bytes), said)
                .await;
        }
        let buffer = Bytes::from(buffer);
        let limits = self.caller().await.feed_limits();
        let mut open: Vec<Vec<Item>> = feed::cut(items, limits);
        open.reverse();
        let mut failures = 0;
        while let Some(items) = open.pop() {
            self.wait_for_rate().await;
            // Looked up each time: a receiver may be mended while it fails.
            let caller = self.caller().await;
            let id = batch_id(&self.stream, &items);
            let reply = contained(caller.feed(&id, &buffer, &items)).await;
            let left = feed::sort(&reply.verdict, reply.status, items);
            self.told(&reply, left.delivered, left.refused.len());
            for item in &left.refused {
                let what = (item, item.bytes(&buffer));
                let letterbox = &self.feeder.letterbox;
                letterbox
                    .refused(&self.stream, &self.receiver.name, what, &reply.error)
                    .await;
            }
            open.extend(left.again.into_iter().rev());
            match left.wait {
                None => {
                    self.recovered(failures);
                    failures = 0;
                }
                Some(asked) => {
                    if failures == 0 {
                        self.fails(|failing| failing + 1);
                    }
                    failures += 1;
                    let asked = Some(asked).filter(|asked| *asked > 0);
                    let wait = self.feeder.backoff.wait(failures, rand::random(), asked);
                    tokio::time::sleep(nanos(wait)).await;
                }
            }
        }
        sequence
    }

    /// A batch that failed so many times goes on.
    fn recovered(&self, failures: u32) {
        if failures > 0 {
            self.fails(|failing| failing.saturating_sub(1));
        }
    }

    /// One batch more or less fails; seen by others, too.
    fn fails(&self, change: impl Fn(usize) -> usize) {
        let mut states = self.feeder.feeds.states();
        let state = states.entry(self.place.clone()).or_default();
        state.failing = change(state.failing);
        self.failing.store(state.failing, Ordering::Relaxed);
    }

    async fn wait_for_rate(&self) {
        let Some(rate) = &self.rate else {
            return;
        };
        let now = clock::now();
        let free_at = {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            let free_at = rate.free_at().max(now);
            rate.taken(free_at);
            free_at
        };
        tokio::time::sleep(nanos(free_at.since(now))).await;
    }

    fn told(&self, reply: &Reply, delivered: usize, refused: usize) {
        let mut states = self.feeder.feeds.states();
        let state = states.entry(self.place.clone()).or_default();
        state.error.clone_from(&reply.error);
        drop(states);
        let receiver = self.receiver.name.to_string();
        for (outcome, count) in [("delivered", delivered), ("refused", refused)] {
            let count = u64::try_from(count).unwrap_or(0);
            metrics::counter!("balefire_feed_events_total", "receiver" => receiver.clone(), "outcome" => outcome)
                .increment(count);
        }
        if !reply.error.is_empty() {
            metrics::counter!("balefire_feed_failures_total", "receiver" => receiver).increment(1);
        }
    }

    async fn caller(&self) -> Caller {
        gather::caller(&self.feeder.desk, &self.receiver.name).await
    }

    async fn record(&self, sequence: u64) {
        let position = FeedPosition {
            receiver: Arc::clone(&self.receiver.name),
            lane: self.lane,
            sequence,
            at: clock::now(),
        };
        // A closed channel: the partition ended, and this with it.
        let _ended = self.feeder.positions.send(position).await;
    }
}

/// How far behind a feed is, whatever its receiver does.
struct Lag {
    bus: Bus,
    stream: String,
    feeds: Arc<Feeds>,
    place: Place,
}

impl Lag {
    async fn look(&self, reached: &AtomicU64) -> Infallible {
        loop {
            if let Ok(info) = self.bus.stream_info(&self.stream).await {
                let reached = reached.load(Ordering::Relaxed);
                let mut states = self.feeds.states();
                let state = states.entry(self.place.clone()).or_default();
                state.lag = info.last_sequence.saturating_sub(reached);
            }
            tokio::time::sleep(LAG_EVERY).await;
        }
    }
}

/// The same for the same events, so that a repeat has the same id.
fn batch_id(stream: &str, items: &[Item]) -> String {
    let place = |item: Option<&Item>| {
        item.map(|item| (item.sequence, item.index))
            .unwrap_or_default()
    };
    let (first, last) = (place(items.first()), place(items.last()));
    format!("{stream}:{}.{}-{}.{}", first.0, first.1, last.0, last.1)
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
