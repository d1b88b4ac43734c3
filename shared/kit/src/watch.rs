//! Watches a service's connection to the log: that it is away is told by a way that does not need
//! it.

use std::time::Duration;

use balefire_bus::Bus;
use balefire_event::Severity;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::self_alert::{self, Notice};

/// The log may be away for so long: elections and restarts of a server pass.
const AWAY_MAX: Duration = Duration::from_secs(15);
/// What goes on is told again so often.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until `stop`.
pub async fn connection(service: &'static str, bus: Bus, stop: CancellationToken) {
    let mut away: Option<Instant> = None;
    let mut told: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if bus.is_connected() {
            (away, told) = (None, None);
            continue;
        }
        let since = *away.get_or_insert_with(Instant::now);
        let due = told.is_none_or(|told| told.elapsed() >= AGAIN);
        if since.elapsed() >= AWAY_MAX && due {
            told = Some(Instant::now());
            self_alert::raise(&Notice {
                reason: "log_unavailable",
                severity: Severity::Critical,
                service,
                partition: None,
                title: "The log cannot be reached: nothing is accepted, counted or told".into(),
                detail: format!("no connection for {} s", since.elapsed().as_secs()),
            });
        }
    }
}
