//! The baseline pack is what DESIGN names, and catches what it should.

use balefire_event::{Approval, Category, Event, Field, IdentityKind, Severity};
use balefire_rule::{RuleKind, RuleSet, baseline};

const MINUTE: i64 = 60_000_000_000;

fn set() -> RuleSet {
    baseline().expect("the pack compiles")
}

fn event(category: Category, severity: Severity) -> Event<'static> {
    Event {
        category,
        severity,
        ..Event::default()
    }
}

fn names(event: &Event<'_>) -> Vec<String> {
    set()
        .matching(event)
        .map(|rule| rule.name.clone())
        .collect()
}

#[test]
fn exactly_four_rules_escalate() {
    let set = set();
    let names: Vec<&str> = set.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "agent_tool_outside_allowlist",
            "guardrail_block_burst",
            "judge_flag_burst",
            "prompt_attack"
        ]
    );
}

#[test]
fn what_balefire_itself_caused_is_none_of_any_rule() {
    let mut attack = event(Category::PromptAttack, Severity::High);
    assert_eq!(names(&attack), ["prompt_attack"]);
    attack.labels = vec![("self_caused".into(), "true".into())];
    assert!(names(&attack).is_empty());
    attack.labels = vec![("self_caused".into(), "no".into())];
    assert_eq!(names(&attack), ["prompt_attack"]);
}

#[test]
fn ids_never_change() {
    let set = set();
    let ids: Vec<String> = set.rules().iter().map(|rule| rule.id.to_uuid()).collect();
    assert_eq!(
        ids,
        [
            "31ef6432-6520-4586-8192-bc035cbf94bf",
            "8b1ac498-e8f1-46ee-8aa3-6f1156881ac6",
            "6fab9b3b-0157-4517-a762-f259fd17ccbe",
            "09da4849-70ec-4f16-89fb-cbeb90d62ba9",
        ]
    );
}

#[test]
fn thresholds_windows_and_keys_are_those_of_the_design() {
    let set = set();
    let threshold = |name: &str| match &set.named(name).expect("in the pack").kind {
        RuleKind::Threshold(threshold) => threshold.clone(),
        RuleKind::Single | RuleKind::AtClose(_) => panic!("{name} counts"),
    };
    let user = [Field::Identity(IdentityKind::User)];
    let burst = threshold("guardrail_block_burst");
    assert_eq!(
        (burst.n, burst.window, burst.rearm),
        (10, 5 * MINUTE, 5 * MINUTE)
    );
    assert_eq!(burst.group_by, user);
    let burst = threshold("judge_flag_burst");
    assert_eq!(
        (burst.n, burst.window, burst.rearm),
        (3, 60 * MINUTE, 60 * MINUTE)
    );
    assert_eq!(burst.group_by, user);
    for name in ["prompt_attack", "agent_tool_outside_allowlist"] {
        assert_eq!(set.named(name).expect("in the pack").kind, RuleKind::Single);
    }
}

#[test]
fn each_rule_recommends_its_action_and_says_who_should_know() {
    let set = set();
    let told: Vec<(&str, &str, Vec<&str>)> = set
        .rules()
        .iter()
        .map(|rule| {
            (
                rule.actions[0].name.as_str(),
                rule.actions[0].target.as_str(),
                rule.audiences.iter().map(String::as_str).collect(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("halt_agent", "agent_id", vec!["soc", "ai_team"]),
            ("block_user", "user_id", vec!["soc"]),
            ("disable_ai_feature", "user_id", vec!["soc"]),
            ("capture_evidence", "request_id", vec!["soc"]),
        ]
    );
    for rule in set.rules() {
        assert_eq!(rule.severity, Severity::High, "{}", rule.name);
        assert_eq!(rule.actions[0].approval, Approval::None, "{}", rule.name);
        assert!(
            !rule.summary.is_empty() && !rule.first_steps.is_empty(),
            "{}",
            rule.name
        );
    }
}

#[test]
fn each_trigger_meets_its_rule_and_near_misses_meet_none() {
    assert_eq!(
        names(&event(Category::GuardrailBlock, Severity::Low)),
        ["guardrail_block_burst"]
    );
    assert_eq!(
        names(&event(Category::JudgeFlag, Severity::High)),
        ["judge_flag_burst"]
    );
    assert_eq!(
        names(&event(Category::JudgeFlag, Severity::Critical)),
        ["judge_flag_burst"]
    );
    assert!(names(&event(Category::JudgeFlag, Severity::Medium)).is_empty());
    assert_eq!(
        names(&event(Category::PromptAttack, Severity::Low)),
        ["prompt_attack"]
    );
    let mut agent = event(Category::AgentBoundaryViolation, Severity::High);
    assert!(names(&agent).is_empty(), "nothing said about the list");
    agent.tool_allowed = Some(true);
    assert!(names(&agent).is_empty());
    agent.tool_allowed = Some(false);
    assert_eq!(names(&agent), ["agent_tool_outside_allowlist"]);
    assert!(names(&event(Category::Anomaly, Severity::Critical)).is_empty());
}

#[test]
fn most_categories_concern_no_rule_at_all() {
    let set = set();
    let count = |category| set.candidates(category).count();
    assert_eq!(count(Category::Telemetry), 0);
    assert_eq!(count(Category::ModelDrift), 0);
    assert_eq!(count(Category::GuardrailBlock), 1);
    assert_eq!(count(Category::AgentBoundaryViolation), 1);
}

#[test]
fn only_fields_that_rules_use_are_read() {
    let set = set();
    for name in ["category", "severity", "tool_allowed", "user_id"] {
        assert!(set.reads(&Field::parse(name)), "{name}");
    }
    for name in ["model", "agent_id", "reason", "labels.app"] {
        assert!(!set.reads(&Field::parse(name)), "{name}");
    }
    let attack = set.named("prompt_attack").expect("in the pack");
    assert!(!attack.reads(&Field::Identity(IdentityKind::User)));
    assert_eq!(attack.key_fields(), [Field::Identity(IdentityKind::User)]);
}

#[test]
fn the_digest_knows_contents_and_not_the_order_of_files() {
    let mut files: Vec<(&str, String)> = balefire_rule::BASELINE
        .iter()
        .map(|(name, yaml)| (*name, (*yaml).to_owned()))
        .collect();
    let digest = *set().digest();
    files.reverse();
    assert_eq!(
        *RuleSet::parse(&files).expect("the same files").digest(),
        digest
    );
    files[0].1.push_str("# one more line\n");
    assert_ne!(
        *RuleSet::parse(&files).expect("a comment more").digest(),
        digest
    );
}
