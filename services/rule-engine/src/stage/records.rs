//! The engine's records as a checkpoint holds them.

use balefire_driver::BadState;
use balefire_rule_engine_core::{Decode, Engine, EngineState, Sink, Unfit};
use balefire_store::{Changes, Error, Records};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::EngineStage;
use super::built::build;

/// Most windows and tracks that are told at once ahead of a checkpoint: some milliseconds' worth.
const SLICE_LEN_MAX: usize = 8 * 1024;

/// Takes what an engine tells.
pub(super) struct Taker {
    changes: Changes,
    failed: Option<Error>,
}

impl Taker {
    /// For all of a state, or what changed of it.
    const fn of(engine: &Engine) -> Self {
        let changes = match engine.is_told() {
            true => Changes::since(),
            false => Changes::whole(),
        };
        Self {
            changes,
            failed: None,
        }
    }

    fn note(&mut self, taken: Result<(), Error>) {
        if let Err(error) = taken {
            self.failed.get_or_insert(error);
        }
    }
}

impl Sink for Taker {
    fn put(&mut self, key: &[u8], value: &impl Serialize) {
        let taken = self.changes.put(key, value);
        self.note(taken);
    }

    fn append(&mut self, key: &[u8], value: &impl Serialize) {
        let taken = self.changes.append(key, value);
        self.note(taken);
    }

    fn gone(&mut self, key: &[u8]) {
        let taken = self.changes.gone(key);
        self.note(taken);
    }

    fn dropped(&mut self, prefix: &[u8]) {
        let taken = self.changes.dropped(prefix);
        self.note(taken);
    }
}

impl EngineStage {
    /// Tells a part of what changed, where that is much.
    pub(super) fn take_ahead(&mut self) -> bool {
        if self.engine.changed_len() <= SLICE_LEN_MAX {
            return false;
        }
        if !self.engine.is_ahead_sound() {
            self.ahead = None;
            self.engine.untold();
        }
        let taker = self.ahead.get_or_insert_with(|| Taker::of(&self.engine));
        self.engine.take_ahead(SLICE_LEN_MAX, taker)
    }

    /// What changed of the engine since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        if !self.engine.is_ahead_sound() {
            self.ahead = None;
            self.engine.untold();
        }
        let taker = self.ahead.take();
        let mut taker = taker.unwrap_or_else(|| Taker::of(&self.engine));
        self.engine.take_changes(&mut taker);
        if let Some(error) = taker.failed {
            // A tenant with an endless name. Records without a head are refused at a restore.
            tracing::error!(%error, "no checkpoint of this state can be taken");
            self.engine.untold();
            return Changes::whole();
        }
        taker.changes
    }

    /// Takes a stored state over, under the rule sets known now.
    pub(super) fn take_over(&mut self, state: EngineState) -> Result<(), BadState> {
        let bad = |reason: String| BadState { reason };
        let (mut engine, sets) = build(
            self.part,
            self.partition,
            self.partitions,
            &self.control.known(),
        )
        .map_err(|e| bad(e.to_string()))?;
        engine.restore(state).map_err(|e| bad(e.to_string()))?;
        (self.engine, self.sets, self.ahead) = (engine, sets, None);
        Ok(())
    }
}

struct Reader;

impl Decode for Reader {
    fn decode_next<T: DeserializeOwned>(&self, bytes: &mut &[u8]) -> Result<T, String> {
        balefire_store::decode_next(bytes).map_err(|error| error.to_string())
    }
}

/// The state that a checkpoint holds.
pub(crate) fn state_of(records: &Records) -> Result<EngineState, Unfit> {
    EngineState::assemble(records.iter(), &Reader)
}
