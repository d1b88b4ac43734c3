//! `POST /v1/events`.

use std::io::Write as _;
use std::time::Duration;

use balefire_ingest::Config;
use balefire_kit::Authenticator;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{DEADLINE, Harness, record};

const LINES: &str = "application/x-ndjson";

fn post(harness: &Harness, kind: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    reqwest::Client::new()
        .post(format!("{}/v1/events", harness.http))
        .header(CONTENT_TYPE, kind)
        .body(body)
}

async fn answer(request: RequestBuilder) -> (u16, serde_json::Value) {
    let response: Response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_arrays_and_objects_are_answered_record_by_record() {
    let harness = Harness::start().await;
    let (one, two) = (
        record(r#""event_id":"1""#),
        record(r#""event_id":"2","user_id":"u""#),
    );
    let (status, body) = answer(post(&harness, LINES, format!("{one}\n\nbad\n{two}\n"))).await;
    assert_eq!(status, 207, "{body}");
    assert_eq!(
        (&body["accepted"], &body["rejected"]),
        (&2.into(), &1.into())
    );
    assert_eq!(body["results"][1]["status"], "REJECTED");
    assert_eq!(body["results"][1]["reason"], "malformed");
    assert_eq!(body["results"][2]["timing"], "ON_TIME");
    let json = "application/json";
    let (status, body) = answer(post(&harness, json, format!("[{one}, {two}]"))).await;
    assert_eq!((status, &body["duplicate"]), (200, &2.into()), "{body}");
    let (status, body) = answer(post(&harness, json, record(r#""event_id":"3""#))).await;
    assert_eq!((status, &body["accepted"]), (200, &1.into()), "{body}");
    let (status, body) = answer(post(&harness, json, r#"{"category":"anomaly"}"#)).await;
    assert_eq!(
        (status, &body["results"][0]["field"]),
        (400, &"timestamp".into()),
        "{body}"
    );
    assert_eq!(harness.events().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_gives_ids_to_records_without() {
    let harness = Harness::start().await;
    let line = record(r#""user_id":"u""#);
    let lines = format!("{line}\n{line}\n");
    let keyed =
        |key: &str| post(&harness, LINES, lines.clone()).header("Idempotency-Key", key.to_owned());
    let (_, first) = answer(keyed("k1")).await;
    assert_eq!(first["accepted"], 2);
    let (_, again) = answer(keyed("k1")).await;
    assert_eq!(again["duplicate"], 2);
    assert_eq!(
        again["results"][1]["dedup_id"],
        first["results"][1]["dedup_id"]
    );
    let (_, other) = answer(keyed("k2")).await;
    assert_eq!(other["accepted"], 2);
    // Without a key the record and its place among identical ones are the id.
    let (_, bare) = answer(post(&harness, LINES, lines.clone())).await;
    assert_eq!(bare["accepted"], 2);
    let (_, bare) = answer(post(&harness, LINES, lines.clone())).await;
    assert_eq!(bare["duplicate"], 2);
    let (status, _) = answer(keyed(&"k".repeat(201))).await;
    assert_eq!(status, 400);
    let ids: Vec<_> = harness
        .events()
        .await
        .into_iter()
        .map(|(.., e)| e.event_id)
        .collect();
    assert!(ids.iter().any(|id| id == "k1#1"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_cannot_be_taken_are_refused_whole() {
    let harness = Harness::start().await;
    let line = record(r#""user_id":"u""#);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(line.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    let gzip = post(&harness, LINES, packed).header(CONTENT_ENCODING, "gzip");
    assert_eq!(answer(gzip).await.0, 200);
    let broken = post(&harness, LINES, "no gzip").header(CONTENT_ENCODING, "gzip");
    assert_eq!(answer(broken).await.0, 400);
    let brotli = post(&harness, LINES, line.clone()).header(CONTENT_ENCODING, "br");
    assert_eq!(answer(brotli).await.0, 415);
    for (kind, body, expected) in [
        ("text/xml", line.clone(), 415),
        ("application/json", "[{]".to_owned(), 400),
        (LINES, "\n \n".to_owned(), 400),
        (LINES, format!("{line}\n").repeat(513), 413),
        (LINES, " ".repeat(4 * 1024 * 1024 + 1), 413),
    ] {
        let (status, body) = answer(post(&harness, kind, body)).await;
        assert_eq!(status, expected, "{kind} {body}");
    }
    assert_eq!(harness.events().await.len(), 1);
}

/// A request that announces more than it sends.
async fn slow(harness: &Harness) -> TcpStream {
    let address = harness.http.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_slowly_keeps_nobody_out() {
    let harness = Harness::start().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(slow(&harness).await);
    }
    let (status, body) = answer(post(&harness, LINES, record(r#""user_id":"u""#))).await;
    assert_eq!(status, 200, "{body}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_finishes_is_told_so() {
    let config = Config {
        upload_time_max: Duration::from_millis(200),
        ..Config::default()
    };
    let harness = Harness::with(config, Authenticator::open()).await;
    let mut connection = slow(&harness).await;
    let mut answered = [0; 64];
    let read = timeout(DEADLINE, connection.read(&mut answered));
    let read = read.await.unwrap().unwrap();
    assert!(answered[..read].starts_with(b"HTTP/1.1 408 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_calls_decides_the_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let key = |token, tenant, scope| {
        format!(
            "[[key]]\ntoken = \"{token}\"\ntenant = \"{tenant}\"\nsubject = \"s\"\nscopes = [\"{scope}\"]\n"
        )
    };
    let keys = key("0123456789abcdef", "acme", "ingest") + &key("fedcba9876543210", "acme", "read");
    std::fs::write(&path, keys).unwrap();
    let authenticator = Authenticator::from_file(&path).unwrap();
    let harness = Harness::with(Config::default(), authenticator).await;
    let send = |tenant: &str| post(&harness, LINES, record(&format!(r#""tenant":"{tenant}""#)));
    assert_eq!(answer(send("acme")).await.0, 401);
    assert_eq!(
        answer(send("acme").bearer_auth("fedcba9876543210")).await.0,
        403
    );
    let (status, body) = answer(send("other").bearer_auth("0123456789abcdef")).await;
    assert_eq!(
        (status, &body["results"][0]["reason"]),
        (400, &"conflict".into())
    );
    assert_eq!(
        answer(send("acme").bearer_auth("0123456789abcdef")).await.0,
        200
    );
    let refused = harness
        .send(&[&record(r#""user_id":"u""#)])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_web_sends_nothing() {
    let harness = Harness::start().await;
    // What a page may send anywhere without being asked: a body without a type.
    let request = reqwest::Client::new()
        .post(format!("{}/v1/events", harness.http))
        .header("origin", "https://page.example")
        .body(record(r#""user_id":"u""#));
    assert_eq!(answer(request).await.0, 403);
    assert!(harness.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_of_reach_is_a_503_that_says_when_to_come_again() {
    let harness = Harness::start().await;
    harness.signal(Signal::STOP);
    let response = post(&harness, LINES, record(r#""user_id":"u""#))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    harness.signal(Signal::CONT);
}
