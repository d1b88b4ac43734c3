//! Feeds recorded inputs to a stage as the driver does.

use balefire_driver::{DeadLetter, Effects, Input, Output, Readiness, Stage};
use balefire_event::Lane;
use balefire_wire::BatchView;

use crate::recording::{InputRef, Recording};

/// The lanes of a partition with their streams, as in its plan.
pub type Lanes = Vec<(Lane, String)>;

/// What came of it.
#[derive(Debug, Default)]
pub struct Fed {
    /// Each output with the input that it came of.
    pub outputs: Vec<(InputRef, Output)>,
    /// Each dead letter, likewise.
    pub dead_letters: Vec<(InputRef, DeadLetter)>,
    /// Messages that are no batch at all.
    pub unreadable: Vec<InputRef>,
}

/// Feeds inputs in the given order.
///
/// # Panics
/// Where the recording lacks an input, the stage is not ready for one, or asks for a repair:
/// recordings that need repairs ask for more than this.
pub fn feed<S: Stage>(
    stage: &mut S,
    recording: &Recording,
    lanes: &Lanes,
    order: impl IntoIterator<Item = InputRef>,
) -> Fed {
    let mut fed = Fed::default();
    for input in order {
        let source = lanes.iter().position(|(lane, _)| *lane == input.lane);
        let source = source.expect("the partition has the lane");
        let stream = lanes.get(source).map_or("", |(_, stream)| stream);
        let message = recording.message(stream, input.sequence);
        let message = message.expect("a listed input is in the recording");
        let Ok(batch) = BatchView::parse(&message.payload) else {
            fed.unreadable.push(input);
            continue;
        };
        let ready = stage.readiness(batch.header.control_revision_max);
        assert_eq!(ready, Readiness::Ready, "{stream} {}", input.sequence);
        let mut effects = Effects::default();
        let whole = Input {
            source,
            lane: Some(input.lane),
            sequence: input.sequence,
            stored_at: message.stored_at,
            subject: &message.subject,
            batch: &batch,
        };
        stage.apply(&whole, &mut effects);
        assert_eq!(effects.repair_from, None, "{stream} {}", input.sequence);
        let outputs = effects.outputs.into_iter();
        fed.outputs.extend(outputs.map(|output| (input, output)));
        let letters = effects.dead_letters.into_iter();
        fed.dead_letters
            .extend(letters.map(|letter| (input, letter)));
    }
    fed
}

/// The same inputs with the lanes mixed otherwise; each lane keeps its own order. The same seed
/// gives the same mixture.
#[must_use]
pub fn interleaved(inputs: &[InputRef], seed: u64) -> Vec<InputRef> {
    let mut lanes: Vec<std::collections::VecDeque<InputRef>> = Lane::ALL
        .iter()
        .map(|lane| inputs.iter().copied().filter(|i| i.lane == *lane).collect())
        .collect();
    for lane in &mut lanes {
        lane.make_contiguous().sort_unstable();
    }
    let (mut state, mut mixed) = (seed, Vec::with_capacity(inputs.len()));
    while mixed.len() < inputs.len() {
        // Knuth's MMIX generator; its high bits are good enough to pick a lane.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let picked = usize::try_from(state >> 33).unwrap_or(0) % lanes.len();
        // Long runs of one lane are as likely as turns.
        let run = usize::try_from(state >> 60).unwrap_or(0) + 1;
        if let Some(lane) = lanes.get_mut(picked) {
            mixed.extend(lane.drain(..run.min(lane.len())));
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_keeps_every_lane_in_order() {
        let inputs: Vec<InputRef> = (1..40)
            .flat_map(|sequence| {
                Lane::ALL
                    .iter()
                    .map(move |&lane| InputRef { lane, sequence })
            })
            .collect();
        let mixed = interleaved(&inputs, 7);
        assert_ne!(mixed, inputs);
        assert_ne!(mixed, interleaved(&inputs, 8));
        for lane in Lane::ALL {
            let of = |all: &[InputRef]| -> Vec<u64> {
                let own = all.iter().filter(|i| i.lane == *lane);
                own.map(|i| i.sequence).collect()
            };
            assert_eq!(of(&mixed), of(&inputs));
        }
    }
}
