//! `docs/guarantees.md`: a promise names its limits, the tests that break where it is false, and
//! the deliberate faults that show that they can.

use std::collections::BTreeSet;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Its first cell.
    pub said: String,
    /// Names in backticks of the third cell.
    pub tests: Vec<String>,
    /// Names in backticks of the fourth cell.
    pub faults: Vec<String>,
}

/// The rows of the table whose head begins with "Promise"; a row that lacks a cell is an error.
///
/// # Errors
/// The row.
pub fn promises(page: &str) -> Result<Vec<Promise>, String> {
    let lines = page.lines().map(str::trim);
    let mut table = lines.skip_while(|line| !line.starts_with("| Promise"));
    table.next();
    let rows = table.take_while(|line| line.starts_with('|'));
    let rows = rows.filter(|line| !line.starts_with("|-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        match cells.as_slice() {
            [said, limits, tests, faults] if !said.is_empty() && !limits.is_empty() => {
                Ok(Promise {
                    said: (*said).to_owned(),
                    tests: quoted(tests),
                    faults: quoted(faults),
                })
            }
            _ => Err(format!(
                "needs a promise, its limits, its test and its sabotage: {row}"
            )),
        }
    })
    .collect()
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Names of the deliberate faults of `shared/simulation/src/fault.rs`.
#[must_use]
pub fn faults(source: &str) -> BTreeSet<String> {
    let Some((_, table)) = source.split_once("pub const SABOTAGE") else {
        return BTreeSet::new();
    };
    let kebab = |name: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
        name.contains('-') && name.chars().all(is_part)
    };
    let strings = table.split('"').skip(1).step_by(2);
    strings.filter(kebab).map(str::to_owned).collect()
}

/// Findings: promises without a test or a fault that shows it can break, names of faults that are
/// none, faults that no promise names.
#[must_use]
pub fn check(promises: &[Promise], faults: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut named = BTreeSet::new();
    for promise in promises {
        let said = &promise.said;
        if promise.tests.is_empty() || promise.faults.is_empty() {
            found.push(format!("names no test, or no sabotage of it: {said}"));
        }
        for fault in &promise.faults {
            named.insert(fault.clone());
            if !faults.contains(fault) {
                found.push(format!("there is no sabotage {fault}: {said}"));
            }
        }
    }
    let unnamed = faults.difference(&named);
    found.extend(unnamed.map(|fault| format!("no promise names the sabotage {fault}")));
    found
}

/// Findings: tests that are no function and no file of the tree. `is_there` says whether a Rust
/// or Python function of a name, or a file of a path, is there.
#[must_use]
pub fn unknown_tests(promises: &[Promise], is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let tests = promises.iter().flat_map(|promise| &promise.tests);
    let tests: BTreeSet<&String> = tests.collect();
    let unknown = tests.into_iter().filter(|test| !is_there(test));
    unknown
        .map(|test| format!("there is no test {test}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A\n\n| Promise | Limits | Test | Sabotage |\n|---|---|---|---|\n\
                        | One | none | `a_test` in `b.rs` | `no-fence`, `gone-one` |\n\
                        | Two | some | by eye | |\n\ntext\n";

    #[test]
    fn rows_are_read_to_the_end_of_the_table() {
        let promises = promises(PAGE).unwrap();
        assert_eq!(promises.len(), 2);
        assert_eq!(promises[0].tests, ["a_test", "b.rs"]);
        assert_eq!(promises[0].faults, ["no-fence", "gone-one"]);
        assert!(super::promises("| Promise |\n|---|\n| One | | `a` | `b` |").is_err());
    }

    #[test]
    fn a_fault_that_is_gone_and_one_that_nobody_names_are_found() {
        let source = "pub const SABOTAGE: [S; 2] = [\n row(A, \"no-fence\", \"10: one-two owner\"),\n row(B, \"new-one\", \"x\")];";
        let faults = faults(source);
        assert_eq!(faults.len(), 2);
        let found = check(&promises(PAGE).unwrap(), &faults);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_test_that_is_gone_is_found() {
        let found = unknown_tests(&promises(PAGE).unwrap(), |name| name == "b.rs");
        assert_eq!(found, ["there is no test a_test"]);
    }
}
