//! Who may do what: everything that changes a stream is tried with every credential.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use balefire_bus::{Bus, Fence, Log, Role};
use balefire_event::Lane;
use bytes::Bytes;
use tokio::time::timeout;

use crate::harness::{Harness, bytes, read, until};

const SERVICES: [Role; 5] = [
    Role::Ingest,
    Role::Correlator,
    Role::RuleEngine,
    Role::Notifier,
    Role::Operator,
];

/// A raw client with a role's key; what the server complains about, in lower case.
async fn raw(harness: &Harness, role: Role) -> (Client, Arc<Mutex<Vec<String>>>) {
    let seed = harness
        .dir
        .path()
        .join("credentials")
        .join(format!("{}.nk", role.as_str()));
    let complaints = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&complaints);
    let client = ConnectOptions::with_nkey(std::fs::read_to_string(seed).unwrap())
        .custom_inbox_prefix(role.inbox_prefix())
        .event_callback(move |event| {
            let noted = Arc::clone(&noted);
            async move {
                if let Event::ServerError(error) = event {
                    noted.lock().unwrap().push(error.to_string().to_lowercase());
                }
            }
        })
        .connect(harness.server.url())
        .await
        .unwrap();
    (client, complaints)
}

fn complained(complaints: &Mutex<Vec<String>>, of: &str) -> bool {
    let of = format!("\"{}\"", of.to_lowercase());
    complaints
        .lock()
        .unwrap()
        .iter()
        .any(|complaint| complaint.contains("permissions violation") && complaint.contains(&of))
}

/// Every request that changes, empties, moves or copies a stream, or a consumer that lasts.
fn mutations(harness: &Harness) -> Vec<String> {
    let mut subjects = vec![
        "$JS.API.META.LEADER.STEPDOWN".to_owned(),
        "$JS.API.SERVER.REMOVE".into(),
        "$JS.API.ACCOUNT.PURGE.$G".into(),
        "$JS.API.STREAM.TEMPLATE.CREATE.X".into(),
        "$JS.API.STREAM.CREATE.KV_X".into(),
        "$KV.X.key".into(),
        "$SYS.REQ.SERVER.PING".into(),
    ];
    for stream in harness.topology.streams() {
        let name = stream.name;
        subjects.extend([
            format!("$JS.API.STREAM.CREATE.{name}"),
            format!("$JS.API.STREAM.UPDATE.{name}"),
            format!("$JS.API.STREAM.DELETE.{name}"),
            format!("$JS.API.STREAM.PURGE.{name}"),
            format!("$JS.API.STREAM.MSG.DELETE.{name}"),
            format!("$JS.API.STREAM.RESTORE.{name}"),
            format!("$JS.API.STREAM.SNAPSHOT.{name}"),
            format!("$JS.API.STREAM.LEADER.STEPDOWN.{name}"),
            format!("$JS.API.STREAM.PEER.REMOVE.{name}"),
            format!("$JS.API.CONSUMER.DURABLE.CREATE.{name}.d"),
            format!("$JS.API.CONSUMER.LEADER.STEPDOWN.{name}.d"),
            format!("$JS.API.CONSUMER.PAUSE.{name}.d"),
        ]);
    }
    subjects
}

/// One subject of each kind, and who may publish there.
fn publishers(harness: &Harness) -> Vec<(String, Vec<Role>)> {
    let t = &harness.topology;
    let lane = Lane::Urgent;
    let mut subjects = vec![
        (t.intake_door(lane, 0), vec![Role::Ingest]),
        (
            t.intake_tick(lane, 0),
            vec![Role::Correlator, Role::RuleEngine],
        ),
        (t.intake_forwarded(Lane::Bulk, 0, 1), vec![Role::Correlator]),
        // Hints are forwarded in the bulk lane only.
        (t.intake_forwarded(lane, 0, 1), vec![]),
        (t.intake_replay(lane, 0), vec![Role::Notifier]),
        (t.events_door(lane, 0), vec![Role::Ingest]),
        (t.events_joined(lane, 0, 0), vec![Role::Correlator]),
        (t.events_tick(lane, 0), vec![Role::RuleEngine]),
        (t.events_replay(lane, 0), vec![Role::Notifier]),
        (t.escalations_step(0, 0), vec![Role::RuleEngine]),
        (t.rekeyed_step(0, 0), vec![Role::RuleEngine]),
        (t.deliveries_step(0), vec![Role::Notifier]),
        (t.deliveries_requeue(0), vec![Role::Notifier]),
        ("control.rules".into(), vec![Role::RuleEngine]),
        ("evidence.0".into(), vec![Role::Ingest]),
        ("deadletters.resolution".into(), vec![Role::Notifier]),
        ("escalations.g1.0.other".into(), vec![]),
        ("events.g1.urgent.0.other".into(), vec![]),
    ];
    for role in SERVICES.into_iter().filter(|role| *role != Role::Operator) {
        let name = role.as_str();
        subjects.push((format!("deadletters.{name}"), vec![role]));
        subjects.push((format!("audit.{name}"), vec![role]));
    }
    subjects
}

/// What every stream holds and how it is set up.
async fn picture(harness: &Harness, operator: &Bus) -> Vec<(String, u64, Vec<Bytes>)> {
    let mut streams = Vec::new();
    for stream in harness.topology.streams() {
        let info = operator.stream_info(&stream.name).await.unwrap();
        let records = read(operator, &stream.name).await;
        streams.push((
            stream.name,
            info.first_sequence,
            records.into_iter().map(|record| record.payload).collect(),
        ));
    }
    streams
}

async fn publish_what_is_allowed(harness: &Harness) {
    for role in SERVICES {
        let log = Log::new(&harness.bus(role).await);
        for (subject, allowed) in publishers(harness) {
            if allowed.contains(&role) {
                log.append(&subject, bytes(format!("{role:?}")), None)
                    .await
                    .unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_is_refused_to_every_service() {
    let harness = Harness::partitions(1).await;
    publish_what_is_allowed(&harness).await;
    let operator = harness.bus(Role::Operator).await;
    let before = picture(&harness, &operator).await;
    let stored: usize = before.iter().map(|(_, _, records)| records.len()).sum();
    assert!(stored > 20, "the allowed things work: {stored}");

    for role in SERVICES {
        let (client, complaints) = raw(&harness, role).await;
        let mut refused: BTreeSet<String> = mutations(&harness).into_iter().collect();
        refused.extend(
            publishers(&harness)
                .into_iter()
                .filter(|(_, allowed)| !allowed.contains(&role))
                .map(|(subject, _)| subject),
        );
        // One by one: the client keeps only so many complaints at a time.
        for subject in &refused {
            let reply = client.new_inbox();
            client
                .publish_with_reply(subject.clone(), reply, bytes("{}"))
                .await
                .unwrap();
            until(&format!("{role:?} is refused {subject}"), || {
                complained(&complaints, subject)
            })
            .await;
        }
    }
    assert_eq!(picture(&harness, &operator).await, before);
}

#[tokio::test]
async fn not_even_the_provisioner_deletes() {
    let harness = Harness::partitions(1).await;
    let (client, complaints) = raw(&harness, Role::Provisioner).await;
    for subject in mutations(&harness) {
        let created_or_updated =
            subject.contains("STREAM.CREATE.") || subject.contains("STREAM.UPDATE.");
        if created_or_updated {
            continue;
        }
        client.publish(subject.clone(), bytes("{}")).await.unwrap();
        until(&format!("refused {subject}"), || {
            complained(&complaints, &subject)
        })
        .await;
    }
}

#[tokio::test]
async fn no_role_hears_another_ones_answers() {
    let harness = Harness::partitions(1).await;
    for role in Role::ALL {
        let (client, complaints) = raw(&harness, role).await;
        let others = Role::ALL
            .into_iter()
            .filter(|other| *other != role)
            .map(|other| format!("{}.>", other.inbox_prefix()));
        let all = ["events.>", "_INBOX.>", "$JS.>", ">"].map(str::to_owned);
        for subject in others.chain(all) {
            let _held = client.subscribe(subject.clone()).await.unwrap();
            until(&format!("{role:?} is refused {subject}"), || {
                complained(&complaints, &subject)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_role_reads_its_own_streams_alone() {
    let harness = Harness::partitions(1).await;
    publish_what_is_allowed(&harness).await;
    let events = harness.topology.events_stream(Lane::Urgent, 0);
    let correlator = harness.bus(Role::Correlator).await;
    assert!(!read(&correlator, &events).await.is_empty());
    // Its own outputs, for the fence.
    let subject = harness.topology.events_joined(Lane::Urgent, 0, 0);
    let fence = Fence::new(&correlator, &events, &subject);
    assert!(fence.last().await.unwrap().is_some());
    let (client, _) = raw(&harness, Role::Ingest).await;
    for request in [
        format!("$JS.API.DIRECT.GET.{events}"),
        format!("$JS.API.STREAM.MSG.GET.{events}"),
        "$JS.API.STREAM.MSG.GET.EVIDENCE".into(),
    ] {
        let asked = client.request(request, bytes(r#"{"seq":1}"#));
        let answer = timeout(Duration::from_millis(300), asked).await;
        assert!(
            !matches!(answer, Ok(Ok(_))),
            "ingest reads what it must not"
        );
    }
}
