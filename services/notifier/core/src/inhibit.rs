//! What is open and keeps others from being told: while an escalation like that of a route's
//! `inhibited_by` is open, nobody is told along the route of one that is no more severe.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::digest::FieldHasher;
use balefire_event::time::HOUR;
use balefire_event::{Escalation, EscalationId, EscalationKind, Severity, Timestamp};

use crate::matcher::{Matchers, values};

/// One that never ends by itself counts as open for so long, nanoseconds.
pub const OPEN_FOR: i64 = HOUR;
/// Most that are remembered; beyond it the oldest inhibits no longer.
pub const OPEN_MAX: usize = 50_000;

/// What must not be open beside an escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inhibition {
    /// What it is like.
    pub by: Matchers,
    /// Fields that are the same in both.
    pub equal: Vec<String>,
}

impl Inhibition {
    /// A number for what an escalation says in those fields, along a route of a tenant.
    #[must_use]
    pub fn place(&self, route: &str, escalation: &Escalation) -> u64 {
        let mut hasher = FieldHasher::new("balefire notify inhibition v1");
        hasher.field(escalation.tenant.as_bytes());
        hasher.field(route.as_bytes());
        for field in &self.equal {
            hasher.field(field.as_bytes());
            for value in values(escalation, field) {
                hasher.field(value.as_bytes());
            }
        }
        let [a, b, c, d, e, f, g, h, ..] = hasher.id();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    episode: EscalationId,
    severity: Severity,
    since: Timestamp,
}

/// What is open, by place. A fold of the escalations alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inhibitors {
    heads: BTreeMap<(u64, EscalationId), Head>,
    places: BTreeMap<EscalationId, Vec<u64>>,
    ages: BTreeSet<(Timestamp, EscalationId)>,
}

impl Inhibitors {
    /// Takes in a record that inhibits at these places. Its end ends that.
    pub(crate) fn note(&mut self, record: &Escalation, places: Vec<u64>) {
        let id = record.escalation_id;
        if record.kind == EscalationKind::Closed {
            self.forget(&id);
            return;
        }
        if places.is_empty() || self.places.contains_key(&id) {
            return;
        }
        let head = Head {
            episode: record.episode_id,
            severity: record.severity,
            since: record.received_at,
        };
        for place in &places {
            self.heads.insert((*place, id), head);
        }
        self.places.insert(id, places);
        self.ages.insert((head.since, id));
        while self.places.len() > OPEN_MAX {
            let Some((_, oldest)) = self.ages.first().copied() else {
                return;
            };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, id: &EscalationId) {
        for place in self.places.remove(id).unwrap_or_default() {
            if let Some(head) = self.heads.remove(&(place, *id)) {
                self.ages.remove(&(head.since, *id));
            }
        }
    }

    /// What is open at a place and keeps a record from being told: of another episode, and no less
    /// severe.
    pub(crate) fn over(
        &self,
        place: u64,
        record: &Escalation,
        now: Timestamp,
    ) -> Option<EscalationId> {
        let from = (place, EscalationId([0; 16]));
        let here = self
            .heads
            .range(from..)
            .take_while(|((at, _), _)| *at == place);
        let mut over = here.filter(|(_, head)| {
            head.episode != record.episode_id
                && head.severity >= record.severity
                && now.since(head.since) < OPEN_FOR
        });
        over.next().map(|((_, id), _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn record(id: u8, severity: Severity, at: i64) -> Escalation {
        Escalation {
            escalation_id: EscalationId([id; 16]),
            episode_id: EscalationId([id; 16]),
            severity,
            received_at: Timestamp(at),
            ..samples::escalation()
        }
    }

    #[test]
    fn what_is_open_inhibits_what_is_no_more_severe_until_it_ends() {
        let mut open = Inhibitors::default();
        let attack = record(1, Severity::High, 10);
        open.note(&attack, vec![7]);
        open.note(&attack, vec![7]);
        let over =
            |open: &Inhibitors, place, one: &Escalation, now| open.over(place, one, Timestamp(now));
        let flag = record(2, Severity::High, 20);
        assert_eq!(over(&open, 7, &flag, 20), Some(attack.escalation_id));
        assert_eq!(over(&open, 8, &flag, 20), None, "somewhere else");
        assert_eq!(over(&open, 7, &record(3, Severity::Critical, 20), 20), None);
        assert_eq!(over(&open, 7, &attack, 20), None, "its own episode");
        assert_eq!(over(&open, 7, &flag, 10 + OPEN_FOR), None, "long ago");
        let ended = Escalation {
            kind: EscalationKind::Closed,
            ..attack
        };
        open.note(&ended, vec![7]);
        assert_eq!(open, Inhibitors::default());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut open = Inhibitors::default();
        for number in 0..u32::try_from(OPEN_MAX).unwrap() + 9 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let one = Escalation {
                escalation_id: EscalationId(id),
                ..record(1, Severity::High, i64::from(number))
            };
            open.note(&one, vec![1, 2]);
        }
        assert_eq!(open.places.len(), OPEN_MAX);
        assert_eq!(
            (open.heads.len(), open.ages.len()),
            (2 * OPEN_MAX, OPEN_MAX)
        );
        let oldest = open.ages.first().map(|(at, _)| at.0);
        assert_eq!(oldest, Some(9));
    }
}
