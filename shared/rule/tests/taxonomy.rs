//! The taxonomy pack: each single event of medium and above is one escalation of its own severity,
//! in every category; agent boundary violations of low too.

use balefire_event::{Category, Event, Severity};
use balefire_rule::{RuleKind, RuleSet};

macro_rules! pack {
    ($($name:literal),+ $(,)?) => {
        [$((
            concat!($name, ".yml"),
            include_str!(concat!("../../../deploy/rules/taxonomy/", $name, ".yml")),
        )),+]
    };
}

const FILES: [(&str, &str); 7] = pack![
    "agent_boundary_violation",
    "anomaly",
    "data_exfiltration_signal",
    "guardrail_block",
    "judge_flag",
    "model_drift",
    "prompt_attack",
];

fn set() -> RuleSet {
    RuleSet::parse(&FILES).expect("the pack compiles")
}

#[test]
fn each_single_event_of_medium_and_above_is_one_escalation_of_its_severity() {
    let set = set();
    let mut used = 0;
    for category in Category::ALL {
        for severity in Severity::ALL {
            let event = Event {
                category: *category,
                severity: *severity,
                ..Event::default()
            };
            let matching: Vec<_> = set.matching(&event).collect();
            let low_too = *category == Category::AgentBoundaryViolation;
            let told = *category != Category::Telemetry && (*severity > Severity::Low || low_too);
            assert_eq!(matching.len(), usize::from(told), "{category} {severity}");
            for rule in matching {
                assert_eq!(rule.severity, *severity, "{}", rule.name);
                assert!(matches!(rule.kind, RuleKind::Single));
                assert!(!rule.audiences.is_empty() && !rule.first_steps.is_empty());
                used += 1;
            }
        }
    }
    assert_eq!(used, set.rules().len(), "none is never used");
}

#[test]
fn it_goes_beside_the_baseline() {
    let files: Vec<_> = FILES
        .iter()
        .chain(balefire_rule::BASELINE)
        .copied()
        .collect();
    let set = RuleSet::parse(&files).expect("no name or id is there twice");
    assert_eq!(set.rules().len(), 22 + 4);
}
