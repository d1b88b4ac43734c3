//! Any text as a rule file: a set, or faults that each say what to do.

use balefire_rule::RuleSet;

/// What the target does.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(faults) = RuleSet::parse(&[("file.yml", text)]) {
        assert!(!faults.is_empty());
        assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
    }
}
