//! The fold of the DELIVERIES of every release ends as the release ended.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_bus::Topology;
use balefire_event::{EscalationId, EscalationKind, Timestamp};
use balefire_golden::Recording;
use balefire_notifier::codec::{self, Logged};
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::plan::Plan;
use balefire_notifier_core::storm::Storms;
use balefire_notifier_core::{Input, Outcome, Standing, State};

type Ends = BTreeMap<(EscalationId, Arc<str>), Standing>;

fn recordings() -> Vec<Recording> {
    let versions = balefire_golden::versions().unwrap();
    assert!(versions.iter().any(|golden| golden.version == "0.1.0"));
    versions
        .iter()
        .map(|golden| golden.log().unwrap())
        .collect()
}

/// The fold of the notifier, over DELIVERIES and then ESCALATIONS of a partition.
fn folded(recording: &Recording, topology: &Topology, partition: u32) -> State {
    let mut state = State::new(Backoff::default());
    for message in recording.messages(&topology.deliveries_stream(partition)) {
        let batch = codec::delivery_batch(&message.payload).unwrap();
        for record in batch.records {
            let tenant = &batch.tenant;
            state.apply(match record {
                Logged::Intent(intent) => Input::IntentLogged { tenant, intent },
                Logged::Attempt(attempt) => Input::AttemptLogged(attempt),
                Logged::Requeue(requeue) => Input::Requeued(requeue),
                Logged::Fed(position) => Input::Fed(position),
                Logged::Acknowledged(said) => Input::Acknowledged(said),
            });
        }
        if batch.covered > 0 {
            let sequence = batch.covered;
            state.apply(Input::Covered { sequence });
        }
    }
    for message in recording.messages(&topology.escalations_stream(partition)) {
        let batch = codec::escalations(&message.payload).unwrap();
        assert_eq!(batch.bad, []);
        let sequence = message.sequence;
        if sequence <= state.position() {
            let effects = state.apply(Input::Escalated {
                sequence,
                escalations: &batch.escalations,
                now: Timestamp(0),
                plan: &Plan::default(),
                partition: 0,
                storms: &mut Storms::default(),
            });
            assert_eq!(effects, [], "what the log covers is decided");
        }
    }
    state
}

/// What the last word of the log about each delivery is, read without the fold.
fn last_words(recording: &Recording, topology: &Topology, partition: u32) -> Ends {
    let mut ends = Ends::new();
    for message in recording.messages(&topology.deliveries_stream(partition)) {
        for record in codec::delivery_batch(&message.payload).unwrap().records {
            let (id, receiver, end) = match record {
                Logged::Intent(one) => {
                    let due = one.decided_at;
                    (one.escalation_id, one.receiver, Standing::Pending { due })
                }
                Logged::Requeue(one) => {
                    let due = one.at;
                    (one.escalation_id, one.receiver, Standing::Pending { due })
                }
                Logged::Fed(_) | Logged::Acknowledged(_) => continue,
                Logged::Attempt(one) => {
                    let due = one.next_attempt_at.unwrap_or(one.at);
                    let end = match one.outcome {
                        Outcome::Delivered => Standing::Delivered,
                        Outcome::DeadLettered => Standing::DeadLettered,
                        Outcome::Retry => Standing::Pending { due },
                    };
                    (one.escalation_id, one.receiver, end)
                }
            };
            ends.insert((id, receiver), end);
        }
    }
    ends
}

fn ends(state: &State) -> Ends {
    let mut ends = Ends::new();
    for (id, entry) in state.entries(None) {
        for delivery in &entry.deliveries {
            ends.insert(
                (*id, Arc::clone(&delivery.intent.receiver)),
                delivery.standing,
            );
        }
    }
    ends
}

#[test]
fn the_fold_ends_with_everything_delivered_or_dead_as_recorded() {
    let mut all = BTreeMap::new();
    for recording in recordings() {
        let topology = Topology::new(recording.partitions).unwrap();
        for partition in 0..recording.partitions {
            let state = folded(&recording, &topology, partition);
            let ends = ends(&state);
            assert_eq!(ends, last_words(&recording, &topology, partition));
            assert_eq!(state.pending_len(), 0);
            let dead = ends.values().filter(|end| **end == Standing::DeadLettered);
            assert_eq!(state.dead_len(), dead.count());
            for end in ends.values() {
                *all.entry(format!("{end:?}")).or_insert(0) += 1;
            }
        }
    }
    assert!(all["Delivered"] > 20 && all["DeadLettered"] > 0, "{all:?}");
}

#[test]
fn whoever_is_not_history_was_told_to_the_receiver_of_everything() {
    for recording in recordings() {
        let topology = Topology::new(recording.partitions).unwrap();
        let mut history = 0;
        for partition in 0..recording.partitions {
            let told: BTreeSet<EscalationId> = last_words(&recording, &topology, partition)
                .into_keys()
                .filter(|(_, receiver)| &**receiver == "webhook")
                .map(|(id, _)| id)
                .collect();
            let mut wanted = BTreeSet::new();
            for message in recording.messages(&topology.escalations_stream(partition)) {
                for one in codec::escalations(&message.payload).unwrap().escalations {
                    let names =
                        matches!(one.kind, EscalationKind::Raised | EscalationKind::Continued);
                    if one.backfill {
                        history += 1;
                    } else if names {
                        wanted.insert(one.escalation_id);
                    }
                }
            }
            assert_eq!(told, wanted);
        }
        assert!(history > 0, "the recording holds escalations of history");
    }
}
