//! What a what-if comes to, in numbers.

use balefire_rule_engine_core::{Counts, Findings};
use balefire_wire::whatif::v1 as wire;

pub(super) fn summary(findings: &Findings) -> wire::Summary {
    let sum = |of: fn(&Counts) -> u64| findings.rules.values().map(of).sum();
    let rules = findings.rules.iter();
    wire::Summary {
        added: sum(|counts| counts.added),
        removed: sum(|counts| counts.removed),
        unchanged: sum(|counts| counts.unchanged),
        rules: rules
            .map(|(rule, counts)| wire::RuleCounts {
                rule: rule.to_string(),
                added: counts.added,
                removed: counts.removed,
                unchanged: counts.unchanged,
            })
            .collect(),
        unsettled: findings.unsettled,
        untold: findings.untold,
        ..wire::Summary::default()
    }
}
