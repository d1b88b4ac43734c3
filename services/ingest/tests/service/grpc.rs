//! What is accepted, refused, masked and sealed.

use std::collections::BTreeSet;

use balefire_bus::{Log, Role, topology};
use balefire_event::{Assurance, KeyKind, Timing};
use balefire_ingest::Config;
use balefire_kit::Authenticator;
use balefire_wire::event::v1 as event;
use balefire_wire::ingest::v1::append_stream_request::Batch;
use balefire_wire::ingest::v1::{
    AppendOptions, AppendRawRequest, AppendRequest, AppendStatus, AppendStreamRequest, NativeEvent,
    PlaceBarrierRequest,
};
use balefire_wire::log::v1::record::Kind;
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef, RecordView, log};
use bytes::Bytes;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Harness, record, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_means_it_is_in_the_stream() {
    let harness = Harness::start().await;
    let straight = record(r#""event_id":"a","user_id":"u@example.com","request_id":"r1""#);
    let detour = record(r#""event_id":"b","request_id":"r2","session_id":"s""#);
    let urgent = record(r#""event_id":"c","user_id":"u@example.com","severity":"critical""#);
    let results = harness.send(&[&straight, &detour, &urgent]).await.unwrap();
    let events = harness.events().await;
    assert_eq!(events.len(), 3);
    for (result, (id, log)) in
        results
            .iter()
            .zip([("a", "EVENTS"), ("b", "INTAKE"), ("c", "EVENTS")])
    {
        assert_eq!(result.status(), AppendStatus::Accepted);
        let place = result.place.as_ref().unwrap();
        let (.., event) = events
            .iter()
            .find(|(stream, sequence, index, _)| {
                (stream, sequence, index) == (&place.stream, &place.sequence, &place.index)
            })
            .expect("it lies where the answer says");
        assert_eq!(event.event_id, id);
        assert_eq!(event.dedup_id.0.as_slice(), result.dedup_id.as_ref());
        assert_eq!((event.timing, event.t), (Timing::OnTime, event.occurred_at));
        assert!(event.received_at >= event.occurred_at);
        assert!(place.stream.starts_with(log), "{}", place.stream);
    }
    assert!(results[2].place.as_ref().unwrap().stream.contains("urgent"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_with_user_and_key_leaves_one_hint_while_it_is_remembered() {
    let harness = Harness::start().await;
    for id in ["a", "b", "c"] {
        let line = record(&format!(
            r#""event_id":"{id}","user_id":"u@example.com","request_id":"r","model":"m""#
        ));
        harness.send(&[&line]).await.unwrap();
    }
    let mut hints = Vec::new();
    for stream in harness.laned() {
        for message in harness.messages(&stream).await {
            let batch = BatchView::parse(&message.payload).unwrap();
            for record in batch.records() {
                if let RecordView::Hint(hint) = record.unwrap() {
                    assert!(stream.starts_with("INTAKE_g1_bulk"), "{stream}");
                    hints.push(hint.into_owned());
                }
            }
        }
    }
    assert_eq!(hints.len(), 1);
    assert_eq!(hints[0].keys[0].kind, KeyKind::Request);
    assert_eq!(hints[0].identity.readable(), Some("u@example.com"));
    assert_eq!(hints[0].identity.assurance, Assurance::Claimed);
    assert_eq!(hints[0].facts, [("model".into(), "m".into())]);
    assert!(hints[0].received_at.0 > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_events_are_refused_one_by_one() {
    let harness = Harness::start().await;
    let good = record(r#""event_id":"good""#);
    let bad = record(r#""judge_score":2"#);
    let results = harness.send(&[&bad, &good, "not json"]).await.unwrap();
    let shown: Vec<_> = results
        .iter()
        .map(|result| {
            let violation = result.violation.clone().unwrap_or_default();
            (result.status(), violation.field, violation.reason)
        })
        .collect();
    let text = str::to_owned;
    assert_eq!(
        shown,
        [
            (
                AppendStatus::Rejected,
                text("judge_score"),
                text("out_of_range")
            ),
            (AppendStatus::Accepted, text(""), text("")),
            (AppendStatus::Rejected, text(""), text("malformed")),
        ]
    );
    assert_eq!(harness.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_hinted_and_a_conflicting_id_is_flagged() {
    let harness = Harness::start().await;
    let first = record(r#""event_id":"e","user_id":"u","judge_score":0.5"#);
    let other = record(r#""event_id":"e","user_id":"u","judge_score":0.6"#);
    let one = harness.send(&[&first]).await.unwrap();
    let copy = harness.send(&[&first]).await.unwrap();
    assert_eq!(copy[0].status(), AppendStatus::Duplicate);
    assert_eq!(copy[0].dedup_id, one[0].dedup_id);
    assert_eq!(copy[0].place, None);
    let conflict = harness.send(&[&other]).await.unwrap();
    assert_eq!(conflict[0].status(), AppendStatus::Accepted);
    let events = harness.events().await;
    let flags: Vec<bool> = events.iter().map(|(.., event)| event.id_conflict).collect();
    assert_eq!(flags, [false, true]);
    // The same record as history is another matter: its lateness bound is another.
    let options = AppendOptions {
        backfill: true,
        backfill_span_ns: 86_400_000_000_000,
        ..AppendOptions::default()
    };
    let history = harness.send_as(&[&other], options).await.unwrap();
    assert_eq!(history[0].status(), AppendStatus::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_is_byte_exact_and_personal_data_stays_out_of_events() {
    let harness = Harness::start().await;
    let line = record(
        r#""event_id":"e","request":{"to": [ "canary@example.com" ]},"response":"4111111111111111 canary",
        "reason":"for canary@example.com","labels":{"who":"canary@example.com"},"x":["canary@example.com"]"#,
    );
    let results = harness.send(&[&line]).await.unwrap();
    assert_eq!(results[0].status(), AppendStatus::Accepted);
    for stream in harness.laned() {
        for message in harness.messages(&stream).await {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            assert!(!text.contains("canary") && !text.contains("4111"), "{text}");
        }
    }
    let (.., event) = harness.events().await.pop().unwrap();
    assert_eq!(event.reason, "for [EMAIL]");
    let messages = harness.messages(topology::EVIDENCE).await;
    let batch = BatchView::parse(&messages[0].payload).unwrap();
    let Some(Ok(RecordView::Other(Kind::Evidence(evidence)))) = batch.records().next() else {
        unreachable!("a record of evidence")
    };
    assert_eq!(
        evidence.request.unwrap().data.as_ref(),
        br#"{"to": [ "canary@example.com" ]}"#
    );
    assert_eq!(
        evidence.response.unwrap().data.as_ref(),
        b"4111111111111111 canary"
    );
    assert_eq!(evidence.digest.as_ref(), event.evidence.unwrap().digest.0);
    assert_eq!(evidence.dedup_id.as_ref(), event.dedup_id.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_any_size_is_taken() {
    let harness = Harness::start().await;
    let bodies = [700 * 1024, 1024 * 1024, 2 * 1024 * 1024].map(|size| "x".repeat(size));
    let lines = bodies.map(|body| record(&format!(r#""request":"{body}""#)));
    for line in &lines {
        let results = harness.send(&[line]).await.unwrap();
        assert_eq!(results[0].status(), AppendStatus::Accepted);
    }
    let events = harness.events().await;
    let evidence = events.iter().map(|(.., event)| event.evidence.unwrap());
    let mut shown: Vec<_> = evidence.map(|e| (e.size_bytes, e.truncated)).collect();
    shown.sort_unstable();
    assert_eq!(
        shown,
        [
            (700 * 1024, false),
            (1024 * 1024, true),
            (2 * 1024 * 1024, true)
        ]
    );
    assert_eq!(harness.messages(topology::EVIDENCE).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_events_go_the_same_way() {
    let harness = Harness::start().await;
    let seconds = balefire_kit::clock::now().0 / 1_000_000_000;
    let event = |seconds: i64, user: &str| {
        let mut event = NativeEvent {
            event_id: format!("{user}{seconds}"),
            category: event::Category::PromptAttack.into(),
            user_id: user.to_owned(),
            request: Bytes::from_static(b"\xff\x00"),
            extensions_json: r#"{"a":{"b":1}}"#.to_owned(),
            ..NativeEvent::default()
        };
        event.timestamp.get_or_insert_default().seconds = seconds;
        event
    };
    let no_category = NativeEvent {
        category: 0,
        ..event(seconds, "u")
    };
    let request = AppendRequest {
        events: vec![
            event(seconds, "u"),
            event(seconds - 7200, "u"),
            event(seconds + 60, "u"),
            no_category,
        ],
        options: None,
    };
    let results = harness
        .client
        .clone()
        .append(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    let timings: Vec<_> = results.iter().map(|result| result.timing()).collect();
    let late = event::Timing::Late;
    assert_eq!(
        timings[..3],
        [event::Timing::OnTime, late, event::Timing::Future]
    );
    assert_eq!(results[3].violation.as_ref().unwrap().field, "category");
    let events = harness.events().await;
    assert_eq!(events.len(), 3);
    assert!(
        events
            .iter()
            .all(|(_, _, _, e)| e.extensions[0].name == "a.b" && e.severity_derived)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_beyond_its_limits_is_refused_with_the_field() {
    let harness = Harness::start().await;
    let line = record(r#""user_id":"u""#);
    let refused = harness.send(&vec![line.as_str(); 513]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "events"
    );
    let options = AppendOptions {
        source: "bad name".to_owned(),
        ..AppendOptions::default()
    };
    let refused = harness.send_as(&[&line], options).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(harness.events().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_answers_every_batch_with_places() {
    let harness = Harness::start().await;
    let batch = |batch_id: u64, records: usize| AppendStreamRequest {
        batch_id,
        batch: Some(Batch::Raw(AppendRawRequest {
            records: (0..records)
                .map(|i| record(&format!(r#""event_id":"{batch_id}-{i}","user_id":"u{i}""#)).into())
                .collect(),
            ..AppendRawRequest::default()
        })),
    };
    let mut batches: Vec<_> = (0..40).map(|id| batch(id, 10)).collect();
    batches.push(batch(40, 513));
    let sent = tokio_stream::iter(batches);
    let mut answers = harness
        .client
        .clone()
        .append_stream(sent)
        .await
        .unwrap()
        .into_inner();
    let mut answered = BTreeSet::new();
    while let Some(answer) = answers.message().await.unwrap() {
        if answer.batch_id == 40 {
            assert_eq!(answer.error.unwrap().code, 3);
        } else {
            assert_eq!(answer.error, None);
            assert!(answer.results.iter().all(|result| result.place.is_some()));
        }
        answered.insert(answer.batch_id);
    }
    assert_eq!(answered.len(), 41);
    let events = harness.events().await;
    let ids: BTreeSet<_> = events
        .iter()
        .map(|(.., event)| event.event_id.clone())
        .collect();
    assert_eq!((events.len(), ids.len()), (400, 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_lies_in_every_lane_behind_what_was_accepted() {
    let harness = Harness::start().await;
    harness.send(&[&record(r#""user_id":"u""#)]).await.unwrap();
    let placed = harness
        .client
        .clone()
        .place_barrier(PlaceBarrierRequest {})
        .await
        .unwrap();
    let placed = placed.into_inner();
    assert_eq!((placed.barrier_id.len(), placed.partitions), (16, 2));
    for stream in harness.laned() {
        let messages = harness.messages(&stream).await;
        let last = messages.last().expect("a barrier");
        let batch = BatchView::parse(&last.payload).unwrap();
        assert_eq!(batch.header.tenant, "");
        let Some(Ok(RecordView::Barrier { id, .. })) = batch.records().last() else {
            unreachable!("a barrier")
        };
        assert_eq!(id.0.as_slice(), placed.barrier_id.as_ref());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_control_revision_is_stamped() {
    let harness = Harness::start().await;
    let engine = harness.bus(Role::RuleEngine).await;
    let mut batch = BatchWriter::default();
    batch.push(RecordRef::Control(&log::v1::Control::default()));
    let payload = Bytes::from(batch.finish(&Header::default(), None));
    let mut place = None;
    for _ in 0..3 {
        let appended = Log::new(&engine)
            .append(topology::CONTROL_RULES, payload.clone(), None)
            .await;
        place = Some(appended.unwrap());
    }
    let revision = place.unwrap().sequence;
    assert_eq!(revision, 3);
    until("the revision is applied", || {
        let status = harness.status.status();
        let name = "balefire_ingest_control_revision";
        status
            .counters
            .iter()
            .any(|c| c.name == name && c.value == revision)
    })
    .await;
    harness.send(&[&record(r#""user_id":"u""#)]).await.unwrap();
    let (.., event) = harness.events().await.pop().unwrap();
    assert_eq!(event.control_revision, revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_for_operators() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let key = |token, scopes| {
        format!(
            "[[key]]\ntoken = \"{token}\"\ntenant = \"acme\"\nsubject = \"s\"\nscopes = {scopes}\n"
        )
    };
    let keys = key("0123456789abcdef", "[\"ingest\"]")
        + &key("fedcba9876543210", "[\"ingest\", \"operate\"]");
    std::fs::write(&path, keys).unwrap();
    let authenticator = Authenticator::from_file(&path).unwrap();
    let harness = Harness::with(Config::default(), authenticator).await;
    let send = async |token: &str, backfill: bool| {
        let line = record(&format!(r#""event_id":"{token}{backfill}","user_id":"u""#));
        let mut request = tonic::Request::new(AppendRawRequest {
            records: vec![Bytes::from(line)],
            options: Some(AppendOptions {
                backfill,
                backfill_span_ns: i64::MAX,
                ..AppendOptions::default()
            }),
            occurrences: Vec::new(),
        });
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let answer = harness.client.clone().append_raw(request).await;
        answer.map(|_| ()).map_err(|status| status.code())
    };
    assert_eq!(send("0123456789abcdef", false).await, Ok(()));
    let refused = send("0123456789abcdef", true).await;
    assert_eq!(refused, Err(Code::PermissionDenied));
    assert_eq!(send("fedcba9876543210", true).await, Ok(()));
}
