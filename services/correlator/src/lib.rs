//! The correlator service: INTAKE in, identities, EVENTS out.
//!
//! A shell: what is decided is decided in `balefire-correlator-core`. Never talks to another
//! service; never sees an event that names its user.

mod board;
mod chain;
mod grpc;
mod stage;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Bus, InstanceId, Leases, Topology};
use balefire_correlator_core::Joining;
use balefire_driver::{Driver, Fleet, Settings};
use balefire_event::{Severity, stamp};
use balefire_kit::self_alert::{self, Notice};
use balefire_kit::{Service, StatusSource, clock};
use balefire_store::Store;
use balefire_wire::join::v1::join_service_server::JoinServiceServer;
use balefire_wire::status::v1::ServiceStatus;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use board::Board;
use chain::Chains;
use grpc::Joins;
use stage::CorrelatorStage;

/// Name of the stage, as its dead letters are filed.
pub const NAME: &str = "correlator";

/// Why the service could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The local store.
    #[error("open the checkpoints")]
    Store(#[from] balefire_store::Error),
}

/// What the service runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of checkpoints; `None`: none are kept, every start reads the log.
    pub state_dir: Option<PathBuf>,
    /// This process: random bytes.
    pub owner_id: [u8; 16],
    /// This instance, the same after a restart.
    pub instance: InstanceId,
    /// H of the normal and the bulk lane, nanoseconds.
    pub hold: i64,
    /// H of the urgent lane, nanoseconds.
    pub hold_urgent: i64,
}

impl Default for Config {
    /// The holds of SEMANTICS; no checkpoints.
    fn default() -> Self {
        Self {
            state_dir: None,
            owner_id: [0; 16],
            instance: InstanceId([0; 16]),
            hold: stamp::HOLD,
            hold_urgent: stamp::HOLD_URGENT,
        }
    }
}

/// What the service runs on.
pub struct Deps {
    /// Connected with the correlator's credential, to streams that were verified.
    pub bus: Bus,
    /// Their names.
    pub topology: Topology,
    /// Ends the service.
    pub shutdown: CancellationToken,
}

struct Status(Fleet);

impl StatusSource for Status {
    fn status(&self) -> ServiceStatus {
        self.0.status(env!("CARGO_PKG_VERSION"), [])
    }
}

/// How often it is looked whether joining still works.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Tells people where most events do not find their user any more, until `stop`.
async fn watch(board: Board, stop: CancellationToken) {
    let mut joining = Joining::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let counts = board.sum().coverage.total();
        if let Some((events, found)) = joining.look(counts, clock::now()) {
            self_alert::raise(&Notice {
                reason: "join_coverage_low",
                severity: Severity::High,
                service: NAME,
                partition: None,
                title: "Most events no longer find their user".into(),
                detail: format!("{found} of {events} events within 10 minutes"),
            });
        }
    }
}

/// Starts the service: one stage for each partition of INTAKE.
///
/// # Errors
/// Where the store does not open.
pub async fn start(config: Config, deps: Deps) -> Result<Service, Error> {
    let Deps {
        bus,
        topology,
        shutdown,
    } = deps;
    let store = match &config.state_dir {
        Some(dir) => Store::open(dir, balefire_store::Options::default()).await?,
        None => Store::none(),
    };
    let board = Board::new(topology.partitions);
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    let (leases, keeper) = Leases::keep(&bus, &topology, NAME, config.instance, shutdown.clone());
    tasks.spawn(async move {
        keeper.await;
        Ok(())
    });
    let (watched, halt) = (board.clone(), shutdown.clone());
    tasks.spawn(async move {
        watch(watched, halt).await;
        Ok(())
    });
    let chains = Chains::new(&bus, topology);
    let mut fleet = Fleet::new(NAME, &bus);
    let (hold, hold_urgent) = (config.hold, config.hold_urgent);
    for partition in 0..topology.partitions {
        let (board, of_bus, store) = (board.clone(), bus.clone(), store.clone());
        let make = move || {
            let core = balefire_correlator_core::Config {
                hold,
                hold_urgent,
                ..balefire_correlator_core::Config::new(partition, topology.partitions)
            };
            let stage = CorrelatorStage::new(core, board.clone());
            let plan = target::plan(&topology, partition, config.owner_id);
            let driver = Driver::new(of_bus.clone(), store.clone(), plan, Settings::default());
            Ok((driver, stage))
        };
        fleet.start(leases.clone(), partition, make, &mut tasks, &shutdown);
    }
    Ok(Service {
        name: NAME,
        grpc: Box::new(move |routes| {
            routes.add_service(JoinServiceServer::new(Joins { board, chains }));
        }),
        http: balefire_kit::server::no_http(),
        status: Arc::new(Status(fleet)),
        task: tokio::spawn(balefire_kit::server::supervise(tasks, shutdown)),
    })
}
