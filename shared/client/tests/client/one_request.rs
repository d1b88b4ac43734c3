//! Calls of one request each: what is tried again, and what is not.

use std::time::Duration;

use balefire_client::{AppendOptions, AppendStatus, Client, Error, NativeEvent, Options, Retry};
use balefire_event::BarrierId;
use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::server::{Reply, Server};
use crate::{connect, line, quick};

#[tokio::test]
async fn a_retry_repeats_the_same_occurrences() {
    let busy = || Reply::Refuse(Status::unavailable("busy"));
    let server = Server::start([busy(), busy()]).await;
    let client = connect(&server, quick()).await;
    let same = Bytes::from_static(b"{\"category\":\"anomaly\"}");
    let records = vec![same.clone(), line(1), same.clone(), same];
    let results = client
        .append_raw(records, AppendOptions::default())
        .await
        .unwrap();
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|r| r.status() == AppendStatus::Accepted));
    let calls = server.calls();
    assert_eq!(calls.len(), 3);
    let first = calls[0].raw.clone().unwrap();
    assert_eq!(first.occurrences, [0, 0, 1, 2]);
    assert!(calls.iter().all(|call| call.raw.as_ref() == Some(&first)));
}

#[tokio::test]
async fn a_typed_event_has_one_id_in_every_attempt() {
    let server = Server::start([Reply::Refuse(Status::resource_exhausted("full"))]).await;
    let client = connect(&server, quick()).await;
    let named = NativeEvent {
        event_id: "mine".to_owned(),
        ..NativeEvent::default()
    };
    let events = vec![NativeEvent::default(), named, NativeEvent::default()];
    client
        .append(events, AppendOptions::default())
        .await
        .unwrap();
    let calls = server.calls();
    let ids = |call: usize| -> Vec<String> {
        let events = calls[call].typed.as_ref().unwrap().events.iter();
        events.map(|event| event.event_id.clone()).collect()
    };
    assert_eq!(calls.len(), 2);
    assert_eq!(ids(0), ids(1));
    let [first, mine, last] = ids(0).try_into().unwrap();
    assert_eq!(mine, "mine");
    assert_ne!(first, last);
    assert_eq!(first.as_bytes()[14], b'7', "{first} is no UUIDv7");
}

#[tokio::test]
async fn the_client_waits_as_long_as_the_server_asks() {
    let asked = Duration::from_millis(300);
    let details = ErrorDetails::with_retry_info(Some(asked));
    let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
    let server = Server::start([Reply::Refuse(full)]).await;
    let client = connect(&server, quick()).await;
    client
        .append_raw(vec![line(1)], AppendOptions::default())
        .await
        .unwrap();
    let calls = server.calls();
    assert!(calls[1].at - calls[0].at >= asked);
}

#[tokio::test]
async fn a_call_without_answer_is_tried_again_after_its_deadline() {
    let server = Server::start([Reply::Hang]).await;
    let options = Options {
        deadline: Duration::from_millis(200),
        ..quick()
    };
    let client = connect(&server, options).await;
    client
        .append_raw(vec![line(1)], AppendOptions::default())
        .await
        .unwrap();
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.has_deadline));
}

#[tokio::test]
async fn a_bad_request_is_not_tried_again() {
    let server = Server::start([Reply::Refuse(Status::invalid_argument("too many"))]).await;
    let client = connect(&server, quick()).await;
    let refused = client
        .append_raw(vec![line(1)], AppendOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.status().unwrap().code(), Code::InvalidArgument);
    assert!(matches!(refused, Error::Refused { attempts: 1, .. }));
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn the_client_gives_up_after_its_time() {
    let busy = std::iter::repeat_with(|| Reply::Refuse(Status::unavailable("busy")));
    let server = Server::start(busy.take(10_000)).await;
    let options = Options {
        retry: Retry {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
            give_up_after: Some(Duration::from_millis(100)),
        },
        ..quick()
    };
    let client = connect(&server, options).await;
    let refused = client
        .append_raw(vec![line(1)], AppendOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.status().unwrap().code(), Code::Unavailable);
    let Error::Refused { attempts, .. } = refused else {
        panic!("{refused}")
    };
    assert!(attempts > 1);
    assert_eq!(server.calls().len(), attempts as usize);
}

#[tokio::test]
async fn an_answer_of_another_length_is_an_error() {
    let server = Server::start([Reply::AcceptTooFew]).await;
    let client = connect(&server, quick()).await;
    let refused = client
        .append_raw(vec![line(1), line(2)], AppendOptions::default())
        .await;
    let count = Error::ResultCount {
        sent: 2,
        received: 1,
    };
    assert_eq!(refused.unwrap_err().to_string(), count.to_string());
}

#[tokio::test]
async fn the_token_is_sent_with_each_call() {
    let server = Server::start([]).await;
    let options = Options {
        token: Some("secret".to_owned()),
        ..quick()
    };
    let client = connect(&server, options).await;
    client
        .append_raw(vec![line(1)], AppendOptions::default())
        .await
        .unwrap();
    assert_eq!(server.calls()[0].token.as_deref(), Some("Bearer secret"));
}

#[tokio::test]
async fn bad_addresses_and_tokens_are_told_apart() {
    let server = Server::start([]).await;
    let addr = server.addr.to_string();
    let token = Options {
        token: Some("a\nb".to_owned()),
        ..quick()
    };
    let to = |addr: &str, options| Client::connect_lazy(addr, options).map(|_| ()).unwrap_err();
    assert!(matches!(to(&addr, token), Error::Token));
    assert!(matches!(to("http://a b", quick()), Error::Address { .. }));
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = Client::connect(&free.to_string(), quick())
        .await
        .map(|_| ());
    assert!(matches!(nobody, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn a_barrier_has_the_id_the_server_gave() {
    let server = Server::start([]).await;
    let client = connect(&server, quick()).await;
    assert_eq!(client.place_barrier().await.unwrap(), BarrierId([5; 16]));
}
