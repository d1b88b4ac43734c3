//! The rules that the documentation shows compile.

use balefire_rule::{RuleKind, RuleSet};

const RULES: &str = include_str!("../../../docs/rules.md");

/// The contents of every block that is marked as YAML.
fn blocks(text: &str) -> Vec<&str> {
    let rest = text.split("\n```yaml\n").skip(1);
    rest.filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn every_block_of_yaml_is_found() {
    assert_eq!(
        blocks("a\n```yaml\nb: 1\nc: 2\n```\nd\n```\ne\n```\n"),
        ["b: 1\nc: 2"]
    );
}

#[test]
fn every_rule_of_the_documentation_compiles() {
    let blocks = blocks(RULES);
    assert!(blocks.len() >= 2, "rules.md shows both kinds of rule");
    let files: Vec<(String, &str)> = blocks
        .into_iter()
        .enumerate()
        .map(|(index, yaml)| (format!("docs/rules.md, block {index}"), yaml))
        .collect();
    let set = match RuleSet::parse(&files) {
        Ok(set) => set,
        Err(faults) => panic!("{faults:#?}"),
    };
    let windowed = |kind: &RuleKind| matches!(kind, RuleKind::Threshold(_));
    assert!(set.rules().iter().any(|rule| windowed(&rule.kind)));
    assert!(set.rules().iter().any(|rule| !windowed(&rule.kind)));
    assert!(set.named("finance_refusal").is_none(), "counted, not told");
}
