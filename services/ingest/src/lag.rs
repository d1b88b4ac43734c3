//! How far the owners of partitions are behind, as they publish it; and which bulk streams take
//! nothing more because of it. Urgent and normal records are never turned away for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use balefire_bus::{Bus, Role, lease};
use balefire_event::Lane;
use tokio_util::sync::CancellationToken;

use crate::target::{LogKind, Targets};

/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The lag of each partition of both logs, messages; 0 where nobody says.
#[derive(Debug, Clone)]
pub struct Lags {
    intake: Arc<[AtomicU64]>,
    events: Arc<[AtomicU64]>,
    max: u64,
}

impl Lags {
    /// Nobody is behind. Bulk is turned away beyond `max` messages.
    pub fn new(partitions: u32, max: u64) -> Self {
        let none = || (0..partitions).map(|_| AtomicU64::new(0)).collect();
        Self {
            intake: none(),
            events: none(),
            max,
        }
    }

    fn of(&self, log: LogKind) -> &[AtomicU64] {
        match log {
            LogKind::Intake => &self.intake,
            LogKind::Events => &self.events,
        }
    }

    /// Whether one of these streams, by their places among the targets, is bulk and its owner too
    /// far behind; false where one is not bulk: such a request is taken.
    pub fn sheds(&self, targets: &Targets, places: impl Iterator<Item = usize>) -> bool {
        let mut behind = false;
        for place in places {
            let Some((log, lane, partition)) = targets.at(place) else {
                continue;
            };
            if lane != Lane::Bulk {
                return false;
            }
            let lag = self.of(log).get(partition);
            behind |= lag.is_some_and(|lag| lag.load(Ordering::Relaxed) > self.max);
        }
        behind
    }

    /// Largest lag of all.
    pub fn largest(&self) -> u64 {
        let all = self.intake.iter().chain(self.events.iter());
        all.map(|lag| lag.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0)
    }

    /// Looks until `shutdown`. Where the leases are out of reach, what was seen stays: the log is
    /// then out of reach, too.
    pub async fn watch(self, bus: Bus, generation: u32, shutdown: CancellationToken) {
        loop {
            for (log, role) in [
                (LogKind::Intake, Role::Correlator),
                (LogKind::Events, Role::RuleEngine),
            ] {
                match lease::lags(&bus, generation, role.as_str()).await {
                    Ok(seen) => {
                        self.take(log, |partition| seen.get(&partition).copied().unwrap_or(0))
                    }
                    Err(error) => tracing::debug!(%error, "the owners' lag is not known"),
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    fn take(&self, log: LogKind, seen: impl Fn(u32) -> u64) {
        for (partition, lag) in (0u32..).zip(self.of(log)) {
            lag.store(seen(partition), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_bus::Topology;

    #[test]
    fn bulk_alone_is_turned_away_and_only_of_a_partition_that_is_behind() {
        let targets = Targets::new(&Topology::new(2).unwrap());
        let lags = Lags::new(2, 100);
        lags.take(
            LogKind::Events,
            |partition| {
                if partition == 1 { 101 } else { 100 }
            },
        );
        let place = |log, lane, partition| targets.index(log, lane, partition);
        let behind = place(LogKind::Events, Lane::Bulk, 1);
        let sheds = |places: &[usize]| lags.sheds(&targets, places.iter().copied());
        assert!(sheds(&[behind]));
        assert!(sheds(&[place(LogKind::Events, Lane::Bulk, 0), behind]));
        assert!(!sheds(&[place(LogKind::Events, Lane::Bulk, 0)]));
        assert!(!sheds(&[place(LogKind::Intake, Lane::Bulk, 1)]));
        for lane in [Lane::Normal, Lane::Urgent] {
            assert!(!sheds(&[place(LogKind::Events, lane, 1)]));
            assert!(
                !sheds(&[behind, place(LogKind::Events, lane, 0)]),
                "taken with what is urgent"
            );
        }
        assert_eq!(lags.largest(), 101);
        lags.take(LogKind::Events, |_| 0);
        assert!(!sheds(&[behind]));
    }
}
