//! Many rules that each ask for a text of their own are looked up by it: what is decided is what asking
//! every rule decides.

#![expect(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::sync::Arc;

use balefire_event::time::HOUR;
use balefire_event::{Category, DedupId, Event, Field, Lane, Severity, Timestamp};
use balefire_rule::{Measured, RuleSet};
use balefire_rule_engine_core::{BatchHeader, Engine, EngineConfig, Matcher, RuleSpec};
use proptest::prelude::*;

/// A matcher that does not say what it asks for.
struct Silent(Arc<dyn Matcher>);

impl Matcher for Silent {
    fn matches(&self, event: &Event<'_>) -> bool {
        self.0.matches(event)
    }
    fn reads(&self, field: &Field) -> bool {
        self.0.reads(field)
    }
    fn measured(&self, event: &Event<'_>) -> Measured {
        self.0.measured(event)
    }
}

/// Lines of a selection: texts of one field, several, of another, with wildcards, in any case, cased,
/// outside ASCII, none.
const LINES: [&str; 14] = [
    "tool: shell",
    "tool: SHELL",
    "tool: [shell, browser]",
    "tool: [browser, \"*\"]",
    "tool|contains: ell",
    "tool|cased: Shell",
    "tool|cased: shell",
    "tool: kill",
    "tool: \u{212a}ill",
    "model: gpt-4o",
    "model: [gpt-4o, claude]",
    "model|startswith: gpt",
    "tool: null",
    "severity: low",
];

fn rules(lines: &[usize]) -> Vec<RuleSpec> {
    let file = |(number, line): (usize, &usize)| {
        let line = LINES.get(*line).unwrap();
        let yaml = format!(
            "title: Rule {number}\nid: 00000000-0000-4000-8000-{number:012}\nname: rule_{number}\nlogsource:\n  product: ai_security\ndetection:\n  selection:\n    {line}\n  condition: selection\nlevel: high\n"
        );
        (format!("{number}.yml"), yaml)
    };
    let files: Vec<(String, String)> = lines.iter().enumerate().map(file).collect();
    let set = RuleSet::parse(&files).unwrap();
    set.rules().iter().map(|rule| RuleSpec::of(rule)).collect()
}

/// What an engine decides of the events, one batch.
fn decided(specs: Vec<RuleSpec>, events: &[Event<'_>]) -> Vec<String> {
    let mut engine = Engine::with_specs(0, &[(0, specs)], EngineConfig::new(1)).unwrap();
    let header = BatchHeader {
        tenant: "default",
        lateness_max: HOUR,
        received_at_max: Timestamp(HOUR),
    };
    let mut effects = Vec::new();
    engine.batch_start(Lane::Normal, &header);
    for (index, event) in (0..).zip(events) {
        engine.event(index, event, &mut effects);
    }
    engine.batch_end(&mut effects);
    let told = effects.into_iter().map(|effect| format!("{effect:?}"));
    told.collect()
}

fn event(number: u8, tool: &'static str, model: &'static str) -> Event<'static> {
    Event {
        dedup_id: DedupId([number; 16]),
        event_id: number.to_string().into(),
        received_at: Timestamp(HOUR),
        occurred_at: Timestamp(HOUR),
        t: Timestamp(HOUR),
        category: Category::Anomaly,
        severity: Severity::Low,
        tool: tool.into(),
        model: model.into(),
        ..Event::default()
    }
}

proptest! {
    // Rules are compiled for each case, which is what takes the time.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn who_is_looked_up_decides_as_who_is_asked(
        lines in prop::collection::vec(0..LINES.len(), 1..24),
        said in prop::collection::vec(
            (
                prop::sample::select(vec!["", "shell", "Shell", "SHELL", "browser", "kill", "\u{212a}ill", "shel", "\u{e9}"]),
                prop::sample::select(vec!["", "gpt-4o", "GPT-4o", "claude", "gpt", "\u{212a}"]),
            ),
            1..12,
        ),
    ) {
        let events: Vec<_> = (1..).zip(said).map(|(number, (tool, model))| event(number, tool, model)).collect();
        let looked_up = rules(&lines);
        let silent = |spec: &RuleSpec| RuleSpec {
            matcher: Arc::new(Silent(Arc::clone(&spec.matcher))),
            ..spec.clone()
        };
        let asked = looked_up.iter().map(silent).collect();
        prop_assert_eq!(decided(looked_up, &events), decided(asked, &events));
    }
}

#[test]
fn something_is_decided_at_all() {
    let events = [event(1, "SHELL", "gpt-4o"), event(2, "other", "")];
    let specs = rules(&[0, 1, 2, 5, 7, 9, 10, 0, 0]);
    assert_eq!(decided(specs, &events).len(), 7);
}

/// The sign for kelvin is a capital k.
#[test]
fn a_letter_that_is_one_with_an_ascii_letter_is_found() {
    let specs = rules(&[0, 1, 0, 1, 7]);
    assert_eq!(decided(specs, &[event(1, "\u{212a}ill", "")]).len(), 1);
}
