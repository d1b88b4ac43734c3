//! What others see of a partition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use balefire_notifier_core::State;

/// How a partition is, for others to read.
#[derive(Debug)]
pub struct View {
    /// The partition.
    pub partition: u32,
    state: Mutex<State>,
    standing: Mutex<String>,
    /// Last sequence of ESCALATIONS read.
    pub read: AtomicU64,
    /// Last sequence of ESCALATIONS there is.
    pub last: AtomicU64,
    /// Last step.
    pub step: AtomicU64,
}

impl View {
    /// Before the start.
    #[must_use]
    pub fn new(partition: u32, state: State) -> Arc<Self> {
        Arc::new(Self {
            partition,
            state: Mutex::new(state),
            standing: Mutex::new("starting".into()),
            read: AtomicU64::new(0),
            last: AtomicU64::new(0),
            step: AtomicU64::new(0),
        })
    }

    /// The fold; held for moments only.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages of ESCALATIONS not read yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let last = self.last.load(Ordering::Relaxed);
        last.saturating_sub(self.read.load(Ordering::Relaxed))
    }

    /// running, rebuilding, stopped:<why>, standby:<who has it>.
    #[must_use]
    pub fn standing(&self) -> String {
        self.standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says how it is from now on.
    pub fn stand(&self, standing: impl Into<String>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing.into();
    }
}
