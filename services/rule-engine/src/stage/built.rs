//! The engine of a partition, as the rule sets known make it.

use balefire_event::Lane;
use balefire_rule_engine_core::{Engine, EngineConfig, Part};
use balefire_stream::Source;

use crate::Error;
use crate::control::Known;

/// The engine, and how many rule sets it has.
pub(super) fn build(
    part: Part,
    partition: u32,
    partitions: u32,
    known: &Known,
) -> Result<(Engine, usize), Error> {
    let mut engine = Engine::new(partition, &known.sets, config(part, partitions))?.of_part(part);
    engine.confirm_revision(known.revision);
    for (revision, at) in &known.activated {
        engine.activated(*revision, *at);
    }
    Ok((engine, known.sets.len()))
}

/// The settings of a part.
pub(super) fn config(part: Part, partitions: u32) -> EngineConfig {
    match part {
        Part::Rekeyed { sources } => EngineConfig::rekeyed(sources),
        Part::Events | Part::Whole => EngineConfig::new(partitions),
    }
}

/// Which input of the engine a subject is: `events.g1.<lane>.<p>.door` or `….c.<intake partition>`.
pub(super) fn source(subject: &str, lane: Lane) -> Source {
    let mut tokens = subject.rsplit('.');
    match (
        tokens.next().and_then(|last| last.parse().ok()),
        tokens.next(),
    ) {
        (Some(partition), Some("c")) => Source::Joined { partition, lane },
        _ => Source::Door(lane),
    }
}
