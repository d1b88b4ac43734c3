//! Between the core's records and the bytes of the logs.

mod gathered;

use std::sync::Arc;

use balefire_event::{Escalation, EscalationId, EscalationKind, Lane, Severity, Timestamp};
use balefire_notifier_core::{
    Acknowledgement, Attempt, FeedPosition, Intent, Notice, Outcome, Progress, Requeue, Said,
    Withheld,
};
use balefire_wire::delivery::v1 as wire;
use balefire_wire::log::v1::record::Kind;
use balefire_wire::{BatchView, RecordView};
use bytes::Bytes;

use gathered::{digest, read_digest, read_summary, summary};

/// A record of DELIVERIES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// A decision.
    Intent(Intent),
    /// An attempt.
    Attempt(Attempt),
    /// A wish to try again.
    Requeue(Requeue),
    /// How far a feed receiver is.
    Fed(FeedPosition),
    /// Somebody said something of an episode.
    Acknowledged(Acknowledgement),
}

/// A message of DELIVERIES.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryBatch {
    /// Tenant of its records.
    pub tenant: String,
    /// Number of its step; 0: it is none of the notifier's own.
    pub step: u64,
    /// Who wrote the step; empty: it is none of a notifier's own.
    pub owner: Bytes,
    /// ESCALATIONS is covered up to here; 0: it says nothing.
    pub covered: u64,
    /// Its records.
    pub records: Vec<Logged>,
}

/// As the log has it.
pub fn intent(intent: &Intent) -> wire::Intent {
    wire::Intent {
        escalation_id: id_bytes(&intent.escalation_id),
        receiver: intent.receiver.to_string(),
        escalation_sequence: intent.escalation_sequence,
        severity: intent.severity.number(),
        decided_at_ns: intent.decided_at.0,
        route: intent.route.to_string(),
        kind: intent.notice.parts().0.number(),
        revision: intent.notice.parts().1,
        episode_id: id_bytes(&intent.episode_id),
        withheld: intent
            .withheld
            .map_or(wire::Withheld::Unspecified, withheld)
            .into(),
        withheld_by: intent.withheld_by.to_string(),
        tier: intent.tier.to_string(),
        group: intent.group,
        control_revision: intent.control_revision,
        summary: intent.summary.as_deref().map(summary),
        digest: intent.digest.as_deref().map(digest),
    }
}

/// `None`: it is told.
/// As the log has it.
pub const fn withheld(why: Withheld) -> wire::Withheld {
    match why {
        Withheld::Silenced => wire::Withheld::Silenced,
        Withheld::Grouped => wire::Withheld::Grouped,
        Withheld::NoRoute => wire::Withheld::NoRoute,
        Withheld::EpisodeOpen => wire::Withheld::EpisodeOpen,
        Withheld::Storm => wire::Withheld::Storm,
        Withheld::Acknowledged => wire::Withheld::Acknowledged,
        Withheld::Inhibited => wire::Withheld::Inhibited,
    }
}

const fn read_withheld(why: wire::Withheld) -> Option<Withheld> {
    match why {
        wire::Withheld::Unspecified => None,
        wire::Withheld::Silenced => Some(Withheld::Silenced),
        wire::Withheld::Grouped => Some(Withheld::Grouped),
        wire::Withheld::NoRoute => Some(Withheld::NoRoute),
        wire::Withheld::EpisodeOpen => Some(Withheld::EpisodeOpen),
        wire::Withheld::Storm => Some(Withheld::Storm),
        wire::Withheld::Acknowledged => Some(Withheld::Acknowledged),
        wire::Withheld::Inhibited => Some(Withheld::Inhibited),
    }
}

/// A record of 0.1 says no kind: it was told first.
pub fn notice(kind: i32, revision: u32) -> Notice {
    let kind = EscalationKind::from_number(kind).unwrap_or(EscalationKind::Raised);
    Notice::of(kind, revision)
}

/// As the log has it.
pub fn attempt(attempt: &Attempt) -> wire::Attempt {
    let outcome = match attempt.outcome {
        Outcome::Delivered => wire::Outcome::Delivered,
        Outcome::Retry => wire::Outcome::Retry,
        Outcome::DeadLettered => wire::Outcome::DeadLettered,
    };
    wire::Attempt {
        escalation_id: id_bytes(&attempt.escalation_id),
        receiver: attempt.receiver.to_string(),
        number: attempt.number,
        at_ns: attempt.at.0,
        outcome: outcome.into(),
        status: u32::from(attempt.status),
        error: attempt.error.clone(),
        next_attempt_at_ns: attempt.next_attempt_at.map_or(0, |at| at.0),
        took_ns: attempt.took,
        kind: attempt.notice.parts().0.number(),
        revision: attempt.notice.parts().1,
        handle: attempt.handle.to_string(),
    }
}

/// As the log has it.
pub fn acknowledgement(said: &Acknowledgement) -> wire::Acknowledgement {
    wire::Acknowledgement {
        escalation_id: id_bytes(&said.escalation_id),
        receiver: said.receiver.to_string(),
        actor: said.actor.clone(),
        at_ns: said.at.0,
        said: match said.said {
            Said::Acknowledged => wire::Said::Acknowledged,
            Said::Unacknowledged => wire::Said::Unacknowledged,
            Said::Resolved => wire::Said::Resolved,
        }
        .into(),
        reference: said.reference.clone(),
    }
}

/// `None`: it says nothing.
#[must_use]
pub const fn said(said: wire::Said) -> Option<Said> {
    match said {
        wire::Said::Unspecified => None,
        wire::Said::Acknowledged => Some(Said::Acknowledged),
        wire::Said::Unacknowledged => Some(Said::Unacknowledged),
        wire::Said::Resolved => Some(Said::Resolved),
    }
}

/// As the log has it.
pub fn feed_position(position: &FeedPosition) -> wire::FeedPosition {
    wire::FeedPosition {
        receiver: position.receiver.to_string(),
        lane: position.lane.number(),
        sequence: position.sequence,
        at_ns: position.at.0,
    }
}

/// An id as protobuf has it.
pub fn id_bytes(id: &EscalationId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// Reads a message of DELIVERIES.
///
/// # Errors
/// What is wrong with the message or one of its records.
pub fn delivery_batch(payload: &[u8]) -> Result<DeliveryBatch, String> {
    let view = BatchView::parse(payload).map_err(|error| error.to_string())?;
    let step = view.step.as_ref();
    let mut batch = DeliveryBatch {
        tenant: view.header.tenant.clone(),
        step: step.map_or(0, |step| step.number),
        owner: step.map(|step| step.owner_id.clone()).unwrap_or_default(),
        covered: step.map_or(0, covered),
        records: Vec::with_capacity(view.len()),
    };
    for record in view.records() {
        let record = record.map_err(|error| error.to_string())?;
        if let Some(logged) = logged(record)? {
            batch.records.push(logged);
        }
    }
    Ok(batch)
}

/// ESCALATIONS is covered by a step up to there; 0: it says nothing.
pub fn covered(step: &balefire_wire::log::v1::Step) -> u64 {
    step.inputs
        .iter()
        .map(|run| {
            run.first_sequence
                .saturating_add(run.count)
                .saturating_sub(1)
        })
        .max()
        .unwrap_or(0)
}

/// `None` for a kind that does not belong here.
fn logged(record: RecordView<'_>) -> Result<Option<Logged>, String> {
    let RecordView::Other(kind) = record else {
        return Ok(None);
    };
    Ok(Some(match kind {
        Kind::Intent(intent) => Logged::Intent(read_intent(&intent)?),
        Kind::Attempt(attempt) => Logged::Attempt(read_attempt(attempt)?),
        Kind::Requeue(requeue) => Logged::Requeue(Requeue {
            escalation_id: read_id(&requeue.escalation_id)?,
            receiver: requeue.receiver.into(),
            actor: requeue.actor,
            at: Timestamp(requeue.at_ns),
            notice: notice(requeue.kind, requeue.revision),
        }),
        Kind::FeedPosition(position) => {
            let lane = Lane::from_number(position.lane);
            Logged::Fed(FeedPosition {
                receiver: position.receiver.into(),
                lane: lane.ok_or("unknown lane")?,
                sequence: position.sequence,
                at: Timestamp(position.at_ns),
            })
        }
        Kind::Acknowledgement(one) => Logged::Acknowledged(Acknowledgement {
            escalation_id: read_id(&one.escalation_id)?,
            at: Timestamp(one.at_ns),
            said: said(one.said()).ok_or("unknown word of an acknowledgement")?,
            receiver: one.receiver.into(),
            actor: one.actor,
            reference: one.reference,
        }),
        Kind::Event(_)
        | Kind::Hint(_)
        | Kind::Stub(_)
        | Kind::Tick(_)
        | Kind::Barrier(_)
        | Kind::Match(_)
        | Kind::Watermark(_)
        | Kind::Escalation(_)
        | Kind::Evidence(_)
        | Kind::Control(_)
        | Kind::DeadLetter(_)
        | Kind::Resolution(_) => return Ok(None),
    }))
}

fn read_id(bytes: &[u8]) -> Result<EscalationId, String> {
    EscalationId::from_slice(bytes).map_err(|error| format!("escalation_id: {error}"))
}

fn read_intent(intent: &wire::Intent) -> Result<Intent, String> {
    let escalation_id = read_id(&intent.escalation_id)?;
    let withheld = wire::Withheld::try_from(intent.withheld)
        .map_err(|_| format!("unknown reason {} of withholding", intent.withheld))?;
    Ok(Intent {
        escalation_id,
        receiver: intent.receiver.as_str().into(),
        escalation_sequence: intent.escalation_sequence,
        severity: Severity::from_number(intent.severity).ok_or("unknown severity")?,
        decided_at: Timestamp(intent.decided_at_ns),
        route: intent.route.as_str().into(),
        notice: notice(intent.kind, intent.revision),
        episode_id: match intent.episode_id.as_ref() {
            [] => escalation_id,
            bytes => read_id(bytes)?,
        },
        withheld: read_withheld(withheld),
        withheld_by: intent.withheld_by.as_str().into(),
        tier: intent.tier.as_str().into(),
        group: intent.group,
        control_revision: intent.control_revision,
        summary: match &intent.summary {
            Some(summary) => Some(Arc::new(read_summary(summary)?)),
            None => None,
        },
        digest: intent.digest.as_ref().map(|one| Arc::new(read_digest(one))),
    })
}

fn read_attempt(attempt: wire::Attempt) -> Result<Attempt, String> {
    let outcome = match attempt.outcome() {
        wire::Outcome::Delivered => Outcome::Delivered,
        wire::Outcome::Retry => Outcome::Retry,
        wire::Outcome::DeadLettered => Outcome::DeadLettered,
        wire::Outcome::Unspecified => return Err("unknown outcome".into()),
    };
    let next = attempt.next_attempt_at_ns;
    Ok(Attempt {
        escalation_id: read_id(&attempt.escalation_id)?,
        receiver: attempt.receiver.into(),
        number: attempt.number,
        at: Timestamp(attempt.at_ns),
        outcome,
        status: u16::try_from(attempt.status).unwrap_or(0),
        error: attempt.error,
        next_attempt_at: (next != 0).then_some(Timestamp(next)),
        took: attempt.took_ns,
        notice: notice(attempt.kind, attempt.revision),
        handle: attempt.handle.into(),
    })
}

/// Whether a message of ESCALATIONS came through REKEYED: the last word of its subject says it.
#[must_use]
pub fn is_rekeyed(subject: &str) -> bool {
    let last = subject.rsplit('.').next();
    last.is_some_and(|last| last.starts_with('r'))
}

/// What a message of ESCALATIONS holds.
#[derive(Debug, Default)]
pub struct EscalationBatch {
    /// Its escalations, in order.
    pub escalations: Vec<Escalation>,
    /// Which record of the message each is.
    pub indices: Vec<u32>,
    /// Records that cannot be read: index, and what is wrong.
    pub bad: Vec<(u32, String)>,
    /// Whether a heartbeat goes by.
    pub beats: bool,
}

/// Reads a message of ESCALATIONS.
///
/// # Errors
/// A message that is no batch: what is wrong with it.
pub fn escalations(payload: &[u8]) -> Result<EscalationBatch, String> {
    let view = BatchView::parse(payload).map_err(|error| error.to_string())?;
    let mut batch = EscalationBatch::default();
    for (index, record) in (0_u32..).zip(view.records()) {
        match record {
            Ok(RecordView::Escalation(escalation)) => {
                batch.escalations.push(*escalation);
                batch.indices.push(index);
            }
            Ok(RecordView::Barrier { id, .. }) => batch.beats |= id.is_heartbeat(),
            Ok(_) => {}
            Err(error) => batch.bad.push((index, error.to_string())),
        }
    }
    Ok(batch)
}

/// A delivery as the API shows it.
pub fn delivery(progress: &Progress) -> wire::Delivery {
    wire::Delivery {
        intent: Some(intent(&progress.intent)),
        last_attempt: progress.last.as_ref().map(attempt),
        attempts: progress.attempts,
    }
}
