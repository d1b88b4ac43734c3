//! [`Board`]: what the partitions last said of their joins.

use std::sync::{Arc, Mutex};

use balefire_correlator_core::{Coverage, Usage};

/// How one partition joins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notice {
    pub(crate) coverage: Coverage,
    pub(crate) usage: Usage,
}

/// The last notice of each partition; a second old at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Vec<Notice>>>);

impl Board {
    pub(crate) fn new(partitions: u32) -> Self {
        let notices = (0..partitions).map(|_| Notice::default());
        Self(Arc::new(Mutex::new(notices.collect())))
    }

    pub(crate) fn post(&self, partition: u32, notice: Notice) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        if let Ok(mut notices) = self.0.lock()
            && let Some(place) = notices.get_mut(index)
        {
            *place = notice;
        }
    }

    /// All of them as one.
    pub(crate) fn sum(&self) -> Notice {
        let mut sum = Notice::default();
        let notices = self.0.lock().map(|notices| notices.clone());
        for notice in notices.unwrap_or_default() {
            sum.coverage.add(&notice.coverage);
            sum.usage.held += notice.usage.held;
            sum.usage.claims += notice.usage.claims;
        }
        sum
    }
}
