//! What a correlator promises to those who read what it emits: its watermark (SEMANTICS §7).

use balefire_event::Timestamp;
use balefire_event::time::SECOND;

use crate::correlator::Correlator;
use crate::record::Effect;

impl Correlator {
    /// The promise: lowest received_at it may still emit, amendments by hints of a J met so far
    /// and older records of copied events included. `None` until every lane was heard of. Outside
    /// it, as stragglers of EVENTS: what repairs emit.
    #[must_use]
    pub const fn watermark(&self) -> Option<Timestamp> {
        self.state.promised
    }

    pub(crate) fn low_watermark(&self) -> Option<Timestamp> {
        let [a, b, c] = self.state.clocks;
        Some(a?.min(b?).min(c?).minus(self.config.skew))
    }

    pub(crate) fn promise(&mut self) {
        let Some(low_watermark) = self.low_watermark() else {
            return;
        };
        let amendable = low_watermark.minus(self.state.join_horizon_max);
        let held = self.state.entries.earliest_held().unwrap_or(amendable);
        let copied = self.state.entries.oldest_copied().unwrap_or(amendable);
        let promise = held.min(copied).min(amendable);
        self.state.promised = self.state.promised.max(Some(promise));
    }

    pub(crate) fn tell_promise(&mut self, effects: &mut Vec<Effect>) {
        let Some(at) = self.state.promised else {
            return;
        };
        let told = self.state.promise_told;
        if told.is_none_or(|told| at >= told.plus(SECOND)) {
            self.state.promise_told = Some(at);
            effects.push(Effect::Watermark { at });
        }
    }
}
