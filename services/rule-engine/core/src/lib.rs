//! The rule engine's core: which windows are breached, and which escalations that makes.
//!
//! Pure: one [`Engine`] for one EVENTS or REKEYED partition takes events, or matches of them, in
//! the order of the log and yields [`Effect`]s. It never reads a clock, the log or a setting to decide about an event; the set of
//! escalation ids is a function of what was put in (SEMANTICS).
//!
//! # How a shell drives it
//! - New owner: [`Engine::restore`] (or a new engine and the log from [`Engine::rebuild_from`] on,
//!   told by [`Engine::loaded_from`]), then ESCALATIONS from [`Engine::load_from`] on through
//!   [`Engine::load_escalation`].
//! - A new owner goes through recorded steps between [`Engine::redo_begin`] and
//!   [`Engine::redo_end`].
//! - Rules that became known later: [`Engine::adopt`]; what [`Engine::backfill`] wants is read again
//!   beside the batches.
//! - Each batch: where [`Engine::needs`] says so, wait for the control log; then
//!   [`Engine::batch_start`], each record in order, [`Engine::batch_end`].
//! - [`Effect::Repair`]: [`Engine::repair_begin`], ESCALATIONS, then every event read again through
//!   [`Engine::repair_event`], then [`Engine::repair_end`], all before the next batch.
//! - [`Engine::of_part`]: which share of the work it does. In REKEYED events come as matches,
//!   through [`Engine::matched`] and [`Engine::repair_matched`].

mod at_close;
mod book;
mod changed;
mod close;
mod compare;
mod copies;
mod counters;
mod decide;
mod effect;
mod engine;
mod escalate;
mod generation;
mod key;
mod keyed;
mod recent;
mod redo;
mod rekey;
mod repair;
mod replay;
mod share;
mod shelf;
mod spec;
mod state;
mod sweep;
mod warm;
mod whatif;

pub use compare::{Comparison, Facts, Fault, Mismatch, PartDigest, StatePart, compare};
pub use counters::{Counters, RuleCounters};
pub use effect::{BatchHeader, Effect, EngineConfig, RECENT_LEN_MAX, RULE_PANICKED, RepairRequest};
pub use engine::{Engine, Error};
pub use generation::Contribution;
pub use redo::Recorded;
pub use rekey::{Part, Rekeyed};
pub use replay::{Replay, replay};
pub use share::{COUNT_EVERY, Found, Share};
pub use spec::{Matcher, RuleSpec};
pub use state::{Decode, EngineState, STATE_VERSION, Sink, Unfit};
pub use warm::Backfill;
pub use whatif::{
    Counts, DIFFERENCES_MAX, Difference, ENTRIES_MAX, Findings, IDS_MAX, Outcome, Scope, TooMuch,
    WhatIf,
};
