//! What the fold of a partition says when it is asked.

use std::sync::Arc;

use balefire_event::{EscalationId, Lane, Severity};

use crate::ack::{Acknowledgement, Acknowledgements};
use crate::backoff::Backoff;
use crate::delivery::Entry;
use crate::effect::{Effect, Ticket};
use crate::state::State;

impl State {
    /// A ticket for every pending delivery: what a process that starts has to do.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let all = self.entries.values().flat_map(|entry| &entry.deliveries);
        all.filter_map(|progress| self.ticket(progress))
    }

    /// Every escalation with deliveries whose detail is kept, by id, behind `after`.
    pub fn entries(
        &self,
        after: Option<EscalationId>,
    ) -> impl Iterator<Item = (&EscalationId, &Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries
            .range((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The episode that an id is of: an escalation's, or its own.
    #[must_use]
    pub fn episode_of(&self, id: &EscalationId) -> Option<EscalationId> {
        if self.episodes.contains_key(id) {
            return Some(*id);
        }
        self.entries.get(id).map(|entry| entry.episode_id)
    }

    /// An escalation of an episode that somebody was told of.
    #[must_use]
    pub fn told_of(&self, episode: &EscalationId) -> Option<&Entry> {
        let escalations = self.episodes.get(episode)?;
        escalations.iter().find_map(|id| self.entries.get(id))
    }

    /// Who is on which episode.
    #[must_use]
    pub const fn acknowledgements(&self) -> &Acknowledgements {
        &self.acks
    }

    /// Of an episode that nobody here was told of nothing is kept.
    pub(crate) fn acknowledged(&mut self, said: Acknowledgement) -> Vec<Effect> {
        let Some(episode) = self.episode_of(&said.escalation_id) else {
            return Vec::new();
        };
        let escalations = self.episodes.get(&episode).into_iter().flatten();
        let entries = escalations.filter_map(|id| self.entries.get(id));
        let told = entries.flat_map(|entry| &entry.deliveries);
        let worst = told.map(|progress| progress.intent.severity).max();
        self.acks
            .take(episode, said, worst.unwrap_or(Severity::Low));
        Vec::new()
    }

    /// The deliveries of one escalation.
    #[must_use]
    pub fn entry(&self, id: &EscalationId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// When a failure is tried again.
    #[must_use]
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// How far a feed receiver has a lane; `None`: it never had any of it.
    #[must_use]
    pub fn fed(&self, receiver: &Arc<str>, lane: Lane) -> Option<u64> {
        self.fed.get(&(Arc::clone(receiver), lane)).copied()
    }

    /// Every intent of ESCALATIONS up to here is in the log.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Deliveries that will be tried, and those whose intents are on their way into the log.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending + self.deciding
    }

    /// Deliveries that dead letters hold.
    #[must_use]
    pub fn dead_len(&self) -> usize {
        self.dead
    }
}

impl PartialEq for State {
    /// Whether the logs say the same; what is on its way into them does not count.
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
            && self.entries == other.entries
            && self.silent == other.silent
            && self.episodes == other.episodes
            && self.closed == other.closed
            && self.groups == other.groups
            && self.acks == other.acks
            && self.fed == other.fed
            && (self.pending, self.dead) == (other.pending, other.dead)
    }
}
