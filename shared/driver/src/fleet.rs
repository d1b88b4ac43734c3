//! [`Fleet`]: the partitions of a stage that one process runs, started and told of together.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, Leases, Tenure};
use balefire_wire::status::v1::{Counter, ServiceStatus};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::driver::Driver;
use crate::limit::REPORT_INTERVAL;
use crate::report::{Inspection, Phase, Report};
use crate::stage::Stage;

/// The partitions of a stage in one process.
#[derive(Debug)]
pub struct Fleet {
    name: &'static str,
    bus: Bus,
    reports: Vec<watch::Sender<Report>>,
    askers: Vec<watch::Sender<u64>>,
}

impl Fleet {
    /// Of no partition yet. `bus` is the connection that all of them use.
    #[must_use]
    pub fn new(name: &'static str, bus: &Bus) -> Self {
        Self {
            name,
            bus: bus.clone(),
            reports: Vec::new(),
            askers: Vec::new(),
        }
    }

    /// Runs a partition among `tasks` whenever `leases` say that this instance owns it; `make` gives a driver and an
    /// empty stage for each time. One that stops for good stays stopped, and ours, until somebody
    /// acts, and its status says why; the others go on.
    pub fn start<S: Stage + Sync, E: Send + 'static>(
        &mut self,
        leases: Leases,
        partition: u32,
        make: impl Fn() -> Result<(Driver, S), E> + Send + 'static,
        tasks: &mut JoinSet<Result<(), E>>,
        shutdown: &CancellationToken,
    ) {
        let report = watch::Sender::new(Report::of(partition));
        self.reports.push(report.clone());
        let asker = watch::Sender::new(0);
        let asked = asker.subscribe();
        self.askers.push(asker);
        let crew = Crew {
            stage: self.name,
            partition,
            leases,
            report,
            asked,
        };
        tasks.spawn(crew.run(make, shutdown.clone()));
    }

    /// Asks what the partitions hold. Take it when all of them are started.
    #[must_use]
    pub fn inspector(&self) -> Inspector {
        let reports = self.reports.iter().cloned();
        Inspector {
            parts: reports.zip(self.askers.iter().cloned()).collect(),
        }
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
        let fine = |phase: &Phase| matches!(phase, Phase::Running | Phase::Standby(_));
        let waiting = reports.iter().find(|report| !fine(&report.phase));
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

/// Asks partitions what they hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inspector {
    parts: Arc<[(watch::Sender<Report>, watch::Sender<u64>)]>,
}

impl Inspector {
    /// What each partition that this process owns holds, as soon as each has said it; or why it
    /// did not within `patience`.
    pub async fn ask(&self, patience: Duration) -> Vec<Result<Arc<Inspection>, String>> {
        let asked = self.parts.iter().filter_map(|(report, asker)| {
            let ours = !matches!(report.borrow().phase, Phase::Standby(_));
            ours.then(|| ask_one(report, asker, patience))
        });
        futures::future::join_all(asked).await
    }
}

async fn ask_one(
    report: &watch::Sender<Report>,
    asker: &watch::Sender<u64>,
    patience: Duration,
) -> Result<Arc<Inspection>, String> {
    let mut number = 0;
    asker.send_modify(|asked| {
        *asked += 1;
        number = *asked;
    });
    let mut reports = report.subscribe();
    let answered = |report: &Report| {
        let inspection = report.inspection.as_ref();
        inspection.is_some_and(|inspection| inspection.asked >= number)
    };
    let silent = |report: &Report| format!("partition {} is {}", report.partition, report.phase);
    match tokio::time::timeout(patience, reports.wait_for(answered)).await {
        Ok(Ok(report)) => report.inspection.clone().ok_or_else(|| silent(&report)),
        Ok(Err(_)) | Err(_) => Err(silent(&report.borrow())),
    }
}

/// One partition over all its tenures.
struct Crew {
    stage: &'static str,
    partition: u32,
    leases: Leases,
    report: watch::Sender<Report>,
    asked: watch::Receiver<u64>,
}

impl Crew {
    async fn run<S: Stage + Sync, E>(
        self,
        make: impl Fn() -> Result<(Driver, S), E>,
        shutdown: CancellationToken,
    ) -> Result<(), E> {
        loop {
            let tenure = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                tenure = self.leases.owned(self.partition) => tenure,
                never = self.watch_holder() => match never {},
            };
            self.stand(Phase::Starting);
            let (driver, stage) = make()?;
            let driver = driver
                .reporting_to(self.report.clone())
                .asked_by(self.asked.clone());
            let (stage_name, partition) = (self.stage, self.partition);
            let run = driver.run(stage, tenure.ended());
            let ended = tokio::select! {
                ended = run => ended,
                never = self.publish_lag(&tenure) => match never {},
            };
            if let Err(error) = ended {
                tracing::error!(stage = stage_name, partition, %error, "partition stopped");
                tenure.ended().cancelled().await;
            }
        }
    }

    /// Says who has the partition, while it is not ours. Before anybody is known it is starting.
    async fn watch_holder(&self) -> Infallible {
        loop {
            if let Some(holder) = self.leases.holder(self.partition) {
                self.stand(Phase::Standby(holder.to_string()));
            }
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    }

    async fn publish_lag(&self, tenure: &Tenure) -> Infallible {
        loop {
            tenure.set_lag(self.report.borrow().lag);
            tokio::time::sleep(REPORT_INTERVAL).await;
        }
    }

    fn stand(&self, phase: Phase) {
        self.report.send_if_modified(|report| {
            let changed = report.phase != phase;
            if changed {
                *report = Report {
                    phase,
                    ..Report::of(self.partition)
                };
            }
            changed
        });
    }
}
