//! Every fault is named with its place, its reason and a remedy.
#![expect(clippy::panic, reason = "helpers of tests")]

use balefire_rule::{Code, Diagnostic, RuleSet};

const HEAD: &str = "title: t\nid: 00000000-0000-4000-8000-000000000001\nname: r\nlevel: low\n";
const BODY: &str = "detection:\n  s:\n    category: anomaly\n  condition: s\n";

fn faults(yaml: &str) -> Vec<Diagnostic> {
    match RuleSet::parse(&[("f.yml", yaml)]) {
        Ok(set) => panic!("accepted {:?}\n{yaml}", set.rules()),
        Err(found) => found,
    }
}

/// The only fault of a file: code, path, line.
fn fault(yaml: &str) -> (Code, String, Option<u32>) {
    let found = faults(yaml);
    assert_eq!(found.len(), 1, "{found:#?}\n{yaml}");
    let Some(first) = found.into_iter().next() else {
        panic!("one fault")
    };
    assert!(!first.message.is_empty() && !first.help.is_empty());
    assert_eq!(first.file, "f.yml");
    (first.code, first.path, first.line)
}

fn selection(line: &str) -> (Code, String, Option<u32>) {
    fault(&format!(
        "{HEAD}detection:\n  s:\n    {line}\n  condition: s\n"
    ))
}

fn condition(condition: &str) -> (Code, String, Option<u32>) {
    fault(&format!(
        "{HEAD}detection:\n  s:\n    category: anomaly\n  o:\n    model: m\n  condition: {condition}\n"
    ))
}

fn block(lines: &str) -> (Code, String, Option<u32>) {
    let (code, path, line) = fault(&format!("{HEAD}{BODY}balefire:\n{lines}"));
    (code, path, line)
}

fn correlation(lines: &str, rest: &str) -> (Code, String, Option<u32>) {
    let body: String = lines
        .split("; ")
        .map(|line| format!("  {line}\n"))
        .collect();
    fault(&format!(
        "{HEAD}{BODY}---\ntitle: c\nid: 00000000-0000-4000-8000-000000000002\nname: c\nlevel: high\ncorrelation:\n{body}{rest}"
    ))
}

/// The parts of a sound correlation, one of them replaced.
fn but(part: &str, with: &str) -> (Code, String, Option<u32>) {
    let parts = [
        ("type", "type: event_count"),
        ("rules", "rules: [r]"),
        ("group-by", "group-by: [user_id]"),
        ("timespan", "timespan: 5m"),
        ("condition", "condition: {gt: 10}"),
    ];
    let lines: Vec<&str> = parts
        .iter()
        .map(|(name, line)| if *name == part { with } else { line })
        .filter(|line| !line.is_empty())
        .collect();
    correlation(&lines.join("; "), "")
}

#[test]
fn broken_yaml_is_named_by_line() {
    let (code, _, line) = fault("title: [t\nid: x\n");
    assert_eq!(code, Code::Yaml);
    assert!(line.is_some());
    assert_eq!(fault("- a\n- b\n").0, Code::Yaml);
}

#[test]
fn a_rule_without_a_uuid_is_refused_on_its_line() {
    let (code, path, line) = fault(&format!("title: t\nname: r\nlevel: low\n{BODY}"));
    assert_eq!((code, path.as_str(), line), (Code::Id, "id", Some(1)));
    let (code, path, line) = fault(&format!("title: t\nname: r\nid: 17\nlevel: low\n{BODY}"));
    assert_eq!((code, path.as_str(), line), (Code::Id, "id", Some(3)));
}

#[test]
fn names_are_needed_to_escalate_and_are_snake_case() {
    let id = "id: 00000000-0000-4000-8000-000000000001";
    assert_eq!(
        fault(&format!("title: t\n{id}\nlevel: low\n{BODY}")).0,
        Code::Name
    );
    let (code, path, line) = fault(&format!("title: t\n{id}\nname: A Rule\nlevel: low\n{BODY}"));
    assert_eq!((code, path.as_str(), line), (Code::Name, "name", Some(3)));
}

#[test]
fn levels_are_needed_to_escalate() {
    let head = "title: t\nid: 00000000-0000-4000-8000-000000000001\nname: r\n";
    assert_eq!(fault(&format!("{head}{BODY}")).0, Code::Level);
    assert_eq!(
        fault(&format!("{head}level: informational\n{BODY}")).0,
        Code::Level
    );
    assert_eq!(
        fault(&format!("{head}level: urgent\n{BODY}")).0,
        Code::Level
    );
}

#[test]
fn one_id_or_name_for_two_rules_is_refused_at_the_second() {
    let second = "title: u\nid: 00000000-0000-4000-8000-000000000002\nname: r\nlevel: low\n";
    let (code, path, line) = fault(&format!("{HEAD}{BODY}---\n{second}{BODY}"));
    assert_eq!(
        (code, path.as_str(), line),
        (Code::Duplicate, "name", Some(12))
    );
    let second = HEAD.replace("name: r", "name: s");
    let (code, path, line) = fault(&format!("{HEAD}{BODY}---\n{second}{BODY}"));
    assert_eq!(
        (code, path.as_str(), line),
        (Code::Duplicate, "id", Some(11))
    );
}

#[test]
fn what_is_not_carried_out_is_never_passed_over() {
    for (extra, path) in [
        ("action: global\n", "action"),
        ("filter: {}\n", "filter"),
        ("generate: true\n", "generate"),
        ("rsigma.suppress: 5m\n", "rsigma.suppress"),
    ] {
        let (code, found, _) = fault(&format!("{HEAD}{extra}{BODY}"));
        assert_eq!((code, found.as_str()), (Code::Unsupported, path));
    }
    let timeframe =
        format!("{HEAD}{BODY}").replace("condition: s", "condition: s\n  timeframe: 5m");
    assert_eq!(fault(&timeframe).0, Code::Unsupported);
    let array =
        format!("{HEAD}sigma-version: 3\ndetection:\n  s:\n    tags[any]: red\n  condition: s\n");
    assert_eq!(fault(&array).0, Code::Unsupported);
}

#[test]
fn what_the_parser_refuses_keeps_its_place() {
    let (code, path, line) = condition("s and and o");
    assert_eq!(
        (code, path.as_str(), line),
        (Code::Sigma, "detection.condition", Some(10))
    );
    assert_eq!(selection("model|fuzzy: x").0, Code::Sigma);
    assert_eq!(selection("model|not: x").0, Code::Sigma);
    assert_eq!(fault(&format!("{HEAD}logsource: {{}}\n")).0, Code::Sigma);
}

#[test]
fn types_that_are_not_carried_out_are_answered_with_those_that_are() {
    for kind in ["value_median", "gauss"] {
        let (code, path, line) = but("type", &format!("type: {kind}"));
        assert_eq!(
            (code, path.as_str(), line),
            (Code::CorrelationType, "correlation.type", Some(15))
        );
    }
    assert_eq!(but("type", "").0, Code::CorrelationType);
    let found = faults(&format!(
        "{HEAD}{BODY}---\ntitle: c\nid: 00000000-0000-4000-8000-000000000002\ncorrelation: {{type: gauss}}\n"
    ));
    assert!(
        found.iter().all(|f| f.help.contains("event_count")),
        "{found:?}"
    );
}

#[test]
fn correlations_name_rules_that_are_there() {
    for rules in ["rules: [missing]", "rules: []", "rules: [c]", ""] {
        let (code, path, _) = but("rules", rules);
        assert_eq!(
            (code, path.as_str()),
            (Code::Reference, "correlation.rules"),
            "{rules}"
        );
    }
}

#[test]
fn groupings_name_one_to_four_fields_each_once() {
    for group in [
        "group-by: [model, tool, model]",
        "group-by: [user_id, user_id]",
        "group-by: [user_id, model, tool, endpoint, src_ip]",
        "group-by: []",
        "",
    ] {
        let (code, path, _) = but("group-by", group);
        assert_eq!(
            (code, path.as_str()),
            (Code::GroupBy, "correlation.group-by"),
            "{group}"
        );
    }
    for group in ["group-by: [assurance]", "group-by: [Agent-ID]"] {
        assert_eq!(but("group-by", group).0, Code::Field, "{group}");
    }
    assert_eq!(but("group-by", "group_by: [user_id]").0, Code::Unsupported);
}

#[test]
fn what_a_rule_may_read_it_may_group_by() {
    for group in ["model", "agent_id", "user_id, model", "src_ip, labels.app"] {
        let text = format!(
            "{HEAD}{BODY}---\ntitle: c\nid: 00000000-0000-4000-8000-000000000002\nname: c\nlevel: high\ncorrelation: {{type: event_count, rules: [r], group-by: [{group}], timespan: 5m, condition: {{gt: 1}}}}\n"
        );
        let files = [("f.yml".to_owned(), text)];
        assert!(balefire_rule::RuleSet::parse(&files).is_ok(), "{group}");
    }
}

#[test]
fn windows_have_a_fixed_length_and_slide() {
    for span in ["timespan: 1M", "timespan: 0s", "timespan: 400d"] {
        let (code, path, _) = but("timespan", span);
        assert_eq!(
            (code, path.as_str()),
            (Code::Window, "correlation.timespan"),
            "{span}"
        );
    }
    assert_eq!(but("timespan", "timespan: soon").0, Code::Sigma);
    assert_eq!(
        but("timespan", "timespan: 5m; window: tumbling").0,
        Code::Window
    );
    assert_eq!(
        but("timespan", "timespan: 5m; aliases: {u: {r: user_id}}").0,
        Code::GroupBy
    );
}

#[test]
fn thresholds_only_ask_for_more() {
    for asked in [
        "{gte: 0}",
        "{lt: 5}",
        "{lte: 5}",
        "{eq: 5}",
        "{neq: 5}",
        "{gt: 1, lte: 5}",
        "{gt: 10001}",
        "{gt: -1}",
        "{gt: 1, field: model}",
        "r and r",
    ] {
        let (code, path, _) = but("condition", &format!("condition: {asked}"));
        assert_eq!(
            (code, path.as_str()),
            (Code::Threshold, "correlation.condition"),
            "{asked}"
        );
    }
}

#[test]
fn rearm_periods_fit_their_window() {
    let sound = "type: event_count; rules: [r]; group-by: [user_id]; condition: {gt: 1}; timespan:";
    for (span, rearm) in [("16m", "59s"), ("5m", "25h"), ("5m", "often"), ("5m", "1M")] {
        let (code, path, line) = correlation(
            &format!("{sound} {span}"),
            &format!("balefire:\n  rearm: {rearm}\n"),
        );
        assert_eq!(
            (code, path.as_str(), line),
            (Code::Rearm, "balefire.rearm", Some(21))
        );
    }
    assert_eq!(correlation(&format!("{sound} 2d"), "").0, Code::Rearm);
    let (code, _, line) = block("  rearm: 5m\n");
    assert_eq!(
        (code, line),
        (Code::Rearm, Some(10)),
        "a rule without a window"
    );
}

#[test]
fn the_extension_block_is_checked_to_the_last_word() {
    let action = |change: &str, to: &str| {
        let sound = "  recommended_actions:\n    - name: block_user\n      class: reversible_containment\n      target: user_id\n      max_duration: 1h\n      approval: none\n";
        assert!(sound.contains(change), "{change}");
        block(&sound.replace(change, to))
    };
    assert_eq!(block("  rearmm: 5m\n").0, Code::Extension);
    assert_eq!(block("  audiences: [SOC]\n").0, Code::Extension);
    assert_eq!(block("  atlas: [T1059]\n").0, Code::Extension);
    assert_eq!(block("  owasp: [LLM11]\n").0, Code::Extension);
    assert_eq!(block("  first_steps: ['']\n").0, Code::Extension);
    assert_eq!(block("  escalate: maybe\n").0, Code::Extension);
    for (change, to, field) in [
        ("block_user", "Block User", "name"),
        ("reversible_containment", "harsh", "class"),
        ("reversible_containment", "user_impacting", "approval"),
        ("target: user_id", "target: nobody", "target"),
        ("max_duration: 1h", "max_duration: long", "max_duration"),
        ("      max_duration: 1h\n", "", "max_duration"),
        ("approval: none", "approval: committee", "approval"),
    ] {
        let (code, path, _) = action(change, to);
        assert_eq!(code, Code::Extension, "{to}");
        assert_eq!(path, format!("balefire.recommended_actions[0].{field}"));
    }
    let many = "soc, ".repeat(33);
    assert_eq!(block(&format!("  audiences: [{many}]\n")).0, Code::TooLarge);
}

#[test]
fn conditions_name_selections_and_restrict_something() {
    for text in [
        "s and x",
        "1 of x_*",
        "3 of them",
        "0 of them",
        "s and not s",
    ] {
        let (code, path, _) = condition(text);
        assert_eq!(
            (code, path.as_str()),
            (Code::Condition, "detection.condition"),
            "{text}"
        );
    }
    assert_eq!(
        selection("severity: '*'").0,
        Code::Condition,
        "true of every event"
    );
}

#[test]
fn modifiers_that_cannot_be_meant_are_refused() {
    for line in [
        "model|base64: x",
        "model|windash: x",
        "model|fieldref: tool",
        "model|neq: x",
        "model|utf16: x",
        "model|contains|startswith: x",
        "model|i: x",
        "model|re|cased: x",
        "model|gt: 5",
        "category|gte: anomaly",
        "tokens_in|contains: 5",
        "tokens_in|cidr: 10.0.0.0/8",
    ] {
        assert_eq!(selection(line).0, Code::Modifier, "{line}");
    }
    assert_eq!(
        fault(&format!(
            "{HEAD}detection:\n  s:\n    '|re': x\n  condition: s\n"
        ))
        .0,
        Code::Modifier
    );
}

#[test]
fn values_a_field_can_never_have_are_refused_with_the_ones_it_can() {
    for line in [
        "category: guardrail_blok",
        "severity: severe",
        "timing: tomorrow",
        "severity|contains: xyz",
        "tokens_in: many",
        "judge_score|gt: high",
        "tool_allowed: perhaps",
        "tool_allowed|contains: true",
        "model|exists: perhaps",
        "model|contains: ''",
        "model|re: '('",
        "model|re: '(?=x)'",
        "src_ip|cidr: 10.0.0.0/40",
        "model: []",
    ] {
        let (code, path, line_number) = selection(line);
        assert_eq!((code, line_number), (Code::Value, Some(7)), "{line}");
        assert!(path.starts_with("detection.s."), "{path}");
    }
    let found = faults(&format!(
        "{HEAD}detection:\n  s:\n    category: x\n  condition: s\n"
    ));
    assert!(
        found
            .iter()
            .any(|f| f.help.contains("guardrail_block, judge_flag")),
        "{found:?}"
    );
    assert_eq!(
        fault(&format!("{HEAD}detection:\n  s: {{}}\n  condition: s\n")).0,
        Code::Value
    );
    assert_eq!(
        fault(&format!("{HEAD}detection:\n  s: ['']\n  condition: s\n")).0,
        Code::Value
    );
}

#[test]
fn assurance_and_labels_of_identities_cannot_be_matched() {
    for line in [
        "assurance: verified",
        "user_id.assurance: verified",
        "identity.assurance|exists: true",
        "user.label: jgill",
        "user_id: jgill@example.com",
        "user_id|endswith: '@example.com'",
        "agent_id: crawler",
        "session_id|re: '^s'",
        "user_id|cidr: 10.0.0.0/8",
    ] {
        assert_eq!(selection(line).0, Code::Field, "{line}");
    }
}

#[test]
fn stamps_bodies_and_misspelt_fields_are_named() {
    for line in [
        "received_at: 5",
        "response|contains: x",
        "tenant: a",
        "Tool-Allowed: false",
    ] {
        assert_eq!(selection(line).0, Code::Field, "{line}");
    }
    assert_eq!(
        fault(&format!("{HEAD}fields: [tenant]\n{BODY}")).0,
        Code::Field
    );
}

#[test]
fn what_a_join_may_fill_cannot_be_negated() {
    for text in [
        "s and not o",
        "not (s and o)",
        "s and not 1 of o*",
        "not all of them",
    ] {
        let (code, path, _) = condition(text);
        assert_eq!(
            (code, path.as_str()),
            (Code::NotMonotone, "detection.condition"),
            "{text}"
        );
    }
    for line in [
        "user_id: null",
        "endpoint|exists: false",
        "src_ip: ''",
        "session_id: null",
    ] {
        assert_eq!(selection(line).0, Code::NotMonotone, "{line}");
    }
    let keywords = format!(
        "{HEAD}detection:\n  s:\n    category: anomaly\n  k: [x]\n  condition: s and not k\n"
    );
    assert_eq!(
        fault(&keywords).0,
        Code::NotMonotone,
        "keywords search the model too"
    );
}

#[test]
fn faults_of_every_file_are_told_at_once_in_order() {
    let bad = format!(
        "title: t\nname: r\nlevel: low\nrelated: 5\n{}",
        BODY.replace("anomaly", "x")
    );
    let found = match RuleSet::parse(&[("b.yml", bad.as_str()), ("a.yml", "- x\n")]) {
        Ok(_) => panic!("accepted"),
        Err(found) => found,
    };
    let files: Vec<&str> = found.iter().map(|f| f.file.as_str()).collect();
    assert_eq!(files, ["a.yml", "b.yml"], "{found:?}");
}

#[test]
fn files_made_to_break_a_parser_are_refused_and_break_nothing() {
    let nots = |count: usize| format!("{}s", "not ".repeat(count));
    assert_eq!(condition(&nots(16_000)).0, Code::TooLarge);
    assert_eq!(
        condition(&format!("[{}, {}]", nots(300), nots(300))).0,
        Code::TooLarge
    );
    assert_eq!(
        but("condition", &format!("condition: {}", nots(16_000))).0,
        Code::TooLarge
    );
    let longest = nots(balefire_rule::CONDITION_BYTES_MAX / 4 - 2);
    let yaml = format!("{HEAD}{BODY}").replace("condition: s", &format!("condition: {longest}"));
    assert!(
        RuleSet::parse(&[("f.yml", yaml)]).is_ok(),
        "the longest that is allowed is read"
    );
    let parens = format!("{}s{}", "(".repeat(1_000), ")".repeat(1_000));
    assert_eq!(condition(&parens).0, Code::Sigma);
    let deep = format!("a: {}{}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(fault(&deep).0, Code::Yaml);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let members = format!("*a{},", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{members}]\n"));
    }
    assert_eq!(fault(&bomb).0, Code::Yaml);
}

#[test]
fn limits_hold() {
    let large = format!(
        "{HEAD}{BODY}# {}\n",
        "x".repeat(balefire_rule::FILE_BYTES_MAX)
    );
    assert_eq!(fault(&large).0, Code::TooLarge);
    let values = "m, ".repeat(balefire_rule::VALUES_MAX + 1);
    assert_eq!(selection(&format!("model: [{values}]")).0, Code::TooLarge);
    let regex = "model|re: '(a{1000}){1000}'";
    assert_eq!(selection(regex).0, Code::Value);
}
