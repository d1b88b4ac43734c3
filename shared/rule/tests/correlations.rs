//! Faults of correlations: each is named with its place and the way out.
#![expect(clippy::panic, reason = "helpers of tests")]

use balefire_rule::{Code, Diagnostic, RuleSet};

const BASES: &str = "title: a\nid: 00000000-0000-4000-8000-00000000000a\nname: a\nlevel: low\ndetection: {s: {category: anomaly}, condition: s}\n---\ntitle: b\nid: 00000000-0000-4000-8000-00000000000b\nname: b\nlevel: low\ndetection: {s: {category: judge_flag}, condition: s}\n---\n";

/// The only fault of a correlation, its lines split by `; `.
fn fault(lines: &str, block: &str) -> Diagnostic {
    let lines: String = lines
        .split("; ")
        .map(|line| format!("  {line}\n"))
        .collect();
    let yaml = format!(
        "{BASES}title: c\nid: 00000000-0000-4000-8000-00000000000c\nname: c\nlevel: high\ncorrelation:\n{lines}{block}"
    );
    let found = match RuleSet::parse(&[("f.yml", yaml.as_str())]) {
        Ok(set) => panic!("accepted {:?}\n{yaml}", set.rules()),
        Err(found) => found,
    };
    assert_eq!(found.len(), 1, "{found:#?}\n{yaml}");
    let first = found.into_iter().next();
    first.unwrap_or_else(|| panic!("one fault"))
}

/// A correlation of a type with a condition, by user.
fn asked(kind: &str, condition: &str) -> Diagnostic {
    let condition = if condition.is_empty() {
        String::new()
    } else {
        format!("; condition: {condition}")
    };
    fault(
        &format!("type: {kind}; rules: [a, b]; group-by: [user_id]; timespan: 5m{condition}"),
        "",
    )
}

fn is(found: &Diagnostic, code: Code, path: &str, help: &str) {
    assert_eq!((found.code, found.path.as_str()), (code, path), "{found}");
    assert!(found.help.contains(help), "{found}");
}

const CONDITION: &str = "correlation.condition";
const FIELD: &str = "correlation.condition.field";

#[test]
fn upper_bounds_and_equality_are_for_what_is_decided_at_close() {
    for kind in ["value_count", "value_sum"] {
        for bound in [
            "lt: 5",
            "lte: 5",
            "eq: 5",
            "neq: 5",
            "gt: 1, lt: 9",
            "gte: 0",
            "gt: 0.5",
            "gt: -1",
        ] {
            let found = asked(kind, &format!("{{{bound}, field: tokens_in}}"));
            is(&found, Code::Threshold, CONDITION, "gt: N or gte: N");
        }
    }
    for kind in ["value_avg", "value_percentile"] {
        for bound in [
            "eq: 5",
            "neq: 5",
            "gt: 1, lt: 9",
            "eq: 1, gt: 2",
            "gt: 0.0001",
            "gt: -1",
            "gt: many",
            "gt: 1000000000001",
        ] {
            let found = asked(kind, &format!("{{{bound}, field: tokens_in}}"));
            is(&found, Code::Threshold, CONDITION, "write");
        }
        is(
            &asked(kind, "{gte: 0, field: tokens_in}"),
            Code::Threshold,
            CONDITION,
            "gt: 0",
        );
        is(
            &asked(kind, "{lt: 0, field: tokens_in}"),
            Code::Threshold,
            CONDITION,
            "lte: 0",
        );
    }
}

#[test]
fn a_measure_names_one_field_that_it_can_measure() {
    for kind in ["value_count", "value_sum", "value_avg", "value_percentile"] {
        for field in [
            "",
            ", field: []",
            ", field: [tool, tokens_in]",
            ", field: {a: b}",
        ] {
            is(
                &asked(kind, &format!("{{gt: 1{field}}}")),
                Code::Threshold,
                FIELD,
                "one field",
            );
        }
        for field in [
            "assurance",
            "user.label",
            "user_id.assurance",
            "received_at",
            "Tokens-In",
        ] {
            let found = asked(kind, &format!("{{gt: 1, field: {field}}}"));
            assert_eq!(
                (found.code, found.path.as_str()),
                (Code::Field, FIELD),
                "{found}"
            );
        }
    }
    for kind in ["value_sum", "value_avg", "value_percentile"] {
        for field in ["tool", "user_id", "category", "tool_allowed", "request_id"] {
            let found = asked(kind, &format!("{{gt: 1, field: {field}}}"));
            is(&found, Code::Threshold, FIELD, "value_count");
        }
    }
    is(
        &asked("value_sum", "{gt: 1, field: judge_score}"),
        Code::Threshold,
        FIELD,
        "value_avg",
    );
    is(
        &asked("value_count", "{gt: 1, field: user_id}"),
        Code::Threshold,
        FIELD,
        "not in group-by",
    );
}

#[test]
fn more_values_than_a_closed_list_has_are_refused() {
    for (field, n) in [
        ("tool_allowed", 2),
        ("severity", 4),
        ("timing", 1),
        ("category", 100),
    ] {
        let found = asked("value_count", &format!("{{gt: {n}, field: {field}}}"));
        is(&found, Code::Threshold, CONDITION, "fewer values");
    }
    is(
        &asked("value_count", "{gt: 10001, field: tool}"),
        Code::Threshold,
        CONDITION,
        "rarer",
    );
    is(
        &asked("value_sum", "{gt: 1000000000001, field: tokens_in}"),
        Code::Threshold,
        CONDITION,
        "rarer",
    );
}

#[test]
fn words_of_another_type_are_refused() {
    is(
        &asked("value_sum", "{gt: 1, field: tokens_in, percentile: 5}"),
        Code::Threshold,
        CONDITION,
        "gt: N",
    );
    is(
        &asked("value_avg", "{gt: 1, field: tokens_in, percentile: 5}"),
        Code::Threshold,
        CONDITION,
        "gte, lt",
    );
    for percent in ["0", "101", "1.5", "high", "-1"] {
        let found = asked(
            "value_percentile",
            &format!("{{gt: 1, field: tokens_in, percentile: {percent}}}"),
        );
        is(
            &found,
            Code::Threshold,
            "correlation.condition.percentile",
            "95",
        );
    }
}

#[test]
fn sequences_have_steps_and_no_condition() {
    for kind in ["temporal", "temporal_ordered"] {
        for condition in ["{gte: 1}", "a and b"] {
            is(
                &asked(kind, condition),
                Code::Threshold,
                CONDITION,
                "leave it out",
            );
        }
        let named = |rules: &str| {
            fault(
                &format!("type: {kind}; rules: {rules}; group-by: [user_id]; timespan: 5m"),
                "",
            )
        };
        is(
            &named("[a]"),
            Code::Reference,
            "correlation.rules",
            "each step",
        );
        is(
            &named("[a, a]"),
            Code::Reference,
            "correlation.rules",
            "event_count",
        );
        let by_id = "[a, 00000000-0000-4000-8000-00000000000A]";
        is(
            &named(by_id),
            Code::Reference,
            "correlation.rules",
            "event_count",
        );
    }
}

#[test]
fn an_absence_says_of_what_and_after_one_event() {
    let absent = |kind: &str, condition: &str, of: &str| {
        fault(
            &format!("type: {kind}; rules: [a]; group-by: [user_id]; timespan: 5m{condition}"),
            &format!("balefire:\n  absence: {of}\n"),
        )
    };
    let one = "; condition: {gte: 1}";
    let of = "balefire.absence.of";
    is(
        &absent("event_count", one, "{of: a}"),
        Code::Reference,
        of,
        "different rules",
    );
    is(
        &absent("event_count", one, "{of: x}"),
        Code::Reference,
        of,
        "hand its file in",
    );
    is(
        &absent("event_count", one, "{of: []}"),
        Code::Reference,
        of,
        "names or ids",
    );
    is(
        &absent("event_count", one, "{of: 5}"),
        Code::Extension,
        "balefire",
        "absence {of}",
    );
    is(
        &absent("event_count", one, "b"),
        Code::Extension,
        "balefire",
        "absence {of}",
    );
    is(
        &absent("event_count", "; condition: {gt: 1}", "{of: b}"),
        Code::Threshold,
        CONDITION,
        "gte: 1",
    );
    is(
        &absent("temporal", "", "{of: b}"),
        Code::Extension,
        "balefire.absence",
        "event_count",
    );
    let alone = "title: t\nid: 00000000-0000-4000-8000-000000000001\nname: r\nlevel: low\ndetection: {s: {category: anomaly}, condition: s}\nbalefire: {absence: {of: r}}\n";
    let found = RuleSet::parse(&[("f.yml", alone)]).expect_err("it has no window");
    assert_eq!(found.len(), 1, "{found:?}");
    is(
        &found[0],
        Code::Extension,
        "balefire.absence",
        "correlation",
    );
}

#[test]
fn a_fault_in_a_fraction_stands_on_its_own_line() {
    let found = fault(
        "type: value_avg; rules: [a]; group-by: [user_id]; timespan: 5m; condition:; '  gt: 0.5'; '  percentile: 5'".replace('\'', "").as_str(),
        "",
    );
    is(&found, Code::Threshold, CONDITION, "gte, lt");
    assert_eq!(found.line, Some(22), "{found}");
}

#[test]
fn groupings_name_known_fields_once() {
    let grouped = |by: &str| {
        fault(
            &format!("type: event_count; rules: [a]; timespan: 5m; condition: {{gt: 1}}{by}"),
            "",
        )
    };
    let path = "correlation.group-by";
    is(&grouped(""), Code::GroupBy, path, "source");
    is(&grouped("; group-by: []"), Code::GroupBy, path, "source");
    is(
        &grouped("; group-by: [user_id, user_id]"),
        Code::GroupBy,
        path,
        "once",
    );
    is(
        &grouped("; group-by: [user_id, model, tool, source, endpoint]"),
        Code::GroupBy,
        path,
        "fewer",
    );
    is(
        &grouped("; group-by: [user_id, assurance]"),
        Code::Field,
        path,
        "leave it out",
    );
}
