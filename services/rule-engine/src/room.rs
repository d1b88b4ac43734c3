//! [`Rooms`]: how many of the calls that hold something may be open at once. Who comes on top is
//! told to come again; nobody waits.

use std::sync::Arc;
use std::time::Duration;

use balefire_kit::violation::overloaded;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Watches at once: each reads every partition with consumers of its own.
pub const WATCHES_MAX: usize = 64;
/// Lists at once: each reads the log, and holds a page.
pub const LISTS_MAX: usize = 32;
/// Calls at once that wait for a barrier.
pub const BARRIERS_MAX: usize = 256;
/// What-ifs at once: each reads hours of the log, and keeps windows of its own.
pub const WHATIFS_MAX: usize = 1;
/// DigestState at once: every engine stands still for it.
pub const DIGESTS_MAX: usize = 1;
/// When to come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One kind of call.
#[derive(Debug, Clone)]
pub struct Room {
    places: Arc<Semaphore>,
    full: &'static str,
}

impl Room {
    fn new(places: usize, full: &'static str) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            full,
        }
    }

    /// A place, free again when dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED where there is none.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_full| overloaded(self.full, RETRY_AFTER))
    }
}

/// Every kind.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// WatchEscalations.
    pub watches: Room,
    /// ListEscalations.
    pub lists: Room,
    /// AwaitBarrier.
    pub barriers: Room,
    /// Evaluate of the WhatIfService.
    pub whatifs: Room,
    /// DigestState.
    pub digests: Room,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            watches: Room::new(WATCHES_MAX, "too many watches at once"),
            lists: Room::new(LISTS_MAX, "too many lists at once"),
            barriers: Room::new(BARRIERS_MAX, "too many calls wait for a barrier"),
            whatifs: Room::new(WHATIFS_MAX, "another what-if is at it"),
            digests: Room::new(DIGESTS_MAX, "another asks for digests of the state"),
        }
    }
}
