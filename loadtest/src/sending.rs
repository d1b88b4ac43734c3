//! Sends a plan's frames, each at its intended time, whatever the other side does.
//!
//! A thread of its own keeps the time, another carries the bytes; both stand before the rest of the
//! process and share no runtime with it, so that receiving and checking cannot hold a frame back.
//! Neither ever waits for an answer or for room: a frame that cannot leave in time is unsent.

use std::sync::Arc;
use std::time::Duration;

use balefire_loadtest_core::account::Fate;
use balefire_loadtest_core::frame::{Frame, head};
use balefire_wire::ingest::v1::{AppendResult, AppendStatus, AppendStreamResponse};
use bytes::{BufMut as _, Bytes};
use futures::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::clock::Clock;
use crate::error::Error;
use crate::standing;
use crate::track::{PRODUCERS, Track};

/// Streams side by side over a producer's connection.
const STREAMS: usize = 4;
/// Frames that may wait in front of a stream.
const QUEUE_MAX: usize = 1_024;
/// A frame that is so late is left out, nanoseconds.
pub const LATE_MAX_NS: u64 = 1_000_000_000;
/// How long the last answers may take.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// A stop by hand is seen within, nanoseconds.
const WATCH_NS: u64 = 50_000_000;
const METHOD: &str = "/balefire.ingest.v1.IngestService/AppendStream";

/// What is sent, and what becomes of it.
#[derive(Debug)]
pub struct Sending {
    /// The frames in order.
    pub frames: Vec<Frame>,
    /// What becomes of them.
    pub track: Track,
    /// The run's time.
    pub clock: Clock,
}

impl Sending {
    /// When the frame of an event was sent, and when it was answered.
    #[must_use]
    pub fn times_of(&self, event: u32) -> (Option<u64>, Option<u64>) {
        let behind = self.frames.partition_point(|frame| frame.first <= event);
        let Some(frame) = behind.checked_sub(1) else {
            return (None, None);
        };
        (self.track.sent_at(frame), self.track.answered_at(frame))
    }
}

struct Outgoing {
    frame: usize,
    bytes: Bytes,
}

/// Writes bytes that were encoded before; notes when.
struct Raw(Arc<Sending>);

impl Encoder for Raw {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let number = u64::try_from(item.frame).unwrap_or(u64::MAX);
        buffer.put_slice(&head(number));
        buffer.put(item.bytes);
        self.0.track.sent(item.frame, self.0.clock.now_ns());
        Ok(())
    }
}

struct RawCodec(Arc<Sending>);

impl Codec for RawCodec {
    type Encode = Outgoing;
    type Decode = AppendStreamResponse;
    type Encoder = Raw;
    type Decoder = <ProstCodec<AppendStreamResponse, AppendStreamResponse> as Codec>::Decoder;

    fn encoder(&mut self) -> Raw {
        Raw(Arc::clone(&self.0))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<AppendStreamResponse, AppendStreamResponse>::raw_decoder(
            BufferSettings::default(),
        )
    }
}

/// What sending took; the connections stay open until this is dropped.
#[derive(Debug)]
pub struct Sent {
    /// CPU time of the threads that sent.
    pub cpu: Duration,
    /// Whether they kept to the core that was asked for.
    pub kept: bool,
    _open: oneshot::Sender<()>,
}

/// Sends everything; returns when all is answered, or nothing more comes. `stop` ends it early:
/// what was not sent by then is unsent. With `core` its threads keep to that core.
///
/// # Errors
/// Nobody is there, or this machine gives no thread.
pub async fn run(
    sending: Arc<Sending>,
    addr: &str,
    core: Option<usize>,
    stop: CancellationToken,
) -> Result<Sent, Error> {
    let (done, result) = oneshot::channel();
    let addr = addr.to_owned();
    let thread = std::thread::Builder::new().name("sender".to_owned());
    let spawned = thread.spawn(move || {
        let _granted = standing::raise();
        let kept = core.is_some_and(|core| standing::keep(core, true));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(source) => {
                let _gone = done.send(Err(Error::Thread { source }));
                return;
            }
        };
        runtime.block_on(async {
            match send_all(sending, &addr, stop).await {
                Ok((channels, pacing)) => {
                    let (open, closed) = oneshot::channel();
                    let cpu = pacing + standing::cpu_time();
                    let _gone = done.send(Ok(Sent {
                        cpu,
                        kept,
                        _open: open,
                    }));
                    let _dropped = closed.await;
                    drop(channels);
                }
                Err(error) => {
                    // Who asked may have gone.
                    let _gone = done.send(Err(error));
                }
            }
        });
    });
    spawned.map_err(|source| Error::Thread { source })?;
    let panicked = || Error::Thread {
        source: std::io::Error::other("the sender ended without a word"),
    };
    result.await.unwrap_or_else(|_| Err(panicked()))
}

async fn connect(addr: &str) -> Result<Channel, Error> {
    Endpoint::from_shared(format!("http://{addr}"))
        .map_err(|source| Error::Connect { source })?
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(|source| Error::Connect { source })
}

/// The connections, still open, and the CPU time of the pacer.
async fn send_all(
    sending: Arc<Sending>,
    addr: &str,
    stop: CancellationToken,
) -> Result<(Vec<Channel>, Duration), Error> {
    let mut channels = Vec::with_capacity(PRODUCERS);
    let mut queues = Vec::with_capacity(PRODUCERS);
    let mut streams = JoinSet::new();
    for producer in 0..PRODUCERS {
        if !sending.frames.iter().any(|one| one.producer == producer) {
            queues.push(Vec::new());
            continue;
        }
        let channel = connect(addr).await?;
        let mut own = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let (queue, frames) = mpsc::channel(QUEUE_MAX);
            own.push(queue);
            streams.spawn(carry(Arc::clone(&sending), channel.clone(), frames));
        }
        queues.push(own);
        channels.push(channel);
    }
    let pacer = {
        let sending = Arc::clone(&sending);
        tokio::task::spawn_blocking(move || {
            pace(&sending, &queues, &stop);
            standing::cpu_time()
        })
    };
    // A panic of the pacer leaves frames unknown, which the books show.
    let pacing = pacer.await.unwrap_or_default();
    let drained = async { while streams.join_next().await.is_some() {} };
    // What is not answered by then is unknown.
    let _unanswered = tokio::time::timeout(DRAIN_MAX, drained).await;
    Ok((channels, pacing))
}

/// Waits for a time unless the sending is stopped meanwhile. False: it was.
fn wait(clock: &Clock, at_ns: u64, stop: &CancellationToken) -> bool {
    while !stop.is_cancelled() {
        let now_ns = clock.now_ns();
        clock.block_until(at_ns.min(now_ns.saturating_add(WATCH_NS)));
        if clock.now_ns() >= at_ns {
            return true;
        }
    }
    false
}

fn pace(sending: &Sending, queues: &[Vec<mpsc::Sender<Outgoing>>], stop: &CancellationToken) {
    let _granted = standing::raise();
    for (index, frame) in sending.frames.iter().enumerate() {
        if !wait(&sending.clock, frame.at_ns, stop) {
            sending.track.stopped(index);
            return;
        }
        let late = sending.clock.now_ns().saturating_sub(frame.at_ns) > LATE_MAX_NS;
        if late || !sending.track.depart(frame) {
            sending.track.settle_all(frame, Fate::Unsent);
            continue;
        }
        let outgoing = Outgoing {
            frame: index,
            bytes: frame.bytes.clone(),
        };
        let own = queues.get(frame.producer).map_or(&[][..], Vec::as_slice);
        let queue = own.get(index % own.len().max(1));
        if queue.is_none_or(|queue| queue.try_send(outgoing).is_err()) {
            sending.track.arrive(frame);
            sending.track.settle_all(frame, Fate::Unsent);
        }
    }
}

/// The frames that are still in time when the connection has room for them.
fn in_time(
    sending: Arc<Sending>,
    frames: mpsc::Receiver<Outgoing>,
) -> impl Stream<Item = Outgoing> {
    let queue = stream::unfold(frames, |mut frames| async move {
        frames.recv().await.map(|outgoing| (outgoing, frames))
    });
    queue.filter_map(move |outgoing| {
        let kept = match sending.frames.get(outgoing.frame) {
            Some(frame) if sending.clock.now_ns().saturating_sub(frame.at_ns) > LATE_MAX_NS => {
                sending.track.arrive(frame);
                sending.track.settle_all(frame, Fate::Unsent);
                None
            }
            Some(_) | None => Some(outgoing),
        };
        std::future::ready(kept)
    })
}

/// One stream: frames out, answers in. An error ends it; what it had not answered is unknown.
async fn carry(
    sending: Arc<Sending>,
    channel: Channel,
    frames: mpsc::Receiver<Outgoing>,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let outgoing = Box::pin(in_time(Arc::clone(&sending), frames));
    let codec = RawCodec(Arc::clone(&sending));
    let path = PathAndQuery::from_static(METHOD);
    let answers = grpc.streaming(Request::new(outgoing), path, codec).await?;
    read(&sending, answers.into_inner()).await
}

async fn read(
    sending: &Sending,
    mut answers: Streaming<AppendStreamResponse>,
) -> Result<(), Status> {
    while let Some(answer) = answers.message().await? {
        let at_ns = sending.clock.now_ns();
        let index = usize::try_from(answer.batch_id).unwrap_or(usize::MAX);
        let Some(frame) = sending.frames.get(index) else {
            continue;
        };
        sending.track.arrive(frame);
        if answer.error.is_some() {
            sending.track.settle_all(frame, Fate::Refused);
        } else {
            sending.track.answered(index, at_ns);
            sending.track.settle(frame, answer.results.iter().map(fate));
            let first = usize::try_from(frame.first).unwrap_or(usize::MAX);
            for (after, result) in answer.results.iter().enumerate() {
                if let Some(place) = &result.place {
                    let event = first.saturating_add(after);
                    sending.track.place(event, &place.stream, place.sequence);
                }
            }
        }
    }
    Ok(())
}

fn fate(result: &AppendResult) -> Fate {
    match result.status() {
        AppendStatus::Accepted | AppendStatus::Duplicate => Fate::Acknowledged,
        AppendStatus::Rejected => Fate::Refused,
        AppendStatus::Unspecified => Fate::Unknown,
    }
}
