//! Storm control: above so many pages to one receiver in ten minutes further pages are held, and it
//! gets one summary page in their place; ten minutes later another one that lists what was held,
//! and so on until it calms down. What is more severe than everything told meanwhile is told all
//! the same. Every held page is a record that names its storm.
//!
//! Counted over all partitions of one process, from what their logs say: [`Storms`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::time::MINUTE;
use balefire_event::{EscalationId, Severity, Timestamp};

use crate::record::{Intent, Notice, Withheld};
use crate::summary::{Held, Summary};

/// The stretch in which pages are counted, and how long a storm lasts at least, nanoseconds.
pub const STORM_FOR: i64 = 10 * MINUTE;
/// Pages in that time to a receiver that people are woken by, where it does not say.
pub const PAGES_DEFAULT: u32 = 30;
/// Most that can be said.
pub const PAGES_MAX: u32 = 10_000;
/// Held pages that a summary lists; all of them are in DELIVERIES.
pub const LISTED_MAX: usize = 32;
/// Held pages of one storm that are told apart; beyond it a repeat counts again.
pub const HELD_MAX: usize = 100_000;
/// Held pages kept until the partition whose storm held them is read again, a receiver.
pub const LOOSE_MAX: usize = 10_000;
/// Route of the summary that ends a storm.
pub const STORM_OVER: &str = "balefire_storm_over";

/// What becomes of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Page {
    /// It is told.
    Told,
    /// It is held by a storm.
    Held(EscalationId),
    /// It is held, and a storm begins with it: that is told.
    Begins(Passed),
}

/// What a summary page is made of: where a storm begins, and each time ten minutes of it are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) receiver: Arc<str>,
    pub(crate) id: EscalationId,
    pub(crate) tenant: Arc<str>,
    pub(crate) severity: Severity,
    pub(crate) sequence: u64,
    /// Number of this summary; the first one was 0.
    pub(crate) round: u32,
    pub(crate) summary: Summary,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Storm {
    id: EscalationId,
    /// The partition that tells of it, and what that needs.
    partition: u32,
    tenant: Arc<str>,
    sequence: u64,
    /// The page that it began with; known only to who decided it.
    first: Option<EscalationId>,
    since: Timestamp,
    pages_max: u32,
    round: u32,
    severity: Severity,
    held: BTreeSet<EscalationId>,
    /// Held in this round.
    count: u64,
    listed: Vec<Held>,
}

/// One receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Line {
    /// Pages that it was told in the last ten minutes.
    told: BTreeMap<EscalationId, (Timestamp, Severity)>,
    storm: Option<Storm>,
    /// The last storm that ended: its records may be read again.
    last_over: Option<EscalationId>,
    /// Held pages of a storm that another partition's log has not told of yet.
    loose: VecDeque<(Arc<str>, Held)>,
}

/// Pages and storms of every receiver that has a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storms {
    lines: BTreeMap<Arc<str>, Line>,
}

impl Storms {
    /// Decides about a page that an escalation would be.
    pub(crate) fn page(
        &mut self,
        (partition, tenant): (u32, &Arc<str>),
        intent: &Intent,
        rule: &str,
        pages_max: u32,
    ) -> Page {
        let line = self.lines.entry(Arc::clone(&intent.receiver)).or_default();
        let (id, now) = (intent.escalation_id, intent.decided_at);
        line.prune(now);
        if line.lets(intent, pages_max) {
            line.tell(intent);
            return Page::Told;
        }
        let held = Held {
            escalation_id: id,
            severity: intent.severity,
            at: now,
            rule: rule.to_owned(),
        };
        if let Some(storm) = &mut line.storm {
            let again = storm.first == Some(id) && storm.round == 0;
            storm.hold(held);
            if !again {
                return Page::Held(storm.id);
            }
            return Page::Begins(storm.passed(&intent.receiver, true));
        }
        let worst = line.worst().unwrap_or(intent.severity);
        let mut storm = Storm {
            id: storm_id(&intent.receiver, &id),
            partition,
            tenant: Arc::clone(tenant),
            sequence: intent.escalation_sequence,
            first: Some(id),
            since: now,
            pages_max,
            round: 0,
            severity: worst.max(intent.severity),
            held: BTreeSet::new(),
            count: 0,
            listed: Vec::new(),
        };
        storm.hold(held);
        let begins = Page::Begins(storm.passed(&intent.receiver, true));
        line.storm = Some(storm);
        begins
    }

    /// Takes in an intent of a partition's log. Twice has the effect of once.
    pub fn note(&mut self, partition: u32, tenant: &str, intent: &Intent, pages_max: Option<u32>) {
        if let Some(summary) = &intent.summary {
            let line = self.lines.entry(Arc::clone(&intent.receiver)).or_default();
            line.told_of(partition, tenant, intent, summary);
            return;
        }
        let (Some(_), Notice::First, None) = (pages_max, intent.notice, &intent.digest) else {
            return;
        };
        let line = self.lines.entry(Arc::clone(&intent.receiver)).or_default();
        match intent.withheld {
            Some(Withheld::Storm) => line.hold(
                Arc::clone(&intent.withheld_by),
                Held {
                    escalation_id: intent.escalation_id,
                    severity: intent.severity,
                    at: intent.decided_at,
                    rule: String::new(),
                },
            ),
            Some(_) => {}
            None => {
                line.tell(intent);
                let newest = line.told.values().map(|(at, _)| *at).max();
                line.prune(newest.unwrap_or(intent.decided_at));
            }
        }
    }

    /// The storms that a partition tells of and whose ten minutes are over. One in which as many
    /// were held as its receiver takes goes on for another ten.
    pub(crate) fn passed(&mut self, partition: u32, now: Timestamp) -> Vec<Passed> {
        let mut all = Vec::new();
        for (receiver, line) in &mut self.lines {
            let Some(storm) = &mut line.storm else {
                continue;
            };
            // A clock that was set back does not keep a storm up.
            storm.since = storm.since.min(now);
            if storm.partition != partition || now.since(storm.since) < STORM_FOR {
                continue;
            }
            let goes_on = storm.count > u64::from(storm.pages_max);
            storm.round = storm.round.saturating_add(1);
            all.push(storm.passed(receiver, goes_on));
            if goes_on {
                storm.next_round(now);
            } else {
                line.last_over = Some(storm.id);
                line.storm = None;
            }
        }
        all
    }

    /// Whether a receiver's pages are held now, and how many were since when.
    #[must_use]
    pub fn of(&self, receiver: &str) -> Option<(Timestamp, u64)> {
        let storm = self.lines.get(receiver)?.storm.as_ref()?;
        Some((storm.since, storm.count))
    }

    /// When [`Storms::passed`] next has something for a partition.
    #[must_use]
    pub fn next_due(&self, partition: u32) -> Option<Timestamp> {
        let storms = self.lines.values().filter_map(|line| line.storm.as_ref());
        let own = storms.filter(|storm| storm.partition == partition);
        own.map(|storm| storm.since.plus(STORM_FOR)).min()
    }
}

impl Line {
    /// Forgets what was told ten minutes before `now`, or under a clock that was wrong.
    fn prune(&mut self, now: Timestamp) {
        let lately = -MINUTE..STORM_FOR;
        self.told
            .retain(|_, (at, _)| lately.contains(&now.since(*at)));
    }

    /// The most severe that was told in the last ten minutes.
    fn worst(&self) -> Option<Severity> {
        self.told.values().map(|(_, severity)| *severity).max()
    }

    /// Whether a page goes through: one that was let through before; in a storm, and where the limit
    /// is reached, one that is more severe than all before it; else as long as there is room.
    fn lets(&self, intent: &Intent, pages_max: u32) -> bool {
        if self.told.contains_key(&intent.escalation_id) {
            return true;
        }
        let worst = match &self.storm {
            Some(storm) => Some(storm.severity),
            None => self.worst(),
        };
        if worst.is_some_and(|worst| intent.severity > worst) {
            return true;
        }
        let room = self.told.len() < usize::try_from(pages_max).unwrap_or(usize::MAX);
        self.storm.is_none() && room
    }

    /// A page goes through.
    fn tell(&mut self, intent: &Intent) {
        let told = (intent.decided_at, intent.severity);
        self.told.entry(intent.escalation_id).or_insert(told);
        if let Some(storm) = &mut self.storm
            && intent.decided_at >= storm.since
        {
            storm.severity = storm.severity.max(intent.severity);
        }
    }

    /// The log has a summary page.
    fn told_of(&mut self, partition: u32, tenant: &str, intent: &Intent, summary: &Summary) {
        let id = intent.escalation_id;
        let round = match intent.notice {
            Notice::First => 0,
            Notice::Amended(round) | Notice::Closed(round) => round,
        };
        if !summary.goes_on {
            self.last_over = Some(id);
            if self.storm.as_ref().is_some_and(|storm| storm.id == id) {
                self.storm = None;
            }
            return;
        }
        if self.last_over == Some(id) {
            return;
        }
        match &mut self.storm {
            Some(storm) if storm.id == id => {
                if round > storm.round {
                    storm.round = round;
                    storm.next_round(intent.decided_at);
                }
            }
            Some(_) | None => {
                self.storm = Some(Storm {
                    id,
                    partition,
                    tenant: tenant.into(),
                    sequence: intent.escalation_sequence,
                    first: None,
                    since: intent.decided_at,
                    pages_max: summary.pages_max,
                    round,
                    severity: intent.severity,
                    held: BTreeSet::new(),
                    count: 0,
                    listed: Vec::new(),
                });
                for (by, held) in std::mem::take(&mut self.loose) {
                    self.hold(by, held);
                }
            }
        }
    }

    /// The log has a page that was held.
    fn hold(&mut self, by: Arc<str>, held: Held) {
        match &mut self.storm {
            Some(storm) if *by == *storm.id.to_string() => {
                if held.at >= storm.since {
                    storm.hold(held);
                }
            }
            Some(_) | None => {
                self.loose.push_back((by, held));
                if self.loose.len() > LOOSE_MAX {
                    self.loose.pop_front();
                }
            }
        }
    }
}

impl Storm {
    fn hold(&mut self, held: Held) {
        if self.held.len() < HELD_MAX && !self.held.insert(held.escalation_id) {
            return;
        }
        self.count += 1;
        self.severity = self.severity.max(held.severity);
        self.listed.push(held);
        if self.listed.len() > LISTED_MAX {
            // The most severe are listed, of those the first.
            self.listed
                .sort_by_key(|held| (std::cmp::Reverse(held.severity), held.at));
            self.listed.truncate(LISTED_MAX);
        }
    }

    fn passed(&self, receiver: &Arc<str>, goes_on: bool) -> Passed {
        let mut listed = self.listed.clone();
        listed.sort_by_key(|held| (std::cmp::Reverse(held.severity), held.at));
        Passed {
            receiver: Arc::clone(receiver),
            id: self.id,
            tenant: Arc::clone(&self.tenant),
            severity: self.severity,
            sequence: self.sequence,
            round: self.round,
            summary: Summary {
                pages_max: self.pages_max,
                since: self.since,
                held: self.count,
                listed,
                goes_on,
            },
        }
    }

    fn next_round(&mut self, now: Timestamp) {
        self.since = now;
        self.count = 0;
        self.held.clear();
        self.listed.clear();
    }
}

/// The same for the same receiver and first page.
fn storm_id(receiver: &str, first: &EscalationId) -> EscalationId {
    let mut hasher = FieldHasher::new("balefire notify storm v1");
    hasher.field(receiver.as_bytes()).field(first.as_bytes());
    EscalationId(hasher.id())
}

#[cfg(test)]
#[path = "storm_tests.rs"]
mod tests;
