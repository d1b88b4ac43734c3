//! What each type of correlation measures, and what one event adds to it: the spellings one by
//! one, and values against a reference that works on decimal text.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use balefire_event::{
    Assurance, Category, Event, Extension, Field, Identity, IdentityKind, SubjectRef,
};
use balefire_rule::{
    CloseMeasure, Code, Comparison, Measure, Measured, Rule, RuleKind, RuleSet, Threshold,
};
use proptest::prelude::*;

const BASES: &str = "title: a\nid: 00000000-0000-4000-8000-00000000000a\nname: a\ndetection: {s: {category: anomaly}, condition: s}\n---\ntitle: b\nid: 00000000-0000-4000-8000-00000000000b\nname: b\ndetection: {s: {category: judge_flag}, condition: s}\n---\ntitle: d\nid: 00000000-0000-4000-8000-00000000000d\nname: d\ndetection: {s: {tool: shell}, condition: s}\n---\n";

fn text(correlation: &str, block: &str) -> String {
    format!(
        "{BASES}title: c\nid: 00000000-0000-4000-8000-00000000000c\nname: c\nlevel: high\ncorrelation: {{rules: [a, b, d], group-by: [user_id], timespan: 10m, {correlation}}}\n{block}"
    )
}

fn rule(correlation: &str) -> Rule {
    with(correlation, "")
}

fn with(correlation: &str, block: &str) -> Rule {
    let yaml = text(correlation, block);
    let set = RuleSet::parse(&[("f", yaml.as_str())])
        .unwrap_or_else(|found| panic!("{found:#?}\n{yaml}"));
    let names: Vec<&str> = set.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["c"], "rules that are measured do not escalate");
    Rule::clone(&set.rules()[0])
}

fn threshold(rule: &Rule) -> &Threshold {
    match &rule.kind {
        RuleKind::Threshold(threshold) => threshold,
        RuleKind::Single | RuleKind::AtClose(_) => panic!("decided at once"),
    }
}

fn at_close(rule: &Rule) -> (&CloseMeasure, (Comparison, i64)) {
    match &rule.kind {
        RuleKind::AtClose(close) => (&close.measure, close.condition),
        RuleKind::Single | RuleKind::Threshold(_) => panic!("decided at close"),
    }
}

fn event(json: &str) -> Event<'_> {
    Event {
        category: Category::Anomaly,
        labels: vec![(Cow::Borrowed("x"), Cow::Borrowed(json))],
        extensions: vec![Extension {
            name: Cow::Borrowed("x"),
            json: Cow::Borrowed(json),
        }],
        ..Event::default()
    }
}

fn identity(kind: IdentityKind, subject: u8) -> Identity<'static> {
    Identity {
        subject_ref: SubjectRef([subject; 16]),
        kind,
        assurance: Assurance::Claimed,
        via: Cow::Borrowed("agent_id"),
        label: None,
    }
}

#[test]
fn monotone_types_ask_for_more_than_n() {
    for (written, measure, n) in [
        (
            "type: event_count, condition: {gt: 10}",
            Measure::Events,
            10,
        ),
        (
            "type: value_count, condition: {gt: 3, field: tool}",
            Measure::Distinct(Field::Tool),
            3,
        ),
        (
            "type: value_count, condition: {gte: 3, field: [agent_id]}",
            Measure::Distinct(Field::Identity(IdentityKind::Agent)),
            2,
        ),
        (
            "type: value_sum, condition: {gt: 5000000, field: tokens_out}",
            Measure::Sum(Field::TokensOut),
            5_000_000,
        ),
        (
            "type: value_sum, condition: {gte: 1, field: labels.amount}",
            Measure::Sum(Field::Label("amount".into())),
            0,
        ),
        (
            "type: temporal",
            Measure::Sequence {
                steps: 3,
                ordered: false,
            },
            0,
        ),
        (
            "type: temporal_ordered",
            Measure::Sequence {
                steps: 3,
                ordered: true,
            },
            0,
        ),
    ] {
        let rule = rule(written);
        let found = threshold(&rule);
        assert_eq!((&found.measure, found.n), (&measure, n), "{written}");
        assert_eq!(found.window, 600_000_000_000, "{written}");
        assert_eq!(found.rearm, 600_000_000_000, "{written}");
        assert!(rule.matches(&event("1")) && rule.contains_user());
    }
}

#[test]
fn averages_and_percentiles_are_compared_with_thousandths_at_close() {
    let score = || Field::JudgeScore;
    for (written, measure, condition) in [
        (
            "type: value_avg, condition: {gt: 0.8, field: judge_score}",
            CloseMeasure::Average(score()),
            (Comparison::Greater, 800),
        ),
        (
            "type: value_avg, condition: {lt: 0.125, field: judge_score}",
            CloseMeasure::Average(score()),
            (Comparison::Less, 125),
        ),
        (
            "type: value_avg, condition: {lte: 0, field: tokens_in}",
            CloseMeasure::Average(Field::TokensIn),
            (Comparison::LessOrEqual, 0),
        ),
        (
            "type: value_percentile, condition: {gte: 4000, field: tokens_in, percentile: 95}",
            CloseMeasure::Percentile {
                field: Field::TokensIn,
                percent: 95,
            },
            (Comparison::GreaterOrEqual, 4_000_000),
        ),
        (
            "type: value_percentile, condition: {gt: 0.001, field: judge_score}",
            CloseMeasure::Percentile {
                field: score(),
                percent: 50,
            },
            (Comparison::Greater, 1),
        ),
    ] {
        let rule = rule(written);
        assert_eq!(at_close(&rule), (&measure, condition), "{written}");
    }
}

#[test]
fn an_absence_has_two_steps_what_is_seen_and_what_is_missing() {
    let seen = "type: event_count, condition: {gte: 1}";
    let yaml = |of: &str| {
        text(seen, &format!("balefire: {{absence: {{of: {of}}}}}\n")).replace("[a, b, d]", "[a, b]")
    };
    for of in ["d", "[d]", "00000000-0000-4000-8000-00000000000D"] {
        let set = RuleSet::parse(&[("f", yaml(of))]).unwrap_or_else(|found| panic!("{found:?}"));
        assert_eq!(set.rules().len(), 1, "what is missing does not escalate");
        let rule = &set.rules()[0];
        assert_eq!(at_close(rule).0, &CloseMeasure::Absence);
        let tool = Event {
            tool: Cow::Borrowed("shell"),
            ..Event::default()
        };
        let both = Event {
            category: Category::JudgeFlag,
            ..tool.clone()
        };
        assert_eq!(steps(rule, &event("1")), [0]);
        assert_eq!(steps(rule, &tool), [1]);
        assert_eq!(steps(rule, &both), [0, 1]);
        assert!(rule.matches(&tool) && !rule.matches(&Event::default()));
    }
}

fn steps(rule: &Rule, event: &Event<'_>) -> Vec<u8> {
    match rule.measured(event) {
        Measured::Steps(steps) => steps.to_vec(),
        Measured::Nothing | Measured::Value(_) => panic!("a sequence has steps"),
    }
}

#[test]
fn an_event_is_every_step_that_it_matches() {
    for kind in ["temporal", "temporal_ordered"] {
        let rule = rule(&format!("type: {kind}"));
        let both = Event {
            tool: Cow::Borrowed("shell"),
            ..event("1")
        };
        assert_eq!(steps(&rule, &event("1")), [0]);
        assert_eq!(steps(&rule, &both), [0, 2]);
    }
}

#[test]
fn counted_events_add_nothing_of_their_own() {
    let rule = rule("type: event_count, condition: {gt: 1}");
    assert_eq!(rule.measured(&event("7")), Measured::Value(0));
}

#[test]
fn identities_are_told_apart_by_their_reference() {
    let rule = rule("type: value_count, condition: {gt: 1, field: agent_id}");
    let of = |subject| {
        let actors = [identity(IdentityKind::Agent, subject)];
        rule.measured(&Event {
            actors: actors.to_vec(),
            ..event("1")
        })
    };
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_eq!(rule.measured(&event("1")), Measured::Nothing);
}

#[test]
fn the_field_that_is_measured_is_read() {
    let counts = rule("type: value_count, condition: {gt: 1, field: model}");
    assert!(counts.reads(&Field::Model), "an amendment may fill it");
    assert!(!rule("type: event_count, condition: {gt: 1}").reads(&Field::Model));
    let means = rule("type: value_avg, condition: {gt: 1, field: tokens_in}");
    assert!(means.reads(&Field::TokensIn));
    let session = rule("type: value_count, condition: {gt: 1, field: session_id}");
    assert!(session.reads(&Field::Key(balefire_event::KeyKind::Session)));
}

#[test]
fn a_key_may_have_fields_beside_the_user() {
    let yaml = text("type: event_count, condition: {gt: 1}", "")
        .replace("[user_id]", "[labels.app, user_id, model, tool]");
    let set = RuleSet::parse(&[("f", yaml)]).expect("the user is in it");
    assert!(set.rules()[0].contains_user());
    assert_eq!(set.rules()[0].group_by().len(), 4);
}

#[test]
fn what_a_join_may_fill_is_negated_only_where_every_use_is_at_close() {
    let negating = |yaml: String| {
        yaml.replace(
            "{s: {tool: shell}, condition: s}",
            "{s: {model: null}, condition: s}",
        )
    };
    let parse = |yaml: String| RuleSet::parse(&[("f", yaml)]).map_err(|found| found[0].code);
    let average = text("type: value_avg, condition: {gt: 1, field: tokens_in}", "");
    assert!(parse(negating(average.clone())).is_ok());
    for kind in [
        "type: event_count, condition: {gt: 1}",
        "type: value_count, condition: {gt: 1, field: tool}",
        "type: value_sum, condition: {gt: 1, field: tokens_in}",
        "type: temporal",
        "type: temporal_ordered",
    ] {
        let at_once = text(kind, "");
        assert_eq!(
            parse(negating(at_once)).err(),
            Some(Code::NotMonotone),
            "{kind}"
        );
    }
    let told = average.replace(
        "name: d\n",
        "name: d\nlevel: low\nbalefire: {escalate: true}\n",
    );
    assert_eq!(
        parse(negating(told)).err(),
        Some(Code::NotMonotone),
        "it escalates by itself too"
    );
    let counted = format!(
        "{average}---\ntitle: e\nid: 00000000-0000-4000-8000-00000000000e\nname: e\nlevel: high\ncorrelation: {{type: event_count, rules: [d], group-by: [user_id], timespan: 5m, condition: {{gt: 1}}}}\n"
    );
    assert_eq!(
        parse(negating(counted)).err(),
        Some(Code::NotMonotone),
        "it is counted too"
    );
}

/// A value as a record says it, as JSON text.
fn said() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_u64..2_000).prop_map(|whole| whole.to_string()),
        (-3_i64..3).prop_map(|whole| whole.to_string()),
        (0_u64..50, 0_u32..1_000).prop_map(|(a, b)| format!("{a}.{b:03}")),
        (0_u64..3).prop_map(|whole| format!("\"{whole}\"")),
        prop::sample::select(
            &[
                "\"a\"",
                "\" a \"",
                "\"A\"",
                "\"\\u0061\"",
                "\"\"",
                "null",
                "true",
                "[1]",
                "[]",
                "{\"a\":1}",
                "\"true\"",
                "18446744073709551615",
                "18446744073709551616",
                "7.0",
                "\"1.5\"",
                "\"-1\"",
                "\"a@B.c\"",
                "\"a@b.c\"",
            ][..],
        )
        .prop_map(str::to_owned),
    ]
}

/// What a person reads there; `None` where no one value is said.
fn shown(json: &str) -> Option<String> {
    let text = match serde_json::from_str::<serde_json::Value>(json).expect("JSON") {
        serde_json::Value::String(text) => text.trim().to_owned(),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            return None;
        }
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => json.to_owned(),
    };
    let text = if text.contains('@') {
        text.to_lowercase()
    } else {
        text
    };
    (!text.is_empty()).then_some(text)
}

/// Thousandths of decimal text with at most three decimals, digit by digit.
fn milli(text: &str) -> Option<u128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return (text.trim_start_matches('-') == "0").then_some(0);
    }
    format!("{whole}{part:0<3}").parse().ok()
}

fn fits(value: Option<u128>) -> Measured {
    let value = value.and_then(|value| u64::try_from(value).ok());
    value.map_or(Measured::Nothing, Measured::Value)
}

static SUM: LazyLock<Rule> =
    LazyLock::new(|| rule("type: value_sum, condition: {gt: 1, field: x}"));
static MEAN: LazyLock<Rule> =
    LazyLock::new(|| rule("type: value_avg, condition: {gt: 1, field: x}"));
static VALUES: LazyLock<Rule> =
    LazyLock::new(|| rule("type: value_count, condition: {gt: 1, field: x}"));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn numbers_are_those_that_are_written(json in said()) {
        let milli = shown(&json).and_then(|text| milli(&text));
        let whole = milli.filter(|milli| milli % 1_000 == 0).map(|milli| milli / 1_000);
        prop_assert_eq!(SUM.measured(&event(&json)), fits(whole), "{}", &json);
        prop_assert_eq!(MEAN.measured(&event(&json)), fits(milli), "{}", &json);
    }

    #[test]
    fn values_differ_where_people_read_them_differ(all in prop::collection::vec(said(), 1..12)) {
        let mut by_value: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        let mut distinct = BTreeSet::new();
        for json in &all {
            let shown = shown(json);
            distinct.extend(shown.clone());
            match VALUES.measured(&event(json)) {
                Measured::Value(value) => {
                    let shown = shown.expect("a value is said");
                    by_value.entry(value).or_default().insert(shown);
                }
                Measured::Nothing => prop_assert_eq!(shown, None, "{}", json),
                Measured::Steps(_) => prop_assert!(false, "no sequence"),
            }
        }
        prop_assert_eq!(by_value.len(), distinct.len(), "{:?}", &by_value);
        prop_assert!(by_value.values().all(|texts| texts.len() == 1), "{:?}", &by_value);
    }
}
