//! What a partition is wired to: its lanes of INTAKE in, every EVENTS stream and the bulk lane
//! of the other INTAKE partitions out.

use balefire_bus::Topology;
use balefire_driver::{Plan, Source, Target};
use balefire_event::Lane;

use crate::NAME;

const LANES: usize = Lane::ALL.len();

/// Index of a lane of an EVENTS partition in the plan's targets.
pub(crate) fn events(lane: Lane, partition: u32) -> usize {
    index(partition) * LANES + lane.index()
}

/// Index of the bulk lane of an INTAKE partition in the plan's targets. The own one is not
/// among them.
pub(crate) fn intake(own: u32, partitions: u32, partition: u32) -> usize {
    let before = if partition > own {
        partition - 1
    } else {
        partition
    };
    index(partitions) * LANES + index(before)
}

fn index(partition: u32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX / LANES)
}

/// The plan of a partition.
pub(crate) fn plan(topology: &Topology, partition: u32, owner_id: [u8; 16]) -> Plan {
    let sources = Lane::ALL.iter().map(|&lane| Source {
        lane: Some(lane),
        stream: topology.intake_stream(lane, partition),
        replay_subject: topology.intake_replay(lane, partition),
        tick_subject: Some(topology.intake_tick(lane, partition)),
    });
    let events = (0..topology.partitions).flat_map(|to| {
        Lane::ALL.iter().map(move |&lane| Target {
            stream: topology.events_stream(lane, to),
            subject: topology.events_joined(lane, to, partition),
        })
    });
    let others = (0..topology.partitions).filter(|to| *to != partition);
    let intake = others.map(|to| Target {
        stream: topology.intake_stream(Lane::Bulk, to),
        subject: topology.intake_forwarded(Lane::Bulk, to, partition),
    });
    Plan {
        stage: NAME,
        partition,
        sources: sources.collect(),
        targets: events.chain(intake).collect(),
        further_ticks: Vec::new(),
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
            let plan = plan(&topology, own, [0; 16]);
            assert_eq!(plan.targets.len(), 4 * 3 + 3);
            for to in 0..4 {
                for &lane in Lane::ALL {
                    let subject = topology.events_joined(lane, to, own);
                    assert_eq!(plan.targets[events(lane, to)].subject, subject);
                }
                if to != own {
                    let subject = topology.intake_forwarded(Lane::Bulk, to, own);
                    assert_eq!(plan.targets[intake(own, 4, to)].subject, subject);
                }
            }
        }
    }
}
