//! Who makes too many calls of the ControlService is told when to come again, and then may.

use balefire_control::Kind;
use balefire_rule_engine::{Pace, baseline_files};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::world::{World, until};

type Client = ControlServiceClient<tonic::transport::Channel>;

async fn create(client: &mut Client, name: &str) -> Result<(), Status> {
    let spec = [(
        "title".to_owned(),
        balefire_control::Value::Text(name.into()),
    )];
    let object = wire::Object {
        name: name.into(),
        spec: Some(wire::Spec::of(Kind::Tenant, &spec.into())),
        ..wire::Object::default()
    };
    let request = wire::CreateObjectRequest {
        object: Some(object),
        ..Default::default()
    };
    client.create_object(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_rate_a_caller_is_told_when_to_come_again() {
    let world = World::start().await;
    let pace = Pace {
        changes_per_second: 1,
        ..Pace::default()
    };
    let engine = world.engine_paced(baseline_files(), false, pace).await;
    engine.ready().await;
    let mut client = ControlServiceClient::new(engine.channel.clone());
    let mut made = 0;
    let refused = loop {
        match create(&mut client, &format!("t{made}")).await {
            Ok(()) => made += 1,
            Err(status) => break status,
        }
        assert!(made < 100, "nobody is refused");
    };
    assert!(made >= 5, "five seconds' worth may come at once: {made}");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("--changes-per-second"));
    let details = refused.get_error_details();
    let quota = details.quota_failure().expect("the limit is named");
    assert_eq!(quota.violations[0].subject, "changes-per-second");
    let told = details.retry_info().and_then(|info| info.retry_delay);
    let told = told.expect("when to come again");
    assert!(told.as_millis() > 0 && told.as_secs() <= 1, "{told:?}");
    // Reads have a rate of their own.
    let request = wire::ListObjectsRequest::default();
    let listed = client.list_objects(request).await.unwrap().into_inner();
    assert!(listed.objects.len() >= made);
    until("a change again", async || {
        create(&mut client, "again").await.ok()
    })
    .await;
    engine.stop().await;
}
