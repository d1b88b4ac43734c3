//! The compiled matcher against a naive interpreter of the same condition: random conditions,
//! random events, one answer.
//!
//! The interpreter shares nothing with the matcher: it keeps the condition as a tree of its own,
//! writes the event out as a flat map of strings, and turns every wildcard into a regular
//! expression.

#![expect(clippy::indexing_slicing, reason = "helpers of tests")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use balefire_event::{Category, Event, Extension, Severity};
use balefire_rule::{Code, RuleSet};
use proptest::prelude::*;

const TEXTS: [&str; 6] = ["", "alpha", "ALPHA beta", "beta", "a*b", "gamma7"];
const CATEGORIES: [Category; 3] = [
    Category::GuardrailBlock,
    Category::JudgeFlag,
    Category::Telemetry,
];

/// What a line of a selection asks.
#[derive(Debug, Clone)]
struct Line {
    field: &'static str,
    modifiers: &'static str,
    values: Vec<String>,
}

#[derive(Debug, Clone)]
enum Tree {
    Name(usize),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Of(usize),
}

fn event() -> impl Strategy<Value = Event<'static>> {
    let text = || prop::sample::select(&TEXTS[..]);
    (
        prop::sample::select(&CATEGORIES[..]),
        prop::sample::select(Severity::ALL),
        (text(), text(), text(), text()),
        prop::option::of(0_u64..4),
        prop::option::of(any::<bool>()),
        prop::sample::select(vec!["\"Alpha\"", "3", "true", "null", "[\"beta\", 2]"]),
    )
        .prop_map(
            |(category, severity, (tool, reason, verdict, label), tokens, allowed, json)| Event {
                category,
                severity,
                tool: Cow::Borrowed(tool),
                reason: Cow::Borrowed(reason),
                judge_verdict: Cow::Borrowed(verdict),
                tokens_in: tokens,
                tool_allowed: allowed,
                labels: vec![(Cow::Borrowed("app"), Cow::Borrowed(label))],
                extensions: vec![Extension {
                    name: Cow::Borrowed("extra"),
                    json: Cow::Borrowed(json),
                }],
                ..Event::default()
            },
        )
}

fn values(choices: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(choices).prop_map(str::to_owned), 1..3)
}

fn line() -> impl Strategy<Value = Line> {
    let texts =
        prop::sample::select(&["tool", "reason", "judge_verdict", "labels.app", "extra"][..]);
    let wild = &["alpha", "al*", "*A", "?eta", "be*a", "*", "a\\*b", "g*7"];
    let plain = &["alp", "A", "beta", "7"];
    let made = |field, modifiers, values| Line {
        field,
        modifiers,
        values,
    };
    prop_oneof![
        4 => (texts.clone(), prop::sample::select(&["", "|cased", "|all"][..]), values(wild))
            .prop_map(move |(f, m, v)| made(f, m, v)),
        4 => (
            texts.clone(),
            prop::sample::select(
                &["|contains", "|startswith", "|endswith", "|contains|all", "|contains|cased"][..],
            ),
            values(plain),
        )
            .prop_map(move |(f, m, v)| made(f, m, v)),
        1 => (texts.clone(), values(&["^al", "beta$", "[0-9]"]))
            .prop_map(move |(f, v)| made(f, "|re", v)),
        1 => (texts, values(&["true", "false"])).prop_map(move |(f, v)| made(f, "|exists", v)),
        2 => (
            prop::sample::select(&["", "|gt", "|gte", "|lt", "|lte"][..]),
            values(&["0", "1", "2", "1.5"]),
        )
            .prop_map(move |(m, v)| made("tokens_in", m, v)),
        1 => values(&["true", "false"]).prop_map(move |v| made("tool_allowed", "", v)),
        2 => values(&["judge_flag", "GUARDRAIL_BLOCK", "*e*", "telemetry"])
            .prop_map(move |v| made("category", "", v)),
        2 => values(&["high", "low", "crit*"]).prop_map(move |v| made("severity", "", v)),
    ]
}

fn tree(names: usize) -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        8 => (0..names).prop_map(Tree::Name),
        1 => (1..=names).prop_map(Tree::Of),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::And),
            prop::collection::vec(inner, 2..4).prop_map(Tree::Or),
        ]
    })
}

fn written(tree: &Tree) -> String {
    let joined = |parts: &[Tree], word: &str| {
        let parts: Vec<String> = parts.iter().map(written).collect();
        format!("({})", parts.join(word))
    };
    match tree {
        Tree::Name(name) => format!("s{name}"),
        Tree::Not(part) => format!("not ({})", written(part)),
        Tree::And(parts) => joined(parts, " and "),
        Tree::Or(parts) => joined(parts, " or "),
        Tree::Of(count) => format!("({count} of s*)"),
    }
}

fn yaml(selections: &[Vec<Line>], tree: &Tree) -> String {
    let mut yaml =
        "title: t\nid: 00000000-0000-4000-8000-000000000001\nname: r\nlevel: low\ndetection:\n"
            .to_owned();
    for (number, lines) in selections.iter().enumerate() {
        writeln!(yaml, "  s{number}:").expect("text grows");
        for line in lines {
            let bare =
                matches!(line.field, "tokens_in" | "tool_allowed") || line.modifiers == "|exists";
            let values: Vec<String> = line
                .values
                .iter()
                .map(|value| {
                    if bare {
                        value.clone()
                    } else {
                        format!("'{value}'")
                    }
                })
                .collect();
            writeln!(
                yaml,
                "    {}{}: [{}]",
                line.field,
                line.modifiers,
                values.join(", ")
            )
            .expect("text grows");
        }
    }
    writeln!(yaml, "  condition: {}", written(tree)).expect("text grows");
    yaml
}

/// Every field that says something, as texts.
fn flat(event: &Event<'_>) -> BTreeMap<&'static str, Vec<String>> {
    let mut fields = BTreeMap::new();
    fields.insert("category", vec![event.category.as_str().to_owned()]);
    fields.insert("severity", vec![event.severity.as_str().to_owned()]);
    for (name, text) in [
        ("tool", &event.tool),
        ("reason", &event.reason),
        ("judge_verdict", &event.judge_verdict),
        ("labels.app", &event.labels[0].1),
    ] {
        if !text.is_empty() {
            fields.insert(name, vec![text.to_string()]);
        }
    }
    if let Some(tokens) = event.tokens_in {
        fields.insert("tokens_in", vec![tokens.to_string()]);
    }
    if let Some(allowed) = event.tool_allowed {
        fields.insert("tool_allowed", vec![allowed.to_string()]);
    }
    let extra: serde_json::Value =
        serde_json::from_str(&event.extensions[0].json).expect("the sample is JSON");
    let scalar = |value: &serde_json::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match extra.as_array() {
        Some(members) => drop(fields.insert("extra", members.iter().map(scalar).collect())),
        None if extra.is_null() => {}
        None => drop(fields.insert("extra", vec![scalar(&extra)])),
    }
    fields
}

fn value_holds(line: &Line, wanted: &str, found: Option<&Vec<String>>) -> bool {
    if line.modifiers == "|exists" {
        return found.is_some() == (wanted == "true");
    }
    found.is_some_and(|texts| texts.iter().any(|text| text_holds(line, wanted, text)))
}

fn text_holds(line: &Line, wanted: &str, text: &str) -> bool {
    if line.field == "tokens_in" {
        let (text, wanted): (f64, f64) = (
            text.parse().expect("a count"),
            wanted.parse().expect("a number"),
        );
        return match line.modifiers {
            "|gt" => text > wanted,
            "|gte" => text >= wanted,
            "|lt" => text < wanted,
            "|lte" => text <= wanted,
            _ => (text - wanted).abs() < f64::EPSILON,
        };
    }
    let regex = if line.modifiers == "|re" {
        wanted.to_owned()
    } else {
        as_regex(line, wanted)
    };
    regex::Regex::new(&regex)
        .expect("made of escapes")
        .is_match(text)
}

fn as_regex(line: &Line, wanted: &str) -> String {
    let mut body = String::new();
    let mut escaped = false;
    for c in wanted.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '*' if !escaped => body.push_str(".*"),
            '?' if !escaped => body.push('.'),
            other => {
                body.push_str(&regex::escape(&other.to_string()));
                escaped = false;
            }
        }
    }
    let flags = if line.modifiers.contains("cased") {
        "(?s)"
    } else {
        "(?si)"
    };
    let start = if line.modifiers.contains("contains") || line.modifiers.contains("endswith") {
        ""
    } else {
        "^"
    };
    let end = if line.modifiers.contains("contains") || line.modifiers.contains("startswith") {
        ""
    } else {
        "$"
    };
    format!("{flags}{start}{body}{end}")
}

fn line_holds(line: &Line, event: &BTreeMap<&'static str, Vec<String>>) -> bool {
    let found = event.get(line.field);
    let mut answers = line
        .values
        .iter()
        .map(|value| value_holds(line, value, found));
    if line.modifiers.contains("all") {
        answers.all(|yes| yes)
    } else {
        answers.any(|yes| yes)
    }
}

fn tree_holds(tree: &Tree, answers: &[bool]) -> bool {
    match tree {
        Tree::Name(name) => answers[*name],
        Tree::Not(part) => !tree_holds(part, answers),
        Tree::And(parts) => parts.iter().all(|part| tree_holds(part, answers)),
        Tree::Or(parts) => parts.iter().any(|part| tree_holds(part, answers)),
        Tree::Of(count) => answers.iter().filter(|yes| **yes).count() >= *count,
    }
}

fn case() -> impl Strategy<Value = (Vec<Vec<Line>>, Tree)> {
    let selection = prop::collection::vec(line(), 1..3).prop_map(|mut lines| {
        lines.sort_by_key(|line| (line.field, line.modifiers));
        lines.dedup_by_key(|line| (line.field, line.modifiers));
        lines
    });
    prop::collection::vec(selection, 1..4).prop_flat_map(|selections| {
        let names = selections.len();
        (Just(selections), tree(names))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_matcher_and_the_reference_agree(
        (selections, tree) in case(),
        events in prop::collection::vec(event(), 1..8),
    ) {
        let yaml = yaml(&selections, &tree);
        let set = match RuleSet::parse(&[("f", yaml.as_str())]) {
            Ok(set) => Some(set),
            Err(found) => {
                // Only what no event or every event meets may be refused.
                prop_assert!(found.iter().all(|f| f.code == Code::Condition), "{yaml}\n{found:?}");
                None
            }
        };
        let mut agreed = Vec::new();
        for event in &events {
            let fields = flat(event);
            let answers: Vec<bool> = selections
                .iter()
                .map(|lines| lines.iter().all(|line| line_holds(line, &fields)))
                .collect();
            let expected = tree_holds(&tree, &answers);
            agreed.push(expected);
            if let Some(set) = &set {
                let rule = &set.rules()[0];
                prop_assert_eq!(rule.matches(event), expected, "{}\n{:?}", &yaml, &fields);
                prop_assert_eq!(set.matching(event).count() == 1, expected, "{}", &yaml);
                prop_assert!(!expected || rule.concerns(event.category), "{}", &yaml);
            }
        }
        if set.is_none() {
            let all_alike = agreed.iter().all(|yes| *yes) || agreed.iter().all(|yes| !yes);
            prop_assert!(all_alike, "refused as constant: {}", &yaml);
        }
    }
}
