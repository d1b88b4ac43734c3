//! What a message of ESCALATIONS says is decided on; what cannot be is set aside.

use std::sync::atomic::Ordering;

use balefire_bus::Message;
use balefire_event::Escalation;
use balefire_kit::clock;
use balefire_notifier_core::contained::{Decided, Trial};
use balefire_notifier_core::{Input, State};

use super::Live;
use crate::codec::{self, EscalationBatch};
use crate::letter::{MALFORMED, Malformed, PANICKED};
use crate::partition::Stopped;

impl Live<'_> {
    pub(super) async fn escalated(&mut self, message: &Message) -> Result<(), Stopped> {
        let sequence = message.sequence;
        let (batch, whole) = match codec::escalations(&message.payload) {
            Ok(batch) => (batch, None),
            Err(detail) => (EscalationBatch::default(), Some(detail)),
        };
        if sequence > self.parts.view.state().position() {
            let whole = whole.map(|detail| (None, detail));
            let single = batch.bad.into_iter().map(|(i, detail)| (Some(i), detail));
            for (index, detail) in whole.into_iter().chain(single) {
                self.set_aside(MALFORMED, message, index, &detail).await;
            }
        }
        let escalations = batch.escalations;
        let decided = self.decide(sequence, &escalations)?;
        let left_out = !decided.left_out.is_empty();
        if sequence > self.parts.view.state().position() {
            for (at, said) in decided.left_out {
                if let (Some(one), Some(index)) = (escalations.get(at), batch.indices.get(at)) {
                    let detail = format!("escalation {}: {said}", one.escalation_id);
                    self.set_aside(PANICKED, message, Some(*index), &detail)
                        .await;
                }
            }
        }
        self.parts.view.read.store(sequence, Ordering::Relaxed);
        let nobody = decided.effects.is_empty();
        self.record(decided.effects, &escalations);
        let goes_by = batch.beats || left_out;
        if goes_by && nobody && sequence > self.parts.view.state().position() {
            // Nobody is told of it, but that it came so far lies in the log.
            self.journal.intents(&"".into(), sequence, &[]);
        }
        Ok(())
    }

    /// What follows from a message. A panic is an error: the partition starts again from the log, for
    /// the state may be half changed, and then leaves out what panics.
    fn decide(&mut self, sequence: u64, escalations: &[Escalation]) -> Result<Decided, Stopped> {
        let plan = self.parts.desk.plan();
        let (desk, partition) = (&self.parts.desk, self.parts.writer.partition);
        let apply = |state: &mut State, escalations: &[Escalation], trial| {
            #[cfg(feature = "sabotage")]
            for one in escalations {
                balefire_kit::sabotage::panics(&one.rule_name);
            }
            let mut storms = desk.storms();
            let mut copy = match trial {
                Trial::No => None,
                Trial::Yes => Some(storms.clone()),
            };
            state.apply(Input::Escalated {
                sequence,
                escalations,
                now: clock::now(),
                plan: &plan,
                partition,
                storms: copy.as_mut().unwrap_or(&mut storms),
            })
        };
        let mut state = self.parts.view.state();
        let contained = &mut self.parts.contained;
        let decided = contained.decide(&mut state, sequence, escalations, apply);
        decided.map_err(|said| Stopped::Panicked(format!("message {sequence}: {said}")))
    }

    /// A record of ESCALATIONS that cannot go on; without an index all of the message.
    async fn set_aside(&self, reason: &str, message: &Message, index: Option<u32>, detail: &str) {
        let partition = self.parts.writer.partition;
        let stream = self.parts.topology.escalations_stream(partition);
        let found = Malformed {
            stream: &stream,
            sequence: message.sequence,
            index,
            detail,
            payload: &message.payload,
            at: message.stored_at,
        };
        self.parts.letterbox.set_aside(reason, found).await;
    }
}
