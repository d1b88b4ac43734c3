//! The log of every release gives the escalations that it gave then.

use std::collections::{BTreeMap, BTreeSet};

use balefire_event::{EscalationId, EscalationKind};
use balefire_golden::{Fed, Golden, InputRef, Lanes, Listed, Recording, feed, interleaved};
use balefire_store::{Checkpoint, Options, Store};
use balefire_wire::BatchView;

use super::*;

/// What must never change about an escalation.
type Decided = (EscalationId, EscalationKind, EscalationId);

/// One EVENTS partition of a recording.
struct Part {
    golden: Golden,
    recording: Recording,
    topology: balefire_bus::Topology,
    partition: u32,
    lanes: Lanes,
    inputs: Vec<Listed>,
}

fn parts() -> Vec<Part> {
    let versions = balefire_golden::versions().unwrap();
    assert!(versions.iter().any(|golden| golden.version == "0.1.0"));
    let all = versions.into_iter().flat_map(|golden| {
        let recording = golden.log().unwrap();
        (0..recording.partitions).map(move |partition| part(&golden, &recording, partition))
    });
    all.collect()
}

fn part(golden: &Golden, recording: &Recording, partition: u32) -> Part {
    let topology = balefire_bus::Topology::new(recording.partitions).unwrap();
    let lanes: Lanes = Lane::ALL
        .iter()
        .map(|&lane| (lane, topology.events_stream(lane, partition)))
        .collect();
    let target = target(&topology, partition);
    let inputs = recording.inputs(&lanes, &[target]).unwrap();
    Part {
        golden: golden.clone(),
        recording: recording.clone(),
        topology,
        partition,
        lanes,
        inputs,
    }
}

fn target(topology: &balefire_bus::Topology, partition: u32) -> (String, String) {
    let subject = topology.escalations_step(partition, partition);
    (topology.escalations_stream(partition), subject)
}

fn decided(batch: &BatchView<'_>) -> Vec<Decided> {
    let mut all = Vec::new();
    for record in batch.records() {
        // Releases before 0.2 told of no slot's end, and amended nothing.
        if let RecordView::Escalation(one) = record.unwrap()
            && matches!(one.kind, EscalationKind::Raised | EscalationKind::Continued)
        {
            all.push((one.escalation_id, one.kind, one.episode_id));
        }
    }
    all
}

impl Part {
    fn stage(&self) -> EngineStage {
        let control = ControlLog::default();
        for message in self.recording.messages(balefire_bus::topology::CONTROL) {
            let at = message.stored_at;
            control
                .take(message.sequence, at, &message.payload)
                .unwrap();
        }
        EngineStage::new(
            balefire_rule_engine_core::Part::Events,
            self.partition,
            self.topology.partitions,
            control,
        )
        .unwrap()
    }

    /// What the release wrote, by step.
    fn recorded(&self) -> BTreeMap<u64, Vec<Decided>> {
        let (stream, subject) = target(&self.topology, self.partition);
        let mut steps: BTreeMap<u64, Vec<Decided>> = BTreeMap::new();
        for (step, batch) in self.recording.steps(&stream, &subject) {
            steps.entry(step).or_default().extend(decided(&batch));
        }
        steps.retain(|_, decided| !decided.is_empty());
        steps
    }

    /// What this build decides, by the step in which the release took the input. A step's last
    /// input decides for all of the step: the driver cuts behind it.
    fn by_step(&self, fed: &Fed) -> BTreeMap<u64, Vec<Decided>> {
        let step_of: BTreeMap<InputRef, u64> = self
            .inputs
            .iter()
            .map(|listed| (listed.input, listed.step.unwrap_or(u64::MAX)))
            .collect();
        let mut steps: BTreeMap<u64, Vec<Decided>> = BTreeMap::new();
        for (input, one) in escalations(fed) {
            steps.entry(step_of[&input]).or_default().push(one);
        }
        steps
    }

    fn order(&self) -> Vec<InputRef> {
        self.inputs.iter().map(|listed| listed.input).collect()
    }

    /// `None`: an older version wrote it.
    async fn checkpoint(&self) -> Option<Checkpoint> {
        let dir = self.golden.checkpoints(crate::NAME).unwrap();
        let store = Store::open(dir.path(), Options::default()).await.unwrap();
        let name = format!("{}.{}", crate::NAME, self.partition);
        match store.load(&name).await {
            Err(balefire_store::Error::Version { found }) => {
                assert_eq!(found, 1);
                None
            }
            found => Some(found.unwrap().unwrap()),
        }
    }
}

fn escalations(fed: &Fed) -> Vec<(InputRef, Decided)> {
    let mut all = Vec::new();
    for (input, output) in &fed.outputs {
        let mut writer = balefire_wire::BatchWriter::default();
        writer.push_encoded(&output.record);
        let bytes = writer.finish(&balefire_wire::Header::default(), None);
        let batch = BatchView::parse(&bytes).unwrap();
        all.extend(decided(&batch).into_iter().map(|one| (*input, one)));
    }
    all
}

fn ids(decided: impl IntoIterator<Item = Decided>) -> BTreeSet<EscalationId> {
    decided.into_iter().map(|(id, ..)| id).collect()
}

#[test]
fn recorded_steps_give_the_recorded_escalations() {
    let mut kinds = BTreeSet::new();
    for part in parts() {
        let fed = feed(
            &mut part.stage(),
            &part.recording,
            &part.lanes,
            part.order(),
        );
        let recorded = part.recorded();
        assert!(recorded.values().flatten().count() > 5, "it has some");
        assert_eq!(part.by_step(&fed), recorded, "{}", part.golden.version);
        kinds.extend(recorded.into_values().flatten().map(|(_, kind, _)| kind));
    }
    assert!(kinds.contains(&EscalationKind::Raised) && kinds.contains(&EscalationKind::Continued));
}

#[test]
fn however_the_lanes_are_mixed_the_ids_are_the_recorded_ones() {
    for part in parts() {
        let recorded = ids(part.recorded().into_values().flatten());
        let order = part.order();
        for seed in 0..24 {
            let mixed = interleaved(&order, seed);
            let fed = feed(&mut part.stage(), &part.recording, &part.lanes, mixed);
            let found = ids(escalations(&fed).into_iter().map(|(_, one)| one));
            assert_eq!(found, recorded, "{} seed {seed}", part.golden.version);
        }
    }
}

#[test]
fn an_input_less_is_noticed() {
    let part = &parts()[0];
    let recorded = ids(part.recorded().into_values().flatten());
    let urgent = |input: &InputRef| input.lane == Lane::Urgent;
    let less = part.order().into_iter().filter(|input| !urgent(input));
    let fed = feed(&mut part.stage(), &part.recording, &part.lanes, less);
    assert_ne!(
        ids(escalations(&fed).into_iter().map(|(_, one)| one)),
        recorded
    );
}

#[tokio::test]
async fn a_recorded_checkpoint_and_the_rest_of_the_log_give_the_rest() {
    let (mut compared, mut needed) = (false, false);
    for part in parts() {
        let Some(Checkpoint { meta, state }) = part.checkpoint().await else {
            continue;
        };
        let mut stage = part.stage();
        if meta.stage_version != stage.version() {
            // A newer format sets it aside and reads the log, as the tests above do.
            assert!(meta.stage_version < stage.version());
            continue;
        }
        compared = true;
        stage.restore_records(&state).unwrap();
        let behind = |input: &InputRef| meta.sources[input.lane.index()].sequence < input.sequence;
        let rest: Vec<InputRef> = part.order().into_iter().filter(behind).collect();
        assert!(rest.len() < part.inputs.len() && !rest.is_empty());
        let fed = feed(
            &mut stage,
            &part.recording,
            &part.lanes,
            rest.iter().copied(),
        );
        let mut recorded = part.recorded();
        recorded.retain(|step, _| *step > meta.step);
        assert_eq!(part.by_step(&fed), recorded, "{}", part.golden.version);
        // Without the state some of it would be missing: windows began before the checkpoint.
        let empty = feed(&mut part.stage(), &part.recording, &part.lanes, rest);
        let found = ids(escalations(&empty).into_iter().map(|(_, one)| one));
        needed |= !found.is_superset(&ids(recorded.into_values().flatten()));
    }
    assert!(needed || !compared, "no checkpoint made a difference");
}
