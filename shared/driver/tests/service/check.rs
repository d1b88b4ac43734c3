//! The judge: goes through the published lists with a stage of its own and compares.

use std::collections::{BTreeMap, BTreeSet};

use balefire_bus::Message;
use balefire_driver::{Effects, Input, PastOutput, Stage};
use balefire_event::Lane;
use balefire_wire::BatchView;
use balefire_wire::log::v1::Step;

use crate::harness::{Harness, read, until};
use crate::stage::Thirds;

/// One step as it lies in the targets: list, and records of each target.
#[derive(Debug, Default)]
struct Found {
    inputs: Vec<(usize, u64)>,
    records: [Vec<Vec<u8>>; 2],
}

/// Waits until `marks` marks of each lane came out, then holds everything that was published
/// against what one undisturbed stage gives for the same lists. `dead` are inputs that became
/// dead letters. Returns how many steps there are.
pub async fn outputs_are_exact(
    harness: &Harness,
    marks: usize,
    dead: &BTreeSet<(usize, u64)>,
) -> u64 {
    until("every mark comes out", async || {
        let consumed = steps(harness).await;
        let positions = consumed.values().flat_map(|found| &found.inputs).fold(
            [0; 3],
            |mut at: [u64; 3], &(source, sequence)| {
                at[source] = sequence;
                at
            },
        );
        let mut last_marks = 0;
        for (source, &lane) in Lane::ALL.iter().enumerate() {
            let messages = read(&harness.engine, &harness.topology.events_stream(lane, 0)).await;
            let mark = messages
                .iter()
                .filter(|m| is_mark(m))
                .nth(marks - 1)
                .map(|m| m.sequence);
            last_marks += usize::from(mark.is_some_and(|mark| positions[source] >= mark));
        }
        last_marks == Lane::ALL.len()
    })
    .await;
    judge(harness, dead).await
}

fn is_mark(message: &Message) -> bool {
    use balefire_wire::RecordView::Barrier;
    BatchView::parse(&message.payload).is_ok_and(|batch| {
        batch
            .records()
            .any(|record| matches!(record, Ok(Barrier { id, .. }) if id.0[1] == crate::stage::MARK))
    })
}

async fn steps(harness: &Harness) -> BTreeMap<u64, Found> {
    let mut steps: BTreeMap<u64, Found> = BTreeMap::new();
    for (target, spec) in harness.plan().targets.iter().enumerate() {
        let mut last: Option<Step> = None;
        for message in read(&harness.engine, &spec.stream).await {
            let batch = BatchView::parse(&message.payload).unwrap();
            let step = batch.step.clone().unwrap();
            if step.claim {
                assert!(batch.is_empty());
                continue;
            }
            let expected_part = match &last {
                Some(last) if last.number == step.number => {
                    assert!(!last.last_part, "step {} goes on", step.number);
                    last.part + 1
                }
                Some(last) => {
                    assert!(last.last_part && last.number < step.number);
                    0
                }
                None => 0,
            };
            assert_eq!(step.part, expected_part);
            let inputs: Vec<_> = step
                .inputs
                .iter()
                .flat_map(|run| {
                    let source = usize::try_from(run.lane - 1).unwrap();
                    (run.first_sequence..run.first_sequence + run.count).map(move |q| (source, q))
                })
                .collect();
            let found = steps.entry(step.number).or_default();
            assert!(found.inputs.is_empty() || found.inputs == inputs);
            found.inputs = inputs;
            found.records[target].extend(batch.raw_records().map(|r| r.unwrap().bytes.to_vec()));
            last = Some(step);
        }
    }
    steps
}

async fn judge(harness: &Harness, dead: &BTreeSet<(usize, u64)>) -> u64 {
    let steps = steps(harness).await;
    let mut lanes = Vec::new();
    for &lane in Lane::ALL {
        lanes.push(read(&harness.engine, &harness.topology.events_stream(lane, 0)).await);
    }
    let mut stage = Thirds::new();
    let mut next = [1; 3];
    for ((number, found), expected_number) in steps.iter().zip(1..) {
        assert_eq!(*number, expected_number, "steps follow one another");
        let mut effects = Effects::default();
        for &(source, sequence) in &found.inputs {
            assert_eq!(sequence, next[source], "each input once, in order");
            next[source] += 1;
            if !dead.contains(&(source, sequence)) {
                apply(&mut stage, &lanes, source, sequence, &mut effects);
            }
            if let Some(from) = effects.repair_from.take() {
                repair(
                    &mut stage,
                    &lanes,
                    &steps,
                    *number,
                    next,
                    from,
                    dead,
                    &mut effects,
                );
            }
        }
        for target in 0..2 {
            let mut expected: Vec<_> = effects
                .outputs
                .iter()
                .filter(|o| o.target == target)
                .collect();
            // Tenants follow one another in the order of their first record.
            let first = expected.first().map(|o| o.tenant.clone());
            expected.sort_by_key(|o| Some(&o.tenant) != first.as_ref());
            let expected: Vec<_> = expected.iter().map(|o| o.record.clone()).collect();
            assert_eq!(
                found.records[target], expected,
                "step {number} target {target}"
            );
        }
    }
    steps.len() as u64
}

fn apply(
    stage: &mut Thirds,
    lanes: &[Vec<Message>],
    source: usize,
    sequence: u64,
    effects: &mut Effects,
) {
    let message = &lanes[source][usize::try_from(sequence - 1).unwrap()];
    assert_eq!(message.sequence, sequence);
    let batch = BatchView::parse(&message.payload).unwrap();
    stage.apply(&input(source, message, &batch), effects);
}

fn input<'a>(source: usize, message: &'a Message, batch: &'a BatchView<'a>) -> Input<'a> {
    Input {
        source,
        lane: Some(Lane::ALL[source]),
        sequence: message.sequence,
        stored_at: message.stored_at,
        subject: &message.subject,
        batch,
    }
}

/// What the driver must show: outputs of earlier steps, those of this one so far, then each lane up
/// to its position.
#[expect(clippy::too_many_arguments, reason = "the whole world of one repair")]
fn repair(
    stage: &mut Thirds,
    lanes: &[Vec<Message>],
    steps: &BTreeMap<u64, Found>,
    number: u64,
    next: [u64; 3],
    from: balefire_event::Timestamp,
    dead: &BTreeSet<(usize, u64)>,
    effects: &mut Effects,
) {
    stage.repair_begin(from);
    let mut writer = balefire_wire::BatchWriter::default();
    for record in steps
        .range(..number)
        .flat_map(|(_, found)| found.records.iter().flatten())
    {
        writer.push_encoded(record);
    }
    for pending in &effects.outputs {
        writer.push_encoded(&pending.record);
    }
    let bytes = writer.finish(&balefire_wire::Header::default(), None);
    let batch = BatchView::parse(&bytes).unwrap();
    stage.load_output(&PastOutput {
        target: 0,
        sequence: 0,
        stored_at: from,
        step: 0,
        batch: &batch,
    });
    for (source, lane) in lanes.iter().enumerate() {
        for message in lane {
            let known = message.sequence < next[source] && message.stored_at >= from;
            if known && !dead.contains(&(source, message.sequence)) {
                let batch = BatchView::parse(&message.payload).unwrap();
                stage.repair_batch(&input(source, message, &batch), effects);
            }
        }
    }
    stage.repair_end(effects);
}
