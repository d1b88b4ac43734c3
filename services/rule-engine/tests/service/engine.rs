//! What the service does for its callers.

use crate::world::{World, block, blocks, until};
use balefire_bus::{Log, Role, topology};
use balefire_event::{BarrierId, Lane};
use balefire_wire::escalation::v1::{
    AwaitBarrierRequest, EscalationFilter, ListEscalationsRequest, WatchEscalationsRequest,
};
use balefire_wire::log::v1::record::Kind;
use balefire_wire::rule::v1::ListRulesRequest;
use balefire_wire::rule::v1::rule_service_client::RuleServiceClient;
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef, RecordView};

#[tokio::test(flavor = "multi_thread")]
async fn eleventh_block_escalates_and_a_restart_repeats_nothing() {
    let world = World::start().await;
    let engine = world.engine(true).await;
    world.append(&blocks("mallory", 0..10)).await;
    world.append(&blocks("trent", 0..11)).await;
    let first = engine.listed(1).await;
    assert_eq!(first[0].event_count, 11);
    engine.stop().await;
    for store in [true, false] {
        let engine = world.engine(store).await;
        assert_eq!(engine.listed(1).await, first, "with store: {store}");
        engine.stop().await;
    }
    let engine = world.engine(true).await;
    world.append(&blocks("mallory", 10..11)).await;
    let both = engine.listed(2).await;
    assert_eq!(both.len(), 2);
    assert!(both.contains(&first[0]));
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_what_was_and_what_comes() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    world.append(&blocks("u", 0..11)).await;
    engine.listed(1).await;
    let request = WatchEscalationsRequest {
        filter: None,
        include_past: true,
    };
    let mut watched = engine
        .client
        .clone()
        .watch_escalations(request)
        .await
        .unwrap()
        .into_inner();
    let mut next = async || {
        watched
            .message()
            .await
            .unwrap()
            .unwrap()
            .escalation
            .unwrap()
    };
    let past = next().await;
    world.append(&blocks("v", 0..11)).await;
    let coming = next().await;
    let key = |entry: &balefire_wire::escalation::v1::EscalationEntry| {
        entry.escalation.as_ref().unwrap().key[0].canonical.clone()
    };
    assert_ne!(key(&past), key(&coming));
    drop(watched);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_filters_lose_and_repeat_nothing() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    for user in 0..7 {
        world.append(&blocks(&format!("user{user}"), 0..11)).await;
    }
    let all = engine.listed(7).await;
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListEscalationsRequest {
            page_size: 3,
            page_token,
            ..Default::default()
        };
        let page = engine
            .client
            .clone()
            .list_escalations(request)
            .await
            .unwrap()
            .into_inner();
        assert!(page.escalations.len() <= 3);
        paged.extend(
            page.escalations
                .into_iter()
                .filter_map(|entry| entry.escalation),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_wrong_is_refused_and_one_that_is_right_filters() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    for user in ["user3", "user4"] {
        world.append(&blocks(user, 0..11)).await;
    }
    engine.listed(2).await;
    let of = async |filter: EscalationFilter| {
        let request = ListEscalationsRequest {
            filter: Some(filter),
            ..Default::default()
        };
        engine.client.clone().list_escalations(request).await
    };
    let user = |user: &str| EscalationFilter {
        user: user.into(),
        ..Default::default()
    };
    assert_eq!(
        of(user("user3"))
            .await
            .unwrap()
            .into_inner()
            .escalations
            .len(),
        1
    );
    assert_eq!(
        of(user("nobody"))
            .await
            .unwrap()
            .into_inner()
            .escalations
            .len(),
        0
    );
    let critical = EscalationFilter {
        severity_min: 4,
        ..Default::default()
    };
    assert_eq!(
        of(critical).await.unwrap().into_inner().escalations.len(),
        0
    );
    let wrong = EscalationFilter {
        severity_min: 9,
        ..Default::default()
    };
    assert_eq!(
        of(wrong).await.unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_comes_out_behind_everything() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    world.append(&blocks("u", 0..11)).await;
    let id = BarrierId([3; 16]);
    world.barrier(id).await;
    let request = AwaitBarrierRequest {
        barrier_id: id.0.to_vec().into(),
    };
    let answer = engine
        .client
        .clone()
        .await_barrier(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.partitions, crate::world::PARTITIONS);
    assert_eq!(engine.list().await.len(), 1);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_batch_becomes_a_dead_letter_and_the_partition_goes_on() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    for partition in 0..crate::world::PARTITIONS {
        world
            .raw(Lane::Normal, partition, b"\xff\xff not a batch".to_vec())
            .await;
    }
    world.append(&blocks("u", 0..11)).await;
    engine.listed(1).await;
    let operator = Log::new(&world.bus(Role::Operator).await);
    let letters = until("the dead letters", async || {
        let mut tail = operator.read_all(topology::DEADLETTERS, 1).await.unwrap();
        let mut letters = Vec::new();
        while let Some(message) = tail.next().await.unwrap() {
            let batch = BatchView::parse(&message.payload).unwrap();
            for record in batch.records() {
                if let RecordView::Other(Kind::DeadLetter(letter)) = record.unwrap() {
                    letters.push(letter);
                }
            }
        }
        (letters.len() >= 2).then_some(letters)
    })
    .await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].stage, "rule-engine");
    assert_eq!(letters[0].payload, b"\xff\xff not a batch".as_slice());
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_under_an_unknown_control_revision_waits_for_the_control_log() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    world.append(&blocks("u", 0..10)).await;
    // Stamped by an ingest that has read a control record which the engine has not.
    let mut later = block("u-late", "u", 10);
    later.control_revision = 2;
    world.append_under(&[later], 2).await;
    until("a blocked partition", async || {
        let mut status = balefire_wire::status::v1::status_service_client::StatusServiceClient::new(
            engine.channel.clone(),
        );
        let answer = status
            .get_status(balefire_wire::status::v1::GetStatusRequest {})
            .await
            .ok()?;
        let services = answer.into_inner().services;
        services[0]
            .partitions
            .iter()
            .any(|p| p.state.starts_with("blocked"))
            .then_some(())
    })
    .await;
    assert_eq!(engine.list().await, []);
    let control = balefire_wire::log::v1::Control {
        actor: "test".into(),
        reason: "a revision that changes no rule".into(),
        at_ns: 0,
        change: Some(balefire_wire::log::v1::control::Change::EngineVersion(1)),
    };
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Control(&control));
    let log = Log::new(&world.bus(Role::RuleEngine).await);
    let payload = writer.finish(&Header::default(), None);
    log.append(topology::CONTROL_RULES, payload.into(), None)
        .await
        .unwrap();
    engine.listed(1).await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_in_force_are_listed() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    let mut rules = RuleServiceClient::new(engine.channel.clone());
    let answer = rules
        .list_rules(ListRulesRequest {})
        .await
        .unwrap()
        .into_inner();
    let names: Vec<&str> = answer.rules.iter().map(|rule| rule.name.as_str()).collect();
    let baseline = [
        "agent_tool_outside_allowlist",
        "guardrail_block_burst",
        "judge_flag_burst",
        "prompt_attack",
    ];
    assert_eq!(names, baseline);
    assert_eq!(answer.control_revision, 1);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_a_watcher_is_told_to_come_again() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    engine.listed(0).await;
    let watch = async || {
        let mut client = engine.client.clone();
        client
            .watch_escalations(WatchEscalationsRequest::default())
            .await
    };
    let mut open = Vec::new();
    let refused = loop {
        match watch().await {
            Ok(stream) => open.push(stream),
            Err(refused) => break refused,
        }
        assert!(open.len() < 1000, "no limit");
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    // Who leaves makes room.
    open.pop();
    until("a place", async || watch().await.ok()).await;
    drop(open);
    engine.stop().await;
}
