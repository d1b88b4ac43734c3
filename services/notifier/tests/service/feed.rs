//! The event feed: everything once, each receiver at its own pace, what is refused in a letter.

use std::time::Duration;

use balefire_bus::{Log, Role};
use balefire_event::{Category, DedupId, Event, Lane, Timestamp};
use balefire_notifier::Config;
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::receiver::Target;
use balefire_notifier_core::route::ReceiverEntry;
use balefire_wire::delivery::v1::ListReceiversRequest;
use balefire_wire::delivery::v1::receiver_service_client::ReceiverServiceClient;
use balefire_wire::{BatchWriter, Header, RecordRef};

use crate::receiver::{Act, Receiver};
use crate::world::{Notifier, World, entry, until};

const BACKOFF: Backoff = Backoff {
    attempts_max: 3,
    first: 20_000_000,
    cap: 100_000_000,
    retry_after_max: 2_000_000_000,
};

fn config(receivers: &[(&str, Target, &str)]) -> Config {
    let entries: Vec<_> = receivers
        .iter()
        .map(|(name, target, url)| ReceiverEntry {
            target: target.clone(),
            feed: true,
            ..entry(name, url)
        })
        .collect();
    let secrets: Vec<_> = receivers
        .iter()
        .map(|(_, target, _)| target.needs_secret().then(|| "token".to_owned()))
        .collect();
    Config::of(&entries, &secrets, BACKOFF, Duration::from_secs(2)).unwrap()
}

/// Writes events of these numbers as one message.
async fn put(world: &World, lane: Lane, numbers: &[u8]) {
    let named = numbers.iter().zip(names(numbers.iter().copied()));
    put_named(world, lane, named.map(|(id, name)| (*id, name))).await;
}

async fn put_named(world: &World, lane: Lane, events: impl IntoIterator<Item = (u8, String)>) {
    let mut batch = BatchWriter::default();
    for (id, name) in events {
        batch.push(RecordRef::Event(&Event {
            dedup_id: DedupId([id; 16]),
            event_id: name.into(),
            category: Category::JudgeFlag,
            occurred_at: Timestamp(1_770_820_200_000_000_000),
            ..Event::default()
        }));
    }
    let header = Header {
        tenant: "default".into(),
        ..Header::default()
    };
    let log = Log::new(&world.bus(Role::Ingest).await);
    let subject = world.topology.events_door(lane, 0);
    let payload = batch.finish(&header, None).into();
    log.append(&subject, payload, None).await.unwrap();
}

/// The numbers of the events that a webhook took, in order.
fn got(receiver: &Receiver) -> Vec<String> {
    let mut all = Vec::new();
    for request in receiver.requests() {
        let json = request.json();
        assert_eq!(json["type"], "events");
        for event in json["data"]["events"].as_array().unwrap() {
            all.push(event["event_id"].as_str().unwrap().to_owned());
        }
    }
    all
}

async fn lag(notifier: &Notifier, name: &str) -> (u64, String) {
    let mut client = ReceiverServiceClient::new(notifier.channel());
    let listed = client.list_receivers(ListReceiversRequest {}).await;
    let all = listed.unwrap().into_inner().receivers;
    let one = all.into_iter().find(|one| one.name == name).unwrap();
    (one.feed_lag, one.feed_error)
}

/// Waits until the feed knows where it begins: what comes then is fed.
async fn begun(world: &World, receiver: &Receiver) {
    until("the feed begins", async || {
        put(world, Lane::Normal, &[255]).await;
        (!receiver.requests().is_empty()).then_some(())
    })
    .await;
    put(world, Lane::Normal, &[254]).await;
    let is_last = |body: &[u8]| String::from_utf8_lossy(body).contains("event-254");
    until("all of the beginning", async || {
        let requests = receiver.requests();
        requests.iter().any(|one| is_last(&one.body)).then_some(())
    })
    .await;
}

fn names(numbers: impl IntoIterator<Item = u8>) -> Vec<String> {
    let each = numbers.into_iter();
    each.map(|number| format!("event-{number}")).collect()
}

fn without_begin(mut all: Vec<String>) -> Vec<String> {
    all.retain(|name| name != "event-255" && name != "event-254");
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_fed_once_over_a_restart_and_none_is_told_as_an_escalation() {
    let mut world = World::start().await;
    let siem = Receiver::good().await;
    let config = config(&[("siem", Target::Webhook, &siem.url)]);
    let notifier = world.notifier(&config).await;
    begun(&world, &siem).await;
    put(&world, Lane::Normal, &[1, 2, 3]).await;
    put(&world, Lane::Bulk, &[4, 5]).await;
    world.escalate(0, &[crate::world::escalation(1)]).await;
    notifier.settled(&world).await;
    until("five events", async || {
        (without_begin(got(&siem)).len() >= 5).then_some(())
    })
    .await;
    notifier.stop().await;
    put(&world, Lane::Normal, &[6]).await;
    let notifier = world.notifier(&config).await;
    put(&world, Lane::Urgent, &[7]).await;
    until("seven events", async || {
        (without_begin(got(&siem)).len() >= 7).then_some(())
    })
    .await;
    assert_eq!(without_begin(got(&siem)), names(1..=7));
    until("nothing lags", async || {
        (lag(&notifier, "siem").await.0 == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_full_whatever_messages_its_events_came_in() {
    let world = World::start().await;
    let siem = Receiver::good().await;
    let config = config(&[("siem", Target::Webhook, &siem.url)]);
    let notifier = world.notifier(&config).await;
    begun(&world, &siem).await;
    notifier.stop().await;
    let before = siem.requests().len();
    let all: Vec<_> = (0..1500).map(|number| format!("many-{number}")).collect();
    for message in all.chunks(750) {
        let events = message.iter().cloned().map(|name| (7, name));
        put_named(&world, Lane::Normal, events).await;
    }
    let notifier = world.notifier(&config).await;
    until("nothing lags", async || {
        let fed = got(&siem)
            .iter()
            .filter(|name| name.starts_with("many"))
            .count();
        (fed >= 1500 && lag(&notifier, "siem").await.0 == 0).then_some(())
    })
    .await;
    let events = |json: serde_json::Value| json["data"]["events"].as_array().unwrap().len();
    let requests = siem.requests().split_off(before);
    let sizes: Vec<_> = requests.iter().map(|one| events(one.json())).collect();
    // What of the beginning was not recorded goes again in front.
    let (last, full) = sizes.split_last().unwrap();
    let all_full = full.iter().all(|size| *size == 500);
    assert!(*last <= 500 && all_full, "{sizes:?}");
    let mut seen = got(&siem);
    seen.retain(|name| name.starts_with("many"));
    assert_eq!(seen.len(), 1500);
    let once: std::collections::BTreeSet<_> = seen.into_iter().collect();
    assert_eq!(once, all.into_iter().collect());
    // Where it stands is known: a restart gives nothing again.
    notifier.stop().await;
    let notifier = world.notifier(&config).await;
    put(&world, Lane::Normal, &[9]).await;
    until("the next", async || {
        got(&siem).contains(&"event-9".to_owned()).then_some(())
    })
    .await;
    let many = got(&siem)
        .into_iter()
        .filter(|name| name.starts_with("many"));
    assert_eq!(many.count(), 1500);
    notifier.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_down_lags_and_holds_up_nobody() {
    let world = World::start().await;
    let (up, down) = (
        Receiver::good().await,
        Receiver::start(&[], Act::Status(503)).await,
    );
    let config = config(&[
        ("up", Target::Webhook, &up.url),
        ("down", Target::Webhook, &down.url),
    ]);
    let notifier = world.notifier(&config).await;
    begun(&world, &up).await;
    put(&world, Lane::Normal, &[1, 2, 3]).await;
    until("all events", async || {
        (without_begin(got(&up)).len() >= 3).then_some(())
    })
    .await;
    until("what is wrong is said", async || {
        lag(&notifier, "down").await.1.contains("503").then_some(())
    })
    .await;
    assert!(notifier.open_letters().await.is_empty(), "it is no letter");
    let unanswering = async || notifier.counter("receivers_unanswering").await;
    assert_eq!(unanswering().await, 1, "people are told of such a one");
    down.otherwise(Act::Status(200));
    until("it catches up", async || {
        let seen = without_begin(got(&down));
        names(1..=3)
            .iter()
            .all(|name| seen.contains(name))
            .then_some(())
    })
    .await;
    until("all answer", async || {
        (unanswering().await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_refuses_is_a_letter_and_the_rest_of_its_batch_goes_on() {
    let world = World::start().await;
    let refused = r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#;
    let good = Act::Answer(200, r#"{"text":"Success","code":0}"#);
    let hec = Receiver::start(&[], good).await;
    let base = hec.url.trim_end_matches("/hook").to_owned();
    let config = config(&[("hec", Target::Splunk(Default::default()), &base)]);
    let notifier = world.notifier(&config).await;
    begun(&world, &hec).await;
    let before = hec.requests().len();
    hec.script(&[Act::Answer(400, refused)]);
    put(&world, Lane::Normal, &[1, 2, 3]).await;
    let letter = notifier.await_letters(1).await.remove(0).letter.unwrap();
    assert_eq!(
        (letter.reason.as_str(), letter.receiver.as_str()),
        ("feed_refused", "hec")
    );
    assert!(
        letter.detail.contains(&"02".repeat(16)),
        "{}",
        letter.detail
    );
    until("the rest", async || {
        (hec.requests().len() >= before + 2).then_some(())
    })
    .await;
    let bodies: Vec<String> = hec.requests()[before..]
        .iter()
        .map(|request| String::from_utf8(request.body.clone()).unwrap())
        .collect();
    for (body, has) in [
        (&bodies[0], [true, true, true]),
        (&bodies[1], [false, false, true]),
    ] {
        let seen = ["event-1\"", "event-2\"", "event-3\""].map(|name| body.contains(name));
        assert_eq!(seen, has);
    }
}
