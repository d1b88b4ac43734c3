//! What a request comes to: for each record an outcome, or the items that must be stored first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use balefire_event::stamp::ClockPolicy;
use balefire_event::{Groups, Lane, Naming, Stub, Timestamp};
use balefire_ingest_core::{self as core, Admitted, Path, Violation};
use balefire_wire::{event_codec, hint_codec};
use bytes::Bytes;

use crate::evidence::{self, Placed};
use crate::item::{InFlight, Item};
use crate::memory::{Fields, Known, Mark, Memory, Seen};
use crate::outcome::Outcome;
use crate::target::{LogKind, Targets};

/// A record of a request.
#[derive(Debug)]
pub enum Slot {
    /// Decided.
    Done(Outcome),
    /// To be stored.
    Pending {
        /// Its stream, by [`Targets`].
        target: usize,
        /// Its place among the items for it.
        position: usize,
        /// Key of its id.
        id: Mark,
        /// What is remembered of it once it is stored.
        seen: Seen,
    },
}

/// A request, ready to be stored.
#[derive(Debug)]
pub struct Plan {
    /// One slot a record, in order.
    pub slots: Vec<Slot>,
    /// What goes to each stream.
    pub items: BTreeMap<usize, Vec<Item>>,
    /// What is durable before that.
    pub evidence: Vec<Placed>,
    /// Keys of the hints among the items.
    pub hints: Vec<Mark>,
    /// Whose those are that go straight to EVENTS.
    pub groups: Groups,
    /// Holds the budget, collects timings.
    pub request: Arc<InFlight>,
}

/// An event that was encoded into the shared buffer.
struct Encoded {
    target: usize,
    range: Range<usize>,
    occurred_at: Timestamp,
    clock: ClockPolicy,
    record: usize,
}

/// Makes a [`Plan`] of records.
pub struct Planner<'p> {
    door: &'p core::Door,
    targets: &'p Targets,
    memory: &'p Memory,
    now: Timestamp,
    control_revision: u64,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    encoded: Vec<Encoded>,
    per_target: BTreeMap<usize, usize>,
    hints: BTreeSet<Mark>,
    fields: Fields,
    hint_items: Vec<(usize, Range<usize>)>,
    stubs: Vec<(usize, Stub)>,
    evidence: Vec<Placed>,
    groups: Groups,
}

impl<'p> Planner<'p> {
    /// For a request of `bytes`.
    pub fn new(
        door: &'p core::Door,
        targets: &'p Targets,
        memory: &'p Memory,
        now: Timestamp,
        control_revision: u64,
        bytes: usize,
    ) -> Self {
        Self {
            door,
            targets,
            memory,
            now,
            control_revision,
            buffer: Vec::with_capacity(bytes + bytes / 2),
            slots: Vec::new(),
            encoded: Vec::new(),
            per_target: BTreeMap::new(),
            hints: BTreeSet::new(),
            fields: Fields::default(),
            hint_items: Vec::new(),
            stubs: Vec::new(),
            evidence: Vec::new(),
            groups: Groups::default(),
        }
    }

    /// Adds the next record.
    pub fn add(&mut self, admitted: Result<Admitted<'_>, Violation>) {
        let slot = match admitted {
            Err(violation) => Slot::Done(Outcome::Rejected(violation)),
            Ok(admitted) => self.admitted(admitted),
        };
        self.slots.push(slot);
    }

    fn admitted(&mut self, mut admitted: Admitted<'_>) -> Slot {
        let event = &admitted.event;
        let id = self
            .fields
            .id(&self.door.tenant, &event.source, &event.event_id);
        let id = self.memory.mark(id);
        let seen = Seen {
            dedup_id: event.dedup_id,
            timing: event.timing,
            control_revision: self.control_revision,
            backfill: event.backfill,
            lateness: event.lateness,
        };
        match self.memory.known(&id, &seen, self.now) {
            Known::Copy(timing) => {
                let dedup_id = seen.dedup_id;
                return Slot::Done(Outcome::Duplicate { dedup_id, timing });
            }
            Known::Conflict => admitted.event.id_conflict = true,
            Known::New => {}
        }
        let partition = admitted.path.partition();
        if let Some(sealed) = admitted.evidence.take() {
            self.evidence
                .push((partition, evidence::record(sealed, &seen.dedup_id)));
        }
        let log = match &admitted.path {
            Path::Straight { .. } => {
                let naming = Naming::of(&admitted.event);
                self.groups
                    .named(&self.door.tenant, &admitted.event, None, naming);
                LogKind::Events
            }
            Path::Detour { .. } => LogKind::Intake,
        };
        let target = self.targets.index(log, admitted.lane, partition);
        self.encode(&admitted, target);
        self.stubs_of(&admitted);
        self.hints_of(&admitted);
        self.owners_of(&admitted);
        let count = self.per_target.entry(target).or_default();
        let position = *count;
        *count += 1;
        Slot::Pending {
            target,
            position,
            id,
            seen,
        }
    }

    fn encode(&mut self, admitted: &Admitted<'_>, target: usize) {
        let start = self.buffer.len();
        event_codec::encode_static(&admitted.event, &mut self.buffer);
        self.encoded.push(Encoded {
            target,
            range: start..self.buffer.len(),
            occurred_at: admitted.event.occurred_at,
            clock: admitted.clock,
            record: self.slots.len(),
        });
    }

    fn stubs_of(&mut self, admitted: &Admitted<'_>) {
        let Path::Detour { stubs, .. } = &admitted.path else {
            return;
        };
        for &stub in stubs {
            let target = self
                .targets
                .index(LogKind::Intake, admitted.lane, stub.partition);
            self.stubs
                .extend(admitted.stub(stub).map(|stub| (target, stub)));
        }
    }

    /// A hint for each partition that has a key which was not hinted at lately.
    fn hints_of(&mut self, admitted: &Admitted<'_>) {
        let Some(user) = &admitted.event.user else {
            return;
        };
        let event = &admitted.event;
        let (tenant, source) = (&self.door.tenant, &self.door.source);
        let facts = [&*event.model, &*event.endpoint, &*event.src_ip];
        let mut fields = self.fields.hint(tenant, user, facts, source);
        let mut due: Vec<(u32, usize)> = Vec::new();
        for (index, key) in event.keys.iter().enumerate() {
            let mark = self.memory.mark(fields.of(key));
            let known = self.memory.hinted(&mark, source.join_horizon, self.now);
            if !known && self.hints.insert(mark) {
                due.push((self.door.hint_target(key), index));
            }
        }
        due.sort_unstable();
        for same in due.chunk_by(|(one, _), (next, _)| one == next) {
            let keys: Vec<usize> = same.iter().map(|(_, index)| *index).collect();
            let Some((partition, _)) = same.first() else {
                continue;
            };
            let target = self.targets.index(LogKind::Intake, Lane::Bulk, *partition);
            if let Some(hint) = admitted.hint(self.door, &keys) {
                let start = self.buffer.len();
                hint_codec::encode_static(&hint, &mut self.buffer);
                self.hint_items.push((target, start..self.buffer.len()));
            }
        }
    }

    /// A hint for each key, workload or agent whose owner was not told lately.
    fn owners_of(&mut self, admitted: &Admitted<'_>) {
        let source = &self.door.source;
        if source.owners.is_empty() {
            return;
        }
        for (partition, hint) in admitted.owner_hints(self.door) {
            let user = &hint.identity;
            let Some(key) = hint.keys.first() else {
                continue;
            };
            let mut fields = self.fields.hint(&self.door.tenant, user, [""; 3], source);
            let known = self.memory.mark(fields.of(key));
            let horizon = source.join_horizon;
            if self.memory.hinted(&known, horizon, self.now) || !self.hints.insert(known) {
                continue;
            }
            let target = self.targets.index(LogKind::Intake, Lane::Bulk, partition);
            let start = self.buffer.len();
            hint_codec::encode_static(&hint, &mut self.buffer);
            self.hint_items.push((target, start..self.buffer.len()));
        }
    }

    /// The plan. The events of a stream come first, in the order of their records.
    pub fn finish(self, request: InFlight) -> Plan {
        let request = Arc::new(request);
        let buffer = Bytes::from(self.buffer);
        let mut items: BTreeMap<usize, Vec<Item>> = BTreeMap::new();
        for event in self.encoded {
            items.entry(event.target).or_default().push(Item::Event {
                fixed: buffer.slice(event.range),
                occurred_at: event.occurred_at,
                clock: event.clock,
                record: event.record,
                request: Arc::clone(&request),
            });
        }
        for (target, stub) in self.stubs {
            items.entry(target).or_default().push(Item::Stub {
                stub: Box::new(stub),
                request: Arc::clone(&request),
            });
        }
        for (target, range) in self.hint_items {
            items.entry(target).or_default().push(Item::Hint {
                fixed: buffer.slice(range),
                request: Arc::clone(&request),
            });
        }
        Plan {
            slots: self.slots,
            items,
            evidence: self.evidence,
            hints: self.hints.into_iter().collect(),
            groups: self.groups,
            request,
        }
    }
}
