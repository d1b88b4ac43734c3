//! Faults put into the product on purpose, so that it can be shown that the load test finds them.
//! Only with the feature `sabotage`, which nothing that ships is built with, and only where
//! `BALEFIRE_SABOTAGE` names one: `drop`, `double`, `stall` or `panic`.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Every so many events one is acknowledged and not written.
const DROP_EVERY: u64 = 10_000;
/// A standstill, once a second.
const STALL: Duration = Duration::from_millis(200);

static CHOSEN: LazyLock<String> = LazyLock::new(|| {
    let chosen = std::env::var("BALEFIRE_SABOTAGE").unwrap_or_default();
    if !chosen.is_empty() {
        tracing::error!(fault = chosen, "BALEFIRE_SABOTAGE: faulty on purpose");
    }
    chosen
});
static EVENTS: AtomicU64 = AtomicU64::new(0);
static DELIVERIES: AtomicU64 = AtomicU64::new(0);

/// Whether the next event is left out of the log.
pub fn drops() -> bool {
    *CHOSEN == "drop" && (EVENTS.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(DROP_EVERY)
}

/// Panics over whatever is called so.
///
/// # Panics
/// Where `name` begins with `sabotage`.
pub fn panics(name: &str) {
    assert!(
        !(*CHOSEN == "panic" && name.starts_with("sabotage")),
        "over {name}, on purpose"
    );
}

/// Whether the next delivery is made twice: the first one is.
pub fn doubles() -> bool {
    *CHOSEN == "double" && DELIVERIES.fetch_add(1, Ordering::Relaxed) == 0
}

/// Holds up what comes in the first 200 ms of each second, until they are over.
pub async fn stall() {
    if *CHOSEN != "stall" {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let within = Duration::from_nanos(now.map_or(0, |now| now.subsec_nanos()).into());
    if let Some(rest) = STALL.checked_sub(within) {
        tokio::time::sleep(rest).await;
    }
}
