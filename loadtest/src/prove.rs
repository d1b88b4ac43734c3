//! The proof that the generator is not what limits: how many planned events a second it sustains on
//! one core, against a receiver that only counts and answers on another.

use std::sync::Arc;
use std::time::Duration;

use balefire_loadtest_core::SECOND;
use balefire_loadtest_core::account::Fate;
use balefire_loadtest_core::frame::{Frame, frames};
use balefire_loadtest_core::plan::{Scenario, Shape};
use balefire_loadtest_core::schedule::Arrival;
use balefire_loadtest_core::statistics::{Summary, real};
use balefire_loadtest_core::verdict::Check;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::calibrate::lags;
use crate::clock::Clock;
use crate::error::Error;
use crate::null::Null;
use crate::sending::{self, Sending, Sent};
use crate::standing;
use crate::track::Track;

/// From the last preparation to the first frame.
const LEAD: Duration = Duration::from_millis(300);
/// The core that the generator has to itself.
const CORE: usize = 0;
/// Of the planned rate so much must be reached, by the last answer.
const REACHED_MIN: f64 = 0.99;

/// What is asked for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Asked {
    /// Planned events a second
    #[arg(long, default_value_t = 1_000_000)]
    pub rate: u32,
    /// For so many seconds; one second is planned and encoded, and sent so often
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// How late a frame may leave, p99.9, milliseconds
    #[arg(long, default_value_t = 10.0, value_name = "MS")]
    pub lag_max: f64,
}

/// A second's frames, so many seconds long.
fn repeated(second: &[Frame], events: u32, seconds: u32) -> Vec<Frame> {
    let frame = |round: u32, frame: &Frame| Frame {
        at_ns: frame.at_ns + u64::from(round) * SECOND,
        first: frame.first + round * events,
        ..frame.clone()
    };
    (0..seconds)
        .flat_map(|round| second.iter().map(move |one| frame(round, one)))
        .collect()
}

/// Serves on the other cores until the guard is dropped.
async fn receiver() -> Result<(std::net::SocketAddr, oneshot::Sender<()>), Error> {
    let (done, result) = oneshot::channel();
    let (guard, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("receiver".to_owned());
    let serve = move || {
        let _kept = standing::keep(CORE, false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let addr = match runtime {
            Ok(runtime) => {
                let addr = runtime.block_on(Null::counting());
                let listening = addr.is_ok();
                let _gone = done.send(addr);
                if listening {
                    let _dropped = runtime.block_on(ended);
                }
                return;
            }
            Err(source) => Err(Error::Thread { source }),
        };
        let _gone = done.send(addr);
    };
    thread
        .spawn(serve)
        .map_err(|source| Error::Thread { source })?;
    let panicked = || Error::Thread {
        source: std::io::Error::other("the receiver ended without a word"),
    };
    let addr = result.await.unwrap_or_else(|_| Err(panicked()))?;
    Ok((addr, guard))
}

/// Sends at the rate asked for; what came of it.
///
/// # Errors
/// This machine has one core, lets nothing listen, or gives no thread.
pub async fn run(asked: Asked) -> Result<Vec<Check>, Error> {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return Err(Error::OneCore);
    }
    let shape = Shape {
        scenario: Scenario::Steady,
        arrival: Arrival::Constant,
        rate: asked.rate,
        flood_rate: 0,
        seconds: 1,
        seed: 1,
        base_ns: balefire_kit::clock::now().0,
    };
    let plan = shape.plan();
    let events = u32::try_from(plan.events.len()).unwrap_or(u32::MAX);
    let second = frames(&plan.events, &plan.tag, "loadtest");
    drop(plan);
    let frames = repeated(&second, events, asked.seconds);
    let count = usize::try_from(events).unwrap_or(usize::MAX);
    let all = count.saturating_mul(usize::try_from(asked.seconds).unwrap_or(usize::MAX));
    let (addr, _serving) = receiver().await?;
    let sending = Arc::new(Sending {
        track: Track::new(frames.len(), all),
        frames,
        clock: Clock::starting_in(LEAD),
    });
    let stop = CancellationToken::new();
    let sent = sending::run(Arc::clone(&sending), &addr.to_string(), Some(CORE), stop).await?;
    Ok(checks(asked, &sending, &sent))
}

fn checks(asked: Asked, sending: &Sending, sent: &Sent) -> Vec<Check> {
    let fates = sending.track.fates();
    let answered = fates.iter().filter(|fate| **fate == Fate::Acknowledged);
    let answered = answered.count();
    let numbers = 0..sending.frames.len();
    let last = numbers.filter_map(|number| sending.track.answered_at(number));
    let took = real(last.max().unwrap_or(u64::MAX)) / real(SECOND);
    let rate =
        real(u64::try_from(answered).unwrap_or(u64::MAX)) / took.max(f64::from(asked.seconds));
    let bytes: usize = sending.frames.iter().map(|frame| frame.bytes.len()).sum();
    let bytes = real(u64::try_from(bytes).unwrap_or(u64::MAX));
    let lag = Summary::of_values(lags(sending));
    let p999 = lag
        .as_ref()
        .and_then(|lag| lag.p999_ms.or(Some(lag.max_ms)));
    let check = |name: String, passed, detail| Check {
        name,
        passed,
        detail,
    };
    vec![
        check(
            "every planned event is sent in time and answered".to_owned(),
            answered == fates.len(),
            format!("{answered} of {}", fates.len()),
        ),
        check(
            format!("{} events/s, by the last answer", asked.rate),
            rate >= f64::from(asked.rate) * REACHED_MIN,
            format!("{rate:.0} events/s, {:.0} MB/s", bytes / took / 1e6),
        ),
        check(
            format!("send lag of a frame, p99.9 at most {} ms", asked.lag_max),
            p999.is_some_and(|p999| p999 <= asked.lag_max),
            lag.map_or_else(
                || "nothing was sent".to_owned(),
                |lag| {
                    let p999 = p999.unwrap_or_default();
                    format!(
                        "p50 {:.3}, p99 {:.3}, p99.9 {p999:.3}, max {:.3} ms",
                        lag.p50_ms, lag.p99_ms, lag.max_ms
                    )
                },
            ),
        ),
        check(
            "by threads that keep to one core".to_owned(),
            sent.kept,
            format!("{:.2} s of CPU in {took:.2} s", sent.cpu.as_secs_f64()),
        ),
    ]
}
