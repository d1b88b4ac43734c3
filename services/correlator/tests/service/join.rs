//! Joins, holds, amendments, barriers and coverage.

use std::collections::BTreeMap;

use balefire_event::time::{HOUR, SECOND};
use balefire_event::{BarrierId, Lane};
use balefire_kit::{Authenticator, Listeners, serve};
use balefire_wire::join::v1::join_service_client::JoinServiceClient;
use balefire_wire::join::v1::{
    GetChainRequest, GetJoinCoverageRequest, GroupCoverage, SourceCoverage,
};

use tonic::transport::Channel;

use crate::harness::{DEADLINE, Harness, PARTITIONS, earlier, event, hint, seen, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_before_and_after_the_event_both_join_it() {
    let harness = Harness::start().await;
    let correlator = harness.correlator(HOUR, None).await;
    harness.hint(&hint("alice", &["request:r1"])).await;
    harness.event(&event("e1", &["request:r1"])).await;
    harness.event(&event("e2", &["trace:t2"])).await;
    harness.hint(&hint("bob", &["trace:t2"])).await;
    harness
        .expect(vec![
            seen("e1", Some("alice"), false),
            seen("e2", Some("bob"), false),
        ])
        .await;
    correlator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_itself_and_a_later_identity_amends() {
    let harness = Harness::start().await;
    let correlator = harness.correlator(SECOND / 10, None).await;
    harness.event(&event("e1", &["request:r1"])).await;
    harness.expect(vec![seen("e1", None, false)]).await;
    let mut late = hint("alice", &["request:r1"]);
    late.facts = vec![("model".into(), "gpt-4o".into())];
    harness.hint(&late).await;
    let mut amended = seen("e1", Some("alice"), true);
    amended.filled.push("model".into());
    harness.expect(vec![seen("e1", None, false), amended]).await;
    correlator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_partition_leads_to_the_event() {
    let harness = Harness::start().await;
    let correlator = harness.correlator(HOUR, None).await;
    let mut wanted = Vec::new();
    // Eight sessions and eight requests: some of each pair lie in different partitions.
    for n in 0..8u32 {
        let (name, user) = (format!("e{n}"), format!("u{n}"));
        let (request, session) = (format!("request:r{n}"), format!("session:s{n}"));
        let named = hint(&user, &[&session]);
        if n.is_multiple_of(2) {
            // Cached long ago: what is forwarded reaches the event all the same.
            harness.hint(&earlier(named.clone(), 800 * SECOND)).await;
        }
        harness.event(&event(&name, &[&request, &session])).await;
        if n % 2 == 1 {
            harness.hint(&named).await;
        }
        wanted.push(seen(&name, Some(&user), false));
    }
    harness.expect(wanted).await;
    correlator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_comes_out_in_every_lane_behind_the_holds() {
    let harness = Harness::start().await;
    let correlator = harness.correlator(HOUR, None).await;
    harness.event(&event("e1", &["request:r1"])).await;
    let id = BarrierId([7; 16]);
    harness.barrier(id).await;
    let every: BTreeMap<(Lane, u32), u32> = (0..PARTITIONS)
        .flat_map(|partition| Lane::ALL.iter().map(move |&lane| (lane, partition)))
        .map(|place| (place, PARTITIONS))
        .collect();
    until("the barrier is out", async || {
        harness.barriers(id).await == every
    })
    .await;
    assert_eq!(harness.seen().await, [seen("e1", None, false)]);
    correlator.stop().await;
}

/// Coverage of the one source, and how much is held and kept.
async fn covered(client: &JoinServiceClient<Channel>) -> (SourceCoverage, u64, u64) {
    let request = GetJoinCoverageRequest {};
    let coverage = client.clone().get_join_coverage(request).await.unwrap();
    let coverage = coverage.into_inner();
    let source = coverage.sources.first().cloned().unwrap_or_default();
    (source, coverage.held, coverage.identities)
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_counts_what_was_joined_and_what_was_not() {
    let harness = Harness::start().await;
    let running = harness.correlator(SECOND / 10, None).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let listeners = Listeners::bind(any, any).await.unwrap();
    let address = format!("http://{}", listeners.grpc.local_addr().unwrap());
    let url = harness.server.url().to_owned();
    let stop = running.shutdown.clone();
    let serving = tokio::spawn(async move {
        let services = vec![running.service];
        serve(
            listeners,
            services,
            Authenticator::open(),
            None,
            &url,
            running.shutdown,
        )
        .await
    });
    harness.hint(&hint("alice", &["request:r1"])).await;
    harness.event(&event("e1", &["request:r1"])).await;
    harness.event(&event("e2", &["request:r2"])).await;
    let alone = seen("e2", None, false);
    let joined = seen("e1", Some("alice"), false);
    harness.expect(vec![joined, alone]).await;
    let client = JoinServiceClient::connect(address).await.unwrap();
    let mut wanted = SourceCoverage {
        source: "app".into(),
        events: 2,
        joined: 1,
        partial: 1,
        amended: 0,
        conflicting: 0,
    };
    until("coverage tells", async || {
        covered(&client).await == (wanted.clone(), 0, 1)
    })
    .await;
    harness.hint(&hint("bob", &["request:r1"])).await;
    // Bob's record, and alice's once more: they are in conflict now.
    (wanted.amended, wanted.conflicting) = (2, 1);
    until("the conflict shows", async || {
        covered(&client).await == (wanted.clone(), 0, 2)
    })
    .await;
    // e1 is in doubt; e2 nobody's, and carries a request id.
    let request = GetJoinCoverageRequest {};
    let told = client.clone().get_join_coverage(request).await.unwrap();
    let groups = told.into_inner().groups;
    let of = |group: &GroupCoverage| (group.human, group.conflicting, group.nobody);
    assert_eq!(groups.iter().map(of).collect::<Vec<_>>(), [(0, 1, 1)]);
    let ask = |id: &str, since_ns| GetChainRequest {
        id: id.to_owned(),
        since_ns,
    };
    let chain = client.clone().get_chain(ask("r1", 0)).await.unwrap();
    let chain = chain.into_inner();
    assert_eq!(chain.links.len(), 1, "three records of one event");
    assert_eq!(chain.links[0].users.len(), 2);
    assert_eq!(chain.links[0].naming, "conflicting");
    assert!(chain.missing[0].contains("disagree"), "{:?}", chain.missing);
    let later = balefire_kit::clock::now().plus(HOUR).0;
    for (id, since) in [("r9", 0), ("r1", later)] {
        let chain = client.clone().get_chain(ask(id, since)).await.unwrap();
        assert!(chain.into_inner().links.is_empty(), "{id}");
    }
    let refused = client.clone().get_chain(ask(" ", 0)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    stop.cancel();
    let served = tokio::time::timeout(DEADLINE, serving).await.unwrap();
    served.unwrap().unwrap();
}
