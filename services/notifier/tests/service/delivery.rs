use std::time::Duration;

use balefire_event::EscalationKind;
use balefire_wire::delivery::v1::{ListDeliveriesRequest, Outcome};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};

use crate::receiver::{Act, Receiver, Request};
use crate::world::{Oddity, SECRET, World, config, escalation, until};

/// The check of a receiver, written from the specification.
fn verify(request: &Request) {
    let key = STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
    let timestamp = &request.headers["webhook-timestamp"];
    let mut signed = format!("{}.{timestamp}.", request.id()).into_bytes();
    signed.extend_from_slice(&request.body);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(&signed);
    let signature = request.headers["webhook-signature"]
        .strip_prefix("v1,")
        .unwrap();
    mac.verify_slice(&STANDARD.decode(signature).unwrap())
        .unwrap();
    let now = balefire_kit::clock::now().0 / 1_000_000_000;
    assert!((now - timestamp.parse::<i64>().unwrap()).abs() < 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escalation_is_delivered_once_and_signed() {
    let mut world = World::start().await;
    let receiver = Receiver::good().await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    let mut again = escalation(1);
    again.kind = EscalationKind::Continued;
    let mut closed = escalation(2);
    closed.kind = EscalationKind::Closed;
    let mut history = escalation(3);
    history.backfill = true;
    world.escalate(0, &[escalation(1), again.clone()]).await;
    world.escalate(0, &[closed, history]).await;
    world.escalate(0, &[again]).await;
    world.escalate(1, &[escalation(4)]).await;
    notifier.settled(&world).await;
    let mut requests = receiver.requests();
    requests.sort_by(|a, b| a.id().cmp(b.id()));
    let ids: Vec<_> = requests.iter().map(Request::id).collect();
    assert_eq!(ids, ["01".repeat(16), "04".repeat(16)]);
    requests.iter().for_each(verify);
    let told = requests[0].json();
    assert_eq!(told["type"], "escalation.raised");
    assert_eq!(told["data"]["escalation_id"], "01".repeat(16));
    assert_eq!(told["data"]["event"]["category"], "prompt_attack");
    assert_eq!(told["data"]["enforcement"], "recommended, not enforced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_retried_under_the_same_id_with_the_same_bytes() {
    let mut world = World::start().await;
    let script = [Act::Status(503), Act::Reset];
    let receiver = Receiver::start(&script, Act::Status(202)).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world.escalate(0, &[escalation(7)]).await;
    notifier.settled(&world).await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.id(), "07".repeat(16));
        assert_eq!(request.body, requests[0].body);
        verify(request);
    }
    let listed = notifier
        .deliveries()
        .list_deliveries(ListDeliveriesRequest::default())
        .await
        .unwrap()
        .into_inner();
    let [delivery] = listed.deliveries.as_slice() else {
        panic!("{listed:?}");
    };
    let last = delivery.last_attempt.clone().unwrap();
    assert_eq!(
        (delivery.attempts, last.outcome(), last.status),
        (3, Outcome::Delivered, 202)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receivers_retry_after_is_obeyed() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[Act::Later(1)], Act::Status(200)).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    let requests = receiver.requests();
    let waited = requests[1].at.duration_since(requests[0].at);
    assert!(waited >= Duration::from_millis(950), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_many_is_taken_for_no_other_call() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Twice).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    let all: Vec<_> = (0..6).map(escalation).collect();
    world.escalate(0, &all).await;
    notifier.settled(&world).await;
    let mut taken = receiver.taken();
    taken.sort();
    let want: Vec<_> = all
        .iter()
        .map(|one| one.escalation_id.to_string())
        .collect();
    assert_eq!(taken, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_receiver_down_does_not_hold_up_another() {
    let mut world = World::start().await;
    let (good, slow) = (
        Receiver::good().await,
        Receiver::start(&[], Act::Slow(Duration::from_secs(300))).await,
    );
    let receivers = [("good", good.url.as_str()), ("slow", slow.url.as_str())];
    let notifier = world.notifier(&config(&receivers)).await;
    for id in 0..20 {
        world.escalate(usize::from(id % 2), &[escalation(id)]).await;
    }
    until("the good one has all", async || {
        (good.taken().len() == 20).then_some(())
    })
    .await;
    assert!(slow.requests().len() <= 3, "{}", slow.requests().len());
    assert!(notifier.counter("deliveries_pending").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_finds_no_room_holds_up_nobody() {
    let odd = Oddity {
        no_letters: true,
        ..Oddity::default()
    };
    let mut world = World::start_odd(odd).await;
    let (good, refusing) = (
        Receiver::good().await,
        Receiver::start(&[], Act::Status(400)).await,
    );
    let receivers = [("good", good.url.as_str()), ("refusing", &refusing.url)];
    let notifier = world.notifier(&config(&receivers)).await;
    for id in 0..20 {
        world.escalate(usize::from(id % 2), &[escalation(id)]).await;
    }
    until("the good one has all", async || {
        (good.taken().len() == 20).then_some(())
    })
    .await;
    assert_eq!(
        refusing.requests().len(),
        1,
        "it has one place, and what has no letter yet is bounded by it"
    );
    assert_eq!(notifier.counter("deliveries_dead_lettered").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_dead_letter_and_the_partition_goes_on() {
    let mut world = World::start().await;
    let receiver = Receiver::good().await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world
        .write(0, bytes::Bytes::from_static(b"\xff\xff rubbish"))
        .await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    assert_eq!(receiver.taken(), ["01".repeat(16)]);
    let letters = notifier.await_letters(1).await;
    let letter = letters[0].letter.clone().unwrap();
    assert_eq!(letter.reason, "malformed_record");
    assert_eq!(letter.stream, world.topology.escalations_stream(0));
    assert!(letter.sequence > 0 && letter.payload.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_comes_later_is_told_of_what_comes_after_it() {
    let mut world = World::start().await;
    let receiver = Receiver::good().await;
    let notifier = world.notifier(&config(&[])).await;
    world.escalate(0, &[escalation(1)]).await;
    notifier.settled(&world).await;
    notifier.stop().await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world.escalate(0, &[escalation(2)]).await;
    notifier.settled(&world).await;
    assert_eq!(receiver.taken(), ["02".repeat(16)]);
}
