//! The notifier: tells receivers of escalations, keeps what could not be told, and keeps the dead
//! letters of every stage. Decides nothing itself: `balefire-notifier-core` does.
//!
//! Never knows rules, windows or identities: it reads ESCALATIONS and writes DELIVERIES.

pub mod acks;
pub mod bodies;
pub mod caller;
pub mod codec;
pub mod config;
pub mod desk;
mod digest;
pub mod dispatch;
pub mod error;
pub mod feed;
pub mod grpc;
mod guard;
pub mod journal;
pub mod letter;
pub mod letters;
mod line;
pub mod partition;
pub mod pulse;
pub mod reply;
pub mod secret;
pub mod sign;
mod smtp;
pub mod status;
mod stream;
pub mod token;
pub mod view;

use std::sync::Arc;

use balefire_bus::{Bus, InstanceId, Leases, Log, Topology};
use balefire_kit::Service;
use balefire_kit::server::TaskError;
use balefire_notifier_core::State;
use balefire_notifier_core::contained::Contained;
use balefire_notifier_core::digest::Calendar;
use balefire_notifier_core::queue::Queue;
use balefire_wire::deadletter::v1::dead_letter_service_server::DeadLetterServiceServer;
use balefire_wire::delivery::v1::delivery_service_server::DeliveryServiceServer;
use balefire_wire::delivery::v1::receiver_service_server::ReceiverServiceServer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use crate::acks::Acks;
use crate::bodies::Bodies;
use crate::desk::Desk;
use crate::dispatch::{Board, Dispatcher, Outlet};
use crate::feed::Feeds;
use crate::journal::Writer;
use crate::letter::Letterbox;
use crate::letters::Letters;
use crate::partition::Parts;
use crate::pulse::Watcher;
use crate::status::NotifierStatus;
use crate::view::View;

pub use config::{Config, ReceiverArgs};
pub use error::Error;

/// Name of the service.
pub const NAME: &str = "notifier";
/// Answers of one partition that wait to be written.
const ANSWERS_MAX: usize = 256;
/// Largest request, bytes: 5,000 ids of dead letters fit.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// What a notifier works on: a connection of its own role, verified, and the shape of the log.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The log.
    pub bus: Bus,
    /// Its shape.
    pub topology: Topology,
    /// This instance, the same after a restart.
    pub instance: InstanceId,
    /// Cancelled to stop.
    pub shutdown: CancellationToken,
}

/// Starts the notifier of every partition. It becomes ready when each is rebuilt from the log.
#[must_use]
pub fn start(config: &Config, deps: Deps) -> Service {
    let writer_id: [u8; 16] = rand::random();
    let log = Log::new(&deps.bus);
    let board = Board::new(Queue::new(config.routes.receivers()));
    let letters = Letters::new(&deps.bus, writer_id);
    let desk = Desk::new(config.clone(), Arc::clone(&board));
    let feeds = Arc::new(Feeds::default());
    let whole = Whole {
        deps: &deps,
        writer_id,
        log: &log,
        empty: State::new(config.backoff),
        calendar: config.calendar,
        desk: &desk,
        board: &board,
        feeds: &feeds,
    };
    let (views, outlets, parts) = whole.partitions();
    let views: Arc<[Arc<View>]> = views.into();
    let dispatcher = Dispatcher::new(Arc::clone(&board), Arc::clone(&desk), outlets);
    let acks = Acks {
        desk: Arc::clone(&desk),
        views: Arc::clone(&views),
        log: log.clone(),
        topology: deps.topology,
        writer_id,
    };
    let deliveries = grpc::delivery::Deliveries {
        views: Arc::clone(&views),
        acks: acks.clone(),
    };
    let dead_letters = grpc::deadletter::DeadLetters {
        letters: Arc::clone(&letters),
        views: Arc::clone(&views),
        log,
        topology: deps.topology,
        writer_id,
        deciding: Arc::default(),
    };
    let receivers = grpc::receiver::Receivers {
        desk: Arc::clone(&desk),
        board: Arc::clone(&board),
        feeds: Arc::clone(&feeds),
    };
    let watcher = Watcher::new(
        config.pulse.clone(),
        deps.topology,
        Arc::clone(&desk),
        (Arc::clone(&board), feeds),
        Arc::clone(&letters),
    );
    let status = NotifierStatus {
        views: Arc::clone(&views),
        watcher: Arc::clone(&watcher),
        letters: Arc::clone(&letters),
        board,
        desk: Arc::clone(&desk),
    };
    let loops = (dispatcher, watcher);
    Service {
        name: NAME,
        grpc: Box::new(move |routes| add(routes, deliveries, dead_letters, receivers)),
        http: acks.routes(),
        status: Arc::new(status),
        task: tokio::spawn(run(deps, views, letters, desk, loops, parts)),
    }
}

/// What all partitions work with.
struct Whole<'a> {
    deps: &'a Deps,
    writer_id: [u8; 16],
    log: &'a Log,
    /// The state before the first record.
    empty: State,
    calendar: Calendar,
    desk: &'a Arc<Desk>,
    board: &'a Arc<Board>,
    feeds: &'a Arc<Feeds>,
}

impl Whole<'_> {
    /// Of each partition what others see, where bodies and answers go, and what it works with.
    fn partitions(&self) -> (Vec<Arc<View>>, Vec<Outlet>, Vec<Parts>) {
        let (mut views, mut outlets, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for partition in 0..self.deps.topology.partitions {
            let (answers, answered) = mpsc::channel(ANSWERS_MAX);
            let stream = self.deps.topology.escalations_stream(partition);
            let bodies = Arc::new(Bodies::new(self.log.clone(), stream));
            let view = View::new(partition, self.empty.clone());
            views.push(Arc::clone(&view));
            outlets.push(Outlet {
                bodies: Arc::clone(&bodies),
                answers,
            });
            parts.push(Parts {
                calendar: self.calendar,
                bus: self.deps.bus.clone(),
                topology: self.deps.topology,
                writer: Writer {
                    id: self.writer_id,
                    partition,
                },
                view,
                empty: self.empty.clone(),
                desk: Arc::clone(self.desk),
                board: Arc::clone(self.board),
                bodies,
                answers: answered,
                letterbox: Letterbox::new(self.log.clone(), self.writer_id),
                feeds: Arc::clone(self.feeds),
                contained: Contained::default(),
            });
        }
        (views, outlets, parts)
    }
}

fn add(
    routes: &mut RoutesBuilder,
    deliveries: grpc::delivery::Deliveries,
    dead_letters: grpc::deadletter::DeadLetters,
    receivers: grpc::receiver::Receivers,
) {
    let deliveries = DeliveryServiceServer::new(deliveries);
    let dead_letters = DeadLetterServiceServer::new(dead_letters);
    routes.add_service(deliveries.max_decoding_message_size(REQUEST_BYTES_MAX));
    routes.add_service(ReceiverServiceServer::new(receivers));
    routes.add_service(dead_letters.max_decoding_message_size(REQUEST_BYTES_MAX));
}

async fn run(
    deps: Deps,
    views: Arc<[Arc<View>]>,
    letters: Arc<Letters>,
    desk: Arc<Desk>,
    (dispatcher, watcher): (Dispatcher, Arc<Watcher>),
    parts: Vec<Parts>,
) -> Result<(), TaskError> {
    let stop = deps.shutdown;
    let mut tasks: JoinSet<Result<(), Error>> = JoinSet::new();
    let (leases, keeper) =
        Leases::keep(&deps.bus, &deps.topology, NAME, deps.instance, stop.clone());
    tasks.spawn(async move {
        keeper.await;
        Ok(())
    });
    // Nothing is decided under less than what is in force now.
    let next = desk.catch_up(&deps.bus, &stop).await;
    let (bus, halt) = (deps.bus.clone(), stop.clone());
    tasks.spawn(async move { Ok(desk.follow(&bus, next, halt).await?) });
    for one in parts {
        let (leases, halt) = (leases.clone(), stop.clone());
        tasks.spawn(async move {
            partition::run(one, leases, halt).await;
            Ok(())
        });
    }
    let (halt, watching) = (stop.clone(), stop.clone());
    tasks.spawn(async move {
        dispatcher.run(halt).await;
        Ok(())
    });
    let halt = stop.clone();
    tasks.spawn(async move {
        letters.run(halt).await;
        Ok(())
    });
    let (bus, halt) = (deps.bus.clone(), stop.clone());
    tasks.spawn(async move {
        watcher.run(bus, halt).await;
        Ok(())
    });
    tasks.spawn(async move {
        status::watch(deps.bus, deps.topology, views, watching).await;
        Ok(())
    });
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
