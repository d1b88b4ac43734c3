//! [`Recent`]: the newest windowless escalation ids, so that copies repeat nothing needlessly.
//! Readers drop what is repeated all the same.

use std::collections::{BTreeSet, VecDeque};

use balefire_event::EscalationId;

use crate::effect::RECENT_LEN_MAX;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recent {
    known: BTreeSet<EscalationId>,
    order: VecDeque<EscalationId>,
    /// Ids put in so far: the newest one's number.
    pushed: u64,
    /// Up to which number they were told; `None`: nothing was.
    told: Option<u64>,
    /// Told ones that were forgotten since.
    gone: Vec<EscalationId>,
}

impl Recent {
    /// True: it was not there.
    pub(crate) fn insert(&mut self, id: EscalationId) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.pushed += 1;
        self.order.push_back(id);
        if self.order.len() > RECENT_LEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            if self.told.is_some() && self.gone.len() < RECENT_LEN_MAX {
                self.gone.push(oldest);
            } else {
                self.untold();
            }
        }
        true
    }

    /// Whether the next changes are only those since the last ones.
    pub(crate) const fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Tells of each id that came since this was asked last, with its number; `None`: it is
    /// forgotten. All of them the first time.
    pub(crate) fn take_changes(&mut self, mut told: impl FnMut(&EscalationId, Option<u64>)) {
        let before = self.told.replace(self.pushed).unwrap_or(0);
        for id in std::mem::take(&mut self.gone) {
            told(&id, None);
        }
        let newest = self.order.iter().rev().zip((0..=self.pushed).rev());
        for (id, number) in newest.take_while(|(_, number)| *number > before) {
            told(id, Some(number));
        }
    }

    /// All of it is to be told again.
    pub(crate) fn untold(&mut self) {
        self.told = None;
        self.gone.clear();
    }

    pub(crate) fn contains(&self, id: EscalationId) -> bool {
        self.known.contains(&id)
    }

    /// Oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &EscalationId> {
        self.order.iter()
    }
}
