use super::*;
use crate::samples::view;
use balefire_event::{
    Approval, Assurance, Category, CorrelationKey, EscalationId, EvidenceItem, Identity, KeyPart,
    RecommendedAction, RuleId, Sealed, Severity, SubjectRef, Timestamp, Timing,
};

/// The example record of the source document.
const SEED: &str = r#"{
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

fn seed_event() -> Event<'static> {
    Event {
        occurred_at: Timestamp::parse("2026-02-11T14:30:00Z").unwrap(),
        severity: Severity::Medium,
        category: Category::JudgeFlag,
        keys: vec![CorrelationKey {
            kind: KeyKind::Request,
            value: "req-abc-123".into(),
        }],
        user: Some(Identity {
            subject_ref: SubjectRef([1; 16]),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: "user_id".into(),
            label: Some(Sealed::plain("jgill@example.com".into())),
        }),
        model: "claude-sonnet-4-5-20250929".into(),
        judge_model: "gpt-4o".into(),
        judge_score: Some(0.82),
        judge_verdict: "policy_violation".into(),
        policy_violated: "financial_advice_without_disclaimer".into(),
        guardrail_result: "pass".into(),
        tokens_in: Some(450),
        tokens_out: Some(1200),
        endpoint: "/api/v1/chat".into(),
        risk_tier: Some(2),
        ..Event::default()
    }
}

fn escalation() -> Escalation {
    let breach_at = Timestamp::parse("2026-02-11T14:30:00.5Z").unwrap();
    Escalation {
        escalation_id: EscalationId([0xab; 16]),
        episode_id: EscalationId([0xcd; 16]),
        kind: EscalationKind::Continued,
        tenant: "default".into(),
        rule_id: RuleId([0x11; 16]),
        rule_name: "judge_flag_burst".into(),
        title: "More than 3 high judge flags in an hour".into(),
        key: vec![KeyPart {
            field: "user_id".into(),
            readable: "jgill@example.com".into(),
            canonical: vec![1; 16],
        }],
        slot_start: breach_at,
        rearm: HOUR,
        breach_at,
        severity: Severity::High,
        timing: Timing::OnTime,
        assurance: Some(Assurance::Claimed),
        evidence: vec![EvidenceItem {
            event_id: "e-1".into(),
            dedup_id: Default::default(),
            t: breach_at,
        }],
        event_count: 4,
        recommended_actions: vec![RecommendedAction {
            name: "disable_ai_feature".into(),
            class: "user_impacting".into(),
            target: "user_id".into(),
            max_duration_seconds: 3600,
            approval: Approval::Human,
        }],
        audiences: vec!["soc".into()],
        atlas: vec!["AML.T0054".into()],
        owasp: vec!["LLM01".into()],
        trigger: Some(Box::new(seed_event())),
        received_at: breach_at,
        revision: 0,
        backfill: false,
        window: HOUR,
        threshold: 3,
        at_close: false,
        condition: String::new(),
        shadow: false,
    }
}

#[test]
fn the_event_is_the_source_documents_record_field_for_field() {
    let value: serde_json::Value =
        serde_json::from_slice(&body(&view(&escalation())).unwrap()).unwrap();
    let seed: serde_json::Value = serde_json::from_str(SEED).unwrap();
    assert_eq!(value["data"]["event"], seed);
}

#[test]
fn the_escalation_is_told_in_ids_and_in_plain_words() {
    let value: serde_json::Value =
        serde_json::from_slice(&body(&view(&escalation())).unwrap()).unwrap();
    assert_eq!(value["type"], "escalation.continued");
    assert_eq!(value["timestamp"], "2026-02-11T14:30:00.500000000Z");
    let data = &value["data"];
    assert_eq!(data["escalation_id"], "ab".repeat(16));
    assert_eq!(data["episode_id"], "cd".repeat(16));
    assert_eq!(data["key"]["user_id"], "jgill@example.com");
    assert_eq!(data["enforcement"], "recommended, not enforced");
    assert_eq!(data["recommended_actions"][0]["approval"], "human");
    let seen = data["summary"]["what_was_seen"].as_str().unwrap();
    assert!(
        seen.starts_with(
            "4 events (more than 3 in 1 hour) for user_id jgill@example.com: a second"
        ),
        "{seen}"
    );
}

#[test]
fn a_body_is_the_same_bytes_every_time() {
    assert_eq!(
        body(&view(&escalation())),
        body(&view(&escalation().clone()))
    );
}

#[test]
fn what_the_producer_did_not_say_is_null_and_optional_fields_are_left_out() {
    let mut escalation = escalation();
    escalation.trigger = Some(Box::new(Event {
        tool: "delete_all".into(),
        tool_allowed: Some(false),
        occurred_at: Timestamp(1),
        ..Event::default()
    }));
    let value: serde_json::Value =
        serde_json::from_slice(&body(&view(&escalation)).unwrap()).unwrap();
    let event = value["data"]["event"].as_object().unwrap();
    assert!(event["user_id"].is_null() && event["judge_score"].is_null());
    assert_eq!(event["tool"], "delete_all");
    assert_eq!(event["tool_allowed"], false);
    assert_eq!(event["timestamp"], "1970-01-01T00:00:00.000000001Z");
    assert_eq!(event.len(), 18);
}

#[test]
fn hostile_text_stays_inside_its_string() {
    let mut escalation = escalation();
    escalation.key[0].readable = "\"},\"x\":\u{0}\n".into();
    let value: serde_json::Value =
        serde_json::from_slice(&body(&view(&escalation)).unwrap()).unwrap();
    assert_eq!(value["data"]["key"]["user_id"], "\"},\"x\":\u{0}\n");
}

#[test]
fn what_becomes_of_it_is_another_type_with_its_revision() {
    let closed = Escalation {
        kind: EscalationKind::Closed,
        revision: 2,
        ..escalation()
    };
    let json = |one: &Escalation| -> serde_json::Value {
        serde_json::from_slice(&body(&view(one)).unwrap()).unwrap()
    };
    let told = json(&closed);
    assert_eq!(told["type"], "escalation.closed");
    assert_eq!(told["data"]["revision"], 2);
    assert!(json(&escalation())["data"].get("revision").is_none());
}
