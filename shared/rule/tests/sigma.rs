//! What each construct of Sigma means here, one line each.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::borrow::Cow;

use balefire_event::{
    Assurance, Category, CorrelationKey, Event, Extension, Field, Identity, IdentityKind, KeyKind,
    Sealed, Severity, SubjectRef, Timing,
};
use balefire_rule::{Rule, RuleKind, RuleSet};

fn yaml(detection: &str) -> String {
    let body: String = detection
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect();
    format!(
        "title: t\nid: 00000000-0000-4000-8000-000000000001\nname: r\nlevel: low\nlogsource: {{product: ai_security}}\ndetection:\n{body}"
    )
}

fn rule(detection: &str) -> Rule {
    let set = RuleSet::parse(&[("f.yml", yaml(detection))])
        .unwrap_or_else(|found| panic!("{detection}\n{found:?}"));
    Rule::clone(&set.rules()[0])
}

/// One line of a selection, tried on the sample.
fn line(line: &str) -> bool {
    rule(&format!("s:\n  {line}\ncondition: s")).matches(&sample())
}

fn sample() -> Event<'static> {
    let text = |t: &'static str| Cow::Borrowed(t);
    let extension = |name, json| Extension {
        name: text(name),
        json: text(json),
    };
    Event {
        category: Category::JudgeFlag,
        severity: Severity::High,
        timing: Timing::OnTime,
        user: Some(Identity {
            subject_ref: SubjectRef::default(),
            kind: IdentityKind::User,
            assurance: Assurance::Claimed,
            via: text("user_id"),
            label: Some(Sealed::plain(text("jgill@example.com"))),
        }),
        keys: vec![CorrelationKey {
            kind: KeyKind::Request,
            value: text("req-abc-123"),
        }],
        model: text("Claude-Sonnet"),
        judge_score: Some(0.82),
        tokens_in: Some(450),
        tool: text("C:\\tools\\shell*"),
        tool_allowed: Some(false),
        reason: text("Ignore ALL previous instructions"),
        src_ip: text("10.1.2.3"),
        labels: vec![(text("app"), text("Billing")), (text("retries"), text("5"))],
        extensions: vec![
            extension("city", "\"Z\\u00fcrich\""),
            extension("count", "7"),
            extension("flag", "true"),
            extension("geo.country", "\"CH\""),
            extension("none", "null"),
            extension("tags", "[\"red\", \"Blue\", 3]"),
        ],
        ..Event::default()
    }
}

#[test]
fn lines_that_match_the_sample() {
    for text in [
        "model: claude-sonnet",
        "model: 'CLAUDE*'",
        "model: 'claude?sonnet'",
        "model: '*'",
        "model|contains: SONN",
        "model|startswith: claude",
        "model|endswith: NET",
        "model|cased: Claude-Sonnet",
        "model|contains|cased: Sonnet",
        "model|re: '^Claude-\\w+$'",
        "model|re|i: '^claude'",
        "model|exists: true",
        "attack_type|exists: false",
        "attack_type: null",
        "attack_type: ''",
        "tool: 'c:\\tools\\shell\\*'",
        "model: [gpt-4o, claude-sonnet]",
        "reason|contains|all: [ignore, instructions]",
        "category: JUDGE_FLAG",
        "category: [judge_flag, anomaly]",
        "category|startswith: judge",
        "category: '*_flag'",
        "severity: high",
        "severity|re: 'high|critical'",
        "timing: on_time",
        "judge_score|gte: 0.82",
        "judge_score|gt: 0.8",
        "judge_score|lt: 1",
        "judge_score: 0.82",
        "tokens_in: 450",
        "tokens_in: '450'",
        "tokens_in|lte: 450",
        "tokens_in: [1, 450]",
        "tool_allowed: false",
        "tool_allowed: 'False'",
        "src_ip|cidr: 10.0.0.0/8",
        "src_ip|cidr: [192.168.0.0/16, 10.0.0.0/8]",
        "user_id|exists: true",
        "user_id: '*'",
        "request_id: REQ-ABC-123",
        "labels.app: billing",
        "labels.retries: 5",
        "labels.retries|gt: 4",
        "city: zürich",
        "city|endswith: RICH",
        "count: 7",
        "count|gte: 7",
        "count: '7'",
        "flag: true",
        "flag: 'true'",
        "geo.country: ch",
        "none: null",
        "absent: null",
        "tags: blue",
        "tags: 3",
        "tags|contains|all: [red, blu]",
    ] {
        assert!(line(text), "{text}");
    }
}

#[test]
fn lines_that_do_not_match_the_sample() {
    for text in [
        "model: claude",
        "model|cased: claude-sonnet",
        "model|re: '^claude'",
        "model|startswith: sonnet",
        "attack_type: '*'",
        "attack_type|contains: a",
        "attack_type|exists: true",
        "reason|contains|all: [ignore, poem]",
        "category: prompt_attack",
        "severity: [low, medium]",
        "timing: late",
        "judge_score|gt: 0.82",
        "tokens_in: 451",
        "tokens_out: 0",
        "tokens_out|lt: 1000",
        "tool_allowed: true",
        "src_ip|cidr: 10.2.0.0/16",
        "labels.app: bill",
        "labels.none: '*'",
        "none: '*'",
        "none: 'null'",
        "flag: false",
        "count|gt: 7",
        "tags: green",
        "city: 'Z\\u00fcrich'",
    ] {
        assert!(!line(text), "{text}");
    }
}

#[test]
fn keywords_are_found_in_any_text_but_identities() {
    let matches = |list: &str| rule(&format!("k: {list}\ncondition: k")).matches(&sample());
    assert!(matches("['previous INSTRUCTIONS']"));
    assert!(matches("[nothing, sonnet]"));
    assert!(matches("['ignore*instructions']"));
    assert!(matches("[billing]") && matches("[zürich]") && matches("[blue]"));
    assert!(
        !matches("[jgill]"),
        "the readable value of an identity is for people"
    );
    assert!(rule("k:\n  '|all': [ignore, sonnet]\ncondition: k").matches(&sample()));
    assert!(!rule("k:\n  '|all': [ignore, gpt]\ncondition: k").matches(&sample()));
}

#[test]
fn conditions_combine_selections() {
    let named = "yes_a:\n  severity: high\nyes_b:\n  tool_allowed: false\nno_a:\n  severity: low\n";
    for (condition, expected) in [
        ("yes_a and yes_b", true),
        ("yes_a and no_a", false),
        ("no_a or yes_a", true),
        ("not no_a", true),
        ("yes_a and not no_a", true),
        ("not yes_a or no_a", false),
        ("not (yes_a and no_a)", true),
        ("1 of yes_*", true),
        ("all of yes_*", true),
        ("all of them", false),
        ("1 of them", true),
        ("2 of them", true),
        ("3 of them", false),
        ("any of no_*", false),
        ("not 1 of no_* and all of yes_*", true),
        ("no_a or yes_a and yes_b", true),
    ] {
        let rule = rule(&format!("{named}condition: {condition}"));
        assert_eq!(rule.matches(&sample()), expected, "{condition}");
    }
}

#[test]
fn lists_of_maps_are_alternatives_and_maps_are_conjunctions() {
    let either = "s:\n  - severity: low\n  - tool_allowed: false\n    severity: high\ncondition: s";
    assert!(rule(either).matches(&sample()));
    let neither = "s:\n  - severity: low\n  - tool_allowed: true\n    severity: high\ncondition: s";
    assert!(!rule(neither).matches(&sample()));
}

#[test]
fn several_conditions_are_alternatives() {
    let rule = rule("a:\n  severity: low\nb:\n  severity: high\ncondition: [a, b]");
    assert!(rule.matches(&sample()));
}

const BASES: &str = "title: a\nid: 00000000-0000-4000-8000-00000000000a\nname: a\nlevel: low\ndetection:\n  s:\n    severity: high\n  condition: s\n---\ntitle: b\nid: 00000000-0000-4000-8000-00000000000b\nlevel: low\nname: b\ndetection:\n  s:\n    category: anomaly\n  condition: s\n---\n";

fn counted(rest: &str) -> RuleSet {
    let correlation = "title: c\nid: 00000000-0000-4000-8000-00000000000c\nname: c\nlevel: high\ncorrelation:\n  type: event_count\n  rules: [a, 00000000-0000-4000-8000-00000000000B]\n  group-by: user_id\n  timespan: 10m\n  condition:\n";
    let yaml = format!("{BASES}{correlation}{rest}");
    RuleSet::parse(&[("f", yaml)]).unwrap_or_else(|found| panic!("{found:?}"))
}

fn escalating(set: &RuleSet) -> Vec<&str> {
    set.rules().iter().map(|rule| rule.name.as_str()).collect()
}

#[test]
fn a_correlation_counts_what_any_of_its_rules_matches() {
    let set = counted("    gte: 4\nbalefire: {rearm: 2m}\n");
    assert_eq!(escalating(&set), ["c"]);
    let rule = &set.rules()[0];
    let RuleKind::Threshold(threshold) = &rule.kind else {
        panic!("it counts")
    };
    assert_eq!(threshold.n, 3, "at least four is more than three");
    assert_eq!(threshold.rearm, 120_000_000_000);
    assert!(rule.matches(&sample()));
    assert!(rule.matches(&Event {
        category: Category::Anomaly,
        ..Event::default()
    }));
    assert!(!rule.matches(&Event::default()));
    assert!(rule.reads(&Field::Identity(IdentityKind::User)));
}

#[test]
fn counted_rules_escalate_only_where_they_are_told_to() {
    assert_eq!(
        escalating(&counted("    gt: 1\ngenerate: true\n")),
        ["a", "b", "c"]
    );
    assert!(escalating(&counted("    gt: 1\nbalefire: {escalate: false}\n")).is_empty());
    let alone = RuleSet::parse(&[("f", BASES)]).expect("two rules");
    assert_eq!(escalating(&alone), ["a", "b"]);
}

#[test]
fn windows_over_a_day_need_a_written_rearm_period() {
    let text = "title: c\nid: 00000000-0000-4000-8000-00000000000c\nname: c\nlevel: high\ncorrelation: {type: event_count, rules: [a], group-by: [user_id], timespan: 16d, condition: {gt: 1}}\nbalefire: {rearm: 24h}\n";
    let set = RuleSet::parse(&[("f", format!("{BASES}{text}"))]).expect("it fits");
    assert!(escalating(&set).contains(&"c"));
}

#[test]
fn negating_the_records_own_fields_is_allowed() {
    let text = "s:\n  category: judge_flag\nf:\n  tool: 'shell*'\nn:\n  attack_type: null\ncondition: s and not f and n";
    assert!(rule(text).matches(&sample()));
}
