//! An escalation for tests: the source document's example record, judged.

use balefire_event::time::HOUR;
use balefire_event::{
    Approval, Assurance, Category, CorrelationKey, Escalation, EscalationId, EscalationKind, Event,
    EvidenceItem, Identity, IdentityKind, KeyKind, KeyPart, RecommendedAction, RuleId, Sealed,
    Severity, SubjectRef, Timestamp, Timing,
};
use proptest::prelude::*;

use crate::view::{Classification, View};

pub(crate) fn escalation() -> Escalation {
    hostile("jgill@example.com", "free words")
}

/// With text of others in every place that has some.
pub(crate) fn hostile(user: &str, text: &str) -> Escalation {
    let breach_at = Timestamp::parse("2026-02-11T14:30:00.5Z").unwrap();
    Escalation {
        escalation_id: EscalationId([0xab; 16]),
        episode_id: EscalationId([0xcd; 16]),
        kind: EscalationKind::Raised,
        tenant: "default".into(),
        rule_id: RuleId([0x11; 16]),
        rule_name: "judge_flag_burst".into(),
        title: "More than 3 high judge flags in an hour".into(),
        key: vec![KeyPart {
            field: "user_id".into(),
            readable: user.into(),
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
        trigger: Some(Box::new(event(user, text))),
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

fn event(user: &str, text: &str) -> Event<'static> {
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
            label: Some(Sealed::plain(user.to_owned().into())),
        }),
        model: "claude-sonnet-4-5-20250929".into(),
        judge_model: "gpt-4o".into(),
        judge_score: Some(0.82),
        judge_verdict: "policy_violation".into(),
        policy_violated: text.to_owned().into(),
        reason: text.to_owned().into(),
        src_ip: "192.0.2.10".into(),
        endpoint: "/api/v1/chat".into(),
        ..Event::default()
    }
}

pub(crate) fn view(escalation: &Escalation) -> View {
    View::of(escalation, Classification::Restricted)
}

pub(crate) fn of_kind(kind: EscalationKind) -> View {
    view(&Escalation {
        kind,
        ..escalation()
    })
}

/// Strings that break what was glued together: separators and escapes of every target, and
/// anything.
pub(crate) fn nasty() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "",
        "a\"b]c\\d",
        "\n<13>1 - forged - - - - x",
        "a|b|c\\|d=e\\=f",
        " cs1=evil externalId=1",
        "\r\n.\r\nRCPT TO:<x@y>",
        "{\"create\":{\"_index\":\"x\"}}\n{}",
        "<!channel> <https://evil|click> *b* `c`",
        "\u{202e}gnp.exe\u{0}\u{1b}[31m",
        "\" | delete index=* \"",
        "' OR 1=1 --",
        "[code]<script>alert(1)</script>[/code]",
        "😀\u{feff}é\u{2028}",
    ]);
    prop_oneof![known.prop_map(str::to_owned), ".{0,60}", "(?s).{0,20}"]
}

/// A JSON value's shape: every path, with the kind of what stands there.
pub(crate) fn shape(value: &serde_json::Value) -> Vec<String> {
    fn walk(at: String, value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, inner) in map {
                    walk(format!("{at}/{name}"), inner, out);
                }
            }
            serde_json::Value::Array(list) => {
                for (index, inner) in list.iter().enumerate() {
                    walk(format!("{at}/{index}"), inner, out);
                }
            }
            serde_json::Value::String(_) => out.push(format!("{at} text")),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                out.push(format!("{at} {value}"))
            }
        }
    }
    let mut out = Vec::new();
    walk(String::new(), value, &mut out);
    out
}
