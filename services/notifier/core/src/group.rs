//! Groups of escalations: of each the one that was told, until the group's time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::{EscalationId, Severity, Timestamp};

use crate::record::{Intent, Notice};

/// Most groups remembered, all receivers together; beyond it the oldest goes, and its next
/// escalation is told.
pub const GROUPS_MAX: usize = 50_000;

type Name = (Arc<str>, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Who was told.
    id: EscalationId,
    /// Most severe that was told.
    severity: Severity,
    /// When the group began.
    since: Timestamp,
}

/// What was told of each group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    heads: BTreeMap<Name, Head>,
    ages: BTreeSet<(Timestamp, Name)>,
}

impl Groups {
    /// The escalation that was told instead of one of this severity. `None`: it is told itself.
    #[must_use]
    pub fn told(
        &self,
        receiver: &Arc<str>,
        (group, lasts): (u64, i64),
        severity: Severity,
        now: Timestamp,
    ) -> Option<EscalationId> {
        let head = self.heads.get(&(Arc::clone(receiver), group))?;
        (now.since(head.since) < lasts && severity <= head.severity).then_some(head.id)
    }

    /// Takes in what was decided. Twice has the effect of once.
    pub(crate) fn note(&mut self, intent: &Intent) {
        if intent.group == 0 || intent.withheld.is_some() || intent.notice != Notice::First {
            return;
        }
        let name = (Arc::clone(&intent.receiver), intent.group);
        let next = Head {
            id: intent.escalation_id,
            severity: intent.severity,
            since: intent.decided_at,
        };
        if let Some(head) = self.heads.insert(name.clone(), next) {
            self.ages.remove(&(head.since, name.clone()));
        }
        self.ages.insert((next.since, name));
        while self.heads.len() > GROUPS_MAX {
            let Some((_, oldest)) = self.ages.pop_first() else {
                return;
            };
            self.heads.remove(&oldest);
        }
    }
}
