//! What a run did, in lines that fit a screen.

use std::fmt;

use balefire_event::{Event, Hint, Timestamp};

use crate::log::{Batch, Rec};
use crate::world::{START, UNIT};

/// Units since the start.
fn units(at: Timestamp) -> i64 {
    (at.0 - START) / UNIT
}

impl fmt::Display for Rec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => tell_event(event, f),
            Self::Hint(hint) => tell_hint(hint, f),
            Self::Stub(stub) => write!(
                f,
                "stub of event {} in {}, received {}, key {}={}",
                stub.dedup_id.0[0] - 1,
                stub.partition,
                units(stub.received_at),
                stub.key.kind.as_str(),
                stub.key.value
            ),
            Self::Tick(at) => write!(f, "tick {}", units(*at)),
            Self::Watermark { partition, at } => {
                write!(f, "watermark of {partition}: {}", units(*at))
            }
            Self::Barrier { id, at } => write!(f, "barrier {} of {}", id.0[0], units(*at)),
            Self::Match(matched) => {
                let event = &matched.event;
                write!(
                    f,
                    "match of rule {} since {}: event {} t {} received {} model {:?}",
                    matched.rule.0[0],
                    matched.generation,
                    event.event_id,
                    units(event.t),
                    units(event.received_at),
                    event.model,
                )
            }
            Self::Escalation(escalation) => write!(
                f,
                "{} {} {} {:?} slot {} of {} breach {}",
                escalation.escalation_id,
                escalation.tenant,
                escalation.rule_name,
                escalation.kind,
                units(escalation.slot_start),
                escalation.rearm / UNIT,
                units(escalation.breach_at),
            ),
        }
    }
}

fn tell_event(event: &Event<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let user = event.user.as_ref().map(|user| user.subject_ref.0[0]);
    let keys = event
        .keys
        .iter()
        .map(|key| format!("{}={}", key.kind.as_str(), key.value));
    write!(
        f,
        "event {} t {} received {} {:?} revision {} {} model {:?} user {user:?} \
         actors {:?} keys [{}]",
        event.event_id,
        units(event.t),
        units(event.received_at),
        event.timing,
        event.control_revision,
        event.category.as_str(),
        event.model,
        event
            .actors
            .iter()
            .map(|actor| actor.kind)
            .collect::<Vec<_>>(),
        keys.collect::<Vec<_>>().join(" "),
    )?;
    match &event.join {
        Some(join) => write!(f, " {join:?}"),
        None => Ok(()),
    }
}

fn tell_hint(hint: &Hint<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let keys = hint
        .keys
        .iter()
        .map(|key| format!("{}={}", key.kind.as_str(), key.value));
    write!(
        f,
        "hint user {} received {} J {} facts {:?} keys [{}]",
        hint.identity.subject_ref.0[0],
        units(hint.received_at),
        hint.join_horizon / UNIT,
        hint.facts,
        keys.collect::<Vec<_>>().join(" "),
    )
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.origin, self.tenant)?;
        if let Some(step) = &self.step {
            let claim = if step.claim { " claim" } else { "" };
            write!(
                f,
                " step {}.{}{claim} {:?}",
                step.number,
                step.part,
                step.list.runs()
            )?;
        }
        for record in &self.records {
            write!(f, "\n           {record}")?;
        }
        Ok(())
    }
}
