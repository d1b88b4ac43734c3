//! Reads back what the partition's owners published: lists of steps, and the outputs
//! themselves.

use std::collections::BTreeMap;

use balefire_bus::{Bus, Log, Message, StreamInfo};
use balefire_event::Timestamp;
use balefire_wire::BatchView;
use balefire_wire::log::v1::Step;

use crate::error::Error;
use crate::ledger::RunList;
use crate::part::{There, list_of};
use crate::plan::Plan;

/// A range of sequences of a target's stream, both ends included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// How far a target got with its last step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    pub(crate) step: u64,
    /// What is there of it.
    pub(crate) there: There,
    /// The first step that is there.
    pub(crate) first: Option<u64>,
}

/// The steps found in the targets.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) lists: BTreeMap<u64, RunList>,
    /// Below which revision every rule was whole for all who formed and completed a step, where it
    /// says so.
    pub(crate) whole_below: BTreeMap<u64, u64>,
    pub(crate) reached: Vec<Reached>,
    /// There are parts of steps before those: a later owner found in one what was never told when the
    /// checkpoint was taken.
    pub(crate) late: bool,
}

/// The step of an output; claims too.
pub(crate) fn step_of(message: &Message) -> Option<Step> {
    BatchView::parse(&message.payload).ok()?.step
}

/// Every step in `spans` (target by target) with a number above `after`.
pub(crate) async fn read_steps(
    log: &Log,
    plan: &Plan,
    spans: &[Span],
    after: u64,
) -> Result<Published, Error> {
    let mut published = Published::default();
    for (target, span) in spans.iter().enumerate() {
        let mut reached = Reached::default();
        let mut outputs = Outputs::open(log, plan, target, *span).await?;
        while let Some((message, step)) = outputs.next().await? {
            if step.number <= after {
                published.late = true;
                continue;
            }
            let wrong = |found: &str| Error::LogRegression {
                stream: outputs.stream.clone(),
                found: format!("{found} in step {} at {}", step.number, message.sequence),
            };
            let list = list_of(plan, &step).ok_or_else(|| wrong("unknown lane"))?;
            let known = published
                .lists
                .entry(step.number)
                .or_insert_with(|| list.clone());
            if *known != list {
                return Err(wrong("another list"));
            }
            if let Some(below) = step.whole_below {
                let said = published.whole_below.entry(step.number).or_insert(below);
                *said = below.min(*said);
            }
            if step.number > reached.step {
                reached.there = There::default();
            }
            let parts = reached.there.parts.len();
            if step.number < reached.step || usize::try_from(step.part) != Ok(parts) {
                return Err(wrong("parts out of order"));
            }
            reached.first.get_or_insert(step.number);
            reached.step = step.number;
            reached.there.parts.push(message.payload);
            reached.there.complete = step.last_part;
        }
        published.reached.push(reached);
    }
    Ok(published)
}

/// The outputs of one target's subject, in order, without claims.
pub(crate) struct Outputs {
    tail: Option<balefire_bus::Tail>,
    stream: String,
    subject: String,
    to: u64,
}

impl Outputs {
    pub(crate) async fn open(
        log: &Log,
        plan: &Plan,
        target: usize,
        span: Span,
    ) -> Result<Self, Error> {
        let target = plan.targets.get(target).ok_or(Error::Unusable {
            reason: format!("no target {target}"),
        })?;
        let tail = if span.from <= span.to {
            Some(log.read_all(&target.stream, span.from).await?)
        } else {
            None
        };
        Ok(Self {
            tail,
            stream: target.stream.clone(),
            subject: target.subject.clone(),
            to: span.to,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<(Message, Step)>, Error> {
        while let Some(tail) = &mut self.tail {
            let Some(message) = tail.next().await?.filter(|m| m.sequence <= self.to) else {
                self.tail = None;
                break;
            };
            if message.sequence == self.to {
                self.tail = None;
            }
            if message.subject != self.subject {
                continue;
            }
            let Some(step) = step_of(&message) else {
                return Err(Error::LogRegression {
                    stream: self.stream.clone(),
                    found: format!("no step at {}", message.sequence),
                });
            };
            if !step.claim {
                return Ok(Some((message, step)));
            }
        }
        Ok(None)
    }
}

/// The first sequence stored at or after `time`; one past the last where there is none.
/// Sequences are contiguous and stored in the order of time, so halving finds it.
pub(crate) async fn first_at(
    bus: &Bus,
    log: &Log,
    stream: &str,
    time: Timestamp,
) -> Result<u64, Error> {
    let StreamInfo {
        first_sequence,
        last_sequence,
        ..
    } = bus.stream_info(stream).await?;
    let (mut low, mut high) = (first_sequence.max(1), last_sequence + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        // A message that has left by age was stored before what is there.
        let before = log
            .get(stream, middle)
            .await?
            .is_none_or(|message| message.stored_at < time);
        if before {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
