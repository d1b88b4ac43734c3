//! Rules as control objects: a change is in force in every instance, without a restart.

use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
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

pub fn of_rule(name: &str, yaml: String) -> wire::Object {
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
