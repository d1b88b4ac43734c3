use balefire_wire::deadletter::v1::{
    DeadLetterState, DiscardDeadLetterRequest, GetDeadLetterRequest, ListDeadLettersRequest,
    ReplayDeadLettersRequest,
};
use tonic::Code;

use crate::receiver::{Act, Receiver};
use crate::world::{World, config, escalation};

fn replay(id: &str) -> ReplayDeadLettersRequest {
    ReplayDeadLettersRequest {
        ids: vec![id.to_owned(), id.to_owned()],
        all: false,
        reason: "mended".into(),
        filter: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_every_time_is_a_dead_letter_and_its_replay_is_delivered_once() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Status(500)).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world.escalate(1, &[escalation(5)]).await;
    let letters = notifier.await_letters(1).await;
    assert_eq!(receiver.requests().len(), 3);
    let letter = letters[0].letter.clone().unwrap();
    let id = format!("dl:delivery:{}:soc", "05".repeat(16));
    assert_eq!(
        (letter.id.as_str(), letter.reason.as_str(), letter.attempts),
        (id.as_str(), "delivery_exhausted", 3)
    );
    assert!(letter.first_failed_at_ns < letter.last_failed_at_ns);
    let request = GetDeadLetterRequest { id: id.clone() };
    let got = notifier.letters().get_dead_letter(request).await.unwrap();
    let got = got.into_inner().dead_letter.unwrap().letter.unwrap();
    assert_eq!(got.payload, receiver.requests()[0].body);
    assert_eq!(got.last_error, "HTTP 500: scripted");

    receiver.otherwise(Act::Status(200));
    let answer = notifier.letters().replay_dead_letters(replay(&id)).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!((answer.replayed.len(), answer.unchanged.len()), (1, 1));
    notifier.settled(&world).await;
    let again = notifier.letters().replay_dead_letters(replay(&id)).await;
    assert_eq!(again.unwrap().into_inner().unchanged.len(), 2);
    notifier.settled(&world).await;
    assert_eq!(receiver.taken(), ["05".repeat(16)]);
    assert_eq!(receiver.requests().len(), 4);
    assert_eq!(receiver.requests()[3].body, receiver.requests()[0].body);
    assert!(notifier.open_letters().await.is_empty());
    let request = ListDeadLettersRequest {
        include_resolved: true,
        ..ListDeadLettersRequest::default()
    };
    let all = notifier.letters().list_dead_letters(request).await.unwrap();
    let resolved = all.into_inner().dead_letters.remove(0);
    assert_eq!(resolved.state(), DeadLetterState::Replayed);
    let resolution = resolved.resolution.unwrap();
    assert_eq!(
        (resolution.actor.as_str(), resolution.reason.as_str()),
        ("anonymous", "mended")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_dead_lettered_at_once_and_opens_again_when_it_is_refused_again() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Status(400)).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world.escalate(0, &[escalation(1)]).await;
    let first = notifier.await_letters(1).await.remove(0).letter.unwrap();
    assert_eq!(
        (first.reason.as_str(), first.attempts),
        ("delivery_refused", 1)
    );
    assert_eq!(receiver.requests().len(), 1);
    let all = ReplayDeadLettersRequest {
        all: true,
        ..ReplayDeadLettersRequest::default()
    };
    let answer = notifier.letters().replay_dead_letters(all).await.unwrap();
    assert_eq!(answer.into_inner().replayed, vec![first.id.clone()]);
    notifier.settled(&world).await;
    let second = notifier.await_letters(1).await.remove(0).letter.unwrap();
    assert_eq!(second.id, first.id);
    assert!(second.last_failed_at_ns > first.last_failed_at_ns);
    assert_eq!(receiver.requests().len(), 2);

    let discard = |reason: &str| DiscardDeadLetterRequest {
        id: first.id.clone(),
        reason: reason.into(),
    };
    let refused = notifier.letters().discard_dead_letter(discard(" ")).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let answer = notifier
        .letters()
        .discard_dead_letter(discard("test receiver"))
        .await
        .unwrap();
    let entry = answer.into_inner().dead_letter.unwrap();
    assert_eq!(entry.state(), DeadLetterState::Discarded);
    let refused = notifier
        .letters()
        .replay_dead_letters(replay(&first.id))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let unknown = notifier
        .letters()
        .replay_dead_letters(replay("dl:no"))
        .await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let mut world = World::start().await;
    let receiver = Receiver::start(&[], Act::Status(302)).await;
    let notifier = world.notifier(&config(&[("soc", &receiver.url)])).await;
    world.escalate(0, &[escalation(1)]).await;
    let letter = notifier.await_letters(1).await.remove(0).letter.unwrap();
    assert_eq!(letter.reason, "delivery_refused");
    assert_eq!(receiver.requests().len(), 1);
}
