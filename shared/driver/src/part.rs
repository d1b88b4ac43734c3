//! Cuts the outputs of a step into messages: by target, tenant and size. Pure and
//! deterministic: a new owner cuts the same step into the same parts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_event::Timestamp;
use balefire_wire::batch::record_len;
use balefire_wire::log::v1::{InputRun, Step};
use balefire_wire::{BatchView, BatchWriter, Header};
use bytes::Bytes;

use crate::ledger::{Run, RunList};
use crate::limit::{PART_BYTES_MAX, PART_RECORDS_MAX};
use crate::plan::Plan;
use crate::stage::Output;

/// The messages of one step, target by target; none for a target without output.
pub type Parts = Vec<Vec<Bytes>>;

/// What every part says of its step.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'s> {
    /// Number of the step.
    pub number: u64,
    /// Its inputs.
    pub list: &'s RunList,
    /// Below which revision every rule was whole while it was formed; as the stage says.
    pub whole_below: Option<u64>,
}

/// Cuts a step. One without output is one empty message on the first target.
#[must_use]
pub fn cut(plan: &Plan, cut: &Cut<'_>, outputs: &[Output]) -> Parts {
    let mut parts: Parts = by_target(plan, outputs)
        .iter()
        .map(|outputs| cut_target(plan, cut, by_tenant(outputs), 0))
        .collect();
    if parts.iter().all(Vec::is_empty)
        && let Some(first) = parts.first_mut()
    {
        first.push(empty_part(plan, cut, 0));
    }
    parts
}

/// What a target has of a step.
#[derive(Debug, Clone, Default)]
pub struct There {
    /// Its parts.
    pub parts: Vec<Bytes>,
    /// Whether the last one is among them.
    pub complete: bool,
}

/// The parts that targets lack of a step that is there in part, by what is in them: the records
/// derived but for those that are there, whatever their order was, and whatever lies beside them.
/// Where whoever completes the step doubts that it derives all of it, each target that is not
/// complete is told so, if by a part without records.
#[must_use]
pub fn lacking(
    plan: &Plan,
    cut: &Cut<'_>,
    outputs: &[Output],
    there: &[There],
    doubts: bool,
) -> Parts {
    let none = There::default();
    let targets = by_target(plan, outputs).into_iter().enumerate();
    targets
        .map(|(target, outputs)| {
            let there = there.get(target).unwrap_or(&none);
            if there.complete {
                return Vec::new();
            }
            let mut groups = by_tenant(&outputs);
            leave_out(&mut groups, there);
            let first = u32::try_from(there.parts.len()).unwrap_or(u32::MAX);
            let parts = cut_target(plan, cut, groups, first);
            if parts.is_empty() && (doubts || first > 0) {
                return vec![empty_part(plan, cut, first)];
            }
            parts
        })
        .collect()
}

/// What was never told, by where it goes: into the last step, of which the targets have `there`, or
/// into the next one, where its target has all of the last one. What several targets are given
/// alike, as a barrier is, goes into one step for all of them: whoever finds it in one of them later
/// takes it for said to all.
pub fn divide(owed: Vec<Output>, there: &[There]) -> (Vec<Output>, Vec<Output>) {
    let complete = |output: &Output| there.get(output.target).filter(|there| there.complete);
    let told = |output: &Output| complete(output).is_some_and(|there| there.holds(output));
    let untold: Vec<Output> = owed.into_iter().filter(|output| !told(output)).collect();
    let late = untold.iter().filter(|output| complete(output).is_some());
    let late: BTreeSet<_> = late
        .map(|output| (Arc::clone(&output.tenant), output.record.clone()))
        .collect();
    untold.into_iter().partition(|output| {
        late.is_empty() || !late.contains(&(Arc::clone(&output.tenant), output.record.clone()))
    })
}

impl There {
    /// Its records by tenant, and how often each is there.
    fn records(&self) -> BTreeMap<(String, Vec<u8>), u32> {
        let batches = self
            .parts
            .iter()
            .filter_map(|part| BatchView::parse(part).ok());
        let mut there: BTreeMap<(String, Vec<u8>), u32> = BTreeMap::new();
        for batch in batches {
            for record in batch.raw_records().flatten() {
                let place = (batch.header.tenant.clone(), record.bytes.to_vec());
                *there.entry(place).or_default() += 1;
            }
        }
        there
    }

    /// Whether an output is among them.
    pub fn holds(&self, output: &Output) -> bool {
        let place = (output.tenant.to_string(), output.record.clone());
        self.records().contains_key(&place)
    }
}

/// Takes out what is there, each record as often as it is.
fn leave_out(groups: &mut Vec<Group<'_>>, there: &There) {
    let mut there = there.records();
    for group in groups.iter_mut() {
        let tenant = group.tenant.to_string();
        group.outputs.retain(|output| {
            let place = (tenant.clone(), output.record.clone());
            match there.get_mut(&place).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => true,
            }
        });
    }
    groups.retain(|group| !group.outputs.is_empty());
}

/// A last part without records.
fn empty_part(plan: &Plan, cut: &Cut<'_>, part: u32) -> Bytes {
    let step = Step {
        part,
        last_part: true,
        ..of_cut(plan, cut, to_wire(plan, cut.list))
    };
    finish(plan, BatchWriter::default(), "", &[], &step)
}

/// The empty message by which a new owner fences the old one.
#[must_use]
pub fn claim(plan: &Plan, number: u64) -> Bytes {
    let step = Step {
        last_part: true,
        claim: true,
        ..step(plan, number, Vec::new())
    };
    finish(plan, BatchWriter::default(), "", &[], &step)
}

/// The list of a step read back. `None` where it names a lane the plan does not have.
#[must_use]
pub fn list_of(plan: &Plan, step: &Step) -> Option<RunList> {
    step.inputs
        .iter()
        .map(|run| {
            let source = plan
                .sources
                .iter()
                .position(|s| lane_number(s.lane) == run.lane)?;
            Some(Run {
                source,
                first: run.first_sequence,
                count: run.count,
            })
        })
        .collect()
}

fn lane_number(lane: Option<balefire_event::Lane>) -> i32 {
    lane.map_or(0, balefire_event::Lane::number)
}

fn to_wire(plan: &Plan, list: &RunList) -> Vec<InputRun> {
    list.runs()
        .iter()
        .map(|run| InputRun {
            lane: plan
                .sources
                .get(run.source)
                .map_or(0, |s| lane_number(s.lane)),
            first_sequence: run.first,
            count: run.count,
        })
        .collect()
}

fn step(plan: &Plan, number: u64, inputs: Vec<InputRun>) -> Step {
    Step {
        number,
        source_partition: plan.partition,
        inputs,
        part: 0,
        last_part: false,
        claim: false,
        owner_id: Bytes::copy_from_slice(&plan.owner_id),
        whole_below: None,
    }
}

fn of_cut(plan: &Plan, cut: &Cut<'_>, inputs: Vec<InputRun>) -> Step {
    Step {
        whole_below: cut.whole_below,
        ..step(plan, cut.number, inputs)
    }
}

fn by_target<'o>(plan: &Plan, outputs: &'o [Output]) -> Vec<Vec<&'o Output>> {
    let mut targets: Vec<Vec<&Output>> = vec![Vec::new(); plan.targets.len()];
    for output in outputs {
        if let Some(target) = targets.get_mut(output.target) {
            target.push(output);
        }
    }
    targets
}

/// Records of one part, all of one tenant.
struct Group<'o> {
    tenant: Arc<str>,
    outputs: Vec<&'o Output>,
}

/// The parts of one target, from part `first` on.
fn cut_target(plan: &Plan, cut: &Cut<'_>, groups: Vec<Group<'_>>, first: u32) -> Vec<Bytes> {
    let inputs = to_wire(plan, cut.list);
    let groups: Vec<Group<'_>> = groups.into_iter().flat_map(by_size).collect();
    let count = groups.len();
    let mut messages = Vec::with_capacity(count);
    for (part, group) in (first..).zip(groups) {
        let step = Step {
            part,
            last_part: messages.len() + 1 == count,
            ..of_cut(plan, cut, inputs.clone())
        };
        let mut writer = BatchWriter::default();
        for output in &group.outputs {
            writer.push_encoded(&output.record);
        }
        messages.push(finish(plan, writer, &group.tenant, &group.outputs, &step));
    }
    messages
}

/// In the order of each tenant's first record; those of no tenant last.
fn by_tenant<'o>(outputs: &[&'o Output]) -> Vec<Group<'o>> {
    let mut groups: Vec<Group<'o>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for &output in outputs {
        let place = *places.entry(Arc::clone(&output.tenant)).or_insert_with(|| {
            groups.push(Group {
                tenant: Arc::clone(&output.tenant),
                outputs: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.outputs.push(output);
        }
    }
    groups.sort_by_key(|group| group.tenant.is_empty());
    groups
}

fn by_size(group: Group<'_>) -> Vec<Group<'_>> {
    let mut parts: Vec<Group<'_>> = Vec::new();
    let mut bytes = 0;
    for output in group.outputs {
        let len = record_len(output.record.len());
        match parts.last_mut() {
            Some(part)
                if bytes + len <= PART_BYTES_MAX && part.outputs.len() < PART_RECORDS_MAX =>
            {
                bytes += len;
                part.outputs.push(output);
            }
            Some(_) | None => {
                bytes = len;
                parts.push(Group {
                    tenant: Arc::clone(&group.tenant),
                    outputs: vec![output],
                });
            }
        }
    }
    parts
}

fn finish(
    plan: &Plan,
    mut writer: BatchWriter,
    tenant: &str,
    outputs: &[&Output],
    step: &Step,
) -> Bytes {
    let header = Header {
        tenant: tenant.to_owned(),
        writer_id: plan.owner_id,
        // Steps count what this subject's writers wrote; a rebuild must give the same bytes.
        writer_seq: step.number,
        lateness_max: outputs.iter().map(|o| o.lateness_max).max().unwrap_or(0),
        received_at_max: outputs
            .iter()
            .filter_map(|o| o.received_at)
            .max()
            .unwrap_or(Timestamp(0)),
        control_revision_max: outputs
            .iter()
            .map(|o| o.control_revision)
            .max()
            .unwrap_or(0),
        ..Header::default()
    };
    Bytes::from(writer.finish(&header, Some(step)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Source, Target};
    use balefire_event::Lane;
    use balefire_wire::{RecordRef, encode_record};

    fn plan() -> Plan {
        let source = |lane| Source {
            lane: Some(lane),
            stream: String::new(),
            replay_subject: String::new(),
            tick_subject: None,
        };
        let target = |subject: &str| Target {
            stream: String::new(),
            subject: subject.into(),
        };
        Plan {
            stage: "test",
            partition: 3,
            sources: vec![source(Lane::Urgent), source(Lane::Bulk)],
            targets: vec![target("a"), target("b")],
            further_ticks: Vec::new(),
            owner_id: [9; 16],
        }
    }

    fn output(target: usize, tenant: &str, at: i64) -> Output {
        let mut record = Vec::new();
        encode_record(RecordRef::Tick(Timestamp(at)), &mut record);
        Output {
            target,
            tenant: tenant.into(),
            record,
            received_at: Some(Timestamp(at)),
            control_revision: 5,
            lateness_max: at,
        }
    }

    fn list() -> RunList {
        let mut list = RunList::default();
        list.push(0, 7);
        list.push(1, 2);
        list.push(1, 3);
        list
    }

    fn of_six(list: &RunList) -> Cut<'_> {
        Cut {
            number: 6,
            list,
            whole_below: Some(4),
        }
    }

    #[test]
    fn every_part_carries_the_list_and_the_last_is_marked() {
        let (plan, list) = (plan(), list());
        let outputs = [
            output(1, "", 1),
            output(1, "acme", 2),
            output(1, "zeta", 3),
            output(1, "acme", 4),
        ];
        let step = of_six(&list);
        let parts = cut(&plan, &step, &outputs);
        assert!(parts[0].is_empty());
        let views: Vec<_> = parts[1]
            .iter()
            .map(|bytes| BatchView::parse(bytes).unwrap())
            .collect();
        let tenants: Vec<_> = views.iter().map(|v| v.header.tenant.as_str()).collect();
        assert_eq!(tenants, ["acme", "zeta", ""]);
        assert_eq!(views[0].len(), 2);
        assert_eq!(views[0].header.received_at_max, Timestamp(4));
        for (index, view) in views.iter().enumerate() {
            let step = view.step.as_ref().unwrap();
            assert_eq!(list_of(&plan, step), Some(list.clone()));
            assert_eq!(step.whole_below, Some(4));
            assert_eq!(step.part as usize, index);
            assert_eq!(step.last_part, index == 2);
            assert_eq!(
                (step.number, step.source_partition, step.claim),
                (6, 3, false)
            );
        }
    }

    #[test]
    fn a_large_step_is_cut_by_size() {
        let plan = plan();
        let mut large = output(0, "acme", 1);
        large.record = vec![0x22; PART_BYTES_MAX / 2 + 1];
        let parts = cut(
            &plan,
            &of_six(&list()),
            &[large.clone(), large.clone(), large],
        );
        assert_eq!(parts[0].len(), 3);
    }

    #[test]
    fn a_step_without_output_is_one_empty_message() {
        let plan = plan();
        let parts = cut(&plan, &of_six(&list()), &[]);
        assert_eq!((parts[0].len(), parts[1].len()), (1, 0));
        let view = BatchView::parse(&parts[0][0]).unwrap();
        assert!(view.is_empty() && view.step.unwrap().last_part);
    }
    fn there(parts: &[Bytes], known: usize) -> There {
        There {
            parts: parts[..known].to_vec(),
            complete: known > 0 && known == parts.len(),
        }
    }

    #[test]
    fn what_lacks_is_what_follows_where_the_step_was_derived_alike() {
        let (plan, list) = (plan(), list());
        let step = of_six(&list);
        let mut outputs = vec![output(0, "zeta", 1), output(0, "", 2)];
        let many = i64::try_from(PART_RECORDS_MAX).unwrap() + 1;
        outputs.extend((0..many).map(|at| output(0, "acme", at)));
        outputs.extend([output(0, "zeta", 1), output(1, "acme", 4)]);
        let parts = cut(&plan, &step, &outputs);
        assert_eq!((parts[0].len(), parts[1].len()), (4, 1));
        for known in 0..=parts[0].len() {
            let there = [there(&parts[0], known), There::default()];
            let lacking = lacking(&plan, &step, &outputs, &there, false);
            assert!(lacking[0] == parts[0][known..] && lacking[1] == parts[1]);
        }
    }

    #[test]
    fn what_lacks_is_found_by_content_beside_what_others_found() {
        let (plan, list) = (plan(), list());
        let step = of_six(&list);
        // Another owner had one more output, ahead of the rest, and crashed behind two parts.
        let theirs = [output(0, "acme", 9), output(0, "acme", 1)];
        let first = cut(&plan, &step, &theirs[..1]);
        let second = cut(&plan, &step, &theirs[1..]);
        let there = There {
            parts: vec![first[0][0].clone(), second[0][0].clone()],
            complete: false,
        };
        let ours = [output(0, "acme", 1), output(0, "acme", 2)];
        let lacking = lacking(&plan, &step, &ours, &[there], false);
        let view = BatchView::parse(&lacking[0][0]).unwrap();
        let records: Vec<_> = view.raw_records().map(|r| r.unwrap().bytes).collect();
        assert_eq!(records, [ours[1].record.as_slice()]);
        let step = view.step.unwrap();
        assert_eq!((step.part, step.last_part), (2, true));
    }
    #[test]
    fn who_completes_a_step_in_doubt_says_so_where_something_may_lack() {
        let (plan, list) = (plan(), list());
        let parts = cut(&plan, &of_six(&list), &[output(1, "", 7)]);
        let there = [There::default(), there(&parts[1], 1)];
        let own = Cut {
            whole_below: Some(2),
            ..of_six(&list)
        };
        assert!(lacking(&plan, &own, &[], &there, false).concat().is_empty());
        let said = lacking(&plan, &own, &[], &there, true);
        assert_eq!((said[0].len(), said[1].len()), (1, 0));
        let view = BatchView::parse(&said[0][0]).unwrap();
        let step = view.step.as_ref().unwrap();
        assert_eq!((step.whole_below, step.last_part), (Some(2), true));
        assert!(view.is_empty());
    }

    #[test]
    fn what_several_targets_are_given_alike_goes_into_one_step_for_all() {
        let (plan, list) = (plan(), list());
        let parts = cut(&plan, &of_six(&list), &[output(1, "", 7), output(1, "", 3)]);
        // Of the last step the second target has all, the first one nothing.
        let there = [There::default(), there(&parts[1], 1)];
        let barrier = [output(0, "", 1), output(1, "", 1)];
        let alone = [output(0, "acme", 1), output(1, "acme", 2)];
        let known = [output(0, "", 3), output(1, "", 3)];
        let owed = [&alone[..], &barrier, &known].concat();
        let (now, next) = divide(owed, &there);
        assert_eq!(now, [alone[0].clone(), known[0].clone()]);
        assert_eq!(next, [&alone[1..], &barrier].concat());
    }
}
