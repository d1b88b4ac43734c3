//! The rule-engine service: EVENTS in, windows, ESCALATIONS out; what is not grouped by the user
//! takes the way through REKEYED, to the owner of its key.
//!
//! A shell: what is decided is decided in `balefire-rule-engine-core`. Never talks to another
//! service; never tells anybody of an escalation.

mod control;
mod enable;
mod explain;
mod files;
mod grpc;
pub mod held;
mod objects;
mod output;
mod paging;
mod projection;
mod rate;
mod refusal;
mod room;
mod stage;
mod stretch;
pub mod verify;
mod whatif;
mod wiring;

use std::path::PathBuf;
use std::sync::Arc;

use balefire_bus::{Bus, InstanceId, Leases, Topology};
use balefire_driver::{Driver, Fleet, Settings};
use balefire_kit::{Service, StatusSource};
use balefire_rule_engine_core::Part;
use balefire_store::Store;
use balefire_wire::control::v1::control_service_server::ControlServiceServer;
use balefire_wire::escalation::v1::escalation_service_server::EscalationServiceServer;
use balefire_wire::rule::v1::rule_service_server::RuleServiceServer;
use balefire_wire::status::v1::{Counter, ServiceStatus};
use balefire_wire::whatif::v1::what_if_service_server::WhatIfServiceServer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use control::ControlLog;
pub use files::{FilesError, baseline_files, rule_files};
use grpc::Services;
use objects::Objects;
use projection::Projection;
pub use rate::Pace;
use room::Rooms;
use stage::EngineStage;

/// Name of the stage, as its dead letters are filed.
pub const NAME: &str = "rule-engine";
/// Its leases of the partitions of REKEYED; below those that its credential may write.
const REKEYED_LEASES: &str = "rule-engine.rekeyed";

/// Largest request, bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Largest request that changes an object, bytes.
const OBJECT_BYTES_MAX: usize = 512 * 1024;
/// Largest request that tries rules out, bytes.
const CANDIDATE_BYTES_MAX: usize = 5 * 1024 * 1024;

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
    /// This instance, the same after a restart.
    pub instance: InstanceId,
    /// How many calls of the ControlService each caller may make.
    pub pace: Pace,
}

struct Status {
    fleet: Fleet,
    control: ControlLog,
    projection: Projection,
}

impl StatusSource for Status {
    fn status(&self) -> ServiceStatus {
        let counter = |name: &str, value| Counter {
            name: name.into(),
            value,
        };
        let (revision, sets) = self.control.extent();
        let ids = u64::try_from(self.projection.len()).unwrap_or(u64::MAX);
        let more = [
            counter("escalation_ids", ids),
            counter("control_revision", revision),
        ];
        let mut status = self.fleet.status(env!("CARGO_PKG_VERSION"), more);
        if status.ready && sets == 0 {
            status.ready = false;
            status.reason = "no rule set is in force; give --rules".into();
        }
        status
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

/// What the owners of partitions share.
struct World<'a> {
    bus: &'a Bus,
    topology: Topology,
    control: &'a ControlLog,
    store: &'a Store,
    shutdown: &'a CancellationToken,
}

impl World<'_> {
    /// Owners of EVENTS and REKEYED partitions, each where its lease says.
    fn owners(&self, config: &Config, tasks: &mut JoinSet<Result<(), Error>>) -> Fleet {
        let Self {
            bus,
            topology,
            control,
            store,
            shutdown,
        } = *self;
        let owner_id = config.owner_id;
        let mut fleet = Fleet::new(NAME, bus);
        let sources = topology.partitions;
        for (part, name) in [
            (Part::Events, NAME),
            (Part::Rekeyed { sources }, REKEYED_LEASES),
        ] {
            let instance = config.instance;
            let (leases, keeper) = Leases::keep(bus, &topology, name, instance, shutdown.clone());
            tasks.spawn(async move {
                keeper.await;
                Ok(())
            });
            for partition in 0..topology.partitions {
                let (control, of_bus, store) = (control.clone(), bus.clone(), store.clone());
                let make = move || {
                    let stage = EngineStage::new(part, partition, sources, control.clone())?;
                    let plan = wiring::plan(&topology, part, partition, owner_id);
                    let driver =
                        Driver::new(of_bus.clone(), store.clone(), plan, Settings::default());
                    Ok((driver, stage))
                };
                fleet.start(leases.clone(), partition, make, tasks, shutdown);
            }
        }
        fleet
    }
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
    let world = World {
        bus: &bus,
        topology,
        control: &control,
        store: &store,
        shutdown: &shutdown,
    };
    let fleet = world.owners(&config, &mut tasks);
    for partition in 0..topology.partitions {
        let stream = topology.escalations_stream(partition);
        tasks.spawn(
            projection
                .clone()
                .follow(bus.clone(), stream, partition, shutdown.clone()),
        );
    }
    tasks.spawn(control.clone().follow(bus.clone(), shutdown.clone()));
    let objects = Objects::new(&bus, control.clone(), config.pace);
    tasks.spawn(objects.clone().enable_again(shutdown.clone()));
    let inspector = fleet.inspector();
    let status = Status {
        fleet,
        control: control.clone(),
        projection: projection.clone(),
    };
    let services = Services {
        bus,
        topology,
        control,
        projection,
        inspector,
        rooms: Rooms::default(),
        shutdown: shutdown.clone(),
    };
    Ok(Service {
        name: NAME,
        grpc: Box::new(move |routes| {
            let escalations = EscalationServiceServer::new(services.clone());
            let rules = RuleServiceServer::new(services.clone());
            let what_ifs = WhatIfServiceServer::new(services);
            let objects = ControlServiceServer::new(objects);
            routes.add_service(escalations.max_decoding_message_size(REQUEST_BYTES_MAX));
            routes.add_service(rules.max_decoding_message_size(REQUEST_BYTES_MAX));
            routes.add_service(what_ifs.max_decoding_message_size(CANDIDATE_BYTES_MAX));
            routes.add_service(objects.max_decoding_message_size(OBJECT_BYTES_MAX));
        }),
        http: balefire_kit::server::no_http(),
        status: Arc::new(status),
        task: tokio::spawn(balefire_kit::server::supervise(tasks, shutdown)),
    })
}
