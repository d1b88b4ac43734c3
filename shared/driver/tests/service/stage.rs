//! [`Thirds`]: counts per key and emits at each third, with a digest of everything it has taken
//! so far. An input is a barrier record: its first byte is the key, the second a command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use balefire_driver::{
    BadState, Effects, Input, Output, PastOutput, Readiness, Stage, StageStatus,
};
use balefire_event::{BarrierId, Timestamp};
use balefire_store::Changes;
use balefire_wire::{RecordRef, RecordView, encode_record};
use serde::{Deserialize, Serialize};

/// Counts and nothing else.
pub const COUNT: u8 = 0;
/// Emits at once on every target.
pub const MARK: u8 = 1;
/// Panics.
pub const PANIC: u8 = 2;
/// Asks for a repair from the first input's time on.
pub const REPAIR: u8 = 3;
/// Opens something that a tick later than its time closes.
pub const OPEN: u8 = 4;

/// The last of so many parts of a checkpoint is the rest.
const PARTS: usize = 3;
/// Key of the only record.
const SLICE: &[u8] = b"all";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    counts: BTreeMap<u8, u64>,
    chain: u64,
    first_stored: Option<i64>,
    open_until: Option<i64>,
}

/// See above.
pub struct Thirds {
    state: State,
    /// Control revision it knows.
    pub known: Arc<AtomicU64>,
    /// Records of past outputs that it was shown.
    pub shown: Arc<AtomicU64>,
    reread: u64,
    past: u64,
    /// Given ahead of the next checkpoint, and how often it was asked for.
    ahead: Option<Changes>,
    parts: usize,
}

impl Thirds {
    pub fn new() -> Self {
        Self {
            state: State::default(),
            known: Arc::new(AtomicU64::new(0)),
            shown: Arc::new(AtomicU64::new(0)),
            reread: 0,
            past: 0,
            ahead: None,
            parts: 0,
        }
    }

    fn mix(&mut self, value: u64) {
        self.state.chain = (self.state.chain ^ value)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(23);
    }

    fn emit(&self, key: u8, at: Timestamp, effects: &mut Effects) {
        let mut id = [0; 16];
        id[0] = key;
        id[8..].copy_from_slice(&self.state.chain.to_be_bytes());
        let mut record = Vec::new();
        let id = BarrierId(id);
        encode_record(RecordRef::Barrier { id, at }, &mut record);
        effects.outputs.push(Output {
            target: usize::from(key % 2),
            tenant: if key.is_multiple_of(3) {
                "acme"
            } else {
                "zeta"
            }
            .into(),
            record,
            received_at: Some(at),
            control_revision: 0,
            lateness_max: 0,
        });
    }

    fn take(&mut self, id: BarrierId, at: Timestamp, stored_at: Timestamp, effects: &mut Effects) {
        let [key, command, ..] = id.0;
        let first = *self.state.first_stored.get_or_insert(stored_at.0);
        self.mix(u64::from_le_bytes(id.0[8..].try_into().unwrap()));
        let count = self.state.counts.entry(key).or_default();
        *count += 1;
        let third = count.is_multiple_of(3);
        if third {
            self.emit(key, at, effects);
        }
        match command {
            MARK => (0..2).for_each(|key| self.emit(key, at, effects)),
            PANIC => panic!("asked to"),
            REPAIR => effects.repair(Timestamp(first)),
            OPEN => self.state.open_until = Some(at.0),
            _ => {}
        }
    }
}

impl Stage for Thirds {
    fn version(&self) -> u32 {
        1
    }

    fn readiness(&mut self, control_revision: u64) -> Readiness {
        if control_revision <= self.known.load(Ordering::SeqCst) {
            Readiness::Ready
        } else {
            Readiness::Wait
        }
    }

    fn apply(&mut self, input: &Input<'_>, effects: &mut Effects) {
        self.mix(input.sequence);
        for record in input.batch.records() {
            let record = record.unwrap();
            if let RecordView::Barrier { id, at } = record {
                self.take(id, at, input.stored_at, effects);
            } else if let RecordView::Tick(at) = record
                && self.state.open_until.is_some_and(|open| open <= at.0)
            {
                self.state.open_until = None;
                self.emit(0, at, effects);
            }
        }
    }

    fn repair_begin(&mut self, _from: Timestamp) {
        (self.reread, self.past) = (0, 0);
    }

    fn repair_batch(&mut self, input: &Input<'_>, _effects: &mut Effects) {
        self.reread = self.reread.wrapping_mul(31) + input.sequence;
    }

    fn repair_end(&mut self, effects: &mut Effects) {
        // What was read again, and the past outputs shown with it, are the same in a redo.
        self.mix(self.reread);
        self.mix(self.past);
        self.emit(0, Timestamp(0), effects);
    }

    fn load_from(&self) -> Option<Timestamp> {
        None
    }

    fn load_output(&mut self, output: &PastOutput<'_>) {
        let records = output.batch.len() as u64;
        self.past += records;
        self.shown.fetch_add(records, Ordering::SeqCst);
    }

    fn rebuild_from(&self) -> Option<Timestamp> {
        None
    }

    fn snapshot(&self) -> Vec<u8> {
        balefire_store::encode(&self.state).unwrap()
    }

    /// All of it, in two parts more than it needs: what is said last counts.
    fn changes_ahead(&mut self) -> bool {
        self.parts += 1;
        if self.parts.is_multiple_of(PARTS) {
            return false;
        }
        let state = self.snapshot();
        let ahead = self.ahead.get_or_insert_with(Changes::whole);
        ahead.put_encoded(SLICE, &state).unwrap();
        true
    }

    fn changes(&mut self) -> Changes {
        let mut changes = self.ahead.take().unwrap_or_else(Changes::whole);
        changes.put_encoded(SLICE, &self.snapshot()).unwrap();
        changes
    }

    fn unsaved(&mut self) {
        self.ahead = None;
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BadState> {
        self.ahead = None;
        self.state = balefire_store::decode(state).map_err(|e| BadState {
            reason: e.to_string(),
        })?;
        Ok(())
    }

    fn reset(&mut self) {
        (self.state, self.ahead) = (State::default(), None);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.state.open_until.map(Timestamp)
    }

    fn status(&self) -> StageStatus {
        StageStatus {
            state_len: self.state.counts.len() as u64,
            ..StageStatus::default()
        }
    }
}
