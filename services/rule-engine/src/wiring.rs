//! What the partitions of both stages are wired to.
//!
//! Events: the lanes of an EVENTS partition in; ESCALATIONS of the same partition and every
//! REKEYED partition out. Rekeyed: a REKEYED partition in, ESCALATIONS of the same partition out,
//! on a subject of its own, so that the steps of both stay apart.

use balefire_bus::{Topology, topology::REKEYED_STAGE};
use balefire_driver::{Plan, Source, Target};
use balefire_event::Lane;
use balefire_rule_engine_core::Part;

use crate::NAME;

/// Index of ESCALATIONS in the targets of both.
pub(crate) const ESCALATIONS: usize = 0;

/// Index of a REKEYED partition in the targets of an EVENTS partition.
pub(crate) fn rekeyed(partition: u32) -> usize {
    usize::try_from(partition).map_or(usize::MAX, |partition| partition + 1)
}

/// Whether an output of ESCALATIONS is that of a REKEYED partition.
pub(crate) fn is_rekeyed(subject: &str) -> bool {
    subject
        .rsplit('.')
        .next()
        .is_some_and(|last| last.starts_with('r'))
}

/// The partition whose engine sent a batch of REKEYED: `rekeyed.g1.<p>.e.<source>`.
pub(crate) fn sender(subject: &str) -> Option<u32> {
    let mut tokens = subject.rsplit('.');
    let sender = tokens.next()?.parse().ok()?;
    (tokens.next() == Some("e")).then_some(sender)
}

/// The plan of a partition of a part; [`Part::Whole`] has none of its own, it is as [`Part::Events`].
pub(crate) fn plan(topology: &Topology, part: Part, partition: u32, owner_id: [u8; 16]) -> Plan {
    match part {
        Part::Rekeyed { .. } => of_rekeyed(topology, partition, owner_id),
        Part::Events | Part::Whole => of_events(topology, partition, owner_id),
    }
}

fn of_events(topology: &Topology, partition: u32, owner_id: [u8; 16]) -> Plan {
    let sources = Lane::ALL.iter().map(|&lane| Source {
        lane: Some(lane),
        stream: topology.events_stream(lane, partition),
        replay_subject: topology.events_replay(lane, partition),
        tick_subject: Some(topology.events_tick(lane, partition)),
    });
    let escalations = Target {
        stream: topology.escalations_stream(partition),
        subject: topology.escalations_step(partition, partition),
    };
    let rekeyed = (0..topology.partitions).map(|to| Target {
        stream: topology.rekeyed_stream(to),
        subject: topology.rekeyed_step(to, partition),
    });
    Plan {
        stage: NAME,
        partition,
        sources: sources.collect(),
        targets: std::iter::once(escalations).chain(rekeyed).collect(),
        further_ticks: Vec::new(),
        owner_id,
    }
}

fn of_rekeyed(topology: &Topology, partition: u32, owner_id: [u8; 16]) -> Plan {
    // Its time is what the engines of the EVENTS partitions promise: they are ticked.
    let ticks = (0..topology.partitions).flat_map(|of| {
        let lanes = Lane::ALL.iter();
        lanes.map(move |&lane| topology.events_tick(lane, of))
    });
    Plan {
        stage: REKEYED_STAGE,
        partition,
        sources: vec![Source {
            lane: None,
            stream: topology.rekeyed_stream(partition),
            replay_subject: topology.rekeyed_replay(partition),
            tick_subject: None,
        }],
        targets: vec![Target {
            stream: topology.escalations_stream(partition),
            subject: topology.escalations_rekeyed_step(partition, partition),
        }],
        further_ticks: ticks.collect(),
        owner_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_names_its_own_subject() {
        let topology = Topology::new(4).unwrap();
        for own in 0..4 {
            let plan = of_events(&topology, own, [0; 16]);
            let subject = |index: usize| plan.targets[index].subject.as_str();
            assert_eq!(subject(ESCALATIONS), topology.escalations_step(own, own));
            for to in 0..4 {
                assert_eq!(subject(rekeyed(to)), topology.rekeyed_step(to, own));
                assert_eq!(sender(subject(rekeyed(to))), Some(own));
            }
            assert_eq!(plan.targets.len(), 5);
        }
    }

    #[test]
    fn the_steps_of_both_stages_are_told_apart() {
        let topology = Topology::new(2).unwrap();
        assert!(is_rekeyed(&topology.escalations_rekeyed_step(1, 1)));
        assert!(!is_rekeyed(&topology.escalations_step(1, 1)));
        assert_eq!(sender(&topology.rekeyed_replay(1)), None);
        let stages = [Part::Events, Part::Rekeyed { sources: 2 }];
        let [one, two] = stages.map(|part| plan(&topology, part, 1, [0; 16]));
        assert_ne!(one.checkpoint_name(), two.checkpoint_name());
        assert_ne!(one.targets[0].subject, two.targets[0].subject);
    }
}
