//! Offline: the engine alone over stamped events (SEMANTICS §11). The same set as live.
//!
//! Nothing leaves memory by time, as there is no log to repair from: any order of events does.
//! What is kept is bounded by count alone (SEMANTICS §3).

use balefire_event::{Escalation, Event, Lane, Timestamp};

use crate::effect::{BatchHeader, Effect};
use crate::engine::Engine;

/// An engine that is fed events and nothing else.
#[derive(Debug)]
pub struct Replay {
    engine: Engine,
    effects: Vec<Effect>,
    /// Newest time of an event.
    last: Option<Timestamp>,
}

impl Replay {
    /// Over an engine that has seen nothing.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self {
            engine,
            effects: Vec::new(),
            last: None,
        }
    }

    /// Over an engine that has seen nothing, of events that all keep their own time: what the door
    /// does with a clock that is not trusted never happens, and nothing is remembered for it.
    #[must_use]
    pub fn of_trusted_clocks(mut engine: Engine) -> Self {
        engine.clocks_trusted = true;
        Self::new(engine)
    }

    /// An event passed that no rule asks for ([`Engine::heeds`]): only time moved.
    pub fn passed(&mut self, t: Timestamp) {
        self.last = self.last.max(Some(t));
    }

    /// Takes an event of a tenant; what it escalates, in order. A rule that panics on it has no
    /// part in that, and is counted.
    pub fn push(&mut self, tenant: &str, event: &Event<'_>) -> Vec<Escalation> {
        let header = BatchHeader {
            tenant,
            lateness_max: event.lateness,
            received_at_max: event.received_at,
        };
        // One lane only: the watermark never moves, so nothing is dropped.
        self.engine.batch_start(Lane::Normal, &header);
        self.engine.event(0, event, &mut self.effects);
        self.engine.batch_end(&mut self.effects);
        self.last = self.last.max(Some(event.t));
        escalations(&mut self.effects)
    }

    /// No more comes: what the rules that decide at close say of the slots that ended by the newest
    /// event's time. Of a slot that had not ended nobody knows yet.
    pub fn finish(&mut self) -> Vec<Escalation> {
        let Some(last) = self.last else {
            return Vec::new();
        };
        self.engine.decide_until(last, last, &mut self.effects);
        escalations(&mut self.effects)
    }

    /// The engine, for its counters.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn escalations(effects: &mut Vec<Effect>) -> Vec<Escalation> {
    let escalations = effects.drain(..).filter_map(|effect| match effect {
        Effect::Escalate(escalation) => Some(*escalation),
        Effect::Rekey(_)
        | Effect::Promise { .. }
        | Effect::BarrierOut { .. }
        | Effect::DeadLetter { .. }
        | Effect::Repair(_) => None,
    });
    escalations.collect()
}

/// Every escalation of the events of one tenant, in the order in which they are decided.
pub fn replay<'e>(
    engine: Engine,
    tenant: &'e str,
    events: impl IntoIterator<Item = Event<'e>> + 'e,
) -> impl Iterator<Item = Escalation> + 'e {
    let mut replay = Replay::new(engine);
    let mut events = events.into_iter().fuse();
    let mut ended = false;
    let parts = std::iter::from_fn(move || match events.next() {
        Some(event) => Some(replay.push(tenant, &event)),
        None if ended => None,
        None => {
            ended = true;
            Some(replay.finish())
        }
    });
    parts.flatten()
}
