//! `POST /v1/sources/{source}`, CloudEvents and OTLP over HTTP.

use std::io::Write as _;

use balefire_event::{Category, IdentityKind};
use balefire_wire::ingest::v1::GetNamingCoverageRequest;
use balefire_wire::join::v1::GroupCoverage;
use balefire_wire::{BatchView, RecordView};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::harness::{Harness, record};

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

/// A resource with one span of a user.
fn resource_spans() -> Vec<u8> {
    let value = field(1, b"u-1");
    let pair = [field(1, b"user.id"), field(2, &value)].concat();
    let span = [field(1, &[0xab; 16]), field(2, &[1; 8]), field(9, &pair)].concat();
    field(2, &field(2, &span))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_taken_over_grpc_and_what_is_none_is_refused_for_good() {
    let harness = Harness::start().await;
    let channel = tonic::transport::Endpoint::from_shared(harness.grpc.clone());
    let channel = channel.unwrap().connect().await.unwrap();
    let export = async |path: &'static str, first_field: Vec<u8>| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        // Bytes as field 1: `resource_spans`, and `partial_success` of the answer.
        let codec = tonic_prost::ProstCodec::<Vec<u8>, Vec<u8>>::default();
        let answer = client
            .unary(tonic::Request::new(first_field), path, codec)
            .await;
        answer.map(tonic::Response::into_inner)
    };
    let traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    assert_eq!(export(traces, resource_spans()).await.unwrap(), b"");
    assert_eq!(
        export(traces, Vec::new()).await.unwrap(),
        b"",
        "an empty export"
    );
    let refused = export(traces, vec![0x7f]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Other";
    let refused = export(logs, Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    let events = harness.events().await;
    assert_eq!(events.len(), 1);
    let user = events[0].3.identity(IdentityKind::User).unwrap();
    assert_eq!(user.readable(), Some("u-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_headers_of_a_cloud_event_name_what_has_no_id() {
    let harness = Harness::start().await;
    let data = json!({"category": "anomaly", "timestamp": "2026-11-22T10:30:00Z"}).to_string();
    for id in ["1", "2", "1"] {
        let request = reqwest::Client::new()
            .post(format!("{}/v1/cloudevents", harness.http))
            .header(CONTENT_TYPE, "application/json")
            .header("ce-specversion", "1.0")
            .header("ce-type", "t")
            .header("ce-source", "/gw")
            .header("ce-id", id)
            .body(data.clone());
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200);
    }
    let mut ids: Vec<_> = harness.events().await;
    ids.dedup_by_key(|(.., event)| event.dedup_id);
    assert_eq!(ids.len(), 2, "two events, one of them sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_the_events_are_is_counted_and_hints_say_what_each_source_says() {
    let harness = Harness::start().await;
    let of = |fields: &str| record(&format!(r#""labels":{{"application":"chat"}},{fields}"#));
    let records = [
        of(r#""event_id":"1","user_id":"u","request_id":"r","model":"m""#),
        of(r#""event_id":"2","user_id":"u","request_id":"r","src_ip":"192.0.2.1""#),
        of(r#""event_id":"3","user_id":"u","request_id":"r","model":"m""#),
        of(r#""event_id":"4""#),
        of(r#""event_id":"5","service_principal":"s""#),
        of(r#""event_id":"6","trace_id":"t""#),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    harness.send(&records).await.unwrap();
    harness.send(&records[..1]).await.unwrap();
    let mut client = harness.client.clone();
    let answer = client.get_naming_coverage(GetNamingCoverageRequest {});
    let groups = answer.await.unwrap().into_inner().groups;
    let of = |group: &GroupCoverage| {
        let counts = [
            group.human,
            group.principal_only,
            group.nobody,
            group.ungrouped,
        ];
        (counts, group.without_request_id)
    };
    let [others, principals] = groups.as_slice() else {
        panic!("{groups:?}")
    };
    for group in &groups {
        let named = (group.source.as_str(), group.application.as_str());
        assert_eq!(named, ("native", "chat"));
    }
    assert_eq!(
        of(others),
        ([3, 0, 0, 1], 1),
        "the sixth is the correlator's to count"
    );
    assert_eq!(of(principals), ([0, 1, 0, 0], 1));
    assert_eq!(others.service_principal, "");
    assert_eq!(principals.service_principal.len(), 32);
    let mut hints = 0;
    for stream in harness.laned() {
        for message in harness.messages(&stream).await {
            for record in BatchView::parse(&message.payload).unwrap().records() {
                hints += usize::from(matches!(record.unwrap(), RecordView::Hint(_)));
            }
        }
    }
    assert_eq!(hints, 2, "the third says what the first said");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_taken_as_protobuf_and_as_json() {
    let harness = Harness::start().await;
    let request = field(1, &resource_spans());
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
