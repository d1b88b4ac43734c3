//! [`Log`]: the streams in memory, with the one promise of the broker that exactness rests on:
//! a write that expects another last sequence of its subject is refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use balefire_driver::ledger::RunList;
use balefire_event::{BarrierId, Escalation, Event, Hint, Lane, Stub, Timestamp};
use balefire_rule_engine_core::Rekeyed;

use crate::place::Place;
use crate::world::{START, UNIT};

/// A record of any log.
#[derive(Debug, Clone)]
pub(crate) enum Rec {
    Event(Box<Event<'static>>),
    Hint(Box<Hint<'static>>),
    Stub(Box<Stub>),
    Tick(Timestamp),
    /// What a correlator, or the engine of an EVENTS partition, promises.
    Watermark {
        partition: u32,
        at: Timestamp,
    },
    Barrier {
        id: BarrierId,
        at: Timestamp,
    },
    Escalation(Box<Escalation>),
    Match(Box<Rekeyed>),
}

/// Who wrote a batch, as its subject says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Door,
    Ticker,
    Stage(Place),
}

/// What a message of a stage's step says of it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) list: RunList,
    pub(crate) part: usize,
    pub(crate) last_part: bool,
    pub(crate) claim: bool,
    /// Below which revision every rule was whole while it was formed.
    pub(crate) whole_below: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) origin: Origin,
    /// Empty: nobody's.
    pub(crate) tenant: &'static str,
    pub(crate) lateness_max: i64,
    pub(crate) received_at_max: Timestamp,
    pub(crate) revision_max: u64,
    pub(crate) records: Vec<Rec>,
    pub(crate) step: Option<Step>,
    pub(crate) stored_at: i64,
}

impl Batch {
    pub(crate) fn tick(at: i64) -> Self {
        Self {
            origin: Origin::Ticker,
            tenant: "",
            lateness_max: 0,
            received_at_max: Timestamp(at),
            revision_max: 0,
            records: vec![Rec::Tick(Timestamp(at))],
            step: None,
            stored_at: at,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamId {
    Intake(usize, u32),
    Events(usize, u32),
    Rekeyed(u32),
    Escalations(u32),
}

impl StreamId {
    pub(crate) const fn intake(lane: Lane, partition: u32) -> Self {
        Self::Intake(lane.index(), partition)
    }
    pub(crate) const fn events(lane: Lane, partition: u32) -> Self {
        Self::Events(lane.index(), partition)
    }
}

/// The subject has another last sequence than the writer expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fenced;

#[derive(Debug, Default)]
pub(crate) struct Log {
    streams: BTreeMap<StreamId, Vec<Rc<Batch>>>,
    /// Last sequence of each subject: stream and writer.
    subjects: BTreeMap<(StreamId, Place), u64>,
    /// Stale writes are taken too: a deliberate fault.
    unfenced: bool,
    /// The server's clock.
    pub(crate) now: i64,
    /// Tells every message.
    trace: bool,
}

impl Log {
    pub(crate) fn new(unfenced: bool, trace: bool) -> Self {
        Self {
            unfenced,
            trace,
            ..Self::default()
        }
    }

    /// A line of the trace.
    pub(crate) fn tell(&self, said: impl FnOnce() -> String) {
        if self.trace {
            crate::say(&format!("{:>6} {}", (self.now - START) / UNIT, said()));
        }
    }

    /// Writes without a fence; the sequence, from 1 on.
    pub(crate) fn append(&mut self, stream: StreamId, batch: Batch) -> u64 {
        let stored_at = self.now;
        self.tell(|| format!("{stream:?} {}: {batch}", self.len(stream) + 1));
        let messages = self.streams.entry(stream).or_default();
        messages.push(Rc::new(Batch { stored_at, ..batch }));
        messages.len() as u64
    }

    /// Writes a stage's message where `expected` is the last of its subject.
    pub(crate) fn publish(
        &mut self,
        stream: StreamId,
        writer: Place,
        expected: u64,
        batch: Batch,
    ) -> Result<u64, Fenced> {
        if self.last_of(stream, writer) != expected && !self.unfenced {
            return Err(Fenced);
        }
        let sequence = self.append(stream, batch);
        self.subjects.insert((stream, writer), sequence);
        Ok(sequence)
    }

    /// Last sequence of a subject, 0 before the first.
    pub(crate) fn last_of(&self, stream: StreamId, writer: Place) -> u64 {
        self.subjects.get(&(stream, writer)).copied().unwrap_or(0)
    }

    pub(crate) fn read(&self, stream: StreamId, sequence: u64) -> Option<Rc<Batch>> {
        let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.streams.get(&stream)?.get(index).cloned()
    }

    pub(crate) fn len(&self, stream: StreamId) -> u64 {
        self.all(stream).len() as u64
    }

    pub(crate) fn all(&self, stream: StreamId) -> &[Rc<Batch>] {
        self.streams.get(&stream).map_or(&[], Vec::as_slice)
    }

    /// The messages of a subject, claims included, with their sequences.
    pub(crate) fn of_subject(
        &self,
        stream: StreamId,
        writer: Place,
    ) -> impl Iterator<Item = (u64, &Rc<Batch>, &Step)> {
        (1u64..)
            .zip(self.all(stream))
            .filter(move |(_, batch)| batch.origin == Origin::Stage(writer))
            .filter_map(|(sequence, batch)| Some((sequence, batch, batch.step.as_ref()?)))
    }
}
