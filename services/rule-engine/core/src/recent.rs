//! [`Recent`]: the newest windowless escalation ids, so that copies repeat nothing needlessly.
//! Readers drop what is repeated all the same.

use std::collections::{BTreeSet, VecDeque};

use balefire_event::EscalationId;

use crate::effect::RECENT_LEN_MAX;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recent {
    known: BTreeSet<EscalationId>,
    order: VecDeque<EscalationId>,
    /// Since it was asked.
    changed: bool,
}

impl Recent {
    /// True: it was not there.
    pub(crate) fn insert(&mut self, id: EscalationId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.changed = true;
        self.order.push_back(id);
        if self.order.len() > RECENT_LEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Whether it changed since this was asked last.
    pub(crate) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    pub(crate) fn contains(&self, id: EscalationId) -> bool {
        self.known.contains(&id)
    }

    /// Oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &EscalationId> {
        self.order.iter()
    }
}
