//! The rule-engine service: EVENTS in, windows, ESCALATIONS out.
//!
//! A shell: what is decided is decided in `balefire-rule-engine-core`. Never talks to another
//! service; never tells anybody of an escalation.

mod control;
mod files;
mod grpc;
mod projection;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;

use balefire_bus::{Bus, Topology};
use balefire_driver::{Driver, Phase, Plan, Report, Settings, Source, Target};
use balefire_event::Lane;
use balefire_kit::{Service, StatusSource};
use balefire_store::Store;
use balefire_wire::escalation::v1::escalation_service_server::EscalationServiceServer;
use balefire_wire::rule::v1::rule_service_server::RuleServiceServer;
use balefire_wire::status::v1::{Counter, ServiceStatus};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use control::ControlLog;
pub use files::{FilesError, baseline_files, rule_files};
use grpc::Services;
use projection::Projection;
use stage::EngineStage;

/// Name of the stage, as its dead letters are filed.
pub const NAME: &str = "rule-engine";

/// Why the service could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport.
    #[error("use the log")]
    Bus(#[from] balefire_bus::Error),
    /// A control record that this version cannot read.
    #[error("read control revision {revision}")]
    Control {
        /// Its sequence in CONTROL.
        revision: u64,
        /// Why.
        source: balefire_wire::Error,
    },
    /// Rules with faults (`balefire rules check` names them).
    #[error(
        "{faults} fault(s) in the rules of control revision {revision} (0: the configured ones); `balefire rules check DIR` names them"
    )]
    Rules {
        /// Its sequence in CONTROL.
        revision: u64,
        /// How many.
        faults: usize,
    },
    /// Rules that do not make an engine.
    #[error("build the engine")]
    Engine(#[from] balefire_rule_engine_core::Error),
    /// The local store.
    #[error("open the checkpoints")]
    Store(#[from] balefire_store::Error),
    /// A thread panicked while it held a lock.
    #[error("a lock is poisoned")]
    Poisoned,
}

/// What the service runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Rule files to put in force, name and YAML; `None`: those in force already.
    pub rules: Option<Vec<(String, String)>>,
    /// Folder of checkpoints; `None`: none are kept, every start reads the log.
    pub state_dir: Option<PathBuf>,
    /// This process: random bytes.
    pub owner_id: [u8; 16],
}

struct Status {
    reports: Vec<watch::Receiver<Report>>,
    control: ControlLog,
    projection: Projection,
    bus: Bus,
}

impl StatusSource for Status {
    fn status(&self) -> ServiceStatus {
        let reports: Vec<Report> = self
            .reports
            .iter()
            .map(|report| report.borrow().clone())
            .collect();
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
        let ids = u64::try_from(self.projection.len()).unwrap_or(u64::MAX);
        counters.push(Counter {
            name: "escalation_ids".into(),
            value: ids,
        });
        counters.push(Counter {
            name: "control_revision".into(),
            value: self.control.extent().0,
        });
        let waiting = reports.iter().find(|report| report.phase != Phase::Running);
        let reason = match waiting {
            Some(report) => format!("partition {} is {}", report.partition, report.phase),
            None if !self.bus.is_connected() => "the log is out of reach".into(),
            None if self.control.extent().1 == 0 => "no rule set is in force; give --rules".into(),
            None => String::new(),
        };
        ServiceStatus {
            service: NAME.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ready: reason.is_empty(),
            reason,
            partitions: reports.iter().map(Report::to_wire).collect(),
            counters,
        }
    }
}

fn plan(topology: &Topology, partition: u32, owner_id: [u8; 16]) -> Plan {
    let sources = Lane::ALL.iter().map(|&lane| Source {
        lane: Some(lane),
        stream: topology.events_stream(lane, partition),
        replay_subject: topology.events_replay(lane, partition),
        tick_subject: Some(topology.events_tick(lane, partition)),
    });
    Plan {
        stage: NAME,
        partition,
        sources: sources.collect(),
        targets: vec![Target {
            stream: topology.escalations_stream(partition),
            subject: topology.escalations_step(partition, partition),
        }],
        owner_id,
    }
}

/// What the service runs on.
pub struct Deps {
    /// Connected with the rule-engine's credential, to streams that were verified.
    pub bus: Bus,
    /// Their names.
    pub topology: Topology,
    /// Ends the service.
    pub shutdown: CancellationToken,
}

/// Starts the service.
///
/// # Errors
/// Where the control log, the rules or the store do not allow it.
pub async fn start(config: Config, deps: Deps) -> Result<Service, Error> {
    let Deps {
        bus,
        topology,
        shutdown,
    } = deps;
    let control = ControlLog::open(&bus, config.rules.as_deref(), "service:rule-engine").await?;
    let store = match &config.state_dir {
        Some(dir) => Store::open(dir, balefire_store::Options::default()).await?,
        None => Store::none(),
    };
    let projection = Projection::new(topology.partitions);
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    let mut reports = Vec::new();
    for partition in 0..topology.partitions {
        let stage = EngineStage::new(partition, topology.partitions, control.clone())?;
        let plan = plan(&topology, partition, config.owner_id);
        let driver = Driver::new(bus.clone(), store.clone(), plan, Settings::default());
        reports.push(driver.report());
        let stop = shutdown.clone();
        tasks.spawn(async move {
            if let Err(error) = driver.run(stage, stop.clone()).await {
                // It stays stopped until somebody acts; its status says why. The others go on.
                tracing::error!(partition, %error, "partition stopped");
                stop.cancelled().await;
            }
            Ok(())
        });
        let stream = topology.escalations_stream(partition);
        tasks.spawn(
            projection
                .clone()
                .follow(bus.clone(), stream, partition, shutdown.clone()),
        );
    }
    let moved = watch::Sender::new(0);
    tasks.spawn(control.clone().follow(bus.clone(), moved, shutdown.clone()));
    let status = Status {
        reports,
        control: control.clone(),
        projection: projection.clone(),
        bus: bus.clone(),
    };
    let services = Services {
        bus,
        topology,
        control,
        projection,
        shutdown: shutdown.clone(),
    };
    Ok(Service {
        name: NAME,
        grpc: Box::new(move |routes| {
            routes.add_service(EscalationServiceServer::new(services.clone()));
            routes.add_service(RuleServiceServer::new(services));
        }),
        http: balefire_kit::server::no_http(),
        status: Arc::new(status),
        task: tokio::spawn(balefire_kit::server::supervise(tasks, shutdown)),
    })
}
