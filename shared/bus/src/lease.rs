//! Leases: which process owns which partition of a stage.
//!
//! A lease is a key of the bucket [`BUCKET`] that its owner keeps alive; it is gone [`LEASE_TTL`]
//! after its last refresh. Leases spread the work and let an instance take over from another; they
//! do not make it exact. What keeps two owners from writing is the fence ([`crate::Fence`]): so an
//! owner whose lease is merely lost goes on, and only another's name in it makes it stop.

mod instance;
mod keeper;
mod plan;
mod spread;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::Bus;
use crate::error::Error;
use crate::topology::Topology;

pub use instance::InstanceId;
pub use table::{BUCKET, STREAM};

pub(crate) use table::{permission_read, permission_write, stream_config};

/// A lease is gone so long after its last refresh; the server takes whole seconds.
pub const LEASE_TTL: Duration = Duration::from_secs(2);
/// How often an owner refreshes.
pub const REFRESH_INTERVAL: Duration = Duration::from_millis(600);
/// How often an instance looks at the leases.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// After a look that failed, leases that are missing are their last owner's for so long.
pub const OWNER_FIRST: Duration = Duration::from_secs(1);
/// At a shutdown partitions have so long to end before their leases are left to run out.
pub const HAND_OVER_MAX: Duration = Duration::from_secs(12);

/// One partition, as its tenant and the keeper see it.
#[derive(Debug, Clone, Default)]
struct Seat {
    /// Ours until this is cancelled.
    grant: Option<CancellationToken>,
    /// A [`Tenure`] is out.
    running: bool,
    /// Messages not yet consumed, as the tenant told.
    lag: u64,
    /// Who has it, where it is not ours.
    holder: Option<InstanceId>,
}

/// The leases of one stage, as this instance holds them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leases {
    seats: Arc<[watch::Sender<Seat>]>,
}

/// This instance owns a partition, until [`Tenure::ended`]. Drop it when nothing of the partition
/// runs any more: only then is it handed over.
#[derive(Debug)]
pub struct Tenure {
    seat: watch::Sender<Seat>,
    ended: CancellationToken,
}

impl Leases {
    /// Keeps the leases of `stage` until `shutdown`, then hands them over: spawn what is returned
    /// and let it end. `shutdown` ends every tenure too.
    #[must_use = "the keeper must be spawned"]
    pub fn keep(
        bus: &Bus,
        topology: &Topology,
        stage: &'static str,
        instance: InstanceId,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let seats = (0..topology.partitions).map(|_| watch::Sender::new(Seat::default()));
        let leases = Self {
            seats: seats.collect(),
        };
        let table = table::Table::new(bus, topology.generation, stage);
        let keeper = keeper::Keeper::new(table, instance, leases.clone(), shutdown);
        (leases, keeper.run())
    }

    /// Waits until this instance owns the partition. Cancel-safe.
    pub async fn owned(&self, partition: u32) -> Tenure {
        let Some(seat) = self.seat(partition) else {
            return std::future::pending().await;
        };
        let mut changes = seat.subscribe();
        loop {
            let taken = seat.send_if_modified(|seat| {
                let granted = seat.grant.as_ref().is_some_and(|g| !g.is_cancelled());
                let free = granted && !seat.running;
                seat.running |= free;
                free
            });
            let granted = changes.borrow_and_update().grant.clone();
            if let (true, Some(ended)) = (taken, granted) {
                return Tenure {
                    seat: seat.clone(),
                    ended,
                };
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Who has the partition, where it is another's.
    #[must_use]
    pub fn holder(&self, partition: u32) -> Option<InstanceId> {
        self.seat(partition).and_then(|seat| seat.borrow().holder)
    }

    fn seat(&self, partition: u32) -> Option<&watch::Sender<Seat>> {
        usize::try_from(partition)
            .ok()
            .and_then(|index| self.seats.get(index))
    }
}

impl Tenure {
    /// Cancelled when the partition is to be given up.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Tells how far behind the partition is, messages; published with the lease.
    pub fn set_lag(&self, lag: u64) {
        self.seat.send_if_modified(|seat| {
            seat.lag = lag;
            false
        });
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.seat.send_modify(|seat| seat.running = false);
    }
}

/// The lag that the owners of `stage` publish, by partition, messages. Partitions without an owner
/// are missing.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn lags(bus: &Bus, generation: u32, stage: &str) -> Result<BTreeMap<u32, u64>, Error> {
    let seen = table::Table::new(bus, generation, stage).look().await?;
    let lag = |(partition, lease): (u32, table::Lease)| (partition, lease.lag);
    Ok(seen.leases.into_iter().map(lag).collect())
}
