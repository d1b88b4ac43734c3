//! Heartbeats: barriers that this ingest places every few seconds in every partition and lane, so
//! that what stands still anywhere shows. They are no events: no rule, no feed and no count sees
//! them. Every partition holds every tenant's events in one order, so one heartbeat is each tenant's.

use std::sync::Arc;
use std::time::Duration;

use balefire_event::{BarrierId, Severity};
use balefire_kit::self_alert::{self, Notice};
use tokio_util::sync::CancellationToken;

use crate::SERVICE;
use crate::append::Door;

/// So many in a row that could not be placed are told.
const FAILURES_MAX: u32 = 3;

/// Places one every so often until `stop`.
pub(crate) async fn beat(door: Arc<Door>, every: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failures = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let id = BarrierId::heartbeat(rand::random());
        match door.place_barrier(id).await {
            Ok(_) => {
                failures = 0;
                metrics::counter!("balefire_heartbeats_placed_total").increment(1);
            }
            Err(refusal) => {
                failures = failures.saturating_add(1);
                metrics::counter!("balefire_heartbeats_failed_total").increment(1);
                if failures == FAILURES_MAX {
                    self_alert::raise(&unplaced(refusal.message()));
                }
            }
        }
    }
}

fn unplaced(why: &str) -> Notice {
    Notice {
        reason: "heartbeat_not_placed",
        severity: Severity::Critical,
        service: SERVICE,
        partition: None,
        title: "This ingest cannot put anything into the log".into(),
        detail: format!("{FAILURES_MAX} heartbeats in a row could not be placed: {why}"),
    }
}
