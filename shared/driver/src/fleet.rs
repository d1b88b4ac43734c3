//! [`Fleet`]: the partitions of a stage that one process runs, started and told of together.

use balefire_bus::Bus;
use balefire_wire::status::v1::{Counter, ServiceStatus};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::driver::Driver;
use crate::report::{Phase, Report};
use crate::stage::Stage;

/// The partitions of a stage in one process.
#[derive(Debug)]
pub struct Fleet {
    name: &'static str,
    bus: Bus,
    reports: Vec<watch::Receiver<Report>>,
}

impl Fleet {
    /// Of no partition yet. `bus` is the connection that all of them use.
    #[must_use]
    pub fn new(name: &'static str, bus: &Bus) -> Self {
        Self {
            name,
            bus: bus.clone(),
            reports: Vec::new(),
        }
    }

    /// Starts a partition among `tasks`. One that stops for good stays stopped until somebody
    /// acts, and its status says why; the others go on.
    pub fn start<S: Stage + Sync, E: Send + 'static>(
        &mut self,
        driver: Driver,
        stage: S,
        tasks: &mut JoinSet<Result<(), E>>,
        shutdown: &CancellationToken,
    ) {
        let report = driver.report();
        let partition = report.borrow().partition;
        self.reports.push(report);
        let (stage_name, stop) = (self.name, shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = driver.run(stage, stop.clone()).await {
                tracing::error!(stage = stage_name, partition, %error, "partition stopped");
                stop.cancelled().await;
            }
            Ok(())
        });
    }

    /// How the service is: ready when every partition runs and the log is in reach. Counters of
    /// one name are added up; `more` come behind them.
    #[must_use]
    pub fn status(&self, version: &str, more: impl IntoIterator<Item = Counter>) -> ServiceStatus {
        let reports = self.reports.iter();
        let reports: Vec<Report> = reports.map(|report| report.borrow().clone()).collect();
        let mut counters: Vec<Counter> = Vec::new();
        for counter in reports.iter().flat_map(|report| &report.stage.counters) {
            match counters.iter_mut().find(|known| known.name == counter.name) {
                Some(known) => known.value += counter.value,
                None => counters.push(Counter {
                    name: counter.name.into(),
                    value: counter.value,
                }),
            }
        }
        counters.extend(more);
        let waiting = reports.iter().find(|report| report.phase != Phase::Running);
        let reason = match waiting {
            Some(report) => format!("partition {} is {}", report.partition, report.phase),
            None if !self.bus.is_connected() => "the log is out of reach".into(),
            None => String::new(),
        };
        ServiceStatus {
            service: self.name.into(),
            version: version.to_owned(),
            ready: reason.is_empty(),
            reason,
            partitions: reports.iter().map(Report::to_wire).collect(),
            counters,
        }
    }
}
