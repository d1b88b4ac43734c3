//! The rules `balefire up` runs without `--rules`, embedded from `deploy/rules/baseline/`.

use crate::diagnostic::Diagnostic;
use crate::set::RuleSet;

macro_rules! embed {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../deploy/rules/baseline/", $name)))),+]
    };
}

/// Name and YAML of each file of the pack.
pub const BASELINE: &[(&str, &str)] = embed![
    "agent_tool_outside_allowlist.yml",
    "guardrail_block_burst.yml",
    "judge_flag_burst.yml",
    "prompt_attack.yml",
];

/// The pack, compiled.
///
/// # Errors
/// Never in a build whose tests passed; the diagnostics else.
pub fn baseline() -> Result<RuleSet, Vec<Diagnostic>> {
    RuleSet::parse(BASELINE)
}
