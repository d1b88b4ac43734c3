//! Creating and checking streams.

use async_nats::jetstream::{self, stream};
use balefire_bus::{
    Bus, Credential, Error, Role, Server, ServerOptions, SyncProof, Topology, Verification,
    provision,
};
use balefire_event::Lane;

use crate::harness::Harness;

#[tokio::test]
async fn every_role_verifies_what_the_provisioner_made() {
    let harness = Harness::partitions(2).await;
    for role in Role::ALL {
        let bus = harness.bus(role).await;
        let found = provision::discover(&bus).await.unwrap();
        assert_eq!(found, Some(harness.topology));
        provision::verify(
            &bus,
            &harness.topology,
            &Verification::strict(harness.server.sync_proof()),
        )
        .await
        .unwrap();
    }
    // Once more changes nothing.
    let bus = harness.bus(Role::Provisioner).await;
    provision::create(&bus, &harness.topology).await.unwrap();
}

#[tokio::test]
async fn another_partition_count_is_refused_by_name() {
    let harness = Harness::partitions(2).await;
    let bus = harness.bus(Role::Provisioner).await;
    let other = Topology::new(4).unwrap();
    let refused = provision::create(&bus, &other).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Partitions {
                asked: 4,
                existing: 2,
                ..
            }
        ),
        "{refused}"
    );
    let fewer = Topology::new(1).unwrap();
    let refused = provision::verify(&bus, &fewer, &Verification::strict(SyncProof::Child))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Partitions { .. }), "{refused}");
}

async fn open_server(sync_always: bool) -> (Server, Bus, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        sync_always,
        ..ServerOptions::new(dir.path().to_owned())
    };
    let server = Server::start(options).await.unwrap();
    let bus = Bus::connect(server.url(), &Credential::none(Role::Provisioner), "open")
        .await
        .unwrap();
    (server, bus, dir)
}

#[tokio::test]
async fn a_weak_stream_is_refused_with_its_setting() {
    let (server, bus, _dir) = open_server(true).await;
    let topology = Topology::new(1).unwrap();
    let weak = topology.events_stream(Lane::Urgent, 0);
    let client = async_nats::connect(server.url()).await.unwrap();
    jetstream::new(client)
        .create_stream(stream::Config {
            name: weak.clone(),
            subjects: vec!["events.g1.urgent.0.>".into()],
            deny_delete: true,
            deny_purge: true,
            ..stream::Config::default()
        })
        .await
        .unwrap();
    provision::create(&bus, &topology).await.unwrap();
    let mut verification = Verification::strict(SyncProof::Child);
    let refused = provision::verify(&bus, &topology, &verification)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains(&weak) && refused.contains("discard"),
        "{refused}"
    );
    verification.allow_lossy = true;
    provision::verify(&bus, &topology, &verification)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_copy_needs_a_proof_of_sync() {
    for sync_always in [true, false] {
        let (server, bus, _dir) = open_server(sync_always).await;
        let topology = Topology::new(1).unwrap();
        provision::create(&bus, &topology).await.unwrap();
        let monitored = SyncProof::Monitoring(server.monitoring_url().to_owned());
        let proofs = [
            (SyncProof::Unknown, false),
            (SyncProof::Confirmed, true),
            (monitored, sync_always),
        ];
        for (sync, believed) in proofs {
            let verification = Verification {
                sync,
                allow_lossy: false,
            };
            let outcome = provision::verify(&bus, &topology, &verification).await;
            match outcome {
                Ok(()) => assert!(believed, "{verification:?}"),
                Err(Error::SyncUnproven { .. }) => assert!(!believed, "{verification:?}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn missing_streams_are_named() {
    let (_server, bus, _dir) = open_server(true).await;
    let topology = Topology::new(1).unwrap();
    assert_eq!(provision::discover(&bus).await.unwrap(), None);
    let refused = provision::verify(&bus, &topology, &Verification::strict(SyncProof::Child))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::StreamMissing { .. }), "{refused}");
}
