//! Control objects act: live, in the order of the log, and who is not told is a record.

use std::collections::BTreeMap;
use std::time::Duration;

use balefire_bus::{Log, Role, topology};
use balefire_control::{Change, Key, Kind, Object, Spec, Value};
use balefire_event::{Escalation, EscalationId, EscalationKind, Severity, Timestamp};
use balefire_wire::delivery::v1::receiver_service_client::ReceiverServiceClient;
use balefire_wire::delivery::v1::{
    Delivery, ExplainRoutingRequest, ListDeliveriesRequest, ListReceiversRequest,
    TestReceiverRequest, Withheld,
};
use balefire_wire::log::v1::{Control, control};
use balefire_wire::{BatchWriter, Header, RecordRef};

use crate::receiver::{Act, Receiver};
use crate::world::{Notifier, World, config, escalation, until};

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn texts(all: &[&str]) -> Value {
    Value::Texts(all.iter().map(|one| (*one).to_owned()).collect())
}

/// Makes an object be so, or be gone.
async fn set(world: &World, kind: Kind, name: &str, spec: Option<&[(&str, Value)]>) -> u64 {
    let key = Key {
        tenant: "default".into(),
        kind,
        name: name.into(),
    };
    let who = (Timestamp(1), "someone".to_owned());
    let object = spec.map(|spec| Object {
        key: key.clone(),
        revision: 1,
        managed_by: String::new(),
        labels: BTreeMap::new(),
        created: who.clone(),
        updated: who.clone(),
        spec: spec
            .iter()
            .map(|(field, value)| ((*field).to_owned(), value.clone()))
            .collect::<Spec>(),
        control_revision: 0,
    });
    let change = Change {
        key,
        old_revision: 0,
        new_revision: 1,
        object,
        purpose: String::new(),
        overridden: false,
        request_id: String::new(),
        request_digest: [0; 32],
    };
    let control = Control {
        actor: "someone".into(),
        reason: "test".into(),
        at_ns: 1,
        change: Some(control::Change::ObjectChange((&change).into())),
    };
    let mut writer = BatchWriter::default();
    writer.push(RecordRef::Control(&control));
    let payload = writer.finish(&Header::default(), None);
    let log = Log::new(&world.bus(Role::RuleEngine).await);
    let subject = topology::CONTROL_OBJECTS;
    let place = log.append(subject, payload.into(), None).await;
    place.unwrap().sequence
}

async fn in_force(notifier: &Notifier, revision: u64) {
    until("the revision is in force", async || {
        (notifier.counter("control_revision").await >= revision).then_some(())
    })
    .await;
}

async fn deliveries(notifier: &Notifier) -> Vec<Delivery> {
    let request = ListDeliveriesRequest::default();
    let listed = notifier.deliveries().list_deliveries(request).await;
    listed.unwrap().into_inner().deliveries
}

async fn why(notifier: &Notifier, id: u8) -> Vec<(String, Withheld, String)> {
    let all = deliveries(notifier).await.into_iter();
    all.filter_map(|delivery| delivery.intent)
        .filter(|intent| *intent.escalation_id == [id; 16])
        .map(|intent| {
            let withheld = intent.withheld();
            (intent.receiver, withheld, intent.withheld_by)
        })
        .collect()
}

fn receiver_spec(url: &str) -> Vec<(&'static str, Value)> {
    vec![("url", text(url)), ("allow_loopback", Value::Flag(true))]
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_act_within_a_second_and_survive_a_restart() {
    let mut world = World::start().await;
    let (file, object) = (Receiver::good().await, Receiver::good().await);
    let config = config(&[("file", &file.url)]);
    let notifier = world.notifier(&config).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    let spec = receiver_spec(&object.url);
    set(&world, Kind::Receiver, "object", Some(&spec)).await;
    let route = [
        ("receivers", texts(&["object"])),
        ("severity_min", text("high")),
    ];
    let revision = set(&world, Kind::Route, "high", Some(&route)).await;
    let written = tokio::time::Instant::now();
    in_force(&notifier, revision).await;
    let took = written.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let low = Escalation {
        severity: Severity::Low,
        ..escalation(3)
    };
    world.escalate(0, &[escalation(2), low]).await;
    notifier.settled(&world).await;
    assert_eq!(file.taken(), ["01".repeat(16)], "the default table");
    assert_eq!(object.taken(), ["02".repeat(16)], "the route");
    let nobody = [(String::new(), Withheld::NoRoute, String::new())];
    assert_eq!(why(&notifier, 3).await, nobody);
    notifier.stop().await;
    let notifier = world.notifier(&config).await;
    world.escalate(1, &[escalation(4)]).await;
    notifier.settled(&world).await;
    assert_eq!(object.taken(), ["02".repeat(16), "04".repeat(16)]);
    let revision = set(&world, Kind::Route, "high", None).await;
    in_force(&notifier, revision).await;
    world.escalate(1, &[escalation(5)]).await;
    notifier.settled(&world).await;
    assert_eq!(file.taken().len(), 2, "no route, so the default again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silenced_or_grouped_is_a_record_with_the_reason() {
    let mut world = World::start().await;
    let receiver = Receiver::good().await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    let silence = [
        ("ends_at", text("2100-01-01T00:00:00Z")),
        ("reason", text("work on the gateway")),
        ("severity_max", text("high")),
    ];
    let revision = set(&world, Kind::Silence, "gateway", Some(&silence)).await;
    in_force(&notifier, revision).await;
    let critical = Escalation {
        severity: Severity::Critical,
        ..escalation(2)
    };
    world.escalate(0, &[escalation(1), critical]).await;
    notifier.settled(&world).await;
    assert_eq!(receiver.taken(), ["02".repeat(16)]);
    let soc = || "soc".to_owned();
    let silenced = [(soc(), Withheld::Silenced, "gateway".to_owned())];
    assert_eq!(why(&notifier, 1).await, silenced);
    set(&world, Kind::Silence, "gateway", None).await;
    let route = [
        ("receivers", texts(&["soc"])),
        ("group_by", texts(&["rule"])),
    ];
    let revision = set(&world, Kind::Route, "all", Some(&route)).await;
    in_force(&notifier, revision).await;
    world.escalate(0, &[escalation(3), escalation(4)]).await;
    notifier.settled(&world).await;
    assert_eq!(receiver.taken().len(), 2);
    let grouped = [(soc(), Withheld::Grouped, "03".repeat(16))];
    assert_eq!(why(&notifier, 4).await, grouped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_in_force_says_so_and_holds_nobody_up() {
    let mut world = World::start().await;
    let receiver = Receiver::good().await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    let spec = [
        ("url", text("https://soc.example/hook")),
        ("secret_env", text("PATH")),
    ];
    let revision = set(&world, Kind::Receiver, "thief", Some(&spec)).await;
    in_force(&notifier, revision).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    assert_eq!(receiver.taken(), ["01".repeat(16)]);
    let mut client = ReceiverServiceClient::new(notifier.channel());
    let listed = client
        .list_receivers(ListReceiversRequest {})
        .await
        .unwrap();
    let faults: Vec<_> = listed
        .into_inner()
        .receivers
        .into_iter()
        .map(|one| (one.name, one.fault))
        .collect();
    assert_eq!(faults[0], ("soc".into(), String::new()));
    assert_eq!(faults[1].0, "thief");
    assert!(faults[1].1.contains("BALEFIRE_SECRET_"), "{faults:?}");
    let request = TestReceiverRequest {
        name: "thief".into(),
    };
    let refused = client.test_receiver(request).await.unwrap_err();
    assert!(refused.message().contains("BALEFIRE_SECRET_"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_tried_out_and_routing_is_explained_without_telling_anyone() {
    let world = World::start().await;
    let receiver = Receiver::start(&[Act::Status(500)], Act::Status(200)).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    let mut client = ReceiverServiceClient::new(notifier.channel());
    for verdict in ["retry", "delivered"] {
        let request = TestReceiverRequest { name: "soc".into() };
        let tested = client.test_receiver(request).await.unwrap().into_inner();
        assert_eq!(tested.calls.len(), 1);
        assert_eq!(tested.calls[0].verdict, verdict);
    }
    let told = receiver.requests()[1].json();
    assert!(
        told["data"]["title"]
            .as_str()
            .unwrap()
            .contains("nothing happened")
    );
    let request = ExplainRoutingRequest {
        escalation: Some((&escalation(1)).into()),
    };
    let explained = client.explain_routing(request).await.unwrap().into_inner();
    assert_eq!(explained.intents.len(), 1);
    assert_eq!(explained.reasons[0].about, "receiver soc");
    assert_eq!(receiver.requests().len(), 2);
    assert!(deliveries(&notifier).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_an_escalation_is_told_in_order_and_once_an_episode_ended() {
    let mut world = World::start().await;
    let pager = Receiver::start(&[Act::Answer(503, "")], Act::Answer(202, "{}")).await;
    let config = crate::targets::config(vec![(
        balefire_notifier_core::receiver::Target::Pagerduty(Default::default()),
        pager.url.trim_end_matches("/hook"),
        "R123",
    )]);
    let notifier = world.notifier(&config).await;
    let step = |id: u8, kind: EscalationKind| Escalation {
        kind,
        episode_id: EscalationId([1; 16]),
        revision: u32::from(kind == EscalationKind::Closed),
        ..escalation(id)
    };
    world
        .escalate(
            0,
            &[
                step(1, EscalationKind::Raised),
                step(2, EscalationKind::Continued),
                step(1, EscalationKind::Closed),
            ],
        )
        .await;
    notifier.settled(&world).await;
    world.escalate(0, &[step(2, EscalationKind::Closed)]).await;
    notifier.settled(&world).await;
    let said: Vec<_> = pager
        .requests()
        .iter()
        .map(|request| {
            let json = request.json();
            assert_eq!(json["dedup_key"], "01".repeat(16));
            json["event_action"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(said, ["trigger", "trigger", "trigger", "resolve"]);
    let open = why(&notifier, 1).await;
    let withheld = (
        "pagerduty".to_owned(),
        Withheld::EpisodeOpen,
        "02".repeat(16),
    );
    assert_eq!(open[1], withheld);
}
