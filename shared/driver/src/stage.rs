//! [`Stage`]: what the rule engine and the correlator implement, and the plain data it speaks.

use std::sync::Arc;

use balefire_event::stamp::SKEW;
use balefire_event::{Lane, Timestamp};
use balefire_store::{Changes, Records};
use balefire_wire::BatchView;

/// One input batch.
#[derive(Debug)]
pub struct Input<'a> {
    /// Index of its source in [`crate::Plan::sources`].
    pub source: usize,
    /// Lane of that source; `None` for a stream without lanes.
    pub lane: Option<Lane>,
    /// Sequence in its stream.
    pub sequence: u64,
    /// When the server stored it. The same on every reading.
    pub stored_at: Timestamp,
    /// Whole subject it was published on: tells door, correlator, tick and replay apart.
    pub subject: &'a str,
    /// The parsed batch.
    pub batch: &'a BatchView<'a>,
}

impl Input<'_> {
    /// A time that was said here counts for no more than this: the server's own when it stored it,
    /// and S/2, as far as a clock may be off. The same on every reading. An owner whose clock stands
    /// ahead would else tick everything that follows into the past, where each record asks for the
    /// log to be read again.
    #[must_use]
    pub const fn latest(&self) -> Timestamp {
        self.stored_at.plus(SKEW / 2)
    }
}

/// One past output of this partition, read back from a target.
#[derive(Debug)]
pub struct PastOutput<'a> {
    /// Index of its target in [`crate::Plan::targets`].
    pub target: usize,
    /// Sequence in the target's stream; 0: it waits in the step being formed.
    pub sequence: u64,
    /// When the server stored it; [`Timestamp::MAX`]: it has not yet.
    pub stored_at: Timestamp,
    /// Number of the step it is of.
    pub step: u64,
    /// The batch; claims are left out, empty parts may come.
    pub batch: &'a BatchView<'a>,
}

/// One record a stage emits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Index of its target in [`crate::Plan::targets`].
    pub target: usize,
    /// Tenant of the record; empty for ticks, barriers and watermarks.
    ///
    /// Within a step and target, records of one tenant keep their order; tenants follow one
    /// another in the order of their first record; those of no tenant come last.
    pub tenant: Arc<str>,
    /// The encoded `balefire.log.v1.Record`, as `balefire_wire`'s `encode_record` writes it.
    pub record: Vec<u8>,
    /// received_at of the record; the largest of a batch goes into its header.
    pub received_at: Option<Timestamp>,
    /// Control revision of the record, 0 if it has none; the largest goes into the header.
    pub control_revision: u64,
    /// Largest lateness L in force for it, nanoseconds, 0 if it has none; likewise.
    pub lateness_max: i64,
}

/// One input record, or a whole batch, that could not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Index of the record in its batch; `None`: the whole batch.
    pub index: Option<u32>,
    /// Stable code, a page of docs/runbooks: `rule_panicked`, `malformed_record` …
    pub reason: &'static str,
    /// For people; never holds a body.
    pub detail: String,
}

/// What a stage wants done. Plain data; the driver acts.
#[derive(Debug, Default)]
pub struct Effects {
    /// Records to publish, in order.
    pub outputs: Vec<Output>,
    /// Records to lay aside. Published before the next input is taken.
    pub dead_letters: Vec<DeadLetter>,
    /// Asks for a repair (SEMANTICS §7): the input partition from this server time on is read
    /// again, up to and including the batch just applied. The earliest wins.
    pub repair_from: Option<Timestamp>,
}

impl Effects {
    /// Asks for a repair from `from`; keeps the earlier of two.
    pub fn repair(&mut self, from: Timestamp) {
        self.repair_from = Some(self.repair_from.map_or(from, |other| other.min(from)));
    }
}

/// The partition is to be read again beside the live path, for rules that a stage has learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// Another number, another reading: what was read before does not count.
    pub id: u64,
    /// Server time to read from, up to the positions where the reading begins.
    pub from: Timestamp,
}

/// A recorded step that a new owner goes through again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub number: u64,
    /// What [`Stage::whole_below`] was while it was formed; `None`: nothing was said, or its
    /// outputs are no longer all in the log.
    pub whole_below: Option<u64>,
    /// Some of its outputs may lack: it is the last one.
    pub partial: bool,
}

/// Whether a stage can take a batch of some control revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// The control log has not delivered that revision yet: the partition waits, and is asked
    /// again every [`crate::limit::READINESS_POLL`].
    Wait,
}

/// A snapshot that cannot be restored: other version, other rules, damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state cannot be restored: {reason}")]
pub struct BadState {
    /// Why.
    pub reason: String,
}

/// A number for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Name, as in the metrics.
    pub name: &'static str,
    /// Value.
    pub value: u64,
}

/// How a stage is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageStatus {
    /// Low watermark; `None` before the first.
    pub low_watermark: Option<Timestamp>,
    /// Entries, joins or deliveries kept.
    pub state_len: u64,
    /// Further numbers.
    pub counters: Vec<Counter>,
}

/// A pure, deterministic state machine over the batches of one partition.
///
/// The same inputs in the same order give the same effects in the same order: a new owner
/// derives a step exactly as the first one did. No method fails or does IO; a bad record is a
/// [`DeadLetter`]. A panic in [`Stage::apply`] or a repair is caught: the batch becomes a dead
/// letter (`rule_panicked`), the stage is restored from its checkpoint and the log, and that
/// batch is skipped.
pub trait Stage: Send + 'static {
    /// Version of stage and snapshot format. A checkpoint of another version is set aside and
    /// the state is built from the log.
    fn version(&self) -> u32;

    /// Whether a batch with this `control_revision_max` can be taken. May take in control
    /// records that have arrived meanwhile. Asked before each batch, cheap.
    fn readiness(&mut self, control_revision: u64) -> Readiness;

    /// Takes in what came by other ways than the sources: control records. Asked before each
    /// input, and every [`crate::limit::TICK_POLL`] where none comes; never in a redo or a repair.
    fn refresh(&mut self) {}

    /// Every rule that began at a control revision below this is whole; `None`: the stage learns
    /// none while it runs. The least it was while a step was formed is said in the step.
    fn whole_below(&self) -> Option<u64> {
        None
    }

    /// A new owner goes through recorded steps from here on, until [`Stage::redo_end`]. Outputs
    /// are not published again: those of the last step that a target lacks are, found by their
    /// bytes. What a stage cannot know to be told is better kept, and told at the end.
    fn redo_begin(&mut self) {}

    /// A step: then its inputs, then its outputs as far as the log has them through
    /// [`Stage::load_output`], then [`Stage::redo_step_end`].
    fn redo_step(&mut self, _recorded: Recorded) {}

    /// The step is through.
    fn redo_step_end(&mut self) {}

    /// Every recorded step is through. What was never told goes into the last of them where a target
    /// lacks some of it, else into the next step.
    fn redo_end(&mut self, _effects: &mut Effects) {}

    /// Takes one batch.
    fn apply(&mut self, input: &Input<'_>, effects: &mut Effects);

    /// A repair starts: everything stored at `from` or later comes again through
    /// [`Stage::load_output`] (past outputs first, of steps already published, then those that
    /// wait in the step being formed) and [`Stage::repair_batch`] (the lanes one after the other, each in order, up to the current
    /// positions), then [`Stage::repair_end`].
    fn repair_begin(&mut self, from: Timestamp);

    /// One batch read again. Effects are taken like those of [`Stage::apply`]; a further repair
    /// asked for here is ignored.
    fn repair_batch(&mut self, input: &Input<'_>, effects: &mut Effects);

    /// The repair is complete: what it adds is emitted here.
    fn repair_end(&mut self, effects: &mut Effects);

    /// What is to be read again beside the live path; `None`: nothing. Asked before each input.
    ///
    /// Every batch stored at `from` or later comes again through [`Stage::backfill_batch`], the lanes
    /// one after the other, each in order, between the inputs of the live path; then
    /// [`Stage::backfill_end`]. A reading that a crash interrupts is asked for again.
    fn backfill(&self) -> Option<Backfill> {
        None
    }

    /// One batch read again for a backfill. Its outputs go out with the step being formed; how many
    /// that are differs from run to run, so a reader must take a repeated one for none.
    fn backfill_batch(&mut self, _input: &Input<'_>, _effects: &mut Effects) {}

    /// The backfill is complete.
    fn backfill_end(&mut self, _effects: &mut Effects) {}

    /// Earliest server time of past outputs that it needs to see at a start without checkpoint;
    /// `None`: all. [`Timestamp::MAX`]: none ever, not those of redone steps either.
    /// Asked after restore or reset, before redo.
    fn load_from(&self) -> Option<Timestamp>;

    /// A past output of its own, in the order of the log. Steps that come before the redone
    /// ones are shown before the redo, those of a redone step behind its inputs (idempotent: the
    /// stage has just derived them). Never emits.
    fn load_output(&mut self, output: &PastOutput<'_>);

    /// Server time from which a state without checkpoint is built; `None`: the whole log.
    fn rebuild_from(&self) -> Option<Timestamp>;

    /// The whole state, encoded (`balefire_store::encode`).
    fn snapshot(&self) -> Vec<u8>;

    /// What changed since the last call, for a checkpoint: all of the state the first time and
    /// after [`Stage::unsaved`], what differs from the restored one after a restore. The live path
    /// stands still meanwhile, so a stage of many keys gives only those that changed.
    fn changes(&mut self) -> Changes {
        Changes::sliced(&self.snapshot())
    }

    /// Before [`Stage::changes`] is asked: gives a part of it, for which the live path stands still
    /// a little only, and keeps that until then. True: inputs may come, and this is asked again;
    /// false: it gave nothing, the rest is little.
    fn changes_ahead(&mut self) -> bool {
        false
    }

    /// What [`Stage::changes`] gave is not on disk: the next call gives all of the state.
    fn unsaved(&mut self) {}

    /// Takes over a snapshot of the same version.
    ///
    /// # Errors
    /// [`BadState`] for anything doubtful; the driver then resets and rebuilds.
    fn restore(&mut self, state: &[u8]) -> Result<(), BadState>;

    /// Takes over what a checkpoint and the changes behind it hold.
    ///
    /// # Errors
    /// As [`Stage::restore`].
    fn restore_records(&mut self, state: &Records) -> Result<(), BadState> {
        self.restore(&state.joined())
    }

    /// Empty, as new. Rule sets and configuration stay.
    fn reset(&mut self);

    /// Earliest wall-clock time at which a tick would let something happen; `None`: nothing is
    /// open. The driver then publishes a tick to every source with a tick subject.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// What it holds, in bytes of its own, for somebody who compares that with the log. The live
    /// path stands still meanwhile; asked seldom.
    fn inspect(&self) -> Vec<u8> {
        Vec::new()
    }

    /// How it is, for status pages; asked at most once a second.
    fn status(&self) -> StageStatus;
}
