//! The log of every release gives the associations that it gave then.

use std::collections::BTreeSet;

use balefire_bus::Topology;
use balefire_event::{DedupId, SubjectRef};
use balefire_golden::{Fed, Golden, InputRef, Lanes, Recording, feed, interleaved};
use balefire_store::{Checkpoint, Options, Store};
use balefire_wire::{BatchView, BatchWriter, Header};

use super::*;

/// An event, the user it was passed on for, and how.
type Passed = (DedupId, Option<SubjectRef>, &'static str);

/// One INTAKE partition of a recording.
struct Part {
    golden: Golden,
    recording: Recording,
    topology: Topology,
    partition: u32,
    lanes: Lanes,
    inputs: Vec<InputRef>,
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
    let topology = Topology::new(recording.partitions).unwrap();
    let plan = target::plan(&topology, partition, [0; 16]);
    let lanes: Lanes = Lane::ALL
        .iter()
        .map(|&lane| (lane, topology.intake_stream(lane, partition)))
        .collect();
    let targets = plan.targets.into_iter();
    let targets: Vec<_> = targets.map(|to| (to.stream, to.subject)).collect();
    let inputs = recording.inputs(&lanes, &targets).unwrap();
    Part {
        golden: golden.clone(),
        recording: recording.clone(),
        topology,
        partition,
        lanes,
        inputs: inputs.into_iter().map(|listed| listed.input).collect(),
    }
}

fn passed(batch: &BatchView<'_>) -> Vec<Passed> {
    let mut all = Vec::new();
    for record in batch.records() {
        let RecordView::Event(event) = record.unwrap() else {
            continue;
        };
        let user = event.user.as_ref().map(|user| user.subject_ref);
        let how = match event.join {
            Some(join) if join.partial => "partial",
            Some(join) if join.amendment => "amended",
            Some(_) => "joined",
            None => "passed through",
        };
        all.push((event.dedup_id, user, how));
    }
    all
}

impl Part {
    fn stage(&self) -> CorrelatorStage {
        let partitions = self.topology.partitions;
        CorrelatorStage::new(
            Config::new(self.partition, partitions),
            Board::new(partitions),
        )
    }

    /// What the release wrote in steps behind `after`.
    fn recorded(&self, after: u64) -> Vec<Passed> {
        let plan = target::plan(&self.topology, self.partition, [0; 16]);
        let mut all = Vec::new();
        for target in &plan.targets {
            for (step, batch) in self.recording.steps(&target.stream, &target.subject) {
                if step > after {
                    all.extend(passed(&batch));
                }
            }
        }
        all.sort();
        all
    }
}

fn found(fed: &Fed) -> Vec<Passed> {
    let mut all = Vec::new();
    for (_, output) in &fed.outputs {
        let mut writer = BatchWriter::default();
        writer.push_encoded(&output.record);
        let bytes = writer.finish(&Header::default(), None);
        all.extend(passed(&BatchView::parse(&bytes).unwrap()));
    }
    all.sort();
    all
}

fn pairs(all: &[Passed]) -> BTreeSet<(DedupId, SubjectRef)> {
    let named = all.iter().filter_map(|(id, user, _)| Some((*id, (*user)?)));
    named.collect()
}

#[test]
fn recorded_steps_give_the_recorded_records() {
    let mut joins = BTreeSet::new();
    for part in parts() {
        let order = part.inputs.iter().copied();
        let fed = feed(&mut part.stage(), &part.recording, &part.lanes, order);
        let recorded = part.recorded(0);
        assert!(pairs(&recorded).len() > 5, "it has some");
        assert_eq!(found(&fed), recorded, "{}", part.golden.version);
        joins.extend(recorded.into_iter().map(|(.., how)| how));
    }
    for how in ["joined", "partial", "amended"] {
        assert!(joins.contains(how), "{how} is in no recording");
    }
}

#[test]
fn however_the_lanes_are_mixed_the_associations_are_the_recorded_ones() {
    for part in parts() {
        let recorded = pairs(&part.recorded(0));
        for seed in 0..24 {
            let mixed = interleaved(&part.inputs, seed);
            let fed = feed(&mut part.stage(), &part.recording, &part.lanes, mixed);
            assert_eq!(pairs(&found(&fed)), recorded, "seed {seed}");
        }
    }
}

#[test]
fn an_input_less_is_noticed() {
    let part = &parts()[0];
    let bulk = |input: &InputRef| input.lane == Lane::Bulk;
    let less = part.inputs.iter().copied().filter(|input| !bulk(input));
    let fed = feed(&mut part.stage(), &part.recording, &part.lanes, less);
    assert_ne!(pairs(&found(&fed)), pairs(&part.recorded(0)));
}

#[tokio::test]
async fn a_recorded_checkpoint_and_the_rest_of_the_log_give_the_rest() {
    let (mut compared, mut needed) = (false, false);
    for part in parts() {
        let dir = part.golden.checkpoints(crate::NAME).unwrap();
        let store = Store::open(dir.path(), Options::default()).await.unwrap();
        let name = format!("{}.{}", crate::NAME, part.partition);
        let Checkpoint { meta, state } = match store.load(&name).await {
            Err(balefire_store::Error::Version { found }) => {
                // Another format: it is set aside, too.
                assert_eq!(found, 1);
                continue;
            }
            found => found.unwrap().unwrap(),
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
        let rest: Vec<InputRef> = part.inputs.iter().copied().filter(behind).collect();
        assert!(rest.len() < part.inputs.len() && !rest.is_empty());
        let fed = feed(
            &mut stage,
            &part.recording,
            &part.lanes,
            rest.iter().copied(),
        );
        let recorded = part.recorded(meta.step);
        assert_eq!(found(&fed), recorded, "{}", part.golden.version);
        // Without the state some of it would be missing: events wait for whom the rest names.
        let empty = feed(&mut part.stage(), &part.recording, &part.lanes, rest);
        needed |= !pairs(&found(&empty)).is_superset(&pairs(&recorded));
    }
    assert!(needed || !compared, "no checkpoint made a difference");
}
