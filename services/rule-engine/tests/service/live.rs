//! Rules as control objects: a change is in force in every instance, without a restart.

use std::collections::BTreeSet;

use balefire_event::{BarrierId, Event};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use balefire_wire::escalation::v1::AwaitBarrierRequest;
use balefire_wire::rule::v1::ListRulesRequest;
use balefire_wire::rule::v1::rule_service_client::RuleServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::objects::rule;
use crate::world::{World, block, until};

async fn in_force(channel: &Channel) -> Vec<String> {
    let mut rules = RuleServiceClient::new(channel.clone());
    match rules.list_rules(ListRulesRequest {}).await {
        Ok(answer) => answer
            .into_inner()
            .rules
            .into_iter()
            .map(|rule| rule.name)
            .collect(),
        Err(_) => Vec::new(),
    }
}

fn of_rule(name: &str, yaml: String) -> wire::Object {
    wire::Object {
        name: name.into(),
        spec: Some(wire::Spec {
            kind: Some(wire::spec::Kind::Rule(wire::RuleSpec {
                yaml,
                ..Default::default()
            })),
        }),
        ..Default::default()
    }
}

async fn disable(
    client: &mut ControlServiceClient<Channel>,
    until: String,
) -> Result<(), tonic::Status> {
    let mut object = of_rule("prompt_attack", String::new());
    if let Some(wire::spec::Kind::Rule(rule)) =
        object.spec.as_mut().and_then(|spec| spec.kind.as_mut())
    {
        rule.disabled_until = until;
        rule.disabled_reason = "noise".into();
    }
    let request = wire::UpdateObjectRequest {
        object: Some(object),
        update_mask: vec!["spec.disabled_until".into(), "spec.disabled_reason".into()],
        r#override: true,
        ..Default::default()
    };
    client.update_object(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_object_is_in_force_in_every_instance_and_escalates() {
    let world = World::start().await;
    let (one, two) = (world.engine(false).await, world.engine(false).await);
    until("both", async || {
        (in_force(&one.channel).await.len() == 4 && in_force(&two.channel).await.len() == 4)
            .then_some(())
    })
    .await;
    let mut client = ControlServiceClient::new(one.channel.clone());
    let each = rule("each_block", "high").replace("prompt_attack", "guardrail_block");
    let request = wire::CreateObjectRequest {
        object: Some(of_rule("each_block", each)),
        ..Default::default()
    };
    let made = client
        .create_object(request)
        .await
        .unwrap()
        .into_inner()
        .object
        .unwrap();
    for engine in [&one, &two] {
        until("the rule in force", async || {
            in_force(&engine.channel)
                .await
                .contains(&"each_block".to_owned())
                .then_some(())
        })
        .await;
    }
    two.stop().await;
    let mut event = block("e-1", "u", 0);
    event.control_revision = made.control_revision;
    world.append_under(&[event], made.control_revision).await;
    assert_eq!(one.listed(1).await[0].rule_name, "each_block");
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_a_fault_is_refused_with_its_line_and_nothing_changes() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    until("the baseline", async || {
        (in_force(&engine.channel).await.len() == 4).then_some(())
    })
    .await;
    let mut client = ControlServiceClient::new(engine.channel.clone());
    let faulty = rule("faulty", "high").replace("condition: selection", "condition: nothing");
    // A name that a rule of another object has already.
    let twice = rule("prompt_attack", "high");
    for (name, yaml) in [("faulty", faulty), ("mine", twice)] {
        let request = wire::CreateObjectRequest {
            object: Some(of_rule(name, yaml)),
            ..Default::default()
        };
        let refused = client.create_object(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(".yml:"), "{refused}");
    }
    assert_eq!(in_force(&engine.channel).await.len(), 4);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_rule_is_out_of_force_until_its_time_comes_and_a_restart_does_not_bring_it_back()
{
    let world = World::start().await;
    let engine = world.engine(false).await;
    until("the baseline", async || {
        (in_force(&engine.channel).await.len() == 4).then_some(())
    })
    .await;
    let mut client = ControlServiceClient::new(engine.channel.clone());
    disable(&mut client, "2100-01-01T00:00:00Z".into())
        .await
        .unwrap();
    assert_eq!(in_force(&engine.channel).await.len(), 3);
    engine.stop().await;
    // It starts with the baseline as its folder of rules again.
    let engine = world.engine(false).await;
    until("three rules", async || {
        (in_force(&engine.channel).await.len() == 3).then_some(())
    })
    .await;
    let mut client = ControlServiceClient::new(engine.channel.clone());
    disable(&mut client, "2020-01-01T00:00:00Z".into())
        .await
        .unwrap();
    until("its time", async || {
        (in_force(&engine.channel).await.len() == 4).then_some(())
    })
    .await;
    engine.stop().await;
}

/// A burst of blocks by user.
const BURSTS: &str = "title: any block
id: 00000000-0000-4000-8000-0000000000a1
name: any_block
level: low
logsource: {product: ai_security}
detection: {selection: {category: guardrail_block}, condition: selection}
---
title: burst of a user
id: 00000000-0000-4000-8000-0000000000a2
name: user_burst
level: high
correlation: {type: event_count, rules: [any_block], group-by: [user_id], timespan: 5m, condition: {gt: 4}}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_learnt_later_counts_what_came_before_and_the_other_windows_stay() {
    let world = World::start().await;
    let engine = world.engine(true).await;
    let on_model = |number: i64| Event {
        model: "m".into(),
        ..block(&format!("e-{number:04}"), "u", number)
    };
    let before: Vec<_> = (0..10).map(on_model).collect();
    world.append(&before).await;
    let behind = BarrierId([9; 16]);
    world.barrier(behind).await;
    let request = AwaitBarrierRequest {
        barrier_id: behind.0.to_vec().into(),
    };
    engine.client.clone().await_barrier(request).await.unwrap();
    assert_eq!(engine.list().await, [], "ten blocks are not more than ten");
    let request = wire::CreateObjectRequest {
        object: Some(of_rule("bursts", BURSTS.to_owned())),
        ..Default::default()
    };
    let mut client = ControlServiceClient::new(engine.channel.clone());
    let made = client.create_object(request).await.unwrap().into_inner();
    let revision = made.object.unwrap().control_revision;
    let mut last = on_model(10);
    last.control_revision = revision;
    world.append_under(&[last], revision).await;
    let found = engine.listed(2).await;
    let names: BTreeSet<&str> = found.iter().map(|one| one.rule_name.as_str()).collect();
    let wanted = BTreeSet::from(["guardrail_block_burst", "user_burst"]);
    assert_eq!(names, wanted);
    assert!(
        found.iter().all(|one| one.event_count > one.threshold),
        "{found:?}"
    );
    engine.stop().await;
    // A checkpoint from before and a lost store give no more.
    let engine = world.engine(false).await;
    world.barrier(BarrierId([8; 16])).await;
    let request = AwaitBarrierRequest {
        barrier_id: vec![8; 16].into(),
    };
    engine.client.clone().await_barrier(request).await.unwrap();
    assert_eq!(engine.list().await.len(), 2);
    engine.stop().await;
}
