//! What is made of a good record.

use std::sync::Arc;

use balefire_event::identity::TenantKey;
use balefire_event::stamp::ClockPolicy;
use balefire_event::{
    Assurance, Category, DedupId, IdentityKind, KeyKind, Lane, Severity, SubjectRef, Timestamp,
};
use balefire_ingest_core::{
    Admitted, Alias, Aliases, Door, NativeInput, Owned, Path, Provenance, Source, admit_json,
    admit_native,
};

const SAMPLE: &str = r#"{
 "event_type": "ai_security",
 "timestamp": "2026-02-11T14:30:00Z",
 "severity": "medium",
 "category": "judge_flag",
 "request_id": "req-abc-123",
 "user_id": "jgill@example.com",
 "model": "claude-sonnet-4-5-20250929",
 "judge_model": "gpt-4o",
 "judge_score": 0.82,
 "judge_verdict": "policy_violation",
 "policy_violated": "financial_advice_without_disclaimer",
 "guardrail_result": "pass",
 "tokens_in": 450,
 "tokens_out": 1200,
 "endpoint": "/api/v1/chat",
 "risk_tier": 2
}"#;

fn door() -> Door {
    let source = Source::undeclared("native", ClockPolicy::default());
    Door::new("default", source, 4)
}

fn admit<'a>(door: &'a Door, line: &'a str) -> Admitted<'a> {
    admit_json(door, line.as_bytes(), Provenance::default()).expect("a good record")
}

fn line(fields: &str) -> String {
    format!(r#"{{"timestamp":"2026-02-11T14:30:00Z","category":"judge_flag"{fields}}}"#)
}

#[test]
fn the_source_documents_record_is_read_field_for_field() {
    let door = door();
    let admitted = admit(&door, SAMPLE);
    let event = &admitted.event;
    assert_eq!(
        event.occurred_at,
        Timestamp::parse("2026-02-11T14:30:00Z").unwrap()
    );
    assert_eq!(
        (event.category, event.severity),
        (Category::JudgeFlag, Severity::Medium)
    );
    assert!(!event.severity_derived);
    let user = event.user.as_ref().unwrap();
    assert_eq!(
        user.readable(),
        Some("jgill@example.com"),
        "identity fields stay"
    );
    assert_eq!(
        user.subject_ref,
        SubjectRef::of(&door.key, IdentityKind::User, "JGILL@example.com")
    );
    assert_eq!(
        (user.assurance, &*user.via),
        (Assurance::Claimed, "user_id")
    );
    assert_eq!(event.key(KeyKind::Request), Some("req-abc-123"));
    assert_eq!(event.model, "claude-sonnet-4-5-20250929");
    assert_eq!(event.judge_model, "gpt-4o");
    assert_eq!(event.judge_score, Some(0.82));
    assert_eq!(event.judge_verdict, "policy_violation");
    assert_eq!(event.policy_violated, "financial_advice_without_disclaimer");
    assert_eq!(event.guardrail_result, "pass");
    assert_eq!((event.tokens_in, event.tokens_out), (Some(450), Some(1200)));
    assert_eq!(event.endpoint, "/api/v1/chat");
    assert_eq!(event.risk_tier, Some(2));
    assert!(event.extensions.is_empty());
    let class = ("classification".into(), "confidential".into());
    assert_eq!(event.labels, [class], "it names a user");
    assert!(admitted.evidence.is_none() && !admitted.id_said);
    assert_eq!(admitted.lane, Lane::Normal);
    assert!(matches!(admitted.path, Path::Straight { .. }));
    // Ids are for ever: these change only with a new version of SEMANTICS.
    assert_eq!(event.event_id, "d87c2797fca861f1b832b5f8ce564e48");
    assert_eq!(
        event.dedup_id.to_string(),
        "6b8369385532dc55a072ba0b6a348f6c"
    );
}

#[test]
fn bodies_are_split_off_byte_for_byte() {
    let door = door();
    let body = line(
        r#","event_id":"e","request":{"messages": [ "card 4111111111111111" ]},"response":"mail me: a@example.com\n""#,
    );
    let admitted = admit(&door, &body);
    let evidence = admitted.evidence.as_ref().unwrap();
    assert_eq!(
        evidence.request.as_ref().unwrap().readable(),
        Some(r#"{"messages": [ "card 4111111111111111" ]}"#)
    );
    assert_eq!(
        evidence.response.as_ref().unwrap().readable(),
        Some("mail me: a@example.com\n")
    );
    assert_eq!(admitted.event.evidence, Some(evidence.reference()));
    let shown = format!("{:?}", admitted.event);
    assert!(
        !shown.contains("4111") && !shown.contains("messages"),
        "{shown}"
    );
    let large = line(&format!(r#","request":"{}""#, "x".repeat(200 * 1024)));
    assert_eq!(
        admit(&door, &large).evidence.unwrap().request_size_bytes,
        200 * 1024
    );
}

#[test]
fn the_path_follows_user_then_keys() {
    let door = door();
    let straight = line(r#","user_id":"u","request_id":"r""#);
    let admitted = admit(&door, &straight);
    assert!(matches!(admitted.path, Path::Straight { .. }));
    assert_eq!(admitted.hint_targets(&door).count(), 1);
    let hint = admitted.hint(&door, &[0]).unwrap();
    assert_eq!((hint.keys.len(), &*hint.keys[0].value), (1, "r"));
    assert_eq!(hint.identity.readable(), Some("u"));

    let detour = line(r#","request_id":"r","trace_id":"t2","session_id":"s""#);
    let admitted = admit(&door, &detour);
    assert_eq!(admitted.hint_targets(&door).count(), 0);
    let Path::Detour { partition, stubs } = &admitted.path else {
        panic!("straight")
    };
    for target in stubs {
        assert_ne!(target.partition, *partition);
        let stub = admitted.stub(*target).unwrap();
        assert_eq!((stub.partition, &*stub.first_key.value), (*partition, "r"));
    }
    let sums = |fields: &str| {
        let line = line(fields);
        let admitted = admit(&door, &line);
        match admitted.path {
            Path::Detour { partition, stubs } => (partition, stubs.len()),
            Path::Straight { .. } => panic!("straight"),
        }
    };
    let spread: Vec<_> = (0..64)
        .map(|i| sums(&format!(r#","request_id":"r{i}","session_id":"s""#)))
        .collect();
    assert!(
        spread.iter().any(|(_, stubs)| *stubs == 1) && spread.iter().any(|(_, stubs)| *stubs == 0)
    );

    let alone = line(r#","agent_id":"a""#);
    assert!(matches!(admit(&door, &alone).path, Path::Straight { .. }));
}

#[test]
fn a_copy_is_a_copy_and_another_decision_is_another_event() {
    let door = door();
    let id = |fields: &str| {
        let line = line(fields);
        admit(&door, &line).event.dedup_id
    };
    let first = id(r#","event_id":"e","user_id":"u","judge_score":0.5,"x":{"y":1}"#);
    assert_eq!(
        first,
        id(r#", "x":{ "y" : 1 }, "judge_score":0.5,"user_id":"u" , "event_id":"e""#)
    );
    assert_ne!(
        first,
        id(r#","event_id":"e","user_id":"u","judge_score":0.6,"x":{"y":1}"#)
    );
    assert_ne!(
        first,
        id(r#","event_id":"e","user_id":"v","judge_score":0.5,"x":{"y":1}"#)
    );
    assert_ne!(
        first,
        id(r#","event_id":"e","user_id":"u","judge_score":0.5,"x":{"y":2}"#)
    );
    assert_ne!(
        first,
        id(r#","event_id":"f","user_id":"u","judge_score":0.5,"x":{"y":1}"#)
    );
    // Decided before redaction: two masked texts may be two detections.
    let mail = |who: &str| {
        id(&format!(
            r#","event_id":"e","reason":"wrote to {who}@example.com""#
        ))
    };
    assert_ne!(mail("a"), mail("b"));
    let body = |text: &str| id(&format!(r#","event_id":"e","request":"{text}""#));
    assert_ne!(body("one"), body("two"));
}

#[test]
fn identical_records_without_an_id_are_told_apart_by_their_occurrence() {
    let door = door();
    let line = line(r#","user_id":"u""#);
    let id = |occurrence, fallback_id| {
        let provenance = Provenance {
            occurrence,
            fallback_id,
        };
        let admitted = admit_json(&door, line.as_bytes(), provenance).unwrap();
        (
            admitted.event.dedup_id,
            admitted.event.event_id.into_owned(),
        )
    };
    assert_eq!(id(0, ""), id(0, ""));
    assert_ne!(id(0, "").0, id(1, "").0);
    assert_eq!(id(0, "key#0").1, "key#0");
    assert_eq!(id(0, "key#0").0, id(7, "key#0").0);
}

#[test]
fn lane_is_of_the_records_own_word_never_of_a_derived_one() {
    let door = door();
    let derived = line(r#","judge_score":0.95"#);
    let admitted = admit(&door, &derived);
    assert_eq!(
        (admitted.event.severity, admitted.lane),
        (Severity::High, Lane::Normal)
    );
    assert!(admitted.event.severity_derived);
    let said = line(r#","severity":"high""#);
    assert_eq!(admit(&door, &said).lane, Lane::Urgent);
}

#[test]
fn a_typed_event_is_the_json_records_twin() {
    let door = door();
    let json = line(
        r#","event_id":"e","user_id":"u@example.com","labels":{"b":"2","a":"1"},"reason":"r","x":{"y":"z"},"request":"body","judge_score":0.5"#,
    );
    let typed = NativeInput {
        event_id: "e".into(),
        occurred_at: Timestamp::parse("2026-02-11T14:30:00Z").ok(),
        category: Some(Category::JudgeFlag),
        user_id: "u@example.com".into(),
        reason: "r".into(),
        judge_score: Some(0.5),
        labels: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
        bodies: balefire_ingest_core::evidence::Bodies {
            request: Some(b"body".as_slice().into()),
            response: None,
        },
        ..NativeInput::default()
    };
    let typed = typed.with_extensions(br#"{"x":{"y":"z"}}"#).unwrap();
    let typed = admit_native(&door, typed, Provenance::default()).unwrap();
    assert_eq!(typed, admit(&door, &json));
    let shadow = NativeInput::default()
        .with_extensions(br#"{"user_id":"x"}"#)
        .unwrap_err();
    assert_eq!(shadow.field, "user_id");
    let nan = NativeInput {
        occurred_at: Some(Timestamp(0)),
        category: Some(Category::Anomaly),
        judge_score: Some(f64::NAN),
        ..NativeInput::default()
    };
    let refused = admit_native(&door, nan, Provenance::default()).unwrap_err();
    assert_eq!(refused.field, "judge_score");
}

#[test]
fn a_tenant_of_its_own_makes_another_event() {
    let source = || Source::undeclared("native", ClockPolicy::default());
    let (one, other) = (
        Door::new("one", source(), 4),
        Door::new("other", source(), 4),
    );
    let line = line(r#","event_id":"e","user_id":"u""#);
    let (a, b) = (admit(&one, &line), admit(&other, &line));
    assert_ne!(a.event.dedup_id, b.event.dedup_id);
    assert_ne!(
        a.event.user.unwrap().subject_ref,
        b.event.user.unwrap().subject_ref
    );
    assert_ne!(a.event.dedup_id, DedupId::default());
}

#[test]
fn personal_data_is_masked_everywhere_but_in_identities() {
    let door = door();
    let line = line(
        r#","user_id":"u@example.com","src_ip":"203.0.113.7","api_key_id":"sk-proj-abcdefghijklmnop1234",
        "reason":"sent to bob@example.com from 203.0.113.9, card 4111 1111 1111 1111, call +49 30 1234567",
        "policy_violated":"no mail to eve@example.com","labels":{"owner":"kim@example.com","z":"ok"},
        "x":{"y":["\u006aoe@example.com",{"k@example.com":"AKIAIOSFODNN7EXAMPLE"}]},
        "ann@example.com":"a","ben@example.com":"b""#,
    );
    let admitted = admit(&door, &line);
    let event = admitted.event;
    assert_eq!(
        event.user.as_ref().unwrap().readable(),
        Some("u@example.com")
    );
    assert_eq!(event.src_ip, "203.0.113.7");
    assert_eq!(
        event.identity(IdentityKind::ApiKey).unwrap().readable(),
        Some("[SECRET]")
    );
    assert_eq!(
        event.reason,
        "sent to [EMAIL] from [IP], card [CC], call [PHONE]"
    );
    assert_eq!(event.policy_violated, "no mail to [EMAIL]");
    let labels: Vec<_> = event
        .labels
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(labels[0], ("classification", "restricted"));
    assert_eq!(labels[1].0, "masked");
    assert_eq!(labels[2], ("owner", "[EMAIL]"));
    let extensions: Vec<_> = event
        .extensions
        .iter()
        .map(|e| (&*e.name, &*e.json))
        .collect();
    assert_eq!(
        extensions,
        [
            ("[EMAIL]", r#""a""#),
            ("[EMAIL]#2", r#""b""#),
            ("x.y", r#"["[EMAIL]",{"[EMAIL]":"[SECRET]"}]"#),
        ]
    );
}

#[test]
fn an_alias_of_a_key_goes_before_what_joins_would_learn_of_it() {
    let line = line(r#","event_id":"1","api_key_id":"k1""#);
    let unknowing = door().owning(Owned::api_keys());
    let learnt = admit(&unknowing, &line);
    let key = learnt.event.keys.first().unwrap();
    assert_eq!((learnt.event.keys.len(), key.kind), (1, KeyKind::ApiKey));
    assert!(matches!(learnt.path, Path::Detour { .. }));
    let mut aliases = Aliases::new(TenantKey::default_of("default"));
    aliases.set(
        "k",
        Alias {
            from: (IdentityKind::ApiKey, "k1".to_owned()),
            to: (IdentityKind::User, "ada@example.com".to_owned()),
            valid_from: Timestamp::MIN,
            valid_until: Timestamp::MAX,
        },
    );
    let knowing = door()
        .owning(Owned::api_keys())
        .knowing(Some(Arc::new(aliases)));
    let imported = admit(&knowing, &line);
    let user = imported.event.user.as_ref().unwrap();
    assert_eq!(user.readable(), Some("ada@example.com"));
    assert!(imported.event.keys.is_empty(), "nothing is left to learn");
    assert!(matches!(imported.path, Path::Straight { .. }));
    assert_eq!(imported.event.dedup_id, learnt.event.dedup_id);
}

#[test]
fn an_owner_is_told_without_what_is_of_this_call_alone() {
    let line = line(r#","user_id":"u","api_key_id":"k1","request_id":"r","model":"m""#);
    let mut door = door();
    assert_eq!(
        admit(&door, &line).owner_hints(&door).count(),
        0,
        "native vouches for nothing"
    );
    door.source.owners = Owned::of(["api_key", "agent"]);
    let admitted = admit(&door, &line);
    let hints: Vec<_> = admitted.owner_hints(&door).collect();
    let [(partition, hint)] = hints.as_slice() else {
        panic!("{hints:?}")
    };
    assert!(*partition < door.partitions && hint.facts.is_empty());
    assert_eq!((hint.keys.len(), hint.keys[0].kind), (1, KeyKind::ApiKey));
    assert_eq!(hint.identity.readable(), Some("u"));
    let facts = admitted.hint(&door, &[0]).unwrap().facts;
    assert_eq!(facts.len(), 1, "of the request it is told");
}

#[test]
fn what_stands_behind_an_escape_is_masked_too() {
    let line = line(
        r#","notes":["so\nAKIAIOSFODNN7EXAMPLE","\t4111111111111111"],"note":"a\nsk-abcdefghijklmnop1234""#,
    );
    let door = door();
    let admitted = admit(&door, &line);
    let told: Vec<&str> = admitted
        .event
        .extensions
        .iter()
        .map(|e| e.json.as_ref())
        .collect();
    assert_eq!(told, [r#""a\n[SECRET]""#, r#"["so\n[SECRET]","\t[CC]"]"#]);
}
