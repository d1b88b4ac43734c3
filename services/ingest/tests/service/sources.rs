//! `POST /v1/sources/{source}`, CloudEvents and OTLP over HTTP.

use std::io::Write as _;

use balefire_event::{Category, IdentityKind};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::harness::Harness;

async fn post(harness: &Harness, path: &str, kind: &str, body: Vec<u8>) -> (u16, Value) {
    let mut request = reqwest::Client::new()
        .post(format!("{}{path}", harness.http))
        .header(CONTENT_TYPE, kind)
        .header("x-amz-firehose-request-id", "ed4acda5");
    if body.starts_with(&[0x1f, 0x8b]) {
        request = request.header(CONTENT_ENCODING, "gzip");
    }
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

fn opa(id: &str) -> Value {
    json!({"decision_id": id, "path": "agents/tool/allow", "timestamp": "2026-11-22T10:30:00Z",
        "input": {"user": "jgill@example.com", "tool": "drop"}, "result": {"allow": false}})
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendors_batch_is_events_and_what_nobody_knows_is_a_masked_letter() {
    let harness = Harness::start().await;
    let canary = "card 4111 1111 1111 1111 of canary@example.com";
    let batch = json!([opa("1"), {"hello": canary}, opa("2")]);
    let packed = gzip(batch.to_string().as_bytes());
    let path = "/v1/sources/auto";
    let (status, answer) = post(&harness, path, "application/json", packed.clone()).await;
    // The request named itself Firehose's, and hears its own id.
    assert_eq!(
        (status, &answer["requestId"]),
        (200, &json!("ed4acda5")),
        "{answer}"
    );
    assert_eq!(
        post(&harness, path, "application/json", packed).await.0,
        200
    );
    let events: Vec<_> = harness
        .events()
        .await
        .into_iter()
        .map(|(.., event)| event)
        .collect();
    assert_eq!(events.len(), 2, "sent twice, there once");
    for event in &events {
        assert_eq!(event.source, "opa");
        assert_eq!(event.category, Category::AgentBoundaryViolation);
        let user = event.identity(IdentityKind::User).unwrap();
        assert_eq!(user.readable(), Some("jgill@example.com"));
        assert_eq!(
            (event.tool.as_ref(), event.tool_allowed),
            ("drop", Some(false))
        );
    }
    let letters = harness.messages("DEADLETTERS").await;
    assert_eq!(letters.len(), 1, "the same record is one letter");
    let text = String::from_utf8_lossy(&letters[0].payload).into_owned();
    assert!(
        text.contains("of no known source") && text.contains("[EMAIL]") && text.contains("[CC]"),
        "{text}"
    );
    assert!(
        !text.contains("canary@") && !text.contains("4111"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_takes_its_own_shape_and_a_bomb_takes_nothing() {
    let harness = Harness::start().await;
    let json = "application/json";
    let (status, answer) = post(&harness, "/v1/sources/no-such", json, b"{}".to_vec()).await;
    assert_eq!(status, 404);
    assert!(
        answer["error"].as_str().unwrap().contains("litellm"),
        "{answer}"
    );
    let body = opa("1").to_string().into_bytes();
    assert_eq!(
        post(&harness, "/v1/sources/litellm", json, body).await.0,
        200
    );
    let bomb = gzip(&vec![b' '; 8 * 1024 * 1024]);
    assert_eq!(post(&harness, "/v1/sources/opa", json, bomb).await.0, 200);
    assert!(harness.events().await.is_empty());
    assert_eq!(harness.messages("DEADLETTERS").await.len(), 2);
    let body = opa("1").to_string().into_bytes();
    let path = "/v1/sources/opa/logs";
    assert_eq!(post(&harness, path, json, body).await.0, 200);
    assert_eq!(harness.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_answered_and_cloud_events_are_opened() {
    let harness = Harness::start().await;
    let asks = json!([{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c-1"}}]);
    let (status, answer) = post(
        &harness,
        "/v1/sources/azure-openai",
        "application/json",
        asks.to_string().into(),
    )
    .await;
    assert_eq!(
        (status, answer),
        (200, json!({"validationResponse": "c-1"}))
    );
    let options = reqwest::Client::new()
        .request(
            reqwest::Method::OPTIONS,
            format!("{}/v1/cloudevents", harness.http),
        )
        .header("webhook-request-origin", "eventgrid.azure.net");
    let allowed = options.send().await.unwrap();
    assert_eq!(
        allowed.headers()["webhook-allowed-origin"],
        "eventgrid.azure.net"
    );
    let event =
        json!({"specversion": "1.0", "id": "1", "source": "/gw", "type": "t", "data": opa("1")});
    let kind = "application/cloudevents+json";
    assert_eq!(
        post(&harness, "/v1/cloudevents", kind, event.to_string().into())
            .await
            .0,
        200
    );
    assert_eq!(harness.events().await.len(), 1);
}

fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let len = u8::try_from(inner.len()).unwrap();
    assert!(len < 128);
    [&[number << 3 | 2, len], inner].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_taken_as_protobuf_and_as_json() {
    let harness = Harness::start().await;
    let value = field(1, b"u-1");
    let pair = [field(1, b"user.id"), field(2, &value)].concat();
    let span = [field(1, &[0xab; 16]), field(2, &[1; 8]), field(9, &pair)].concat();
    let request = field(1, &field(2, &field(2, &span)));
    let protobuf = "application/x-protobuf";
    assert_eq!(
        post(&harness, "/v1/traces", protobuf, gzip(&request))
            .await
            .0,
        200
    );
    assert_eq!(
        post(&harness, "/v1/traces", protobuf, Vec::new()).await.0,
        200
    );
    assert_eq!(
        post(&harness, "/v1/traces", protobuf, b"\x0a\x7f".to_vec())
            .await
            .0,
        400
    );
    let log = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "1795343400000000000",
        "severityNumber": 9, "eventName": "gen_ai.evaluation.result", "traceId": "ab".repeat(16),
        "attributes": [{"key": "gen_ai.evaluation.score.label", "value": {"stringValue": "unsafe"}}]}]}]}]});
    let (status, answer) = post(
        &harness,
        "/v1/logs",
        "application/json",
        log.to_string().into(),
    )
    .await;
    assert_eq!((status, answer), (200, json!({})));
    let events: Vec<_> = harness
        .events()
        .await
        .into_iter()
        .map(|(.., event)| event)
        .collect();
    let mut seen: Vec<_> = events.iter().map(|event| event.category.as_str()).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["judge_flag", "telemetry"]);
}
