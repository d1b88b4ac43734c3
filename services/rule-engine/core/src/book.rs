//! [`Book`]: the emitted slots of one rule and re-arm period, by tenant and key. All generations
//! of the rule with that period share it, as they share ids.

use std::sync::Arc;

use balefire_event::{EscalationId, RuleId, Timestamp};
use balefire_stream::{Episode, Slots};

use crate::key::Keyed;

#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) rule: RuleId,
    /// R, nanoseconds.
    pub(crate) rearm: i64,
    pub(crate) keys: Keyed<Slots>,
}

impl Book {
    pub(crate) fn new(rule: RuleId, rearm: i64) -> Self {
        Self {
            rule,
            rearm,
            keys: Keyed::default(),
        }
    }

    /// Takes a breached slot in; `None`: it was emitted before.
    pub(crate) fn emit(
        &mut self,
        tenant: &Arc<str>,
        key: &[u8],
        slot: i64,
        id: EscalationId,
    ) -> Option<Episode> {
        self.keys.with(tenant, key, |slots| slots.emit(slot, id))
    }

    /// Takes in what the log has.
    pub(crate) fn load(
        &mut self,
        tenant: &Arc<str>,
        key: &[u8],
        slot_start: Timestamp,
        episode_id: EscalationId,
    ) {
        let slot = slot_start.0.div_euclid(self.rearm.max(1));
        self.keys
            .with(tenant, key, |slots| slots.load(slot, episode_id));
    }

    /// Forgets slots that ended by `cut`; the end of the latest of them.
    pub(crate) fn drop_until(&mut self, cut: Timestamp) -> Option<Timestamp> {
        let mut latest = None;
        let rearm = self.rearm;
        self.keys.retain(|slots| {
            latest = latest.max(slots.drop_until(cut, rearm));
            !slots.is_empty()
        });
        latest
    }
}
