//! [`Engine`]: the state of one EVENTS partition, and how batches go into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use balefire_event::{
    BarrierId, Category, Escalation, EscalationKind, Event, Field, Lane, Timestamp,
};
use balefire_rule::RuleSet;
use balefire_stream::barrier::BARRIERS_MAX;
use balefire_stream::{Barriers, Lateness, Source, Watermark};

use crate::book::Book;
use crate::copies::Copies;
use crate::counters::Counters;
use crate::effect::{BatchHeader, Effect, EngineConfig};
use crate::escalate::amendment_of;
use crate::generation::{Counting, Generation, generations, window_of};
use crate::key::Key;
use crate::recent::Recent;
use crate::redo::{Held, Redo};
use crate::rekey::Part;
use crate::repair::{Open, Pending};
use crate::shelf::Shelves;
use crate::spec::RuleSpec;
use crate::state::Told;
use crate::warm::Warming;

/// What an engine cannot be made from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A rule with impossible periods.
    #[error("compile rule {rule}")]
    Rule {
        /// Its name.
        rule: String,
        /// What is wrong.
        source: balefire_stream::Error,
    },
    /// A snapshot of another format.
    #[error("read state of version {found}; this engine reads {expected}")]
    Version {
        /// Its version.
        found: u32,
        /// The one that can be read.
        expected: u32,
    },
    /// A snapshot of another partition.
    #[error("read state of partition {found} for partition {expected}")]
    Partition {
        /// Its partition.
        found: u32,
        /// The engine's.
        expected: u32,
    },
    /// A snapshot that lacks a rule generation now in force, or has one that is not.
    #[error("read state of other rules")]
    Rules,
}

/// What holds for the records of the batch being taken in.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) lane: Lane,
    pub(crate) tenant: Arc<str>,
    /// It was read before: what it does for new rules alone counts.
    pub(crate) again: bool,
    received_at_max: Timestamp,
}

/// The rule engine of one EVENTS or REKEYED partition.
#[derive(Debug)]
pub struct Engine {
    pub(crate) partition: u32,
    pub(crate) part: Part,
    pub(crate) config: EngineConfig,
    pub(crate) generations: Vec<Generation>,
    pub(crate) books: Vec<Book>,
    /// Places in `generations` by category number.
    pub(crate) shelves: Shelves,
    pub(crate) known_revision: u64,
    /// Every rule set known began at a revision below this.
    pub(crate) rules_below: u64,
    /// Server time at which the log had each rule set, by its first revision.
    pub(crate) activations: BTreeMap<u64, Timestamp>,
    pub(crate) watermark: Watermark,
    pub(crate) lateness: Lateness,
    /// Highest count of `sweep_every` that was swept at.
    pub(crate) swept: Option<i64>,
    pub(crate) barriers: Barriers,
    pub(crate) recent: Recent,
    pub(crate) copies: Copies,
    /// Every event keeps its own time: no copy has another.
    pub(crate) clocks_trusted: bool,
    /// An untrusted clock was seen: repairs start D earlier.
    pub(crate) untrusted: bool,
    pub(crate) pending: BTreeMap<crate::repair::Place, Pending>,
    pub(crate) open: BTreeMap<crate::repair::Place, Open>,
    pub(crate) repair_copies: Copies,
    pub(crate) repairing: bool,
    pub(crate) warming: Option<Warming>,
    /// Readings for new rules begun so far.
    pub(crate) warmings: u64,
    /// Recorded steps are gone through.
    pub(crate) redo: Option<Redo>,
    /// Barriers that wait for that, or for rules to be whole.
    pub(crate) held: Vec<Held>,
    pub(crate) counters: Counters,
    pub(crate) current: Current,
    pub(crate) key: Vec<u8>,
    pub(crate) matched: Vec<usize>,
    /// What checkpoints have.
    pub(crate) told: Told,
}

impl Engine {
    /// Of a partition, with every rule set known, each with the first control revision it is in
    /// force for, ascending.
    ///
    /// # Errors
    /// [`Error::Rule`] for periods that no compiled rule has.
    pub fn new(
        partition: u32,
        rule_sets: &[(u64, Arc<RuleSet>)],
        config: EngineConfig,
    ) -> Result<Self, Error> {
        let specs = RuleSpec::of_sets(rule_sets);
        Self::with_specs(partition, &specs, config)
    }

    /// The same from rules as the engine sees them.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn with_specs(
        partition: u32,
        rule_sets: &[(u64, Vec<RuleSpec>)],
        config: EngineConfig,
    ) -> Result<Self, Error> {
        let mut generations = generations(rule_sets);
        let mut books: Vec<Book> = Vec::new();
        let shelves = Shelves::of(&generations);
        for generation in &mut generations {
            let spec = Arc::clone(generation.spec());
            if let Some((window, group_by)) = window_of(&spec)? {
                let at_close = window.condition().is_at_close();
                let known = books
                    .iter()
                    .position(|book| book.rule == spec.id && book.rearm == window.rearm());
                let book = known.unwrap_or_else(|| {
                    books.push(Book::new(spec.id, window.rearm()));
                    books.len() - 1
                });
                if let Some(book) = books.get_mut(book) {
                    book.at_close |= at_close;
                }
                generation.counting = Some(Counting::new(window, group_by, book));
            }
        }
        let newest = rule_sets.iter().map(|(first, _)| *first).max();
        Ok(Self {
            partition,
            part: Part::Whole,
            watermark: Watermark::new(config.skew),
            config,
            generations,
            books,
            shelves,
            known_revision: newest.unwrap_or(0),
            rules_below: newest.map_or(0, |first| first.saturating_add(1)),
            activations: BTreeMap::new(),
            lateness: Lateness::default(),
            swept: None,
            barriers: Barriers::default(),
            recent: Recent::default(),
            copies: Copies::default(),
            clocks_trusted: false,
            untrusted: false,
            pending: BTreeMap::new(),
            open: BTreeMap::new(),
            repair_copies: Copies::default(),
            repairing: false,
            warming: None,
            warmings: 0,
            redo: None,
            held: Vec::new(),
            counters: Counters::default(),
            current: Current {
                lane: Lane::Normal,
                tenant: Arc::from(""),
                again: false,
                received_at_max: Timestamp::MIN,
            },
            key: Vec::new(),
            matched: Vec::new(),
            told: Told::default(),
        })
    }

    /// The partition.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// Whether a batch with this `control_revision_max` must wait: the control log has not been
    /// read that far, or holds a rule set that this engine was not made with.
    #[must_use]
    pub const fn needs(&self, control_revision_max: u64) -> bool {
        control_revision_max > self.known_revision
    }

    /// The control log was read up to this revision, and held no rule set that is not here.
    pub fn confirm_revision(&mut self, revision: u64) {
        self.known_revision = self.known_revision.max(revision);
    }

    /// A batch of a lane begins.
    pub fn batch_start(&mut self, lane: Lane, header: &BatchHeader<'_>) {
        self.enter(lane, header.tenant);
        self.current.received_at_max = header.received_at_max;
        // Batches of nobody say nothing of it; a source may have an L of 0.
        if header.lateness_max > 0 || !header.tenant.is_empty() {
            self.lateness
                .observe(header.lateness_max, header.received_at_max);
        }
    }

    /// What follows is of this lane and tenant.
    pub(crate) fn enter(&mut self, lane: Lane, tenant: &str) {
        self.current.lane = lane;
        if *self.current.tenant != *tenant {
            self.current.tenant = Arc::from(tenant);
        }
    }

    /// A tick of the batch.
    pub fn tick(&mut self, received_at: Timestamp) {
        self.current.received_at_max = self.current.received_at_max.max(received_at);
    }

    /// A promise of the batch: of the correlator of an INTAKE partition; in REKEYED, of the engine
    /// of an EVENTS partition.
    pub fn watermark(&mut self, partition: u32, received_at: Timestamp) {
        let lane = self.current.lane;
        self.watermark
            .observe_correlator(partition, lane, received_at);
    }

    /// A barrier of the batch. Comes out once it was seen on every expected input, and no rule
    /// warms up: behind it is what every rule says.
    pub fn barrier(
        &mut self,
        id: BarrierId,
        at: Timestamp,
        from: Source,
        effects: &mut Vec<Effect>,
    ) {
        let expected = &self.config.barrier_sources;
        if self.barriers.observe(id, at, from, expected) {
            if self.held.len() >= BARRIERS_MAX {
                self.held.remove(0);
            }
            self.held.push(Held::new(id, at));
            self.release(effects);
        }
    }

    /// An event of the batch, with its index there.
    pub fn event(&mut self, index: u32, event: &Event<'_>, effects: &mut Vec<Effect>) {
        self.current.received_at_max = self.current.received_at_max.max(event.received_at);
        self.take_in(index, event, effects);
    }

    /// The batch ends: time moves, memory is swept, and stragglers ask for their repair.
    pub fn batch_end(&mut self, effects: &mut Vec<Effect>) {
        let received_at_max = self.current.received_at_max;
        if received_at_max > Timestamp::MIN {
            self.watermark
                .observe_lane(self.current.lane, received_at_max);
        }
        let before = self.watermark.low();
        self.sweep_if_due(effects);
        if let Some(at) = self.promise(before) {
            effects.push(Effect::Promise { at });
        }
        effects.extend(self.repair_request().map(Effect::Repair));
    }

    /// Takes in an escalation of this partition as ESCALATIONS has it, in log order. Of slots that
    /// are known already nothing changes.
    pub fn load_escalation(&mut self, escalation: &Escalation) {
        let told = !matches!(
            escalation.kind,
            EscalationKind::Amended | EscalationKind::Closed
        );
        self.counters.escalations += u64::from(self.redo.is_some() && !self.repairing && told);
        if escalation.kind == EscalationKind::Amended {
            if let Some(amendment) = amendment_of(escalation) {
                self.load_single(amendment);
            }
            return;
        }
        if escalation.rearm <= 0 {
            self.load_single(escalation.escalation_id);
            return;
        }
        let book = self
            .books
            .iter_mut()
            .find(|book| book.rule == escalation.rule_id && book.rearm == escalation.rearm);
        let Some(book) = book else { return };
        let key = Key::of_parts(&escalation.key);
        let tenant = Arc::from(escalation.tenant.as_str());
        let canonical = Key::canonical(&escalation.key);
        match escalation.kind {
            EscalationKind::Raised | EscalationKind::Continued => {
                let (start, episode) = (escalation.slot_start, escalation.episode_id);
                let key = (key, canonical.as_slice());
                book.load(&tenant, key, start, episode, self.repairing);
            }
            EscalationKind::Closed => book.load_closed(&tenant, key, escalation.slot_start),
            EscalationKind::Amended => {}
        }
    }

    /// Places of the generations that an event of the category may concern.
    pub(crate) fn candidates(&self, category: Category) -> &[usize] {
        self.shelves.all(category)
    }

    /// Whether an event of the category can concern any rule.
    #[must_use]
    pub fn heeds(&self, category: Category) -> bool {
        !self.candidates(category).is_empty()
    }

    /// Whether a rule looks at the field, or an escalation shows it.
    #[must_use]
    pub fn looks_at(&self, field: &Field) -> bool {
        let mut generations = self.generations.iter();
        generations.any(|one| one.spec().looks_at(field))
    }

    /// The same of any field that Balefire has no name for.
    #[must_use]
    pub fn looks_at_extensions(&self) -> bool {
        let mut generations = self.generations.iter();
        generations.any(|one| one.spec().looks_at_extensions())
    }

    /// Counts since the state was built.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Low watermark; `None` until every lane was seen.
    #[must_use]
    pub const fn low_watermark(&self) -> Option<Timestamp> {
        self.watermark.low()
    }

    /// Keys kept.
    #[must_use]
    pub fn key_count(&self) -> usize {
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        counting.map(|counting| counting.keys.len()).sum()
    }

    /// Entries kept. Walks over every key.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        counting
            .flat_map(|counting| counting.keys.sorted())
            .map(|(_, _, window)| window.len())
            .sum()
    }
}
