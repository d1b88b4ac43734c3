//! How the notifier is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use balefire_bus::{Bus, Topology};
use balefire_event::time::SECOND;
use balefire_kit::StatusSource;
use balefire_wire::status::v1::{Counter, PartitionStatus, ServiceStatus};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::dispatch::Board;
use crate::letters::Letters;
use crate::pulse::Watcher;
use crate::view::View;

/// How often the ends of the ESCALATIONS streams are asked for.
const LAG_EVERY: Duration = Duration::from_secs(2);

/// Answers [`StatusSource`].
pub struct NotifierStatus {
    /// The partitions.
    pub views: Arc<[Arc<View>]>,
    /// The dead letters.
    pub letters: Arc<Letters>,
    /// What waits.
    pub board: Arc<Board>,
    /// What is in force.
    pub desk: Arc<Desk>,
    /// Whether heartbeats come out.
    pub watcher: Arc<Watcher>,
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn counter(name: &str, value: u64) -> Counter {
    Counter {
        name: name.into(),
        value,
    }
}

impl NotifierStatus {
    /// Of the last heartbeat that came out.
    fn heartbeat(&self) -> impl Iterator<Item = Counter> {
        let milliseconds = |nanos: i64| u64::try_from(nanos / (SECOND / 1000)).unwrap_or(0);
        let last = self.watcher.last().map(|(took, ago)| {
            [
                counter("heartbeat_took_ms", milliseconds(took)),
                counter("heartbeat_out_ms_ago", milliseconds(ago)),
            ]
        });
        last.into_iter().flatten()
    }
}

impl StatusSource for NotifierStatus {
    fn status(&self) -> ServiceStatus {
        let (mut pending, mut dead, mut reason) = (0, 0, String::new());
        let mut partitions = Vec::with_capacity(self.views.len());
        for view in self.views.iter() {
            let (waiting, lost) = {
                let state = view.state();
                (whole(state.pending_len()), whole(state.dead_len()))
            };
            pending += waiting;
            dead += lost;
            let standing = view.standing();
            if standing != "running" && !standing.starts_with("standby") {
                reason = format!("partition {}: {standing}", view.partition);
            }
            partitions.push(PartitionStatus {
                partition: view.partition,
                lag: view.lag(),
                step: view.step.load(Ordering::Relaxed),
                state_len: waiting,
                state: standing,
                ..PartitionStatus::default()
            });
        }
        if reason.is_empty() && !self.letters.is_ready() {
            reason = "reading dead letters".into();
        }
        let (busy, unlogged, parked) = {
            let queue = self.board.queue();
            let unlogged = queue.lines().map(|(_, line)| line.unlogged).sum();
            (
                whole(queue.busy_len()),
                whole(unlogged),
                whole(queue.parked_len()),
            )
        };
        let (open, forgotten) = {
            let folded = self.letters.folded();
            (whole(folded.open_len()), folded.forgotten())
        };
        let plan = self.desk.plan();
        let mut counters = vec![
            counter("receivers", whole(plan.receivers.len())),
            counter("receivers_at_fault", whole(self.desk.faults().len())),
            counter(
                "receivers_unanswering",
                whole(self.watcher.unanswering().len()),
            ),
            counter("control_revision", plan.revision),
            counter("deliveries_pending", pending),
            counter("deliveries_under_way", busy),
            counter("deliveries_unlogged", unlogged),
            counter("deliveries_dead_lettered", dead),
            counter("deliveries_parked", parked),
            counter("dead_letters_open", open + forgotten),
        ];
        let reach = self.watcher.reach();
        counters.push(counter("tenants_reachable", whole(reach.open.len())));
        counters.push(counter("tenants_unreachable", whole(reach.shut.len())));
        counters.extend(self.heartbeat());
        counters.extend(self.views.iter().map(|view| Counter {
            name: format!("escalations_read_{}", view.partition),
            value: view.read.load(Ordering::Relaxed),
        }));
        ServiceStatus {
            service: "notifier".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ready: reason.is_empty(),
            reason,
            partitions,
            counters,
        }
    }
}

/// Keeps the ends of the ESCALATIONS streams and the gauges current until `stop`.
pub async fn watch(bus: Bus, topology: Topology, views: Arc<[Arc<View>]>, stop: CancellationToken) {
    loop {
        for view in views.iter() {
            let stream = topology.escalations_stream(view.partition);
            if let Ok(info) = bus.stream_info(&stream).await {
                view.last.store(info.last_sequence, Ordering::Relaxed);
            }
        }
        let pending: u32 = views
            .iter()
            .map(|view| u32::try_from(view.state().pending_len()).unwrap_or(u32::MAX))
            .fold(0, u32::saturating_add);
        metrics::gauge!("balefire_deliveries_pending").set(f64::from(pending));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LAG_EVERY) => {}
        }
    }
}
